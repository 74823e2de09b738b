"""Arm `structure`: say what the price did before and does after each bar, at several horizons."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from moola.core.definitions.sliding import sliding_extreme
from moola.core.definitions.spans import LogPrices, log_prices
from moola.core.seeds import derive_seed
from moola.training.arms.arm import Arm, Sizes, View, Windows, prices_of

HORIZONS = (2, 4, 8, 16)
CHANNELS = (8, 24)
BARRIERS = (1.5, 3.0, 6.0)
PASSAGE_BARS = 24
BOUND = 4.0

PerBar = Float[np.ndarray, "windows bars targets"]


def displacements_and_ranges(prices: LogPrices) -> PerBar:
    """Net change and range over the next and the last 2, 4, 8 and 16 bars of every bar.

    Changes of closes are over pace * sqrt(horizon), ranges are the logarithm of high-low ranges over the
    pace, at least a tenth of it. Horizons stop at the window's edges.
    """
    close, pace = prices.close, prices.pace[:, None]
    n_bars = close.shape[1]
    bars = np.arange(n_bars)
    found = []
    for horizon in HORIZONS:
        unit = pace * np.float32(np.sqrt(horizon))
        found.append((close[:, np.minimum(bars + horizon, n_bars - 1)] - close) / unit)
        found.append((close - close[:, np.maximum(bars - horizon, 0)]) / unit)
        for top, bottom in _channels(prices, horizon):
            found.append(np.log(np.maximum((top - bottom) / pace, 0.1)))
    return np.stack(found, axis=-1)


def places_in_channels(prices: LogPrices) -> PerBar:
    """Where each close stands in the high-low range of the next and the last 8 and 24 bars: 0 is its middle.

    In units of half the range, at least half a pace (Donchian's channel).
    """
    found = []
    for n_bars in CHANNELS:
        for top, bottom in _channels(prices, n_bars):
            half = np.maximum(top - bottom, prices.pace[:, None]) / 2
            found.append((prices.close - (top + bottom) / 2) / half)
    return np.stack(found, axis=-1)


def _channels(prices: LogPrices, n_bars: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Highest high and lowest low of the next `n_bars` after each bar, and of the last ones up to it."""
    edges, length = ((0, 0), (n_bars, n_bars)), prices.close.shape[1]
    top = sliding_extreme(np.maximum, np.pad(prices.high, edges, mode="edge"), n_bars)
    bottom = sliding_extreme(np.minimum, np.pad(prices.low, edges, mode="edge"), n_bars)
    # In padded bars, what follows bar 0 begins at n_bars + 1, and what ends with it begins at 1.
    return [(top[:, first : first + length], bottom[:, first : first + length]) for first in (n_bars + 1, 1)]


def first_passages(prices: LogPrices) -> PerBar:
    """Which way, and how soon, closes first leave a band of 1.5, 3 and 6 paces around each close.

    For each band, after the bar and (backwards) before it: the side (1, -1, or 0 for not within 24 bars or
    the window) times the share of the 24 bars that is left, so that a fast passage counts more. The
    symmetric form of Lopez de Prado's triple barrier (2018).
    """
    close = prices.close
    bands = [(prices.pace * np.float32(barrier))[:, None] for barrier in BARRIERS]
    later, earlier = ([np.zeros_like(close) for _ in BARRIERS] for _ in range(2))
    # From far to near: the last to be written is the first passage.
    for steps in range(min(PASSAGE_BARS, close.shape[1] - 1), 0, -1):
        change = close[:, steps:] - close[:, :-steps]
        size, worth = np.abs(change), np.float32(1 - (steps - 1) / PASSAGE_BARS)
        after = np.copysign(worth, change)
        before = -after
        for band, forward, backward in zip(bands, later, earlier, strict=True):
            out = size > band
            np.copyto(forward[:, :-steps], after, where=out)
            np.copyto(backward[:, steps:], before, where=out)
    return np.stack(later + earlier, axis=-1)


def structure_targets(prices: LogPrices) -> PerBar:
    """All targets of the arm, side by side."""
    parts = displacements_and_ranges(prices), places_in_channels(prices), first_passages(prices)
    return np.concatenate(parts, axis=-1, dtype=np.float32)


N_TARGETS = 4 * len(HORIZONS) + 2 * len(CHANNELS) + 2 * len(BARRIERS)


class StructureArm(Arm):
    """Regress `structure_targets` from each bar's vector: dense targets that cost nothing and need no label."""

    needs_prices = True
    source = "Lopez de Prado 2018, Advances in Financial Machine Learning, chapter 3 (barriers)"

    def __init__(self, sizes: Sizes, seed: int) -> None:
        super().__init__(sizes, seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive_seed(seed, "structure"))
            self.predict = nn.Linear(sizes.encoded_dim, N_TARGETS)
        self.register_buffer("center", torch.zeros(N_TARGETS))
        self.register_buffer("spread", torch.ones(N_TARGETS))
        self.register_buffer("blind", torch.ones(()))

    def fit(self, windows: Windows) -> None:
        """Standardise, and take the loss of saying the means as the unit."""
        found = torch.from_numpy(structure_targets(log_prices(prices_of(windows))))
        self.center = found.mean(dim=(0, 1))
        self.spread = found.std(dim=(0, 1)) + 1e-6
        target = self._standardised(found)
        self.blind = functional.smooth_l1_loss(torch.zeros_like(target), target)

    def targets(self, windows: Windows, drawn: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Return the targets, not yet standardised."""
        return {"structure": structure_targets(log_prices(prices_of(windows)))}

    def _standardised(self, found: Tensor) -> Tensor:
        return ((found - self.center) / self.spread).clamp(-BOUND, BOUND)

    def loss(self, view: View, targets: dict[str, Tensor]) -> Float[Tensor, ""]:
        """Huber loss over all bars and targets."""
        target = self._standardised(targets["structure"])
        return functional.smooth_l1_loss(self.predict(view.encoded), target) / self.blind
