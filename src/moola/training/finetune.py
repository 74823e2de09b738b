"""Fine-tuning on labelled windows, encoder frozen or not (specification 5), and self-training of a student on
unlabelled ones."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from moola.augment.synthesis import staged_ratios
from moola.core.seeds import generator
from moola.errors import OperationFailed
from moola.models.heads import Outputs, averaged
from moola.models.model_files import weights_digest
from moola.models.network import EnhancedSimpleLSTM, class_loss, pointer_loss, soft_class_loss
from moola.options.training_options import TrainOptions
from moola.training.encoder_training import TakeWindows
from moola.training.pretext_tasks import MaskPlan, draw_mask


@dataclass(frozen=True)
class Examples:
    """Training targets: scaled features, class numbers, pointer curves (zeros where there are none)."""

    features: Float[np.ndarray, "windows bars features"]
    class_index: Int[np.ndarray, " windows"]
    curves: Float[np.ndarray, "windows bars 2"]

    def __len__(self) -> int:
        return len(self.features)

    def joined(self, other: Examples) -> Examples:
        """Return both, one behind the other."""
        pairs = zip(self._arrays(), other._arrays(), strict=True)
        return Examples(*(np.concatenate(pair) for pair in pairs))

    def _arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return self.features, self.class_index, self.curves

    def to(self, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
        """Return tensors on a device."""
        features, class_index, curves = self._arrays()
        return (
            torch.from_numpy(features).to(device),
            torch.from_numpy(class_index).to(device),
            torch.from_numpy(curves.astype(np.float32)).to(device),
        )


class ClassAndPointers:
    """Objective: the class, and the pointer curves where the network has pointer heads.

    `plan` holds the options of `train`, as far as they concern learning. Class and pointer loss are both 1 at a blind
    guess. In the first `frozen_epochs` the heads train alone (gradual unfreezing, Howard and Ruder, ACL 2018).
    """

    def __init__(
        self,
        module: EnhancedSimpleLSTM,
        train: Examples,
        made: Examples | None,
        val: Examples,
        plan: TrainOptions,
        device: torch.device,
    ) -> None:
        self.module = module
        self.plan = plan
        self.ratios = staged_ratios(plan.cpsa_schedule, plan.epochs) or (plan.cpsa_ratio,)
        self.n_real = len(train)
        self.n_made = len(made) if made is not None else 0
        module.encoder.requires_grad_(not plan.freeze_encoder)
        self.train = self._read((train if made is None else train.joined(made)).to(device))
        self.val = self._read(val.to(device))

    def _read(self, tensors: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Put a frozen encoder's vectors in place of the features: they never change, so they are computed once."""
        if not self.plan.freeze_encoder:
            return tensors
        return encoded_once(self.module, tensors[0]), *tensors[1:]

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Heads at the full rate, the encoder (unless frozen) at its share of it."""
        encoder = {id(weight) for weight in self.module.encoder.parameters()}
        heads = [weight for weight in self.module.parameters() if id(weight) not in encoder]
        groups = [{"params": heads, "lr": self.plan.learning_rate, "name": "heads"}]
        if not self.plan.freeze_encoder:
            rate = self.plan.learning_rate * self.plan.encoder_rate
            groups.append({"params": list(self.module.encoder.parameters()), "lr": rate, "name": "encoder"})
        return groups

    def _n_synthetic(self, ratio: float) -> int:
        return round(self.n_real * ratio) if self.n_made else 0

    def n_train_batches(self) -> int:
        """Batches of the largest epoch; the last may be smaller.

        Learning rates are planned by it: an epoch with fewer batches leaves the rest of its steps out, so that
        the rate at the start of an epoch depends on its number alone.
        """
        return -(-(self.n_real + self._n_synthetic(max(self.ratios))) // self.plan.batch_size)

    def train_batches(self, epoch: int) -> Iterator[tuple[Tensor, ...]]:
        """All real windows and a fresh choice of synthetic ones, shuffled."""
        self.module.encoder.requires_grad_(not self.plan.freeze_encoder and epoch >= self.plan.frozen_epochs)
        rng = generator(self.plan.seed, "finetune", epoch)
        rows = np.arange(self.n_real)
        if n_synthetic := self._n_synthetic(self.ratios[min(epoch, len(self.ratios) - 1)]):
            rounds = -(-n_synthetic // self.n_made)
            chosen = np.concatenate([rng.permutation(self.n_made) for _ in range(rounds)])
            rows = np.concatenate([rows, self.n_real + chosen[:n_synthetic]])
        yield from self._batches(self.train, rng.permutation(rows))

    def val_batches(self) -> Iterator[tuple[Tensor, ...]]:
        """Real windows of later time, in order."""
        yield from self._batches(self.val, np.arange(len(self.val[0])))

    def _batches(self, tensors: tuple[Tensor, ...], rows: np.ndarray) -> Iterator[tuple[Tensor, ...]]:
        for first in range(0, len(rows), self.plan.batch_size):
            chosen = torch.from_numpy(rows[first : first + self.plan.batch_size])
            yield tuple(tensor[chosen.to(tensor.device)] for tensor in tensors)

    def losses(self, batch: tuple[Tensor, ...]) -> tuple[dict[str, Tensor], int]:
        """Class loss, pointer loss and their weighted mean, each logged on its own."""
        inputs, class_index, curves = batch
        smoothing = self.plan.label_smoothing if self.module.training else 0.0
        outputs = self._outputs(inputs)
        by_class = torch.stack([class_loss(one.class_logits, class_index, smoothing) for one in outputs]).mean()
        return _with_pointers(by_class, outputs, curves, self.plan.pointer_weight), len(inputs)

    def _outputs(self, inputs: Tensor) -> list[Outputs]:
        """Every head's outputs while training, so that each learns on its own; their average when evaluated."""
        encoded = inputs
        if not self.plan.freeze_encoder:
            if self.module.training:
                inputs = inputs + self.plan.input_noise * torch.randn_like(inputs)
            encoded = self.module.encoder(inputs)
        outputs = self.module.each(encoded)
        return outputs if self.module.training else [averaged(outputs)]


@torch.no_grad()
def encoded_once(module: EnhancedSimpleLSTM, features: Tensor, batch_size: int = 256) -> Tensor:
    """Return the encoder's vectors of scaled features `(windows, bars, hidden)`, without gradients."""
    encoder = module.encoder.to(features.device).eval()
    return torch.cat([encoder(features[i : i + batch_size]) for i in range(0, max(len(features), 1), batch_size)])


class EncoderProof:
    """Digest of an encoder before training; `check` proves afterwards that it was frozen, or moved."""

    def __init__(self, network: EnhancedSimpleLSTM, frozen: bool) -> None:
        self.network, self.frozen = network, frozen
        self.before = weights_digest(network.encoder)

    def check(self) -> dict[str, Any]:
        """Return both digests; raise when a frozen encoder moved or an unfrozen one did not."""
        after = weights_digest(self.network.encoder)
        if self.frozen != (after == self.before):
            state = "frozen but its weights moved" if self.frozen else "trained but its weights did not move"
            raise OperationFailed(
                f"the encoder must end as --freeze-encoder demands, but it was {state} "
                f"({self.before[:12]} -> {after[:12]}). Raise --learning-rate or --epochs."
            )
        return {"frozen": self.frozen, "digest_before": self.before, "digest_after": after}


# Windows a pass; each pass is filled up to it, so that the prediction of a window does not depend on its neighbours.
PASS_WINDOWS = 64


@torch.no_grad()
def run_network(
    network: EnhancedSimpleLSTM,
    features: np.ndarray,
    device: torch.device,
    batch_size: int = PASS_WINDOWS,
    turned: np.ndarray | None = None,
    class_mirror: list[int] | None = None,
) -> tuple[Float[np.ndarray, "windows classes"], Float[np.ndarray, "windows bars 2"] | None]:
    """Return raw class logits and softmaxed pointer curves for scaled features, as float64.

    With `turned`, the scaled features of the price mirrors, and the class that each class becomes upside down, linear
    heads read both at once.
    """
    network.to(device).eval()
    logits, curves = [], []
    for first in range(0, max(len(features), 1), batch_size):
        pieces = [_filled(given, first, batch_size) for given in (features, turned) if given is not None]
        tensors = [torch.from_numpy(piece).to(device) for piece in pieces]
        outputs = network(*tensors) if class_mirror is None else network.both_ways(tensors[0], tensors[1], class_mirror)
        n_windows = min(batch_size, len(features) - first)
        logits.append(outputs.class_logits[:n_windows].double().cpu().numpy())
        if outputs.pointer_logits is not None:
            curves.append(torch.softmax(outputs.pointer_logits[:n_windows].double(), dim=1).cpu().numpy())
    return np.concatenate(logits), np.concatenate(curves) if curves else None


@torch.no_grad()
def run_encoder(
    encoder: nn.Module, features: np.ndarray, device: torch.device
) -> Float[np.ndarray, "windows bars hidden"]:
    """Return a frozen encoder's vectors of scaled features, each the same whatever windows are beside it."""
    encoder.to(device).eval()
    vectors = []
    for first in range(0, len(features), PASS_WINDOWS):
        encoded = encoder(torch.from_numpy(_filled(features, first, PASS_WINDOWS)).to(device))
        vectors.append(encoded[: len(features) - first].cpu().numpy())
    return np.concatenate(vectors)


def _filled(features: np.ndarray, first: int, n_windows: int) -> np.ndarray:
    piece = features[first : first + n_windows]
    filled = np.zeros((n_windows, *features.shape[1:]), dtype=features.dtype)
    filled[: len(piece)] = piece
    return filled


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
    """

    finetune: TrainOptions
    masks: MaskPlan
    n_labelled: int
    flip: bool


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
        weight[: len(chosen)] = confidence(soft) if self.plan.finetune.confidence_weighting else 1.0
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
        return _with_pointers(by_class, outputs, curves, plan.pointer_weight), len(features)


def _with_pointers(by_class: Tensor, outputs: Sequence[Outputs], curves: Tensor, weight: float) -> dict[str, Tensor]:
    """Return class loss, pointer loss and their weighted mean; the class loss alone where no head has pointers."""
    pointing = [pointer_loss(one.pointer_logits, curves) for one in outputs if one.pointer_logits is not None]
    if not pointing:
        return {"loss": by_class, "class_loss": by_class}
    by_pointer = torch.stack(pointing).mean()
    total = (by_class + weight * by_pointer) / (1 + weight)
    return {"loss": total, "class_loss": by_class, "pointer_loss": by_pointer}


def confidence(class_prob: Float[np.ndarray, "windows classes"]) -> Float[np.ndarray, " windows"]:
    """State how far the largest probability is from a uniform guess: 0.05 there, 1 at certainty."""
    n_classes = max(class_prob.shape[1], 2)
    found: np.ndarray = (class_prob.max(axis=1) * n_classes - 1) / (n_classes - 1)
    return np.maximum(found, LEAST_CONFIDENCE)
