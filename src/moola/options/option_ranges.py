"""Ranges of options, and the names and defaults that several commands share."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, get_args, get_type_hints

from moola.errors import WrongUsage

MAX_HIDDEN, MAX_LAYERS, MAX_HEADS, MAX_DEVICES, MAX_RATIO = 4096, 16, 100, 256, 100
# Beyond it the optimiser's products of two or three of them leave what 32 bits hold.
MAX_RATE = 1e12
MAX_PORT, MAX_CONTEXT = 65_535, 1000


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`; an open end is not among them."""

    low: float
    high: float = math.inf
    open_low: bool = False
    open_high: bool = False

    def __contains__(self, number: float) -> bool:
        above = number > self.low if self.open_low else number >= self.low
        return above and (number < self.high if self.open_high else number <= self.high)

    def __str__(self) -> str:
        if self.high == math.inf:
            return f"{'above' if self.open_low else 'at least'} {self.low:g}"
        if not self.open_low and not self.open_high:
            return f"within {self.low:g} to {self.high:g}"
        if self.open_low and self.open_high:
            return f"between {self.low:g} and {self.high:g}"
        low, high = ("above", "at most") if self.open_low else ("at least", "below")
        return f"{low} {self.low:g} and {high} {self.high:g}"


COUNT, COUNT_OR_NONE, SEVERAL = Range(1), Range(0), Range(2)
NOT_NEGATIVE, POSITIVE = Range(0.0), Range(0.0, open_low=True)
BETWEEN_0_AND_1, BELOW_1 = Range(0.0, 1.0, True, True), Range(0.0, 1.0, open_high=True)
SHARE = Range(0.0, 1.0, open_low=True)
PROBABILITY = Range(0.0, 1.0)
RATIO, RATE = Range(0.0, MAX_RATIO), Range(0.0, MAX_RATE, open_low=True)


@cache
def ranges_of(options: type) -> dict[str, Range]:
    """Return the range of each option of a class that has one at its field; of two, the outer one."""
    hints = get_type_hints(options, include_extras=True)
    found = {name: [mark for mark in _marks(hint) if isinstance(mark, Range)] for name, hint in hints.items()}
    return {name: marks[-1] for name, marks in found.items() if marks}


def _marks(hint: Any) -> list[Any]:
    inner = [mark for one in get_args(hint) for mark in _marks(one)]
    return [*inner, *getattr(hint, "__metadata__", ())]


def plain_kind(hint: Any) -> type | None:
    """Return bool, int or float for a type that is it, or it or None; else None."""
    kinds = {one for one in (get_args(hint) or (hint,)) if one is not type(None)}
    return kinds.pop() if len(kinds) == 1 and kinds <= {bool, int, float} else None


def refuse_out_of_range(options: Any) -> None:
    """Refuse options with a number that cannot work, before any file is looked at.

    Raises
    ------
    WrongUsage
        Names the option, its range and what was given.
    """
    kind: type = type(options)
    for name, allowed in ranges_of(kind).items():
        value = getattr(options, name)
        for number in value if isinstance(value, tuple) else (value,):
            refuse_number(name, allowed, number)


def refuse_number(name: str, allowed: Range, number: Any) -> None:
    """Refuse one option's number in the same way; None is left out."""
    if isinstance(number, int | float) and number not in allowed:
        raise WrongUsage(f"--{name.replace('_', '-')} must be {allowed}, but it is {number}. Give another one.")


# Names and defaults that several commands share.


RUNS_ROOT = Path("artifacts/runs")
PROMOTED_ROOT = Path("artifacts/models/supervised")
METRICS_ROOT = Path("artifacts/metrics")
PROMOTED_NAME = "enhanced_baseline_v2_relative.pt"
DEFAULT_SEED = 17
# The smallest gain in Brier that is worth a change of models.
MIN_GAIN = 0.01

TaskName = Literal["masked", "latent", "structure", "moves", "ts2vec"]
HeadKind = Literal["linear", "mlp"]
DeviceName = Literal["auto", "cpu", "cuda"]
EngineName = Literal["processes", "ray"]
PrecisionName = Literal["auto", "float32", "bfloat16"]
