"""What `tune` may choose from: declared ranges, and a TOML file that replaces some of them."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from moola.config.toml_files import read_toml
from moola.config.train_options import TrainOptions
from moola.errors import WrongUsage

Value = bool | int | float
RANGE_KEYS = {"low", "high", "log"}


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, both among them; on a logarithmic scale where `log` says so."""

    low: float
    high: float
    log: bool = False

    def holds(self, value: Any) -> bool:
        """Tell whether a value lies in it."""
        return isinstance(value, (int, float)) and self.low <= value <= self.high

    @property
    def ends(self) -> tuple[Value, ...]:
        """The values that a check must try."""
        return (self.low, self.high)


@dataclass(frozen=True)
class Choices:
    """One of these values; a single one is held."""

    values: tuple[Value, ...]

    def holds(self, value: Any) -> bool:
        """Tell whether a value is one of them."""
        return value in self.values

    @property
    def ends(self) -> tuple[Value, ...]:
        """The values that a check must try."""
        return self.values


Ranges = dict[str, Range | Choices]
DECLARED: Ranges = {
    "learning_rate": Range(3e-4, 1e-2, log=True),
    "weight_decay": Range(1e-4, 1e-1, log=True),
    "dropout": Range(0.0, 0.5),
    "pointer_weight": Range(1.0, 16.0, log=True),
    "pointer_sigma": Range(1.0, 3.0),
    "label_smoothing": Range(0.0, 0.2),
    "input_noise": Range(0.0, 0.3),
    "epochs": Choices((20, 40, 60)),
}
FROM_SCRATCH: Ranges = {"hidden_dim": Choices((32, 64, 128))}
# The encoder's rate is drawn only where the encoder is trained.
WITH_ENCODER: Ranges = {"freeze_encoder": Choices((True, False)), "encoder_rate": Range(0.02, 1.0, log=True)}
# Options of `train` that are no matter of taste: files, machines, seeds, and what marks a result.
NOT_TUNED = ("input_dim", "window_bars", "allow_overlap", "save_run", "threads", "seed")
KINDS = {"bool": bool, "bool | None": bool, "int": int, "int | None": int, "float": float, "float | None": float}


def tunable() -> dict[str, type]:
    """Return the options of `train` that a range may be given for, with their type."""
    known = {field.name: KINDS.get(str(field.type)) for field in fields(TrainOptions) if field.name not in NOT_TUNED}
    return {name: kind for name, kind in known.items() if kind is not None}


def declared_ranges(with_encoder: bool, path: Path | None = None, held: dict[str, Any] | None = None) -> Ranges:
    """Return what may be chosen: the declared ranges, then those of a file, less what is held.

    Raises
    ------
    WrongUsage
        The file is no TOML, names no option of `train` that can be tuned, or gives what is no range.
    """
    ranges = DECLARED | (WITH_ENCODER if with_encoder else FROM_SCRATCH)
    if path is not None:
        ranges = ranges | read_ranges(path)
    return {name: found for name, found in ranges.items() if name not in (held or {})}


def read_ranges(path: Path) -> Ranges:
    """Read ranges: `dropout = {low = 0.1, high = 0.3}`, `epochs = [20, 40]`, or `input_noise = 0.1` to hold it."""
    content = {name.replace("-", "_"): value for name, value in read_toml(path, f"--ranges {path}").items()}
    known = tunable()
    unknown = [name for name in content if name not in known]
    if unknown:
        near = get_close_matches(unknown[0], sorted(known), n=1)
        raise WrongUsage(
            f"every key of {path} must be an option of train that can be tuned, but {len(unknown)} of {len(content)} "
            f"is not: {', '.join(repr(name) for name in unknown[:5])}. "
            f"{f'Did you mean {near[0]}?' if near else 'Remove it.'}"
        )
    return {name: _range(name, value, known[name], path) for name, value in content.items()}


def _range(name: str, value: Any, kind: type, path: Path) -> Range | Choices:
    if not isinstance(value, dict):
        values = value if isinstance(value, list) else [value]
        if not values or not all(_is(kind, one) for one in values):
            _refuse(name, f"values of {kind.__name__}", value, path)
        return Choices(tuple(kind(one) for one in values))
    if not {"low", "high"} <= set(value) <= RANGE_KEYS or kind is bool:
        _refuse(name, "{low, high, log} or a list of values", value, path)
    low, high, log = value["low"], value["high"], value.get("log", False)
    if not (_is(kind, low) and _is(kind, high) and isinstance(log, bool)):
        _refuse(name, f"a low and a high of {kind.__name__}", value, path)
    if not low < high or (log and low <= 0):
        _refuse(name, "a low below its high, and above 0 where log is true", value, path)
    return Range(kind(low), kind(high), log)


def _is(kind: type, value: Any) -> bool:
    if kind is bool or isinstance(value, bool):
        return kind is bool and isinstance(value, bool)
    return isinstance(value, int) or (kind is float and isinstance(value, float) and math.isfinite(value))


def _refuse(name: str, must: str, found: Any, path: Path) -> None:
    raise WrongUsage(f"{name} of {path} must be {must}, but it is {found!r}. See `moola tune --help`.")


def plain_ranges(ranges: Ranges) -> dict[str, Any]:
    """Return ranges as plain values, for a digest and for people."""
    return {name: asdict(found) for name, found in sorted(ranges.items())}
