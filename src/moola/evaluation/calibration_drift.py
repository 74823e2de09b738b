"""How calibration drifts: the evaluated windows cut into blocks of time, each with its ECE and class probabilities."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float

from moola.core.utc_times import utc_text
from moola.evaluation.calibration import perfect_ece_range
from moola.evaluation.class_metrics import ece
from moola.evaluation.comparisons import block_length, block_weights, percentile_interval, without_resampling_bias
from moola.tables.prediction_table import Predictions

N_BLOCKS, LEAST_WINDOWS = 4, 20


def calibration_by_time(predictions: Predictions, seed: int, n_blocks: int = N_BLOCKS) -> list[dict[str, Any]]:
    """Return the calibration of each block of time, earliest first; empty where no two blocks have 20 windows.

    Intervals are 95 %, by bootstrap over blocks of windows that share bars.

    Parameters
    ----------
    predictions
        Labelled windows; without times their order stands for it.

    Returns
    -------
    list of dict
        `first` and `last` (UTC, of first bars; None without times), `n_windows`, `ece` with `ece_low`, `ece_high`, the
        range of a perfectly calibrated model with these confidences `perfect_low`, `perfect_high`; `classes`: for each
        class its `mean_prob`, its `share` of the labels, and their `difference` with `low` and `high`. A difference is
        `off` where its interval leaves 0 out.
    """
    start_us = predictions.start_us
    order = np.arange(len(predictions)) if start_us is None else np.argsort(start_us, kind="stable")
    n_blocks = min(n_blocks, len(predictions) // LEAST_WINDOWS)
    if n_blocks < 2:
        return []
    return [_of_block(predictions.take(rows), seed) for rows in np.array_split(order, n_blocks)]


def _of_block(block: Predictions, seed: int) -> dict[str, Any]:
    n_windows = len(block)
    weights = block_weights(n_windows, block_length(block.start_us, block.end_us), seed)
    value = float(ece(block, np.ones((1, n_windows)))[0])
    resampled = percentile_interval(without_resampling_bias(ece(block, weights), value))
    low, high = resampled or (None, None)
    perfect_low, perfect_high = perfect_ece_range(block, "width", seed)
    times = (None, None) if block.start_us is None else (utc_text(block.start_us[0]), utc_text(block.start_us[-1]))
    return {
        "first": times[0],
        "last": times[1],
        "n_windows": n_windows,
        "ece": value,
        "ece_low": low,
        "ece_high": high,
        "perfect_low": perfect_low,
        "perfect_high": perfect_high,
        "classes": [_of_class(block, number, weights) for number in range(len(block.class_names))],
    }


def _of_class(block: Predictions, number: int, weights: Float[np.ndarray, "resamples windows"]) -> dict[str, Any]:
    true = (block.class_index == number).astype(np.float64)
    error = block.class_prob[:, number] - true
    low, high = percentile_interval(weights @ error / weights.sum(axis=1)) or (None, None)
    return {
        "class": block.class_names[number],
        "mean_prob": float(block.class_prob[:, number].mean()),
        "share": float(true.mean()),
        "difference": float(error.mean()),
        "low": low,
        "high": high,
        "off": low is not None and high is not None and not low <= 0 <= high,
    }


DRIFT_HEADER = ("first window", "windows", "ECE", "perfect model", "class", "mean probability", "share", "difference")


def drift_rows(found: list[dict[str, Any]]) -> list[list[str]]:
    """Write blocks as rows of text under `DRIFT_HEADER`; of two classes the second one, for the first mirrors it."""
    rows = []
    for block in found:
        classes = block["classes"][1:] if len(block["classes"]) == 2 else block["classes"]
        first = "-" if block["first"] is None else block["first"][:10]
        perfect = f"{block['perfect_low']:.3f} .. {block['perfect_high']:.3f}"
        head = [first, str(block["n_windows"]), f"{block['ece']:.3f}", perfect]
        for place, one in enumerate(classes):
            interval = (
                "" if one["low"] is None else f" [{one['low']:+.3f}, {one['high']:+.3f}]{' *' if one['off'] else ''}"
            )
            values = [one["class"], f"{one['mean_prob']:.3f}", f"{one['share']:.3f}"]
            rows.append([*(head if place == 0 else [""] * len(head)), *values, f"{one['difference']:+.3f}{interval}"])
    return rows
