"""Slow twins of the wide families: loops over one window."""

from __future__ import annotations

import numpy as np

from moola.core.random_definitions import Definition
from tests.slow_definitions import NOTHING, SLOW_FINDERS, OneWindow, Pair


def slow_pole(window: OneWindow, definition: Definition) -> Pair:
    """Every drift of two bars or more after every pole; shorter ones first, then earlier ones."""
    n_pole, close = definition.shortest, window.close
    first, last = max(definition.first_bar, 1), definition.last_bar
    best, largest = NOTHING, np.float32(0)
    for n_drift in range(2, definition.longest + 1):
        for start in range(first, last - n_pole - n_drift + 1):
            drift = range(start + n_pole, start + n_pole + n_drift)
            span = max(window.high[bar] for bar in drift) - min(window.low[bar] for bar in drift)
            pole = abs(close[start + n_pole - 1] - close[start - 1])
            size = (pole - np.float32(definition.reach) * span) * np.float32(n_drift**definition.exponent)
            if size > largest:
                best, largest = (start, drift[-1]), size
    return best


def slow_squeeze(window: OneWindow, definition: Definition) -> Pair:
    """The first of the runs that are narrowest beside what is around them, and its first close outside."""
    look, width = definition.look_bars, max(definition.look_bars // 2, 2)
    best, narrowest = None, np.float32(np.inf)
    for start in range(max(definition.first_bar, look), definition.last_bar - width):
        around = _range_of(window, range(start - look, start + width))
        share = _range_of(window, range(start, start + width)) / max(around, window.pace)
        if share < narrowest:
            best, narrowest = start, share
    if best is None:
        return NOTHING
    run = range(best, best + width)
    top, bottom = max(window.high[bar] for bar in run), min(window.low[bar] for bar in run)
    for bar in range(best + width, min(best + width + definition.longest, len(window.close))):
        if window.close[bar] > top or window.close[bar] < bottom:
            return best, bar
    return NOTHING


def _range_of(window: OneWindow, bars: range) -> np.float32:
    return max(window.high[bar] for bar in bars) - min(window.low[bar] for bar in bars)


def slow_two_legs(window: OneWindow, definition: Definition) -> Pair:
    """Every run, shorter ones first: its net move counts where it came back on the way."""
    first, last = max(definition.first_bar, 1), definition.last_bar
    best, strongest = NOTHING, np.float32(0)
    for n_bars in range(definition.shortest, definition.longest + 1):
        for start in range(first, last - n_bars + 1):
            for way in (1, -1):
                path = [way * window.close[bar] for bar in range(start - 1, start + n_bars)]
                net = path[-1] - path[0]
                back = max(max(path[: i + 1]) - path[i] for i in range(len(path)))
                strength = net * np.float32(n_bars**-definition.exponent)
                if np.float32(definition.reach) * net <= back < net and strength > strongest:
                    best, strongest = (start, start + n_bars - 1), strength
    return best


def slow_level(window: OneWindow, definition: Definition) -> Pair:
    """Walk from every bar's high and low on, and count the touches."""
    found = []
    for start in range(definition.first_bar, definition.last_bar):
        for side, close in ((window.high, window.close), ([-p for p in window.low], [-p for p in window.close])):
            n_touches, end = _walk(side, close, start, window.pace * np.float32(definition.reach), definition)
            if n_touches:
                found.append((-n_touches, start, end))
    return min(found)[1:] if found else NOTHING


def _walk(side: list, close: list, start: int, tolerance: np.float32, definition: Definition) -> tuple[int, int]:
    n_touches, end, is_away = 0, start, False
    for bar in range(start + 1, min(start + definition.longest, definition.last_bar)):
        if close[bar] > side[start] + tolerance:
            break
        below = side[start] - side[bar]
        if is_away and abs(below) <= tolerance:
            n_touches, end, is_away = n_touches + 1, bar, False
        elif below > 2 * tolerance:
            is_away = True
    return n_touches, end


SLOW_WIDE_FINDERS = SLOW_FINDERS | {
    "pole": slow_pole,
    "squeeze": slow_squeeze,
    "two_legs": slow_two_legs,
    "level": slow_level,
}
