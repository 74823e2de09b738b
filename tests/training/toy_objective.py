"""A toy objective: a line through points, with dropout and scripted validation losses where asked."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from moola.core.seeds import generator

Batch = tuple[Tensor, Tensor]


class ToyObjective:
    """Three batches of 4 points an epoch; `val_losses` scripts what validation says, epoch by epoch."""

    def __init__(
        self,
        val_losses: list[float] | None = None,
        nan_at: tuple[int, int] | None = None,
        has_val: bool = True,
        size: float = 1.0,
        seed: int = 0,
    ) -> None:
        torch.manual_seed(99)
        self.module = nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.5), nn.Linear(4, 1))
        self.val_losses, self.nan_at, self.has_val, self.size, self.seed = val_losses, nan_at, has_val, size, seed
        self.n_validated = 0
        self.rates: list[float] = []
        self.epochs_asked: list[int] = []

    def parameter_groups(self) -> list[dict[str, Any]]:
        first, last = list(self.module[0].parameters()), list(self.module[2].parameters())
        return [{"params": first, "lr": 0.01, "name": "first"}, {"params": last, "lr": 0.1}]

    def n_train_batches(self) -> int:
        return 3

    def train_batches(self, epoch: int) -> Iterator[Batch]:
        self.epochs_asked.append(epoch)
        rng = generator(self.seed, "toy", epoch)
        for n_batch in range(3):
            points = torch.from_numpy(rng.normal(size=(4 if n_batch < 2 else 1, 3))).float()
            target = points.sum(dim=1, keepdim=True) * self.size
            yield points, target * math.nan if self.nan_at == (epoch, n_batch) else target

    def val_batches(self) -> Iterator[Batch]:
        if self.has_val:
            points = torch.linspace(-1, 1, 15).reshape(5, 3)
            yield points[:4], points[:4].sum(dim=1, keepdim=True)
            yield points[4:], points[4:].sum(dim=1, keepdim=True)

    def losses(self, batch: Batch) -> tuple[dict[str, Tensor], int]:
        points, target = batch
        loss = (self.module(points) - target).square().mean()
        if not self.module.training and self.val_losses is not None:
            loss = torch.tensor(self.val_losses[self.n_validated // 2])
            self.n_validated += 1
        return {"loss": loss, "error": loss.sqrt()}, len(points)
