"""Arms: networks to compare, each a table of a TOML file with options of pretraining and training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from moola.config.pretrain_options import PretrainOptions
from moola.config.toml_files import read_toml
from moola.config.train_options import TrainOptions
from moola.errors import WrongUsage
from moola.files import safe_name
from moola.models.peers import PEERS
from moola.models.references import LEARNERS

SCRATCH = "scratch"
STAGES: dict[str, type] = {"pretrain": PretrainOptions, "train": TrainOptions}
# What the benchmark itself sets.
OURS = {
    "pretrain": ("input", "output", "split", "threads", "resume", "window_bars"),
    "train": ("data", "split", "seed", "threads", "resume", "window_bars", "save_run", "allow_overlap"),
}
BARS = "{bars}"


@dataclass(frozen=True)
class Arm:
    """A network of the benchmark: options of `train`, and of `pretrain-bilstm` where it has an encoder of its own."""

    name: str
    train: Mapping[str, Any] = field(default_factory=dict)
    pretrain: Mapping[str, Any] | None = None

    @property
    def needs_bars(self) -> bool:
        """Tell whether bars are asked for: to pretrain on, or by name."""
        return self.pretrain is not None or Path(BARS) in self.train.values()


def read_arms(path: Path | None) -> dict[str, Arm]:
    """Return the arms of a file and the built-in `scratch`, by name.

    Raises
    ------
    WrongUsage
        The file is no TOML, a key is no option (the nearest one is named) or one that the benchmark sets itself, a
        value has another type than its option, or an arm has the name of a reference or a peer.
    """
    arms = {SCRATCH: Arm(SCRATCH)}
    if path is None:
        return arms
    for name, table in read_toml(path, f"--arms {path}").items():
        arms[name] = _arm(name, table, path)
    return arms


def _arm(name: str, table: Any, path: Path) -> Arm:
    safe_name(name, "the name of an arm")
    if name in LEARNERS or name in PEERS:
        raise WrongUsage(
            f"an arm must have a name of its own, but {name} is a reference or a peer ({path}). Rename it."
        )
    if not isinstance(table, dict):
        raise WrongUsage(f"every arm must be a table, but {name} is not ({path}). Write [{name}].")
    _refuse(table, STAGES, f"[{name}]", "table", path)
    found = {stage: _options(stage, table[stage], f"[{name}.{stage}]", path) for stage in STAGES if stage in table}
    train = found.get("train", {})
    if "pretrain" in found and "pretrained_encoder" in train:
        raise WrongUsage(
            f"an arm must have one encoder, but [{name}] has pretrain and pretrained_encoder ({path}). Leave one out."
        )
    return Arm(name, train, found.get("pretrain"))


def _refuse(table: dict[str, Any], known: Mapping[str, Any], where: str, what: str, path: Path) -> None:
    unknown = [key for key in table if key not in known]
    if unknown:
        near = get_close_matches(unknown[0], sorted(known), n=1)
        hint = f"Did you mean {near[0]}?" if near else f"Known are {', '.join(sorted(known))}."
        raise WrongUsage(
            f"every key of {where} must be a known {what}, but {len(unknown)} of {len(table)} is not: "
            f"{', '.join(repr(key) for key in unknown[:5])} ({path}). {hint}"
        )


def _options(stage: str, table: Any, where: str, path: Path) -> dict[str, Any]:
    if not isinstance(table, dict):
        raise WrongUsage(f"{where} must be a table of options, but it is {table!r} ({path}). Write it as {{...}}.")
    table = {key.replace("-", "_"): value for key, value in table.items()}
    hints = get_type_hints(STAGES[stage])
    _refuse(table, hints, where, f"option of {'train' if stage == 'train' else 'pretrain-bilstm'}", path)
    taken = [key for key in table if key in OURS[stage]]
    if taken:
        raise WrongUsage(
            f"{where} must leave {', '.join(OURS[stage])} to the benchmark, but it sets {', '.join(taken)} ({path}). "
            "Leave it out."
        )
    return {key: _as_type(value, hints[key], f"{key} of {where}", path) for key, value in table.items()}


def _as_type(value: Any, hint: Any, what: str, path: Path) -> Any:
    """Turn a TOML value into what the option holds: paths from text, tuples from lists, floats from whole numbers."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return _as_type(value, next(one for one in inner if one is not NoneType), what, path)
    if origin is Literal and value in inner:
        return value
    if origin is tuple and isinstance(value, list):
        return tuple(_as_type(one, inner[0], what, path) for one in value)
    if hint is Path and isinstance(value, str):
        return Path(value) if value == BARS else Path(value).absolute()
    if hint is float and type(value) in (int, float):
        return float(value)
    if hint in (bool, int, str) and type(value) is hint:
        return value
    wanted = " or ".join(map(repr, inner)) if origin is Literal else getattr(hint, "__name__", str(hint))
    raise WrongUsage(f"{what} must be {wanted}, but it is {value!r} ({path}). Write another value.")


def require_known(models: tuple[str, ...], arms: Mapping[str, Arm]) -> None:
    """Refuse a model that is no reference, no peer and no arm, or one that is named twice.

    Raises
    ------
    WrongUsage
        With the nearest known name.
    """
    known = [*LEARNERS, *PEERS, *arms]
    strange = [name for name in models if name not in known]
    if strange:
        near = get_close_matches(strange[0], known, n=1)
        hint = f"Did you mean {near[0]}?" if near else f"Known are {', '.join(known)}; more come from --arms."
        raise WrongUsage(
            f"--models must be references, peers or arms, but {len(strange)} of {len(models)} is none of them: "
            f"{', '.join(strange[:5])}. {hint}"
        )
    if not models or len(set(models)) < len(models):
        raise WrongUsage(f"--models must name each model once, but they are {', '.join(models) or 'none'}.")
