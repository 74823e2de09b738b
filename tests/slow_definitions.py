"""Slow twins of the finders of moves, the states around them and the structure around bars: loops over one window."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import product

import numpy as np

from moola.core.move_finders import Definition, LogPrices

NOTHING = (-1, -1)
Pair = tuple[int, int]


@dataclass(frozen=True)
class OneWindow:
    """Prices of one window as single precision numbers, so that ties are those of the arrays."""

    high: list[np.float32]
    low: list[np.float32]
    close: list[np.float32]
    pace: np.float32


def each_window(prices: LogPrices) -> list[OneWindow]:
    rows = zip(prices.high, prices.low, prices.close, prices.pace, strict=True)
    return [OneWindow(list(high), list(low), list(close), np.float32(pace)) for high, low, close, pace in rows]


def slow_move(window: OneWindow, definition: Definition) -> Pair:
    """Try every length from the shortest, every start from the first: only a stronger move is taken."""
    best, strongest = NOTHING, 0.0
    for n_bars in range(definition.shortest, definition.longest + 1):
        for start in range(max(definition.first_bar, 1), definition.last_bar - n_bars + 1):
            end = start + n_bars - 1
            move = abs(window.close[end] - window.close[start - 1]) * np.float32(n_bars**-definition.exponent)
            if move > strongest:
                best, strongest = (start, end), move
    return best


def slow_calm(window: OneWindow, definition: Definition) -> Pair:
    """The same with the least range; stretches shorter than the room or the longest, whichever is less."""
    longest = min(definition.longest, definition.last_bar - definition.first_bar)
    best, least = NOTHING, math.inf
    for n_bars in range(min(definition.shortest + 4, longest), longest + 1):
        for start in range(definition.first_bar, definition.last_bar - n_bars + 1):
            stretch = range(start, start + n_bars)
            span = max(window.high[bar] for bar in stretch) - min(window.low[bar] for bar in stretch)
            span *= np.float32(n_bars**-definition.exponent)
            if span < least:
                best, least = (start, start + n_bars - 1), span
    return best


def slow_legs(window: OneWindow, definition: Definition) -> list[tuple[int, int, int]]:
    """All legs `(pivot, extreme, direction)` of a zigzag, the unfinished one included.

    From a pivot on, a leg ends at its extreme as soon as the close is `reach` paces back from it; the
    extreme is the next pivot. The first leg may go either way.
    """
    close, turn = window.close, window.pace * definition.reach
    legs, pivot, ways = [], definition.first_bar, (1, -1)
    bar = pivot + 1
    while bar < definition.last_bar:
        for way in ways:
            extreme = max(range(pivot, bar + 1), key=lambda i: (way * close[i], -i))
            if way * (close[extreme] - close[bar]) >= turn:
                legs.append((pivot, extreme, way))
                pivot, ways, bar = extreme, (-way,), extreme
                break
        bar += 1
    for way in ways:
        extreme = max(range(pivot, definition.last_bar), key=lambda i: (way * close[i], -i))
        legs.append((pivot, extreme, way))
    return legs


def slow_leg(window: OneWindow, definition: Definition) -> Pair:
    """The first of the largest legs."""
    best, largest = NOTHING, 0.0
    for pivot, extreme, way in slow_legs(window, definition):
        size = way * (window.close[extreme] - window.close[pivot])
        if size > largest:
            best, largest = (pivot + 1, extreme), size
    return best


def slow_breakout(window: OneWindow, definition: Definition) -> Pair:
    look, n_bars = definition.look_bars, len(window.close)
    for bar in range(max(definition.first_bar, look), definition.last_bar):
        top, bottom = max(window.high[bar - look : bar]), min(window.low[bar - look : bar])
        margin = (top - bottom) * np.float32(definition.reach)
        for way, out in ((1, window.close[bar] > top + margin), (-1, window.close[bar] < bottom - margin)):
            if out:
                after = range(bar, min(bar + definition.longest, n_bars))
                return bar, max(after, key=lambda i: (way * window.close[i], -i))
    return NOTHING


def slow_shift(window: OneWindow, definition: Definition) -> Pair:
    width, n_bars = max(definition.look_bars // 2, 2), len(window.close)
    floor = float(window.pace * np.float32(width * 0.05))
    growth = {}
    for edge in range(max(definition.first_bar, width), min(definition.last_bar, n_bars - width)):
        before = sum(float(window.high[i] - window.low[i]) for i in range(edge - width, edge)) + floor
        after = sum(float(window.high[i] - window.low[i]) for i in range(edge, edge + width)) + floor
        growth[edge] = after / before
    start = max(growth, key=lambda edge: (growth[edge], -edge))
    if growth[start] <= 1:
        return NOTHING
    fall = min((edge for edge in growth if edge >= start), key=lambda edge: (growth[edge], edge))
    return start, max(fall - 1, start)


def slow_turn(window: OneWindow, definition: Definition) -> Pair:
    close, n_bars = window.close, len(window.close)
    arm = max(definition.look_bars // 2, 2)
    turn, sharpest = None, 0.0
    for bar in range(max(definition.first_bar, arm), min(definition.last_bar, n_bars - arm)):
        into, out = close[bar] - close[bar - arm], close[bar + arm] - close[bar]
        if np.sign(into) * np.sign(out) < 0 and min(abs(into), abs(out)) > sharpest:
            turn, sharpest = bar, min(abs(into), abs(out))
    if turn is None:
        return NOTHING
    way = 1 if close[turn + arm] > close[turn] else -1
    after = range(turn + 1, min(turn + definition.longest, n_bars - 1) + 1)
    return turn + 1, max(after, key=lambda i: (way * close[i], -i))


def slow_shock(window: OneWindow, definition: Definition) -> Pair:
    """The largest step of one close, up to a barrier in ranges of the bars before it."""
    shock, largest = None, 0.0
    for bar in range(max(definition.first_bar, 1), definition.last_bar):
        if abs(window.close[bar] - window.close[bar - 1]) > largest:
            shock, largest = bar, abs(window.close[bar] - window.close[bar - 1])
    if shock is None:
        return NOTHING
    before = range(max(shock - definition.look_bars, 0), shock)
    span = max(window.high[bar] for bar in before) - min(window.low[bar] for bar in before)
    return shock, _barrier(window, shock, max(span, window.pace) * definition.reach, definition.longest)


def _barrier(window: OneWindow, start: int, band: np.floating, longest: int) -> int:
    """The first close that far from the close before `start`, either way; without one the farthest."""
    bars = range(start, min(start + longest, len(window.close)))
    away = {bar: abs(window.close[bar] - window.close[start - 1]) for bar in bars}
    passed = [bar for bar in bars if away[bar] >= band]
    return passed[0] if passed else max(bars, key=lambda bar: (away[bar], -bar))


SLOW_FINDERS = {
    "move": slow_move,
    "leg": slow_leg,
    "breakout": slow_breakout,
    "calm": slow_calm,
    "shift": slow_shift,
    "turn": slow_turn,
    "shock": slow_shock,
}


def slow_states(window: OneWindow, pointers: Pair, look_bars: int) -> list[float]:
    """The eight states, in the order of `STATES`."""
    start, end = pointers
    if start < 0:
        return [0.0] * 8
    high, low, close = ([float(price) for price in side] for side in (window.high, window.low, window.close))
    pace, base_bar = float(window.pace), max(start - 1, 0)
    net = close[end] - close[base_bar]
    way = 1.0 if net >= 0 else -1.0
    size = max(abs(net), 0.1 * pace)
    before = range(max(start - look_bars, 0), start) or [0]
    after = [bar for bar in range(end, end + look_bars + 1) if bar < len(close)]
    path = sum(abs(close[bar] - close[bar - 1]) for bar in range(max(start, 1), end + 1))

    def span(bars: range | list[int]) -> float:
        return max(max(high[bar] for bar in bars) - min(low[bar] for bar in bars), 0.1 * pace)

    farthest = max(high[bar] if way > 0 else -low[bar] for bar in before)
    measured = [
        way,
        math.log(size / (pace * math.sqrt(end - start + 1))),
        math.log(span(before) / size),
        (farthest - way * close[base_bar]) / size,
        way * (close[base_bar] - close[max(base_bar - look_bars, 0)]) / (pace * math.sqrt(look_bars)),
        math.log(span(after) / size),
        (way * close[end] - min(way * close[bar] for bar in after)) / size,
        abs(net) / max(path, 0.1 * size),
    ]
    return [min(max(value, -3.0), 3.0) for value in measured]


def slow_structure(window: OneWindow) -> np.ndarray:
    """Targets `(bars, 26)` of arm `structure`: displacements and ranges, places in channels, first passages."""
    return np.array([_structure_of_bar(window, bar) for bar in range(len(window.close))])


def _structure_of_bar(window: OneWindow, bar: int) -> list[float]:
    high, low, close = ([float(price) for price in side] for side in (window.high, window.low, window.close))
    pace, last = float(window.pace), len(close) - 1

    def next_bars(n_bars: int) -> list[int]:
        return [i for i in range(bar + 1, bar + n_bars + 1) if i <= last] or [last]

    def last_bars(n_bars: int) -> list[int]:
        return [i for i in range(bar - n_bars + 1, bar + 1) if i >= 0]

    found = []
    for horizon in (2, 4, 8, 16):
        unit = pace * math.sqrt(horizon)
        found += [(close[min(bar + horizon, last)] - close[bar]) / unit]
        found += [(close[bar] - close[max(bar - horizon, 0)]) / unit]
        for bars in (next_bars(horizon), last_bars(horizon)):
            span = max(high[i] for i in bars) - min(low[i] for i in bars)
            found += [math.log(max(span / pace, 0.1))]
    for n_bars in (8, 24):
        for bars in (next_bars(n_bars), last_bars(n_bars)):
            top, bottom = max(high[i] for i in bars), min(low[i] for i in bars)
            found += [(close[bar] - (top + bottom) / 2) / (max(top - bottom, pace) / 2)]
    for step, paces in product((1, -1), (1.5, 3.0, 6.0)):
        found += [_first_passage(window.close, bar, step, window.pace * np.float32(paces))]
    return found


def _first_passage(close: list[np.float32], bar: int, step: int, band: np.float32) -> float:
    for n_steps in range(1, 25):
        other = bar + step * n_steps
        if not 0 <= other < len(close):
            return 0.0
        if abs(close[other] - close[bar]) > band:
            return float(np.sign(close[other] - close[bar])) * (1 - (n_steps - 1) / 24)
    return 0.0
