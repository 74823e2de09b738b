"""Pretext tasks about moves: what the price does around each bar (`structure`), and random definitions (`moves`)."""

from __future__ import annotations

import math

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from moola.core.move_finders import STATES, Definition, LogPrices, log_prices, sliding_extreme, states
from moola.core.random_definitions import draw_definitions
from moola.core.seeds import derive_seed
from moola.core.wide_definitions import WIDE_FINDERS, draw_wide
from moola.training.pretext_tasks import Arm, Sizes, View, Windows, prices_of

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
    """Where each close is in the high-low range of the next and the last 8 and 24 bars: 0 is its middle.

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
    """All targets of the task, concatenated."""
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


# Task `moves`: point at the moves of random definitions, and predict the state around them.


N_DEFINITIONS = 27
# Definitions a batch: all take their turn, at a third of the cost.
N_AT_A_TIME = 9
CURVE_SIGMA = 1.5
CURVE_WEIGHT = 4.0


class MovesArm(Arm):
    """Programmatic pretext: definitions drawn by the seed label every window for nothing.

    For each definition: a curve over bars for the start and one for the end of its move (soft targets),
    and the state around it, regressed from the encoder's vectors pooled under the predicted curves.
    After Ratner et al. (NeurIPS 2016) for labels by program.
    """

    needs_prices = True
    source = "Ratner et al., NeurIPS 2016"
    n_at_a_time = N_AT_A_TIME

    def __init__(self, sizes: Sizes, seed: int) -> None:
        super().__init__(sizes, seed)
        self.definitions = self.drawn(sizes.window_bars, seed)
        n_definitions = len(self.definitions)
        shape = (n_definitions, sizes.encoded_dim)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive_seed(seed, "moves"))
            self.curves = nn.Parameter(torch.randn(*shape, 2) / math.sqrt(shape[1]))
            self.readers = nn.Parameter(torch.randn(shape[0], 2 * shape[1], len(STATES)) / math.sqrt(8 * shape[1]))
        self.bias = nn.Parameter(torch.zeros(n_definitions, len(STATES)))
        self.register_buffer("center", torch.zeros(n_definitions, len(STATES)))
        self.register_buffer("spread", torch.ones(n_definitions, len(STATES)))

    def drawn(self, window_bars: int, seed: int) -> list[Definition]:
        """Draw the definitions."""
        return draw_definitions(N_DEFINITIONS, window_bars, seed)

    def fit(self, windows: Windows) -> None:
        """Learn mean and spread of every state."""
        pointers, state = self.labels(windows, np.arange(len(self.definitions)))
        found = (pointers[..., :1] >= 0).astype(np.float64)
        n_found = np.maximum(found.sum(axis=0), 1)
        center = (state * found).sum(axis=0) / n_found
        spread = np.sqrt(((state - center) ** 2 * found).sum(axis=0) / n_found)
        self.center = torch.from_numpy(center.astype(np.float32))
        self.spread = torch.from_numpy(spread.astype(np.float32)) + 0.05

    def draw(self, n_windows: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """Choose the definitions whose turn it is."""
        return {"chosen": np.sort(rng.choice(len(self.definitions), self.n_at_a_time, replace=False))}

    def targets(self, windows: Windows, drawn: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Return pointers `(windows, chosen, 2)` and states of the chosen definitions, and which."""
        pointers, state = self.labels(windows, drawn["chosen"])
        return {"pointers": pointers, "states": state, **drawn}

    def labels(self, windows: Windows, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return pointers `(windows, chosen, 2)` and states `(windows, chosen, states)` of some definitions."""
        prices = log_prices(prices_of(windows))
        pointers, measured = [], []
        for number in chosen:
            definition = self.definitions[number]
            pointers.append(WIDE_FINDERS[definition.family](prices, definition))
            measured.append(states(prices, pointers[-1], definition.look_bars))
        return np.stack(pointers, axis=1), np.stack(measured, axis=1)

    def loss(self, view: View, targets: dict[str, Tensor]) -> Float[Tensor, ""]:
        """Cross-entropy of the curves over ln(bars), and Huber loss of the standardised states."""
        chosen, pointers = targets["chosen"], targets["pointers"]
        found = (pointers[..., 0] >= 0).float()
        n_found = found.sum().clamp(min=1)
        n_bars = view.encoded.shape[1]
        log_prob = torch.log_softmax(torch.einsum("wbh,dhp->wdbp", view.encoded, self.curves[chosen]), dim=2)
        bars = torch.arange(n_bars, device=pointers.device)
        curve = torch.softmax(-0.5 * ((bars[:, None] - pointers[:, :, None, :]) / CURVE_SIGMA).square(), dim=2)
        pointing = (-(curve * log_prob).sum(dim=(2, 3)) * found).sum() / n_found / 2 / math.log(n_bars)
        # No gradient through the curves: the state must not bend where they point.
        pooled = torch.einsum("wbh,wdbp->wdph", view.encoded, log_prob.exp().detach()).flatten(2)
        predicted = torch.einsum("wdh,dhs->wds", pooled, self.readers[chosen]) + self.bias[chosen]
        true = (targets["states"] - self.center[chosen]) / self.spread[chosen]
        errors = functional.smooth_l1_loss(predicted, true, reduction="none").mean(dim=2)
        errors = 2 * (errors * found).sum() / n_found
        return (CURVE_WEIGHT * pointing + errors) / (CURVE_WEIGHT + 1)


class WideMovesArm(MovesArm):
    """The same with the definitions of `draw_wide`: for an encoder that is to serve many markets.

    Its targets cost some 20 times as much; `scripts/base` makes them once for all epochs.
    """

    n_definitions = 90
    n_at_a_time = 20

    def drawn(self, window_bars: int, seed: int) -> list[Definition]:
        """Draw the definitions."""
        return draw_wide(self.n_definitions, window_bars, seed)
