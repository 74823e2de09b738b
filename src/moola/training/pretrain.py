"""Masked pretraining of an encoder on windows without labels (SPEC.md 4)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from moola.core.seeds import generator
from moola.models.losses import masked_loss
from moola.models.masked_autoencoder import MaskedAutoencoder
from moola.training.masks import MASKS

ScaledFeatures = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class MaskPlan:
    """What is hidden: strategy, share of the bars, bars a patch."""

    strategy: str
    mask_ratio: float
    patch_bars: int


class MaskedReconstruction:
    """Objective: say what the masked bars were. Windows are cut and scaled a batch at a time."""

    def __init__(
        self,
        module: MaskedAutoencoder,
        features: ScaledFeatures,
        train_rows: np.ndarray,
        val_rows: np.ndarray,
        masks: MaskPlan,
        batch_size: int,
        learning_rate: float,
        seed: int,
        device: torch.device,
    ) -> None:
        self.module = module
        self.features = features
        self.train_rows, self.val_rows = train_rows, val_rows
        self.masks = masks
        self.batch_size, self.learning_rate = batch_size, learning_rate
        self.seed, self.device = seed, device

    def parameter_groups(self) -> list[dict[str, Any]]:
        """All weights at one rate."""
        return [{"params": list(self.module.parameters()), "lr": self.learning_rate, "name": "all"}]

    def n_train_batches(self) -> int:
        """Batches an epoch; the last may be smaller."""
        return -(-len(self.train_rows) // self.batch_size)

    def train_batches(self, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Shuffled windows with masks of their own for every epoch."""
        rng = generator(self.seed, "pretrain", epoch)
        yield from self._batches(rng.permutation(self.train_rows), rng)

    def val_batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Later windows with masks that the seed fixes."""
        yield from self._batches(self.val_rows, generator(self.seed, "pretrain", "val"))

    def _batches(self, rows: np.ndarray, rng: np.random.Generator) -> Iterator[tuple[Tensor, Tensor]]:
        draw = MASKS[self.masks.strategy]
        for first in range(0, len(rows), self.batch_size):
            features = self.features(rows[first : first + self.batch_size])
            mask = draw(rng, len(features), features.shape[1], self.masks.mask_ratio, self.masks.patch_bars)
            yield torch.from_numpy(features).to(self.device), torch.from_numpy(mask).to(self.device)

    def losses(self, batch: tuple[Tensor, Tensor]) -> tuple[dict[str, Tensor], int]:
        """Squared error on the masked bars alone."""
        features, mask = batch
        return {"loss": masked_loss(self.module(features, mask), features, mask)}, len(features)


def loss_of_the_mean(objective: MaskedReconstruction) -> float:
    """Validation loss of saying each feature's training mean: what an encoder must beat."""
    sums, n_bars = np.zeros(objective.module.encoder.architecture.input_dim), 0
    for first in range(0, len(objective.train_rows), objective.batch_size):
        features = objective.features(objective.train_rows[first : first + objective.batch_size])
        sums = sums + features.sum(axis=(0, 1), dtype=np.float64)
        n_bars += features.shape[0] * features.shape[1]
    mean = torch.tensor(sums / n_bars, dtype=torch.float32, device=objective.device)
    total, n_windows = 0.0, 0
    for batch, mask in objective.val_batches():
        total += float(masked_loss(mean.expand_as(batch), batch, mask)) * len(batch)
        n_windows += len(batch)
    return total / n_windows
