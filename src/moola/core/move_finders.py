"""Finders of random definitions' moves, and the states around them. One callable a family, in `FINDERS`.

Prices come as natural logarithms, so that every size is a ratio and windows at any price level agree.
Ties go to the shortest move, and of moves of the same length to the earliest. A window without such a
move (a constant price has none) gets pointers of -1.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

# Extremes of every run of bars of one length, by doubling: log2(bars) passes over the windows.


def sliding_extreme(
    extreme: np.ufunc, values: Float[np.ndarray, "windows bars"], n_bars: int
) -> Float[np.ndarray, "windows runs"]:
    """Return `extreme` (`np.maximum` or `np.minimum`) of bars `[i, i + n_bars)`, for every i that has them all."""
    width = 1
    while 2 * width <= n_bars:
        values = extreme(values[:, :-width], values[:, width:])
        width *= 2
    rest = n_bars - width
    if rest:
        values = extreme(values[:, :-rest], values[:, rest:])
    return values


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


class StrongestSpans:
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
    best = StrongestSpans(len(prices.close), above=0.0)
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
    best = StrongestSpans(len(prices.close), above=-np.inf)
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
    best = StrongestSpans(len(close), above=0.0)
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


def _close_leg(best: StrongestSpans, signed: np.ndarray, rows: np.ndarray, begin: np.ndarray, end: np.ndarray) -> None:
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

    A turn is between two opposite moves of closes; the larger the smaller of both, the sharper.
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


@dataclass(frozen=True)
class Definition:
    """One label-free definition of a move.

    Attributes
    ----------
    family
        Name of the finder in `FINDERS`.
    first_bar, last_bar
        The stretch `[first_bar, last_bar)` of the window in which the move is sought.
    shortest, longest
        Least and greatest bars a move.
    exponent
        Size counts per `bars ** exponent`: 0 prefers long moves, 1 fast ones.
    look_bars
        Bars before the start and after the end whose state is measured.
    reach
        The family's own size, in mean bar ranges (legs) or in ranges of the bars before (breakouts, shocks).
    """

    family: str
    first_bar: int
    last_bar: int
    shortest: int
    longest: int
    exponent: float
    look_bars: int
    reach: float


# A finder whose move ends at a barrier: the first close that is far enough from where it began, either way.


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


# States: what is before, in and after a definition's move, as numbers without a label.


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
    # Bars around each move; beyond the window its edge is used, which changes no extreme.
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


# The families of definitions: a finder each. A new one is one callable, one entry here, one share in `FAMILIES`.


FINDERS: dict[str, Callable[[LogPrices, Definition], Pointers]] = {
    "move": strongest_move,
    "leg": largest_leg,
    "breakout": first_breakout,
    "calm": calmest_stretch,
    "shift": volatility_shift,
    "turn": sharpest_turn,
    "shock": shock_to_barrier,
}
