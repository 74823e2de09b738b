"""Long bars with moves planted at known bars, a model file, and a reader that sees exactly these moves."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

from moola.core.windows import inner_zone
from moola.models.model_files import ModelFile, write_model
from tests.networks_made import made_scaler, tiny_network

WINDOW_BARS = 35
HOUR_US = 3_600_000_000
FIRST_US = 1_500_000_000_000_000 // HOUR_US * HOUR_US
CLASSES = ["falling", "rising"]


def made_model(
    path: Path,
    predict_pointers: bool = True,
    pointer_threshold: float | None = 0.4,
    visible_bars: int | None = None,
    time_range: list[str] | None = None,
) -> Path:
    network = tiny_network(predict_pointers=predict_pointers)
    training = {"annotators": ["ann"], "time_range": time_range}
    scaler = made_scaler()
    model = ModelFile(
        network,
        "enhanced_simple_lstm",
        scaler,
        WINDOW_BARS,
        CLASSES,
        1.0,
        pointer_threshold,
        training,
        [1, 0],
        visible_bars=visible_bars,
    )
    write_model(path, model)
    return path


def made_bars(n: int, moves: list[tuple[int, int, int]], seed: int, gap_hours: dict[int, float] | None = None):
    """Quiet hourly bars; a move is `(first, last, direction)`, a gap lies before the bar that names it."""
    rng = np.random.default_rng(seed)
    step = rng.normal(0, 1e-5, n)
    for first, last, direction in moves:
        step[first : last + 1] = 1e-3 * direction
    close = 1.1 * np.exp(np.cumsum(step))
    open_ = np.concatenate([close[:1], close[:-1]])
    hours = np.ones(n)
    for bar, length in (gap_hours or {}).items():
        hours[bar] = length
    start_us = FIRST_US + (np.cumsum(hours) * HOUR_US).astype(np.int64)
    wick = rng.uniform(1e-6, 1e-5, (2, n))
    return pl.DataFrame(
        {
            "timestamp": pl.Series(start_us).cast(pl.Datetime("us", "UTC")),
            "open": open_,
            "high": np.maximum(open_, close) + wick[0],
            "low": np.minimum(open_, close) - wick[1],
            "close": close,
        }
    )


def seeing_moves(_model, features, _device):
    """Stand in for the network: peaked where a whole move lies in the inner zone, flat where none does."""
    n_windows, n_bars, _ = features.shape
    first, last = inner_zone(WINDOW_BARS)
    returns = features[:, :, 3]
    curves, logits = np.full((n_windows, n_bars, 2), 1 / n_bars), np.zeros((n_windows, 2))
    for row in range(n_windows):
        big = np.abs(returns[row]) > 5e-4
        starts = np.flatnonzero(big & ~np.append(False, big[:-1]))
        ends = np.flatnonzero(big & ~np.append(big[1:], False))
        # A move has ended where a bar after it is seen.
        whole = [(s, e) for s, e in zip(starts, ends, strict=True) if first <= s and e < min(last, n_bars - 1)]
        if whole:
            middle = (first + last) / 2
            pair = min(whole, key=lambda one: abs(sum(one) / 2 - middle))
            curves[row] = 0.1 / n_bars
            curves[row, pair, (0, 1)] += 0.9
            logits[row, int(returns[row, pair[0]] > 0)] = 2.0
    return logits, curves
