"""Finders: where a definition's move starts and ends in each window. One callable a family.

Prices come as natural logarithms, so that every size is a ratio and windows at any price level agree.
Ties go to the shortest move, and of moves of the same length to the earliest. A window without such a
move (a constant price has none) gets pointers of -1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from moola.core.definitions.drawing import Definition
from moola.core.definitions.sliding import sliding_extreme

Pointers = Int[np.ndarray, "windows 2"]


@dataclass(frozen=True)
class LogPrices:
    """Logarithms of prices over the window's first close.

    Attributes
    ----------
    high, low, close
        What their names say.
    walked
        Length of the path of closes from the first bar to each bar.
    pace
        Mean bar range of each window, above 0.
    """

    high: Float[np.ndarray, "windows bars"]
    low: Float[np.ndarray, "windows bars"]
    close: Float[np.ndarray, "windows bars"]
    walked: Float[np.ndarray, "windows bars"]
    pace: Float[np.ndarray, " windows"]


def log_prices(ohlc: Float[np.ndarray, "windows bars 4"]) -> LogPrices:
    """Take logarithms over the first close; windows without any range get a pace of one millionth."""
    # Divided before the logarithm: prices times a power of two give the same bits.
    logs = np.log(ohlc[:, :, 1:] / ohlc[:, :1, 3:])
    high, low, close = (np.ascontiguousarray(logs[:, :, i], dtype=np.float32) for i in range(3))
    walked = np.cumsum(np.abs(np.diff(close, axis=1, prepend=close[:, :1])), axis=1, dtype=np.float64)
    return LogPrices(high, low, close, walked, np.maximum((high - low).mean(axis=1), 1e-6))


class _Best:
    """The strongest span so far of each window, stronger than `above`."""

    def __init__(self, n_windows: int, above: float) -> None:
        self.strength = np.full(n_windows, above, dtype=np.float32)
        self.pointers = np.full((n_windows, 2), -1, dtype=np.int64)

    def offer(self, strength: Float[np.ndarray, "windows starts"], first: int, n_bars: int) -> None:
        """Take the strongest of spans `[first + i, first + i + n_bars - 1]` where it beats what is held."""
        top = strength.argmax(axis=1)
        found = np.take_along_axis(strength, top[:, None], axis=1)[:, 0]
        better = found > self.strength
        self.strength[better] = found[better]
        start = first + top[better]
        self.pointers[better] = np.stack([start, start + n_bars - 1], axis=1)


def strongest_move(prices: LogPrices, definition: Definition) -> Pointers:
    """The run of bars with the largest net move of closes per `bars ** exponent`."""
    best = _Best(len(prices.close), above=0.0)
    first, last = max(definition.first_bar, 1), definition.last_bar
    for n_bars in range(definition.shortest, min(definition.longest, last - first) + 1):
        before = prices.close[:, first - 1 : last - n_bars]
        move = np.abs(prices.close[:, first + n_bars - 1 : last] - before)
        best.offer(move * np.float32(n_bars**-definition.exponent), first, n_bars)
    return best.pointers


def calmest_stretch(prices: LogPrices, definition: Definition) -> Pointers:
    """The run of bars with the least high-low range per `bars ** exponent` (a range, a squeeze).

    A stretch is at least four bars longer than the definition's shortest move, where the window has room.
    """
    best = _Best(len(prices.close), above=-np.inf)
    first, last = definition.first_bar, definition.last_bar
    high, low = prices.high[:, first:last].copy(), prices.low[:, first:last].copy()
    longest = min(definition.longest, last - first)
    shortest = min(definition.shortest + 4, longest)
    for n_bars in range(2, longest + 1):
        # The range of n bars from that of n - 1: one more bar at the end.
        high = np.maximum(high[:, :-1], prices.high[:, first + n_bars - 1 : last])
        low = np.minimum(low[:, :-1], prices.low[:, first + n_bars - 1 : last])
        if n_bars >= shortest:
            best.offer((low - high) * np.float32(n_bars**-definition.exponent), first, n_bars)
    return best.pointers


def largest_leg(prices: LogPrices, definition: Definition) -> Pointers:
    """The largest leg of a zigzag of closes that turns when the price comes back `reach` paces."""
    close, rows = prices.close, np.arange(len(prices.close))
    turn = (prices.pace * definition.reach)[:, None]
    first, last = definition.first_bar, definition.last_bar
    best = _Best(len(close), above=0.0)
    # Of both directions, the extreme since the last turn: [windows, (up, down)]. No direction (-1) at first.
    signed = np.stack([close, -close], axis=-1)
    extreme, extreme_bar = signed[:, first].copy(), np.full((len(close), 2), first)
    begin_bar, direction = np.full(len(close), first), np.full(len(close), -1)
    for bar in range(first + 1, last):
        now = signed[:, bar]
        further = now > extreme
        extreme = np.where(further, now, extreme)
        extreme_bar = np.where(further, bar, extreme_bar)
        # Of both sides before either turns: a leg that turned at this bar has not come back yet.
        turned = ((extreme - now) >= turn) & (direction[:, None] != [1, 0])
        for side in (0, 1):
            ends = turned[:, side]
            if ends.any():
                _close_leg(best, signed[:, :, side], rows[ends], begin_bar, extreme_bar[:, side])
                direction[ends] = 1 - side
                begin_bar[ends] = extreme_bar[ends, side]
                extreme[ends, 1 - side], extreme_bar[ends, 1 - side] = now[ends, 1 - side], bar
    for side in (0, 1):
        _close_leg(best, signed[:, :, side], rows[direction != 1 - side], begin_bar, extreme_bar[:, side])
    return best.pointers


def _close_leg(best: _Best, signed: np.ndarray, rows: np.ndarray, begin: np.ndarray, end: np.ndarray) -> None:
    size = signed[rows, end[rows]] - signed[rows, begin[rows]]
    better = (size > best.strength[rows]) & (end[rows] > begin[rows])
    kept = rows[better]
    best.strength[kept] = size[better]
    best.pointers[kept] = np.stack([begin[kept] + 1, end[kept]], axis=1)


def first_breakout(prices: LogPrices, definition: Definition) -> Pointers:
    """The first close beyond the range of the bars before it, up to its farthest close that way; none without."""
    look, n_bars = definition.look_bars, prices.close.shape[1]
    first, last = max(definition.first_bar, look), definition.last_bar
    before = slice(first - look, last - 1)
    top = sliding_extreme(np.maximum, prices.high[:, before], look)
    bottom = sliding_extreme(np.minimum, prices.low[:, before], look)
    margin = (top - bottom) * np.float32(definition.reach)
    close = prices.close[:, first:last]
    up = close > top + margin
    out = up | (close < bottom - margin)
    start = out.argmax(axis=1)
    rows = np.arange(len(close))
    side = np.where(up[rows, start], 1.0, -1.0)
    start += first
    after = np.arange(n_bars)[None, :] - start[:, None]
    within = (after >= 0) & (after < definition.longest)
    end = np.where(within, prices.close * side[:, None], -np.inf).argmax(axis=1)
    found = np.stack([start, end], axis=1)
    found[~out.any(axis=1)] = -1
    return found


def volatility_shift(prices: LogPrices, definition: Definition) -> Pointers:
    """From the bar where ranges grow most (mean of the bars after over that of the bars before) to the last
    one before they fall most; none where they never grow.
    """
    look, first, last = definition.look_bars, definition.first_bar, definition.last_bar
    width = max(look // 2, 2)
    sums = np.cumsum(np.pad(prices.high - prices.low, ((0, 0), (1, 0))), axis=1, dtype=np.float64)
    first, last = max(first, width), min(last, prices.close.shape[1] - width)
    edges = np.arange(first, last)
    floor = prices.pace[:, None] * np.float32(width * 0.05)
    before = sums[:, edges] - sums[:, edges - width] + floor
    after = sums[:, edges + width] - sums[:, edges] + floor
    growth = after / before
    start = growth.argmax(axis=1)
    later = np.where(np.arange(growth.shape[1])[None, :] >= start[:, None], growth, np.inf)
    found = np.stack([start, np.maximum(later.argmin(axis=1) - 1, start)], axis=1) + first
    found[growth.max(axis=1) <= 1] = -1
    return found


def sharpest_turn(prices: LogPrices, definition: Definition) -> Pointers:
    """From the bar after the sharpest turn up to the farthest close; none where no bar is a turn.

    A turn stands between two opposite moves of closes; the larger the smaller of both, the sharper.
    """
    close, n_bars = prices.close, prices.close.shape[1]
    arm = max(definition.look_bars // 2, 2)
    first, last = max(definition.first_bar, arm), min(definition.last_bar, n_bars - arm)
    bars = np.arange(first, last)
    into, out = close[:, bars] - close[:, bars - arm], close[:, bars + arm] - close[:, bars]
    sharpness = np.where(into * out < 0, np.minimum(np.abs(into), np.abs(out)), -1.0)
    start = sharpness.argmax(axis=1)
    rows = np.arange(len(close))
    side = np.sign(out[rows, start])
    start += first
    after = np.arange(n_bars)[None, :] - start[:, None]
    within = (after > 0) & (after <= definition.longest)
    end = np.where(within, close * side[:, None], -np.inf).argmax(axis=1)
    found = np.stack([start + 1, end], axis=1)
    found[sharpness.max(axis=1) <= 0] = -1
    return found
