"""Windows of prices on which an exported graph is compared with its model: random ones and awkward ones."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from moola.core.seeds import generator


def checked_windows(n: int, window_bars: int, seed: int = 0) -> Float[np.ndarray, "windows bars 4"]:
    """Return valid windows of open, high, low and close that float32 holds exactly, as float64.

    The kinds take turns: a random walk of any price and volatility, one on a coarse grid of ticks, one without ranges,
    one price throughout, one price but for the smallest step of float32, jumps by factors, flat stretches between
    moves, and bars whose body is their whole range.
    """
    rng = generator(seed, "checked windows")
    made = [KINDS[number % len(KINDS)](rng, window_bars) for number in range(n)]
    return np.stack(made).astype(np.float32).astype(np.float64) if made else np.zeros((0, window_bars, 4))


def _walk(rng: np.random.Generator, n_bars: int, step: np.ndarray | None = None, wick: float = 1.0) -> np.ndarray:
    """Return bars of a random walk; `wick` scales how far high and low lie outside the body."""
    volatility = 10.0 ** rng.uniform(-5, -1.5)
    step = rng.normal(0, volatility, n_bars) if step is None else step
    close = 10.0 ** rng.uniform(-4, 6) * np.exp(np.cumsum(step))
    open_ = np.concatenate([close[:1], close[:-1]])
    wicks = np.exp(np.abs(rng.normal(0, volatility, (2, n_bars))) * wick)
    return np.stack([open_, np.maximum(open_, close) * wicks[0], np.minimum(open_, close) / wicks[1], close], axis=1)


def _on_ticks(rng: np.random.Generator, n_bars: int) -> np.ndarray:
    bars = _walk(rng, n_bars)
    tick = bars[0, 0] * 10.0 ** rng.uniform(-4, -2)
    return np.maximum(np.round(bars / tick), 1) * tick


def _without_ranges(rng: np.random.Generator, n_bars: int) -> np.ndarray:
    return np.repeat(_walk(rng, n_bars)[:, 3:], 4, axis=1)


def _one_price(rng: np.random.Generator, n_bars: int) -> np.ndarray:
    return np.full((n_bars, 4), 10.0 ** rng.uniform(-4, 6))


def _smallest_step(rng: np.random.Generator, n_bars: int) -> np.ndarray:
    bars = _one_price(rng, n_bars).astype(np.float32)
    place = rng.integers(n_bars)
    bars[place:] = np.nextafter(bars[place:], np.float32(np.inf))
    return bars


def _jumps(rng: np.random.Generator, n_bars: int) -> np.ndarray:
    step = np.where(rng.random(n_bars) < 0.05, rng.normal(0, 1.5, n_bars), rng.normal(0, 1e-3, n_bars))
    return _walk(rng, n_bars, step)


def _flat_stretches(rng: np.random.Generator, n_bars: int) -> np.ndarray:
    moves = np.repeat(rng.random(-(-n_bars // 7)) < 0.4, 7)[:n_bars]
    return _walk(rng, n_bars, np.where(moves, rng.normal(0, 2e-3, n_bars), 0.0), wick=float(rng.integers(2)))


def _whole_bodies(rng: np.random.Generator, n_bars: int) -> np.ndarray:
    return _walk(rng, n_bars, wick=0.0)


KINDS = (_walk, _on_ticks, _without_ranges, _one_price, _smallest_step, _jumps, _flat_stretches, _whole_bodies)
