"""Pretraining of an encoder on windows without labels, by one pretext task or several (specification 4 and 9)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from moola.core.seeds import generator
from moola.models.network import BiLSTMEncoder, MaskingEncoder
from moola.options.option_fields import TaskName
from moola.training.device import ALONE, ProcessGroup, n_makers, side_by_side
from moola.training.pretext_tasks import (
    Arm,
    ArmSettings,
    LatentArm,
    MaskedArm,
    MaskPlan,
    Sizes,
    Ts2VecArm,
    View,
    Windows,
    draw_mask,
)
from moola.training.structure_tasks import MovesArm, StructureArm

# Pretext tasks: what an encoder can learn from bars without labels. One file, one entry in `ARMS`, one test.


ARMS: dict[str, type[Arm]] = {
    "masked": MaskedArm,
    "latent": LatentArm,
    "structure": StructureArm,
    "moves": MovesArm,
    "ts2vec": Ts2VecArm,
}
# What pays (docs/log.md); `masked` hides bars from the others too.
DEFAULT_ARMS: tuple[TaskName, ...] = ("masked", "structure", "moves")
MASKED_ARMS = ("masked", "latent")
# Pointing at moves is the hardest of the three to learn and pays most.
ARM_WEIGHTS = {"moves": 3.0}


TakeWindows = Callable[[np.ndarray, np.ndarray], Windows]


@dataclass(frozen=True)
class PretrainPlan:
    """How to pretrain.

    Attributes
    ----------
    mirror
        Show each window upside down every other time, at random; validation shows all as they are.
    epoch_windows
        Windows per epoch, redrawn each time where there are more; 0 takes all.
    team
        Processes that learn together; each sees its share of every batch of `batch_size` windows. Contrastive tasks
        (`ts2vec`) contrast windows within a share.
    """

    masks: MaskPlan
    mirror: bool
    epoch_windows: int
    batch_size: int
    learning_rate: float
    seed: int
    device: torch.device
    team: ProcessGroup = ALONE


class PretrainModule(nn.Module):
    """Everything that pretraining trains: the encoder with its mask token, and the pretext tasks' heads."""

    def __init__(self, encoder: BiLSTMEncoder, arms: dict[str, Arm], window_bars: int) -> None:
        super().__init__()
        self.window_bars = window_bars
        self.masking = MaskingEncoder(encoder)
        self.arms = nn.ModuleDict(arms)

    @property
    def encoder(self) -> BiLSTMEncoder:
        """The encoder alone: what is kept."""
        return self.masking.encoder


def build_pretraining(
    encoder: BiLSTMEncoder,
    names: tuple[str, ...],
    window_bars: int,
    seed: int,
    settings: ArmSettings | None = None,
) -> PretrainModule:
    """Put a mask token and the heads of some pretext tasks on an encoder, with weights that the seed alone decides."""
    sizes = Sizes(encoder.architecture.input_dim, window_bars, encoder.output_dim)
    arms = {name: ARMS[name](sizes, seed) for name in names}
    for arm in arms.values():
        arm.prepare(encoder, settings or ArmSettings())
    return PretrainModule(encoder, arms, window_bars)


Batch = tuple[Tensor, Tensor, dict[str, dict[str, Tensor]]]


class Pretraining:
    """Objective: the weighted mean of the tasks' losses. Windows are cut, scaled and read a batch at a time."""

    def __init__(
        self,
        module: PretrainModule,
        take: TakeWindows,
        train_rows: np.ndarray,
        val_rows: np.ndarray,
        plan: PretrainPlan,
    ) -> None:
        self.module, self.take, self.plan = module, take, plan
        self.train_rows, self.val_rows = train_rows, val_rows

    def parameter_groups(self) -> list[dict[str, Any]]:
        """All weights that learn, at one rate."""
        learning = [weight for weight in self.module.parameters() if weight.requires_grad]
        return [{"params": learning, "lr": self.plan.learning_rate, "name": "all"}]

    def n_train_batches(self) -> int:
        """Batches an epoch; the last may be smaller, and is left out where it has no window for each process."""
        whole, rest = divmod(self._n_shown(), self.plan.batch_size)
        return whole + (rest >= self.plan.team.size)

    def _n_shown(self) -> int:
        most = self.plan.epoch_windows or len(self.train_rows)
        return min(most, len(self.train_rows))

    def train_batches(self, epoch: int) -> Iterator[Batch]:
        """Shuffled windows, with masks and mirrors of their own for every epoch."""
        return side_by_side(self.train_jobs(epoch), n_makers(self.plan.device))

    def train_jobs(self, epoch: int) -> Iterator[Callable[[], Batch]]:
        """Yield what makes the batches of an epoch, each by itself."""
        rng = generator(self.plan.seed, "pretrain", epoch)
        shown = rng.permutation(self.train_rows)[: self._n_shown()]
        yield from self._jobs(shown, rng, self.plan.mirror)

    def val_batches(self) -> Iterator[Batch]:
        """Later windows with masks that the seed fixes."""
        rows, rng = self.val_rows, generator(self.plan.seed, "pretrain", "val")
        if any(arm.contrasts_windows for _, arm in self._arms()):
            rows = rng.permutation(rows)
        return side_by_side(self._jobs(rows, rng, mirror=False), n_makers(self.plan.device))

    def _jobs(self, rows: np.ndarray, rng: np.random.Generator, mirror: bool) -> Iterator[Callable[[], Batch]]:
        """Draw what batches leave to chance, one after another; any thread may make what was drawn."""
        for first in range(0, len(rows), self.plan.batch_size):
            chosen = rows[first : first + self.plan.batch_size]
            if len(chosen) < self.plan.team.size:
                return
            # Drawn for the whole batch, so that a team sees what one process would.
            flipped = rng.random(len(chosen)) < (0.5 if mirror else 0.0)
            mask = draw_mask(self.plan.masks, rng, len(chosen), self.module.window_bars)
            mine = self.plan.team.share(len(chosen))
            drawn = {name: arm.draw(len(chosen[mine]), rng) for name, arm in self._arms()}
            yield partial(self._made, chosen[mine], flipped[mine], mask[mine], drawn)

    def _made(
        self, rows: np.ndarray, flipped: np.ndarray, mask: np.ndarray, drawn: dict[str, dict[str, np.ndarray]]
    ) -> Batch:
        windows, device = self.take(rows, flipped), self.plan.device
        targets = {}
        for name, arm in self._arms():
            found = arm.targets(windows, drawn[name])
            targets[name] = {key: torch.from_numpy(value).to(device) for key, value in found.items()}
        return torch.from_numpy(windows.features).to(device), torch.from_numpy(mask).to(device), targets

    def _arms(self) -> Iterator[tuple[str, Arm]]:
        for name, arm in self.module.arms.items():
            assert isinstance(arm, Arm)
            yield name, arm

    def fit_arms(self, rows: np.ndarray) -> None:
        """Let the pretext tasks learn the scale of their targets from some training windows."""
        windows = self.take(rows, np.zeros(len(rows), dtype=bool))
        for _, arm in self._arms():
            arm.fit(windows)
        self.module.to(self.plan.device)

    def losses(self, batch: Batch) -> tuple[dict[str, Tensor], int]:
        """Each pretext task's loss, and their mean."""
        features, mask, targets = batch
        view = View(features, mask, self.module.masking)
        by_arm = {name: arm.loss(view, targets[name]) for name, arm in self._arms()}
        weights = [ARM_WEIGHTS.get(name, 1.0) for name in by_arm]
        total = sum(weight * loss for weight, loss in zip(weights, by_arm.values(), strict=True)) / sum(weights)
        assert isinstance(total, Tensor)
        named = {f"{name}_loss": loss for name, loss in by_arm.items()} if len(by_arm) > 1 else {}
        return {"loss": total, **named}, len(features)
