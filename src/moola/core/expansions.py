"""Expansions: pointers as curves over bars (for learning) and curves as pointers (for reading)."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

NO_POINTER = -1
LENGTH_POWER = 0.2
LENGTH_SPREAD_BARS = 3.0
UNIFORM_SHARE = 0.02


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
