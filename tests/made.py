"""Made data for tests: small, valid, equal on every run of the same seed."""

from __future__ import annotations

import numpy as np
import polars as pl

from moola.core.bars import Bars
from moola.core.windows import WINDOW_BARS, inner_zone, take_windows
from moola.tables.window_file import WindowTable

HOUR_US = 3_600_000_000
CLASSES = ("consolidation", "retracement")


def random_walk_bars(n: int, seed: int = 0, start: str = "2020-01-01", symbol: str = "") -> Bars:
    """Hourly bars of a random walk around 100: every bar rule holds, and every bar has a range."""
    rng = np.random.default_rng(seed)
    close = 100.0 * np.exp(np.cumsum(rng.normal(0.0, 2e-3, n)))
    open_ = np.concatenate([[100.0], close])[:n]
    high = np.maximum(open_, close) * (1.0 + rng.uniform(1e-4, 2e-3, n))
    low = np.minimum(open_, close) * (1.0 - rng.uniform(1e-4, 2e-3, n))
    first_us = int(np.datetime64(start, "us").astype(np.int64))
    return Bars(
        first_us + HOUR_US * np.arange(n, dtype=np.int64),
        np.stack([open_, high, low, close], axis=1),
        np.full(n, symbol, dtype=object),
    )


def made_windows(n: int, seed: int = 0, stride: int = WINDOW_BARS, window_bars: int = WINDOW_BARS) -> WindowTable:
    """Labelled windows cut from one random walk, in time order, classes alternating, no features.

    Where windows share no bar (`stride` >= `window_bars`) the expansion really stands in the prices: a
    steady move from `expansion_start` to `expansion_end`, and for a retracement a move against it before.
    Windows that overlap stay the plain walk, so that equal times keep equal bars.
    """
    rng = np.random.default_rng([seed, 1])
    bars = random_walk_bars((n - 1) * stride + window_bars if n else window_bars, seed)
    first_bar = np.arange(n, dtype=np.int64) * stride
    ohlc = take_windows(bars.ohlc, first_bar, window_bars)
    zone_start, zone_end = inner_zone(window_bars)
    middle = (zone_start + zone_end) // 2
    start = rng.integers(zone_start, middle, n)
    end = rng.integers(middle, zone_end, n)
    label = np.array([CLASSES[i % 2] for i in range(n)], dtype=object)
    if stride >= window_bars:
        for i in range(n):
            ohlc[i] *= _move(window_bars, int(start[i]), int(end[i]), bool(i % 2), 1 if rng.random() < 0.5 else -1)
    return WindowTable(
        [f"made_{i:04d}" for i in range(n)],
        ohlc,
        None,
        label,
        start.astype(np.int64),
        end.astype(np.int64),
        bars.start_us[first_bar],
        bars.start_us[first_bar + window_bars - 1],
        np.full(n, "", dtype=object),
        pl.DataFrame(),
    )


def _move(window_bars: int, start: int, end: int, came_back: bool, direction: int) -> np.ndarray:
    """Price factor of each bar `(bars, 1)`: one factor a bar, so that the bar rules still hold."""
    log_step = np.zeros(window_bars)
    log_step[start : end + 1] = 4e-3 * direction
    if came_back:
        log_step[max(0, start - 15) : start] = -2e-3 * direction
    return np.exp(np.cumsum(log_step))[:, None]
