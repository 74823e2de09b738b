"""Wider definitions for an encoder of many markets: more families, longer spans, several scales.

Beside the families of `move_finders`: poles with their drifts, squeezes with their breaks, moves of two legs,
and levels that are touched several times. None repeats a rule that labels (decision 0009): the span of a pole's drift
begins with the pole and ends where the drift does, never at a close beyond the pole; a squeeze's span begins in the
quiet bars.
"""

from __future__ import annotations

import numpy as np

from moola.core.move_finders import FINDERS, Definition, LogPrices, Pointers, StrongestSpans, sliding_extreme
from moola.core.random_definitions import drawn_in_turn
from moola.core.seeds import generator
from moola.core.windows import WINDOW_BARS

# How many definitions of fifteen belong to each family.
WIDE_FAMILIES = {
    "move": 3,
    "leg": 2,
    "pole": 2,
    "breakout": 1,
    "calm": 1,
    "shift": 1,
    "turn": 1,
    "shock": 1,
    "squeeze": 1,
    "two_legs": 1,
    "level": 1,
}
# The longest move is so many times the shortest one, so that a definition has a scale.
SHORTEST_BARS, TIMES_LONGER, LONGEST_BARS, LOOK_BARS = (2, 16), (2.0, 6.0), (8, 60), (6, 48)
EXPONENTS = (0.1, 0.95)
FIRST_SHARE, LAST_SHARE = (0.08, 0.35), (0.65, 0.96)
REACHES = {
    "leg": (1.5, 14.0),
    "breakout": (0.0, 0.4),
    "shock": (0.3, 2.0),
    "pole": (0.4, 1.2),
    "two_legs": (0.25, 0.6),
    "level": (0.1, 0.5),
}


def draw_wide(n_definitions: int, window_bars: int, seed: int) -> list[Definition]:
    """Draw definitions of all families and scales; lengths in bars scale with the window.

    The same seed draws the same definitions; more of them begin with the same ones.

    Raises
    ------
    WrongUsage
        Windows are shorter than 8 bars.
    """
    rng = generator(seed, "wide definitions")
    scale = window_bars / WINDOW_BARS

    def draw(family: str) -> Definition:
        shortest = float(np.exp(rng.uniform(*np.log(SHORTEST_BARS))))
        longest = min(max(shortest * rng.uniform(*TIMES_LONGER), LONGEST_BARS[0]), LONGEST_BARS[1])
        return Definition(
            family,
            round(rng.uniform(*FIRST_SHARE) * window_bars),
            round(rng.uniform(*LAST_SHARE) * window_bars),
            max(round(shortest * scale), 1),
            max(round(longest * scale), 2),
            float(rng.uniform(*EXPONENTS)),
            max(round(rng.integers(*LOOK_BARS, endpoint=True) * scale), 2),
            float(rng.uniform(*REACHES.get(family, (0.0, 0.0)))),
        )

    return drawn_in_turn(WIDE_FAMILIES, draw, n_definitions, window_bars)


def pole_and_drift(prices: LogPrices, definition: Definition) -> Pointers:
    """A pole of `shortest` bars and the bars after it that are narrow beside it, both; none without.

    The largest net move of the pole less `reach` times the drift's high-low range, times the drift's bars to the power
    of `exponent`.
    """
    n_pole = definition.shortest
    first, last = max(definition.first_bar, 1), definition.last_bar
    best = StrongestSpans(len(prices.close), above=0.0)
    high = low = np.empty(0)
    for n_drift in range(1, min(definition.longest, last - first - n_pole) + 1):
        n_bars = n_pole + n_drift
        newest = slice(first + n_bars - 1, last)
        if n_drift == 1:
            high, low = prices.high[:, newest], prices.low[:, newest]
            continue
        high = np.maximum(high[:, :-1], prices.high[:, newest])
        low = np.minimum(low[:, :-1], prices.low[:, newest])
        ends = prices.close[:, first + n_pole - 1 : last - n_drift]
        pole = np.abs(ends - prices.close[:, first - 1 : last - n_bars])
        stands_out = pole - np.float32(definition.reach) * (high - low)
        best.offer(stands_out * np.float32(n_drift**definition.exponent), first, n_bars)
    return best.pointers


def squeeze_and_break(prices: LogPrices, definition: Definition) -> Pointers:
    """From the run of bars that is narrowest beside the bars before it and itself, to the first close out of its range.

    The run has half of `look_bars`, and `look_bars` are before it; none where no close in the `longest` bars after the
    run leaves it.
    """
    look, n_bars = definition.look_bars, prices.close.shape[1]
    width = max(look // 2, 2)
    first, last = max(definition.first_bar, look), definition.last_bar - width
    rows = np.arange(len(prices.close))
    if last <= first:
        return np.full((len(rows), 2), -1, dtype=np.int64)
    runs, wide = slice(first, last + width - 1), slice(first - look, last + width - 1)
    top = sliding_extreme(np.maximum, prices.high[:, runs], width)
    bottom = sliding_extreme(np.minimum, prices.low[:, runs], width)
    around = sliding_extreme(np.maximum, prices.high[:, wide], look + width)
    around = around - sliding_extreme(np.minimum, prices.low[:, wide], look + width)
    start = ((top - bottom) / np.maximum(around, prices.pace[:, None])).argmin(axis=1)
    highest, lowest = top[rows, start][:, None], bottom[rows, start][:, None]
    start = start + first
    after = np.arange(n_bars)[None, :] - (start + width)[:, None]
    out = ((prices.close > highest) | (prices.close < lowest)) & (after >= 0) & (after < definition.longest)
    found = np.stack([start, out.argmax(axis=1)], axis=1)
    found[~out.any(axis=1)] = -1
    return found


def two_legged_move(prices: LogPrices, definition: Definition) -> Pointers:
    """The run of bars with the largest net move of closes per `bars ** exponent` that came back on its way.

    It came back by at least `reach` of its net move from an extreme before, and by less than all of it; none without.
    """
    first, last = max(definition.first_bar, 1), definition.last_bar
    best = StrongestSpans(len(prices.close), above=0.0)
    base = prices.close[:, first - 1 : last - 1]
    # A sign to each way: how far closes have gone, and how far they came back from there.
    gone = {way: base * way for way in (1, -1)}
    back = {way: np.zeros_like(base) for way in gone}
    for n_bars in range(1, min(definition.longest, last - first) + 1):
        close = prices.close[:, first + n_bars - 1 : last]
        n_starts = close.shape[1]
        strength = np.zeros_like(close)
        for way in gone:
            signed, top = close * way, gone[way][:, :n_starts]
            back[way] = np.maximum(back[way][:, :n_starts], top - signed)
            gone[way] = np.maximum(top, signed)
            net = signed - base[:, :n_starts] * way
            is_kept = (back[way] >= net * np.float32(definition.reach)) & (back[way] < net)
            np.maximum(strength, net, out=strength, where=is_kept)
        if n_bars >= definition.shortest:
            best.offer(strength * np.float32(n_bars**-definition.exponent), first, n_bars)
    return best.pointers


def touched_level(prices: LogPrices, definition: Definition) -> Pointers:
    """From a bar whose high (or low) makes a level to the last bar that touches it, of the level touched most often.

    A touch comes within `reach` paces of the level after a bar that stayed twice as far below (above) it; a close
    beyond the level by more ends it, and so does the longest move. None where no level is touched again.
    """
    n_bars = definition.last_bar - definition.first_bar
    upper, lower = (_touches(side, close, prices.pace, definition) for side, close in _both_ways(prices))
    # More touches first, then the earlier and the shorter: the same whichever way up.
    better = upper[1] * n_bars**2 - upper[0] @ [n_bars, 1] >= lower[1] * n_bars**2 - lower[0] @ [n_bars, 1]
    found = np.where(better[:, None], upper[0], lower[0]) + definition.first_bar
    found[np.maximum(upper[1], lower[1]) == 0] = -1
    return found


def _both_ways(prices: LogPrices) -> list[tuple[np.ndarray, np.ndarray]]:
    return [(prices.high, prices.close), (-prices.low, -prices.close)]


def _touches(
    side: np.ndarray, close: np.ndarray, pace: np.ndarray, definition: Definition
) -> tuple[np.ndarray, np.ndarray]:
    """Return first and last bar, from the stretch's first, of the most touched levels, and how often they are."""
    first, last = definition.first_bar, definition.last_bar
    side, close = side[:, first:last], close[:, first:last]
    tolerance = (pace * np.float32(definition.reach))[:, None]
    count, end = np.zeros(side.shape, dtype=np.int64), np.zeros(side.shape, dtype=np.int64)
    holds, is_away = np.ones(side.shape, dtype=bool), np.zeros(side.shape, dtype=bool)
    for step in range(1, min(definition.longest, side.shape[1])):
        # Levels that have a bar so many steps on: views, so that what is written stays.
        n = side.shape[1] - step
        level, now = side[:, :n], side[:, step:]
        holds[:, :n] &= close[:, step:] <= level + tolerance
        below = level - now
        touch = holds[:, :n] & is_away[:, :n] & (np.abs(below) <= tolerance)
        count[:, :n] += touch
        end[:, :n][touch] = np.broadcast_to(np.arange(n) + step, touch.shape)[touch]
        is_away[:, :n] = ~touch & (is_away[:, :n] | (below > 2 * tolerance))
    start = count.argmax(axis=1)
    rows = np.arange(len(side))
    return np.stack([start, end[rows, start]], axis=1), count[rows, start]


# Those of `draw_wide`, which draws the families of `FINDERS` too.
WIDE_FINDERS = FINDERS | {
    "pole": pole_and_drift,
    "squeeze": squeeze_and_break,
    "two_legs": two_legged_move,
    "level": touched_level,
}
