"""Whether a model reads bars like those that it learned on."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import numpy as np

from moola.core.bar_lengths import interval_warning, window_bar_interval_s
from moola.models.files import ModelFile

log = logging.getLogger(__name__)


def compare_bar_intervals(
    model: ModelFile,
    start_us: np.ndarray | None,
    end_us: np.ndarray | None,
    warn: Callable[[str], None] = log.warning,
) -> dict[str, float | str | None]:
    """Warn where windows are of bars of another length than the model's; a model that does not say one is silent.

    Parameters
    ----------
    start_us, end_us
        Times of each window's first and last bar in microseconds, of windows of the model's length.
    warn
        Takes the sentence; the log unless the caller is Python.
    """
    learned, read = recorded_interval_s(model.training), window_bar_interval_s(start_us, end_us, model.window_bars)
    if warning := interval_warning(learned, read):
        warn(f"{warning[0].upper()}{warning[1:]}.")
    return {"learned_bar_interval_s": learned, "bar_interval_s": read, "bar_interval_warning": warning or None}


def recorded_interval_s(training: dict[str, Any]) -> float | None:
    """Return the bar length that a record of training says, None for files written before it was kept."""
    found = training.get("bar_interval_s")
    return float(found) if isinstance(found, int | float) and found > 0 else None


def compare_with_bars(
    model: ModelFile, start_us: np.ndarray, warn: Callable[[str], None] = log.warning
) -> dict[str, float | str | None]:
    """Do the same with one symbol's bars, by the windows that they hold."""
    n_bars = model.window_bars
    return compare_bar_intervals(model, start_us[: max(len(start_us) - n_bars + 1, 0)], start_us[n_bars - 1 :], warn)
