"""Windows with a planted pattern: a known expansion, and a class that its prior state gives away."""

from __future__ import annotations

import numpy as np
import polars as pl

from moola.tables.window_file import WindowTable

HOUR_US = 3_600_000_000


def planted_windows(n: int, seed: int) -> WindowTable:
    """Non-overlapping windows of 105 bars: noise, 20 prior bars, then a move of 8 to 14 bars.

    `retracement` drifts against the move before it, `consolidation` stands still. Up and down moves
    alternate at random.
    """
    rng = np.random.default_rng(seed)
    start = rng.integers(32, 58, n)
    end = start + rng.integers(7, 14, n)
    label = np.array(rng.choice(["consolidation", "retracement"], n), dtype=object)
    step = rng.normal(0, 1.0, (n, 105))
    for row in range(n):
        direction = rng.choice([-1.0, 1.0])
        prior = slice(start[row] - 20, start[row])
        if label[row] == "retracement":
            step[row, prior] = -0.5 * direction + rng.normal(0, 0.6, 20)
        else:
            step[row, prior] = rng.normal(0, 0.6, 20)
        step[row, start[row] : end[row] + 1] = 4.0 * direction + rng.normal(0, 0.3, end[row] - start[row] + 1)
    close = 1.1 * np.exp(1e-4 * np.cumsum(step, axis=1))
    open_ = np.concatenate([close[:, :1], close[:, :-1]], axis=1)
    wick = 1.1e-4 * rng.uniform(0.05, 0.3, (2, n, 105))
    high, low = np.maximum(open_, close) + wick[0], np.minimum(open_, close) - wick[1]
    first_us = np.arange(n, dtype=np.int64) * 105 * HOUR_US + 1_500_000_000_000_000
    return WindowTable(
        [f"planted_{row}" for row in range(n)],
        np.stack([open_, high, low, close], axis=-1),
        None,
        label,
        start.astype(np.int64),
        end.astype(np.int64),
        first_us,
        first_us + 104 * HOUR_US,
        np.full(n, "", dtype=object),
        pl.DataFrame(),
    )
