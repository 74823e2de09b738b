"""Hypothesis settings and strategies: few examples, no clock, nothing written to disk."""

from __future__ import annotations

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st

QUICK = settings(max_examples=15, deadline=None, database=None, derandomize=True)


@st.composite
def tick_windows(draw: st.DrawFn, max_bars: int = 45) -> np.ndarray:
    """One valid window `(1, bars, 4)` on a price grid of 0.01, flat bars and flat stretches included."""
    n_bars = draw(st.integers(1, max_bars))
    ticks = st.lists(st.integers(100, 3000), min_size=4, max_size=4)
    bars = draw(st.lists(ticks | st.integers(100, 3000).map(lambda t: [t] * 4), min_size=n_bars, max_size=n_bars))
    window = np.array(bars, dtype=np.float64) / 100.0
    ranked = np.sort(window, axis=1)
    ohlc = np.stack([window[:, 0], ranked[:, 3], ranked[:, 0], window[:, 3]], axis=1)
    return ohlc[None]
