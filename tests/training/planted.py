"""Windows with a planted move each, encoders that are tiny or say what they are told, a few steps of training."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from moola.core.bars import upside_down
from moola.core.features import relative_features
from moola.models.network import BiLSTMEncoder, MaskingEncoder
from moola.training.pretext_tasks import Arm, Sizes, View, Windows
from tests.networks_made import tiny_encoder


def toy_windows(n_windows: int, n_bars: int, seed: int = 0) -> Windows:
    """A quiet walk with one strong move of a fifth of the bars, up or down, in the middle half."""
    rng = np.random.default_rng(seed)
    step = rng.normal(0, 2e-4, (n_windows, n_bars))
    length = max(n_bars // 5, 2)
    for row in range(n_windows):
        start = rng.integers(n_bars // 4, 3 * n_bars // 4 - length + 1)
        step[row, start : start + length] += rng.choice([-1, 1]) * 2e-3
    close = np.cumsum(step, axis=1)
    open_ = np.concatenate([np.zeros((n_windows, 1)), close[:, :-1]], axis=1)
    wick = rng.uniform(1e-5, 1e-4, (2, n_windows, n_bars))
    high, low = np.maximum(open_, close) + wick[0], np.minimum(open_, close) - wick[1]
    return windows_of(1.1 * np.exp(np.stack([open_, high, low, close], axis=-1)))


def windows_of(ohlc: np.ndarray) -> Windows:
    """Prices with their features, scaled to some size 1."""
    features = relative_features(ohlc)
    features[:, :, :4] *= 1e3
    return Windows(features.astype(np.float32), ohlc, np.arange(len(ohlc)))


def turned(windows: Windows) -> Windows:
    assert windows.ohlc is not None
    return windows_of(upside_down(windows.ohlc))


def without_prices(windows: Windows) -> Windows:
    return Windows(windows.features, None, windows.position)


def sizes_of(encoder: BiLSTMEncoder, n_bars: int) -> Sizes:
    return Sizes(11, n_bars, encoder.output_dim)


def targets_drawn(arm: Arm, windows: Windows, rng: np.random.Generator) -> dict[str, np.ndarray]:
    return arm.targets(windows, arm.draw(len(windows), rng))


def targets_of(arm: Arm, windows: Windows, seed: int = 0) -> dict[str, Tensor]:
    found = targets_drawn(arm, windows, np.random.default_rng(seed))
    return {name: torch.from_numpy(value) for name, value in found.items()}


class _Told(MaskingEncoder):
    """Says the same vectors whatever it is shown."""

    def __init__(self, encoded: Tensor) -> None:
        super().__init__(tiny_encoder())
        self.told = encoded

    def forward(self, features: Tensor, mask: Tensor) -> Tensor:
        assert features.shape[:2] == mask.shape
        return self.told


def told(windows: Windows, encoded: Tensor, mask: Tensor | None = None) -> View:
    """What an encoder gives that says these vectors; nothing is hidden unless a mask says so."""
    nothing = torch.zeros(windows.features.shape[:2], dtype=torch.bool)
    return View(torch.from_numpy(windows.features), nothing if mask is None else mask, _Told(encoded))


def blind(windows: Windows, encoded_dim: int) -> View:
    """What an encoder gives that says zeros."""
    return told(windows, torch.zeros(*windows.features.shape[:2], encoded_dim))


def learned(arm: Arm, train: Windows, val: Windows, n_steps: int) -> tuple[float, float]:
    """Return the validation loss before and after some steps over all windows."""
    encoder = MaskingEncoder(tiny_encoder(0, hidden_dim=12))
    optimiser = torch.optim.Adam([*encoder.parameters(), *arm.parameters()], lr=0.02)

    def loss_of(windows: Windows, seed: int) -> Tensor:
        nothing = torch.zeros(windows.features.shape[:2], dtype=torch.bool)
        view = View(torch.from_numpy(windows.features), nothing, encoder)
        return arm.loss(view, targets_of(arm, windows, seed))

    before = loss_of(val, 0).item()
    for step in range(n_steps):
        optimiser.zero_grad()
        torch.autograd.backward(loss_of(train, step))
        optimiser.step()
    return before, loss_of(val, 0).item()
