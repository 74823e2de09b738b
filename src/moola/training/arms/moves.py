"""Arm `moves`: point at the moves of random definitions, and tell the state around them."""

from __future__ import annotations

import math

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from moola.core.definitions.drawing import draw_definitions
from moola.core.definitions.families import FINDERS
from moola.core.definitions.spans import log_prices
from moola.core.definitions.states import STATES, states
from moola.core.seeds import derive_seed
from moola.training.arms.arm import Arm, Sizes, View, Windows, prices_of

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

    def __init__(self, sizes: Sizes, seed: int) -> None:
        super().__init__(sizes, seed)
        self.definitions = draw_definitions(N_DEFINITIONS, sizes.window_bars, seed)
        shape = (N_DEFINITIONS, sizes.encoded_dim)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive_seed(seed, "moves"))
            self.curves = nn.Parameter(torch.randn(*shape, 2) / math.sqrt(shape[1]))
            self.readers = nn.Parameter(torch.randn(shape[0], 2 * shape[1], len(STATES)) / math.sqrt(8 * shape[1]))
        self.bias = nn.Parameter(torch.zeros(N_DEFINITIONS, len(STATES)))
        self.register_buffer("center", torch.zeros(N_DEFINITIONS, len(STATES)))
        self.register_buffer("spread", torch.ones(N_DEFINITIONS, len(STATES)))

    def fit(self, windows: Windows) -> None:
        """Learn mean and spread of every state."""
        pointers, state = self._labels(windows, np.arange(N_DEFINITIONS))
        found = (pointers[..., :1] >= 0).astype(np.float64)
        n_found = np.maximum(found.sum(axis=0), 1)
        center = (state * found).sum(axis=0) / n_found
        spread = np.sqrt(((state - center) ** 2 * found).sum(axis=0) / n_found)
        self.center = torch.from_numpy(center.astype(np.float32))
        self.spread = torch.from_numpy(spread.astype(np.float32)) + 0.05

    def draw(self, n_windows: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """Choose the definitions whose turn it is."""
        return {"chosen": np.sort(rng.choice(N_DEFINITIONS, N_AT_A_TIME, replace=False))}

    def targets(self, windows: Windows, drawn: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Return pointers `(windows, chosen, 2)` and states of the chosen definitions, and which."""
        pointers, state = self._labels(windows, drawn["chosen"])
        return {"pointers": pointers, "states": state, **drawn}

    def _labels(self, windows: Windows, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        prices = log_prices(prices_of(windows))
        pointers, measured = [], []
        for number in chosen:
            definition = self.definitions[number]
            pointers.append(FINDERS[definition.family](prices, definition))
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
        said = torch.einsum("wdh,dhs->wds", pooled, self.readers[chosen]) + self.bias[chosen]
        true = (targets["states"] - self.center[chosen]) / self.spread[chosen]
        telling = functional.smooth_l1_loss(said, true, reduction="none").mean(dim=2)
        telling = 2 * (telling * found).sum() / n_found
        return (CURVE_WEIGHT * pointing + telling) / (CURVE_WEIGHT + 1)
