"""Expansions: pointers as curves over bars (for learning) and curves as pointers (for reading)."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

NO_POINTER = -1


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
    start_prob: Float[np.ndarray, "windows bars"], end_prob: Float[np.ndarray, "windows bars"]
) -> tuple[Int[np.ndarray, " windows"], Int[np.ndarray, " windows"]]:
    """Decode curves to the pair start <= end with the largest product of probabilities.

    Exact in one pass: for each end the best start is the running maximum before it. Ties go to the
    earliest end, then the earliest start.
    """
    best_start_prob = np.maximum.accumulate(start_prob, axis=1)
    end = np.argmax(best_start_prob * end_prob, axis=1)
    allowed = np.arange(start_prob.shape[1])[None, :] <= end[:, None]
    start = np.argmax(np.where(allowed, start_prob, -1.0), axis=1)
    return start.astype(np.int64), end.astype(np.int64)


def mass_near(
    curve: Float[np.ndarray, "windows bars"], bar: Int[np.ndarray, " windows"], tolerance_bars: int
) -> Float[np.ndarray, " windows"]:
    """Probability that the curve gives to the bars within a tolerance of one bar, in [0, 1]."""
    distance = np.abs(np.arange(curve.shape[1])[None, :] - np.asarray(bar)[:, None])
    return np.minimum((curve * (distance <= tolerance_bars)).sum(axis=1), 1.0)
