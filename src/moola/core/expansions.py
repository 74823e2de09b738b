"""Expansions: pointers to curves and back, and the published rule of `moola autolabel`."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import count

import numpy as np
from jaxtyping import Float, Int

from moola.core.windows import inner_zone

NO_POINTER = -1
ENDS = ("start", "end")
LENGTH_POWER = 0.2
LENGTH_SPREAD_BARS = 3.0
UNIFORM_SHARE = 0.02
# Classes that name the state before an expansion, not the expansion itself.
PRIOR_STATES = ("consolidation", "retracement")


def soft_curve(
    pointer_bar: Int[np.ndarray, " windows"], window_bars: int, sigma_bars: float
) -> Float[np.ndarray, "windows bars"]:
    """Turn pointers into target curves: a Gaussian over bars that sums to 1.

    A row without a pointer (`NO_POINTER`) is all zeros. `sigma_bars` of 0 puts all on the bar.
    """
    bars = np.arange(window_bars)[None, :]
    distance = bars - np.asarray(pointer_bar)[:, None]
    spread = sigma_bars if sigma_bars > 0 else 1e-9
    curve = np.exp(-0.5 * (distance / spread) ** 2)
    curve[np.asarray(pointer_bar) == NO_POINTER] = 0.0
    total = curve.sum(axis=1, keepdims=True)
    return np.divide(curve, total, out=np.zeros_like(curve), where=total > 0)


def best_pair(
    start_prob: Float[np.ndarray, "windows bars"],
    end_prob: Float[np.ndarray, "windows bars"],
    length_weight: Float[np.ndarray, "*rows lengths"] | None = None,
) -> tuple[Int[np.ndarray, " windows"], Int[np.ndarray, " windows"]]:
    """Decode curves to the pair start <= end with the largest product of probabilities.

    Exact: every length is tried. `length_weight[n]` multiplies pairs with `end - start = n` (see
    `length_weights`); it has a value for each length of the curves, and may have more. It is one for all windows, or
    `(windows, lengths)`.
    Ties go to the earliest end, then the earliest start.
    """
    n_windows, n_bars = start_prob.shape
    rows = np.arange(n_windows)
    best = np.full(n_windows, -1.0)
    start, end = np.zeros(n_windows, dtype=np.int64), np.full(n_windows, n_bars)
    for length in range(n_bars):
        product = start_prob[:, : n_bars - length] * end_prob[:, length:]
        top = product.argmax(axis=1)
        found = product[rows, top] * (1.0 if length_weight is None else length_weight[..., length])
        better = (found > best) | ((found == best) & (top + length <= end))
        best[better], start[better], end[better] = found[better], top[better], top[better] + length
    return start, end


def length_weights(
    n_bars_between: Int[np.ndarray, " expansions"], window_bars: int, power: float = LENGTH_POWER
) -> Float[np.ndarray, " bars"]:
    """Return how much each `end - start` counts in decoding, from those of training rows.

    Their histogram, smoothed by a Gaussian of 3 bars and mixed with 2 % of a uniform one so that no length is
    impossible, to a small power: lengths are a hint, curves decide. All ones without any expansion.
    """
    if not len(n_bars_between):
        return np.ones(window_bars)
    bars = np.arange(window_bars)
    shape = np.exp(-0.5 * ((bars[:, None] - np.asarray(n_bars_between)[None, :]) / LENGTH_SPREAD_BARS) ** 2).sum(axis=1)
    share = (1 - UNIFORM_SHARE) * shape / shape.sum() + UNIFORM_SHARE / window_bars
    return np.asarray((share / share.max()) ** power)


def mass_around(curve: Float[np.ndarray, "windows bars"], tolerance_bars: int) -> Float[np.ndarray, "windows bars"]:
    """Probability within a tolerance of each bar: a pointer put there is right so often, give or take that much."""
    n_bars = curve.shape[1]
    sums = np.cumsum(np.pad(curve, ((0, 0), (1, 0))), axis=1)
    bars = np.arange(n_bars)
    first, last = np.maximum(bars - tolerance_bars, 0), np.minimum(bars + tolerance_bars + 1, n_bars)
    return np.asarray(np.clip(sums[:, last] - sums[:, first], 0.0, 1.0))


def mass_near(
    curve: Float[np.ndarray, "windows bars"], bar: Int[np.ndarray, " windows"], tolerance_bars: int
) -> Float[np.ndarray, " windows"]:
    """Probability that the curve gives to the bars within a tolerance of one bar, in [0, 1]."""
    distance = np.abs(np.arange(curve.shape[1])[None, :] - np.asarray(bar)[:, None])
    return np.minimum((curve * (distance <= tolerance_bars)).sum(axis=1), 1.0)


# The published rule of `moola autolabel`: what was before the strongest expansion of a window.


RULE_NAME = "rule:prior-state-1"


def is_rule(annotator: str) -> bool:
    """Return whether a published rule gave the labels, and not a person."""
    return annotator.startswith("rule:")


MIN_BARS, MAX_BARS = 5, 24
MIN_STRENGTH = 1.3
MIN_EFFICIENCY = 0.6
LENGTH_EXPONENT = 0.4
PRIOR_BARS = 20
RETRACEMENT_DRIFT = 0.25
CONSOLIDATION_DRIFT = 0.20
CONSOLIDATION_WIDTH = 0.90


def class_text(name: str) -> str:
    """Return a class as a person reads it beside an expansion: `after consolidation`; other names stay."""
    return f"after {name}" if name in PRIOR_STATES else name


@dataclass(frozen=True)
class RuleLabel:
    """A class with its pointers, or the reason why the rule gives none (`label` is None)."""

    label: str | None
    expansion_start: int
    expansion_end: int
    reason: str


def label_window(ohlc: Float[np.ndarray, "bars 4"]) -> RuleLabel:
    """Apply the rule to one window; the reason names the deciding line."""
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
    """Return whether a window has no room for the bars before its inner zone, or for an expansion in it."""
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
