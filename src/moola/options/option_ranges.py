"""Names, defaults and ranges that options of several commands share: one range a name."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

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
RATIO, RATE = Range(0.0, MAX_RATIO), Range(0.0, MAX_RATE, open_low=True)
# A name that means two things has its class before it.
RANGES: dict[str, Range] = {
    **dict.fromkeys(
        ("batch_size", "batch_windows", "confirm_seeds", "CvOptions.seeds", "epochs", "labels_per_draw", "live_windows",
         "n", "n_unlabelled", "n_windows", "overview_bars", "patch_size", "plot_limit", "pretrain_epochs", "stride",
         "student_epochs", "student_rounds", "trials", "window_bars"), COUNT
    ),
    **dict.fromkeys(
        ("calibration_folds", "embargo", "epoch_windows", "frozen_epochs", "keep", "n_teachers",
         "patience", "polls", "processes", "purge_window", "skip_rows", "threads"), COUNT_OR_NONE
    ),
    **dict.fromkeys(("folds", "inner_folds"), SEVERAL),
    **dict.fromkeys(
        ("input_noise", "pointer_sigma", "pointer_weight", "poll_s", "timeout_minutes"), NOT_NEGATIVE
    ),
    **dict.fromkeys(("max_gap_hours", "soft_tau", "soft_tau_windows"), POSITIVE),
    **dict.fromkeys(("encoder_rate", "learning_rate", "student_rate"), RATE),
    **dict.fromkeys(
        ("conformal_alpha", "initial_fraction", "mask_ratio", "val_fraction", "val"), BETWEEN_0_AND_1
    ),
    **dict.fromkeys(("dropout", "label_smoothing", "max_overlap", "min_gain", "SplitOptions.test"), BELOW_1),
    **dict.fromkeys(("cpsa_ratio", "cpsa_schedule"), RATIO),
    "context_bars": Range(0, MAX_CONTEXT),
    "devices": Range(1, MAX_DEVICES),
    "hidden_dim": Range(1, MAX_HIDDEN),
    "label_fractions": Range(0.0, 1.0, open_low=True),
    "min_prob": Range(0.0, 1.0),
    "n_heads": Range(1, MAX_HEADS),
    "num_layers": Range(1, MAX_LAYERS),
    "port": Range(0, MAX_PORT),
    "weight_decay": Range(0.0, MAX_RATE),
}  # fmt: skip


def range_of(command_options: type, name: str) -> Range | None:
    """Return the range of one option of a class of options; None where any value does."""
    return RANGES.get(f"{command_options.__name__}.{name}", RANGES.get(name))


def refuse_out_of_range(options: Any) -> None:
    """Refuse options with a number that cannot work, before any file is looked at.

    Raises
    ------
    WrongUsage
        Names the option, its range and what was given.
    """
    for field in fields(options):
        value = getattr(options, field.name)
        for number in value if isinstance(value, tuple) else (value,):
            _refuse(field.name, range_of(type(options), field.name), number)


def refuse_number(name: str, number: float | None) -> None:
    """Refuse one option's number in the same way; None is left out."""
    _refuse(name, RANGES[name], number)


def _refuse(name: str, allowed: Range | None, number: Any) -> None:
    if allowed is not None and isinstance(number, int | float) and number not in allowed:
        raise WrongUsage(f"--{name.replace('_', '-')} must be {allowed}, but it is {number}. Give another one.")


# Names and defaults that several commands share.


RUNS_ROOT = Path("artifacts/runs")
PROMOTED_ROOT = Path("artifacts/models/supervised")
METRICS_ROOT = Path("artifacts/metrics")
PROMOTED_NAME = "enhanced_baseline_v2_relative.pt"
DEFAULT_SEED = 17
# The smallest gain in Brier that is worth a change of models.
MIN_GAIN = 0.01

ArmName = Literal["masked", "latent", "structure", "moves", "ts2vec"]
HeadKind = Literal["linear", "mlp"]
DeviceName = Literal["auto", "cpu", "cuda"]
EngineName = Literal["processes", "ray"]
PrecisionName = Literal["auto", "float32", "bfloat16"]
