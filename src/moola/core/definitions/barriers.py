"""A finder whose move ends at a barrier: the first close that is far enough from where it began, either way.

The triple barrier of Lopez de Prado (2018, chapter 3): a level above, one below, and a longest time.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

from moola.core.definitions.drawing import Definition
from moola.core.definitions.spans import LogPrices, Pointers


def shock_to_barrier(prices: LogPrices, definition: Definition) -> Pointers:
    """From the largest change of one close to the first close `reach` ranges of the bars before it away.

    None where no close changes.
    """
    close, look = prices.close, definition.look_bars
    first, last = max(definition.first_bar, 1), definition.last_bar
    change = np.abs(close[:, first:last] - close[:, first - 1 : last - 1])
    start = change.argmax(axis=1) + first
    bars = np.arange(close.shape[1])[None, :]
    before = (bars < start[:, None]) & (bars >= (start - look)[:, None])
    top = np.where(before, prices.high, -np.inf).max(axis=1)
    bottom = np.where(before, prices.low, np.inf).min(axis=1)
    end = first_passage(close, start, np.maximum(top - bottom, prices.pace) * definition.reach, definition.longest)
    return np.where(change.max(axis=1, keepdims=True) > 0, np.stack([start, end], axis=1), -1)


def first_passage(
    close: Float[np.ndarray, "windows bars"],
    start: Int[np.ndarray, " windows"],
    band: Float[np.ndarray, " windows"],
    longest: int,
) -> Int[np.ndarray, " windows"]:
    """First bar from `start` on whose close is `band` away from the close before `start`.

    Where none is within `longest` bars or the window, the bar whose close is farthest away.
    """
    rows, bars = np.arange(len(close)), np.arange(close.shape[1])[None, :]
    base = close[rows, np.maximum(start - 1, 0)]
    within = (bars >= start[:, None]) & (bars < (start + longest)[:, None])
    away = np.where(within, np.abs(close - base[:, None]), -1.0)
    passed = away >= band[:, None]
    return np.where(passed.any(axis=1), passed.argmax(axis=1), away.argmax(axis=1))
