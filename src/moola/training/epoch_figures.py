"""Figures of an epoch, left on the device until somebody asks: reading one makes the host wait for the device."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from moola.errors import TrainingDiverged
from moola.training.team import Team

LOOK_EVERY = 50
# Weights of this norm (trained networks stay below some hundreds) say nothing any more, though every loss is finite.
MAX_WEIGHT_NORM = 1e6
WEIGHTS = "weights' norm"


class EpochMeans:
    """Means of losses over an epoch, weighted by windows."""

    def __init__(self) -> None:
        self.losses: dict[str, list[Tensor]] = {}
        self.n_windows: list[int] = []

    def add(self, losses: dict[str, Tensor], n_windows: int) -> None:
        """Keep the losses of a batch, each the mean over so many windows."""
        for name, loss in losses.items():
            self.losses.setdefault(name, []).append(loss.detach())
        self.n_windows.append(n_windows)

    def means(self, team: Team) -> dict[str, float]:
        """Return the means over the windows of all processes, each of which has had some; nothing for no batch."""
        if not self.n_windows:
            return {}
        sums = [
            sum(value * n for value, n in zip(torch.stack(losses).tolist(), self.n_windows, strict=True))
            for losses in self.losses.values()
        ]
        summed = team.sums(torch.tensor([*sums, sum(self.n_windows)], dtype=torch.float64)).tolist()
        return {name: total / summed[-1] for name, total in zip(self.losses, summed, strict=False)}


class FiniteWatch:
    """Stops training at a loss, gradient or weights that are no finite number or too large, and says at which batch.

    On a CPU each value is looked at as it comes; on other devices every `LOOK_EVERY` batches and at the end.
    """

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch
        self.waiting: list[tuple[str, int, Tensor]] = []

    def see(self, what: str, n_batch: int, value: Tensor) -> None:
        """Take a value of batch `n_batch` (from 0); raises `TrainingDiverged`, at once or later."""
        self.waiting.append((what, n_batch, value.detach()))
        if value.device.type == "cpu" or n_batch - self.waiting[0][1] >= LOOK_EVERY:
            self.look()

    def look(self) -> None:
        """Look at all that was not looked at yet; raises `TrainingDiverged` for the first that is not finite."""
        waiting, self.waiting = self.waiting, []
        values = torch.stack([value for *_, value in waiting]).tolist() if waiting else []
        for (what, n_batch, _), value in zip(waiting, values, strict=True):
            place = f"at epoch {self.epoch + 1}, batch {n_batch + 1}"
            if not math.isfinite(value):
                raise TrainingDiverged(
                    f"the {what} must be a finite number, but it is {value} {place}. Lower --learning-rate."
                )
            if what == WEIGHTS and value > MAX_WEIGHT_NORM:
                raise TrainingDiverged(
                    f"the {what} must be at most {MAX_WEIGHT_NORM:,.0f}, but it is {value:.3g} {place}. "
                    "Lower --learning-rate."
                )
