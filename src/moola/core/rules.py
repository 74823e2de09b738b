"""The published rule of `moola autolabel`: what stood before the strongest expansion of a window.

It labels the sample, so that the tool can be tried before a person has labelled anything. It is a
rule and not a person, and every file it writes says so (`annotator` = `rule:prior-state-1`).

Let `s` be the mean high-low range of the window's bars up to the end of the inner zone.

1. Expansion. Over all runs of 5 to 24 bars `[a, b]` inside the inner zone, displacement is
   `d = close[b] - close[a-1]`, efficiency is `|d|` over the path of closes (at least 0.6), and
   strength is `|d| / (s * (b-a+1)^0.4)`. The strongest run is the expansion; below 1.3 there is none.
2. Prior state. Over the 20 bars before `a`: drift is `close[a-1] - close[a-21]` against the
   direction of the expansion, over `s * sqrt(20)`; width is the high-low range of these bars over
   the same.
   - `retracement`: drift at least 0.25 (the market had come back against the move).
   - `consolidation`: drift at most 0.20 in size, and width at most 0.90 (it went nowhere, narrowly).
   - otherwise no label: the state is ambiguous, or the move continued a trend.

A window too short to hold 20 bars before its inner zone, or 5 bars in it, gets no label.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import count

import numpy as np
from jaxtyping import Float

from moola.core.windows import inner_zone

RULE_NAME = "rule:prior-state-1"
MIN_BARS, MAX_BARS = 5, 24
MIN_STRENGTH = 1.3
MIN_EFFICIENCY = 0.6
LENGTH_EXPONENT = 0.4
PRIOR_BARS = 20
RETRACEMENT_DRIFT = 0.25
CONSOLIDATION_DRIFT = 0.20
CONSOLIDATION_WIDTH = 0.90


@dataclass(frozen=True)
class RuleLabel:
    """A class with its pointers, or the reason why the rule gives none (`label` is None)."""

    label: str | None
    expansion_start: int
    expansion_end: int
    reason: str


def label_window(ohlc: Float[np.ndarray, "bars 4"]) -> RuleLabel:
    """Apply the rule to one window; the reason says which line of it decided."""
    first, last = inner_zone(len(ohlc))
    if is_too_short(len(ohlc)):
        return RuleLabel(None, -1, -1, "window_too_short")
    high, low, close = ohlc[:, 1], ohlc[:, 2], ohlc[:, 3]
    bar_range = float(np.mean(high[:last] - low[:last]))
    if bar_range <= 0:
        return RuleLabel(None, -1, -1, "no_range")
    start, end, strength = _strongest_move(close, bar_range, first, last)
    if strength < MIN_STRENGTH:
        return RuleLabel(None, -1, -1, "no_expansion")
    direction = np.sign(close[end] - close[start - 1])
    prior = slice(start - PRIOR_BARS, start)
    unit = bar_range * np.sqrt(PRIOR_BARS)
    drift = -direction * (close[start - 1] - close[start - 1 - PRIOR_BARS]) / unit
    width = (high[prior].max() - low[prior].min()) / unit
    if drift >= RETRACEMENT_DRIFT:
        return RuleLabel("retracement", start, end, "came_back")
    if abs(drift) <= CONSOLIDATION_DRIFT and width <= CONSOLIDATION_WIDTH:
        return RuleLabel("consolidation", start, end, "went_nowhere")
    return RuleLabel(None, start, end, "ambiguous")


def least_window_bars() -> int:
    """Return the length of the shortest windows that the rule can label."""
    return next(n_bars for n_bars in count(1) if not is_too_short(n_bars))


def is_too_short(window_bars: int) -> bool:
    """Tell whether a window has no room for the bars before its inner zone, or for an expansion in it."""
    first, last = inner_zone(window_bars)
    return first <= PRIOR_BARS or last - first < MIN_BARS


def _strongest_move(
    close: Float[np.ndarray, " bars"], bar_range: float, first: int, last: int
) -> tuple[int, int, float]:
    """Return first bar, last bar and strength of the strongest run; ties go to the shortest, first."""
    path = np.concatenate([[0.0], np.cumsum(np.abs(np.diff(close)))])
    best = (-1, -1, -1.0)
    for n_bars in range(MIN_BARS, min(MAX_BARS, last - first) + 1):
        starts = np.arange(first, last - n_bars + 1)
        ends = starts + n_bars - 1
        move = np.abs(close[ends] - close[starts - 1])
        walked = path[ends] - path[starts - 1]
        efficiency = np.divide(move, walked, out=np.zeros_like(move), where=walked > 0)
        strength = move / (bar_range * n_bars**LENGTH_EXPONENT) * (efficiency >= MIN_EFFICIENCY)
        top = int(np.argmax(strength))
        if strength[top] > best[2]:
            best = (int(starts[top]), int(ends[top]), float(strength[top]))
    return best
