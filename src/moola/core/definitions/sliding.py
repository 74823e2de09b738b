"""Extremes of every run of bars of one length, by doubling: log2(bars) passes over the windows."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float


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
