"""States: what stands before, in and after a definition's move, as numbers without a label.

All are ratios, in logarithms where they are sizes, so that they are some -3 to 3 whatever the market.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

from moola.core.definitions.spans import LogPrices

STATES = (
    "direction",
    "size",
    "range_before",
    "pullback_before",
    "drift_before",
    "range_after",
    "return_after",
    "efficiency",
)
BOUND = 3.0


def states(
    prices: LogPrices, pointers: Int[np.ndarray, "windows 2"], look_bars: int
) -> Float[np.ndarray, "windows states"]:
    """Measure the state around each move; rows without a move (-1) are zeros.

    `direction` is the sign of the net move; `size` is ln of its size over pace * sqrt(bars). Before the
    start and after the end, over `look_bars`: `range` is ln of the high-low range over the move's size;
    `pullback_before` how far the price had come back against the move from its extreme, over the size;
    `drift_before` its net change in the move's direction, over pace * sqrt(look_bars); `return_after` how
    much of the move the closes gave back at most; `efficiency` is the move's size over its path of closes.
    What lies beyond the window is left out; the end bar itself counts as after, so that there always is one.
    """
    found = pointers[:, 0] >= 0
    start, end = np.where(found, pointers[:, 0], 1), np.where(found, pointers[:, 1], 1)
    close, rows = prices.close, np.arange(len(prices.close))
    base_bar = np.maximum(start - 1, 0)
    base = close[rows, base_bar]
    net = close[rows, end] - base
    direction = np.where(net >= 0, 1.0, -1.0).astype(np.float32)
    size = np.maximum(np.abs(net), 0.1 * prices.pace)
    # Bars around each move; beyond the window its edge stands in, which changes no extreme.
    before = np.maximum(base_bar[:, None] - np.arange(look_bars), 0)
    after = np.minimum(end[:, None] + np.arange(look_bars + 1), close.shape[1] - 1)
    path = np.maximum(prices.walked[rows, end] - prices.walked[rows, base_bar], size * 0.1)
    highest, lowest = _extremes(prices, before)
    top_before = np.where(direction > 0, highest, -lowest)
    worst_after = (np.take_along_axis(close, after, axis=1) * direction[:, None]).min(axis=1)
    first_before = close[rows, np.maximum(start - 1 - look_bars, 0)]
    least = 0.1 * prices.pace
    measured = np.stack(
        [
            direction,
            np.log(size / (prices.pace * np.sqrt(end - start + 1))),
            np.log(np.maximum(highest - lowest, least) / size),
            (top_before - base * direction) / size,
            (base - first_before) * direction / (prices.pace * np.sqrt(look_bars)),
            np.log(np.maximum(np.subtract(*_extremes(prices, after)), least) / size),
            (close[rows, end] * direction - worst_after) / size,
            np.abs(net) / path,
        ],
        axis=1,
    )
    bounded: np.ndarray = np.clip(measured, -BOUND, BOUND).astype(np.float32)
    return np.where(found[:, None], bounded, np.float32(0))


def _extremes(
    prices: LogPrices, bars: Int[np.ndarray, "windows chosen"]
) -> tuple[Float[np.ndarray, " windows"], Float[np.ndarray, " windows"]]:
    """Highest high and lowest low of the chosen bars."""
    high, low = (np.take_along_axis(side, bars, axis=1) for side in (prices.high, prices.low))
    return high.max(axis=1), low.min(axis=1)
