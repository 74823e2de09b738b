"""Self-training: a noisy student learns what an averaged teacher predicts for windows without labels.

Noisy student (Xie et al., CVPR 2020) with soft labels (Hinton et al. 2015): the teacher is clean and averaged,
the student sees noise and hidden bars, and real labels are in every batch.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from moola.core.seeds import generator
from moola.models.network import EnhancedSimpleLSTM, pointer_loss, soft_class_loss
from moola.training.encoder_training import TakeWindows
from moola.training.finetune import ClassAndPointers, Examples, FinetunePlan
from moola.training.pretext_tasks import MaskPlan, draw_mask

# A window on which the teacher is uninformed still shows what windows look like.
LEAST_CONFIDENCE = 0.05
LABELLED_WEIGHT = 2.0


@dataclass(frozen=True)
class SoftLabels:
    """What a teacher predicts for windows: probabilities, and curves over bars (None without pointers)."""

    class_prob: Float[np.ndarray, "windows classes"]
    curves: Float[np.ndarray, "windows bars 2"] | None

    def __len__(self) -> int:
        return len(self.class_prob)


@dataclass(frozen=True)
class StudentPlan:
    """How a student learns.

    Attributes
    ----------
    n_labelled
        Labelled windows beside the `batch_size` unlabelled ones of each batch.
    flip
        Show unlabelled windows upside down every other time (the classes must mean the same).
    confidence_weighting
        Let a window's class count by how far the teacher's word is from a uniform guess.
    """

    finetune: FinetunePlan
    masks: MaskPlan
    n_labelled: int
    flip: bool
    confidence_weighting: bool


Batch = tuple[Tensor, ...]


class SelfTraining:
    """Objective: the teacher's soft labels and the real ones; validation is on real labels alone."""

    def __init__(
        self,
        module: EnhancedSimpleLSTM,
        take: TakeWindows,
        rows: np.ndarray,
        soft: SoftLabels,
        labelled: tuple[Examples, Examples | None],
        val: Examples,
        plan: StudentPlan,
        device: torch.device,
    ) -> None:
        self.module, self.take, self.rows, self.soft = module, take, rows, soft
        self.plan, self.device = plan, device
        self.judged = ClassAndPointers(module, labelled[0], None, val, plan.finetune, device)
        known = labelled[0] if labelled[1] is None else labelled[0].joined(labelled[1])
        self.known, self.n_classes = known, soft.class_prob.shape[1]

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Heads at the full rate, the encoder at its share of it."""
        return self.judged.parameter_groups()

    def n_train_batches(self) -> int:
        """Batches an epoch; the last may be smaller."""
        return -(-len(self.rows) // self.plan.finetune.batch_size)

    def val_batches(self) -> Iterator[Batch]:
        """Real windows of later time, in order."""
        return self.judged.val_batches()

    def train_batches(self, epoch: int) -> Iterator[Batch]:
        """Unlabelled windows in an order of their own, each batch with labelled windows drawn at random."""
        plan = self.plan
        rng = generator(plan.finetune.seed, "student", epoch)
        order = rng.permutation(len(self.rows))
        for first in range(0, len(order), plan.finetune.batch_size):
            chosen = order[first : first + plan.finetune.batch_size]
            flipped = rng.random(len(chosen)) < (0.5 if plan.flip else 0.0)
            labelled = rng.integers(0, len(self.known), plan.n_labelled)
            features = np.concatenate([self.take(self.rows[chosen], flipped).features, self.known.features[labelled]])
            mask = draw_mask(plan.masks, rng, features.shape[0], features.shape[1])
            # The scaled median stands in for hidden bars.
            features = np.where(mask[..., None], np.float32(0), features)
            yield tuple(torch.from_numpy(part).to(self.device) for part in (features, *self._targets(chosen, labelled)))

    def _targets(self, chosen: np.ndarray, labelled: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Class probabilities, curves and the class loss's weights of a batch."""
        smoothing = self.plan.finetune.label_smoothing
        hard = np.eye(self.n_classes)[self.known.class_index[labelled]]
        real = hard * (1 - smoothing) + smoothing / self.n_classes
        soft = self.soft.class_prob[chosen]
        curves = self.known.curves[labelled]
        taught = np.zeros((len(chosen), *curves.shape[1:])) if self.soft.curves is None else self.soft.curves[chosen]
        weight = np.full(len(chosen) + len(labelled), LABELLED_WEIGHT)
        weight[: len(chosen)] = confidence(soft) if self.plan.confidence_weighting else 1.0
        parts = np.concatenate([soft, real]), np.concatenate([taught, curves]), weight / weight.mean()
        prob, curve, scaled = (part.astype(np.float32) for part in parts)
        return prob, curve, scaled

    def losses(self, batch: Batch) -> tuple[dict[str, Tensor], int]:
        """Soft class loss and pointer loss of every head; on validation, those of the real labels."""
        if not self.module.training:
            return self.judged.losses(batch)
        features, prob, curves, weight = batch
        plan = self.plan.finetune
        outputs = self.module.each(self.module.encoder(features + plan.input_noise * torch.randn_like(features)))
        by_class = torch.stack([soft_class_loss(one.class_logits, prob, weight) for one in outputs]).mean()
        pointing = [pointer_loss(one.pointer_logits, curves) for one in outputs if one.pointer_logits is not None]
        if not pointing:
            return {"loss": by_class, "class_loss": by_class}, len(features)
        by_pointer = torch.stack(pointing).mean()
        total = (by_class + plan.pointer_weight * by_pointer) / (1 + plan.pointer_weight)
        return {"loss": total, "class_loss": by_class, "pointer_loss": by_pointer}, len(features)


def confidence(class_prob: Float[np.ndarray, "windows classes"]) -> Float[np.ndarray, " windows"]:
    """State how far the largest probability is from a uniform guess: 0.05 there, 1 at certainty."""
    n_classes = max(class_prob.shape[1], 2)
    found: np.ndarray = (class_prob.max(axis=1) * n_classes - 1) / (n_classes - 1)
    return np.maximum(found, LEAST_CONFIDENCE)
