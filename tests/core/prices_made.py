"""Logarithmic prices for tests: random walks, steps of a coarse grid with many ties, adversarial shapes."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from moola.core.move_finders import LogPrices, log_prices
from moola.core.windows import take_windows
from tests.made import random_walk_bars

# Sums and differences of multiples of it are exact, so that ties are ties however they are added up.
TICK = 1 / 1024


def from_ticks(close: np.ndarray, above: np.ndarray, below: np.ndarray) -> LogPrices:
    """Prices `(windows, bars)` in ticks: closes, and how far high and low are from them."""
    close, high, low = (
        np.asarray(side, dtype=np.float32) * np.float32(TICK) for side in (close, close + above, close - below)
    )
    walked = np.cumsum(np.abs(np.diff(close, axis=1, prepend=close[:, :1])), axis=1, dtype=np.float64)
    return LogPrices(high, low, close, walked, np.maximum((high - low).mean(axis=1), np.float32(1e-6)))


@st.composite
def ticking_prices(draw: st.DrawFn, least_bars: int = 8, most_bars: int = 40) -> LogPrices:
    """A few windows whose prices stand on few levels: ties everywhere, flat bars and flat stretches."""
    n_bars = draw(st.integers(least_bars, most_bars))
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    levels, spread = draw(st.sampled_from([1, 2, 6, 40])), draw(st.sampled_from([0, 1, 5]))
    close = rng.integers(0, levels, (4, n_bars))
    if draw(st.booleans()):
        close = np.cumsum(rng.integers(-levels, levels + 1, (4, n_bars)), axis=1)
    return from_ticks(close, *rng.integers(0, spread + 1, (2, 4, n_bars)))


def adversarial(n_bars: int) -> dict[str, LogPrices]:
    """Constant prices, one jump, one bar that stands out, rising and falling without a break, up and down in turn."""
    bars = np.arange(n_bars)
    closes = {
        "constant": bars * 0,
        "one jump": (bars >= n_bars // 2) * 50,
        "one bar": (bars == n_bars // 2) * 50,
        "rising": bars * 3,
        "falling": bars * -3,
        "saw": bars % 2 * 10,
    }
    flat = {name: from_ticks(close[None], 0 * bars[None], 0 * bars[None]) for name, close in closes.items()}
    wide = {
        f"{name}, wide": from_ticks(close[None], bars[None] * 0 + 2, bars[None] * 0 + 1)
        for name, close in closes.items()
    }
    return flat | wide


def walks(n_bars: int, n_windows: int = 12, seed: int = 0) -> np.ndarray:
    """Adjacent windows of OHLC `(windows, bars, 4)` of one random walk."""
    return take_windows(random_walk_bars(n_windows * n_bars, seed).ohlc, np.arange(n_windows) * n_bars, n_bars)


def walk_prices(n_bars: int, n_windows: int = 12, seed: int = 0) -> LogPrices:
    return log_prices(walks(n_bars, n_windows, seed))
