"""The one training loop: epochs, early stopping, checkpoints, history, and its lines of progress.

What is learned is an `Objective`; the loop has no information on windows, masks or pointers.
"""

from __future__ import annotations

import logging
import math
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_, get_total_norm

from moola.core.seeds import derive_seed
from moola.errors import TrainingDiverged, WrongUsage
from moola.models.model_files import weights_of
from moola.models.sealed import digest, read_sealed, write_sealed
from moola.training.device import ALONE, ProcessGroup, prefetched

# Figures of an epoch, left on the device until somebody asks: reading one makes the host wait for the device.


LOOK_EVERY = 50
# Batches of an epoch are reported so often where epochs are long.
SAY_EVERY_S = 20.0
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

    def means(self, team: ProcessGroup) -> dict[str, float]:
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
    """Stops training at a loss, gradient or weights that are not finite or too large, and reports at which batch.

    On a CPU each value is looked at as it comes; on other devices every `LOOK_EVERY` batches and at the end.
    """

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch
        self.waiting: list[tuple[str, int, Tensor]] = []

    def see(self, what: str, n_batch: int, value: Tensor) -> None:
        """Take a value of batch `n_batch` (from 0); raises `TrainingDiverged`, at once or later."""
        self.waiting.append((what, n_batch, value.detach()))
        if value.device.type == "cpu" or n_batch - self.waiting[0][1] >= LOOK_EVERY:
            self.check()

    def check(self) -> None:
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


log = logging.getLogger(__name__)
CHECKPOINT_KIND = "checkpoint"
WARMUP_SHARE = 0.05
MAX_GRADIENT_NORM = 1.0
OnEpoch = Callable[[dict[str, Any]], None]


@runtime_checkable
class Objective(Protocol):
    """What the loop needs to know: weights, batches, and losses of a batch (`loss` is minimised)."""

    @property
    def module(self) -> nn.Module:
        """The weights that are trained."""
        ...

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return optimiser groups, each with its own `lr`."""
        ...

    def train_batches(self, epoch: int) -> Iterable[Any]:
        """Yield the batches of an epoch, the same for the same seed and epoch."""
        ...

    def n_train_batches(self) -> int:
        """Return how many batches per epoch has."""
        ...

    def val_batches(self) -> Iterable[Any]:
        """Yield validation batches, the same each time."""
        ...

    def losses(self, batch: Any) -> tuple[dict[str, Tensor], int]:
        """Return the losses of a batch and how many windows they are the mean of."""
        ...


@dataclass(frozen=True)
class FitPlan:
    """How long to train, and what to keep.

    Attributes
    ----------
    patience
        Epochs without a better validation loss before stopping; 0 never stops early.
    checkpoint
        Where each finished epoch is kept; `None` keeps none.
    options
        What decides the result; a checkpoint of other options is refused.
    n_passing
        Epochs at the beginning that are never kept: a part that is to be trained does not move in them.
    team
        The processes that train together; each batch of the objective is this process's share of it.
    """

    n_epochs: int
    patience: int
    weight_decay: float
    seed: int
    checkpoint: Path | None = None
    resume: bool = False
    options: dict[str, Any] = field(default_factory=dict)
    n_passing: int = 0
    team: ProcessGroup = ALONE


@dataclass
class FitState:
    """State of training after `epoch` epochs."""

    epoch: int = 0
    best_epoch: int = 0
    best_loss: float = math.inf
    best_weights: dict[str, Tensor] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)


def fit(objective: Objective, plan: FitPlan, on_epoch: OnEpoch) -> FitState:
    """Train, leave the best epoch's weights in the module, and return how it went.

    Every epoch draws its random numbers from the seed and its own number, so a run that was stopped
    and resumed ends in the same weights as one that was not.

    Raises
    ------
    TrainingDiverged
        A loss is NaN or infinite, or the weights grew beyond use; names epoch and batch. The last checkpoint stays.
    """
    module = objective.module
    optimiser = torch.optim.AdamW(objective.parameter_groups(), weight_decay=plan.weight_decay)
    base_rates = [group["lr"] for group in optimiser.param_groups]
    state = _resume(plan, module, optimiser) if plan.resume else FitState()
    n_batches = objective.n_train_batches()
    while state.epoch < plan.n_epochs and not _patience_over(state, plan):
        torch.manual_seed(derive_seed(plan.seed, "epoch", state.epoch))
        rates = _Rates(optimiser, base_rates, state.epoch * n_batches, plan.n_epochs * n_batches)
        train = _train_epoch(objective, optimiser, rates, state.epoch, plan.team)
        val = _validate(objective, plan.team)
        state.epoch += 1
        row = {"epoch": state.epoch, **_prefixed("train", train), **_prefixed("val", val)}
        row |= {f"lr_{group.get('name', i)}": group["lr"] for i, group in enumerate(optimiser.param_groups)}
        selection = val.get("loss", train["loss"])
        if not math.isfinite(selection):
            raise TrainingDiverged(
                f"the validation loss must be a finite number, but it is {selection} after epoch {state.epoch}. "
                "Lower --learning-rate."
            )
        if selection < state.best_loss and state.epoch > min(plan.n_passing, plan.n_epochs - 1):
            state.best_loss, state.best_epoch = selection, state.epoch
            state.best_weights = weights_of(module)
        row["best"] = state.best_epoch == state.epoch
        state.history.append(row)
        if plan.checkpoint is not None and plan.team.leads:
            _save(plan, module, optimiser, state)
        on_epoch(row)
    module.load_state_dict(state.best_weights, strict=True)
    module.eval()
    return state


def _patience_over(state: FitState, plan: FitPlan) -> bool:
    return plan.patience > 0 and state.epoch - max(state.best_epoch, plan.n_passing) >= plan.patience


class _Rates:
    """Linear warm-up, then a cosine to zero over all planned steps (Loshchilov and Hutter 2017)."""

    def __init__(self, optimiser: torch.optim.Optimizer, base: list[float], step: int, n_steps: int) -> None:
        self.optimiser, self.base, self.step, self.n_steps = optimiser, base, step, n_steps

    def advance(self) -> None:
        n_warmup = max(round(WARMUP_SHARE * self.n_steps), 1)
        if self.step < n_warmup:
            share = (self.step + 1) / n_warmup
        else:
            done = (self.step - n_warmup) / max(self.n_steps - n_warmup, 1)
            share = 0.5 * (1 + math.cos(math.pi * done))
        for group, rate in zip(self.optimiser.param_groups, self.base, strict=True):
            group["lr"] = rate * share
        self.step += 1


def _train_epoch(
    objective: Objective, optimiser: torch.optim.Optimizer, rates: _Rates, epoch: int, team: ProcessGroup
) -> dict[str, float]:
    objective.module.train()
    totals, watch, device = EpochMeans(), FiniteWatch(epoch), _device(objective)
    said_at, n_batches = time.monotonic(), objective.n_train_batches()
    for n_batch, batch in enumerate(prefetched(objective.train_batches(epoch), device)):
        losses, n_windows = objective.losses(batch)
        watch.see("training loss", n_batch, losses["loss"])
        rates.advance()
        optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(losses["loss"])
        team.average_gradients(objective.module.parameters(), n_windows)
        # A step along a gradient that is not finite would spoil the weights while the losses still look sound.
        watch.see("gradient's norm", n_batch, clip_grad_norm_(objective.module.parameters(), MAX_GRADIENT_NORM))
        optimiser.step()
        # Losses that do not see how large weights are (contrastive ones) stay sound while these leave all bounds.
        learning = [weight.detach() for weight in objective.module.parameters() if weight.requires_grad]
        watch.see(WEIGHTS, n_batch, get_total_norm(learning))
        totals.add(losses, n_windows)
        if team.leads and time.monotonic() - said_at >= SAY_EVERY_S:
            said_at = time.monotonic()
            log.info("Epoch %d: %d of %d batches.", epoch + 1, n_batch + 1, n_batches)
    watch.check()
    return totals.means(team)


@torch.no_grad()
def _validate(objective: Objective, team: ProcessGroup) -> dict[str, float]:
    objective.module.eval()
    totals = EpochMeans()
    for batch in prefetched(objective.val_batches(), _device(objective)):
        totals.add(*objective.losses(batch))
    return totals.means(team)


def _device(objective: Objective) -> torch.device:
    return next(objective.module.parameters()).device


def _prefixed(part: str, losses: dict[str, float]) -> dict[str, float]:
    return {f"{part}_{name}": value for name, value in losses.items()}


def _save(plan: FitPlan, module: nn.Module, optimiser: torch.optim.Optimizer, state: FitState) -> None:
    assert plan.checkpoint is not None
    content = {
        "options": digest(plan.options),
        "weights": weights_of(module),
        "optimiser": optimiser.state_dict(),
        "epoch": state.epoch,
        "best_epoch": state.best_epoch,
        "best_loss": state.best_loss,
        "best_weights": state.best_weights,
        "history": state.history,
    }
    write_sealed(plan.checkpoint, CHECKPOINT_KIND, content)


def _resume(plan: FitPlan, module: nn.Module, optimiser: torch.optim.Optimizer) -> FitState:
    if plan.checkpoint is None or not plan.checkpoint.is_file():
        log.info("No checkpoint to resume: starting from the first epoch.")
        return FitState()
    content = read_sealed(plan.checkpoint, CHECKPOINT_KIND)
    if content["options"] != digest(plan.options):
        raise WrongUsage(
            f"--resume must continue with the options it was started with, but {plan.checkpoint} was written "
            "with others (or other data). Give the same options, or leave --resume out to start over."
        )
    module.load_state_dict(content["weights"], strict=True)
    optimiser.load_state_dict(content["optimiser"])
    log.info("Resumed after epoch %d from %s.", content["epoch"], plan.checkpoint)
    return FitState(
        content["epoch"], content["best_epoch"], content["best_loss"], content["best_weights"], content["history"]
    )


# Epochs of a training that a larger command runs, as plain lines on stderr: no long stage is silent.


EVERY_S = 5.0


def epoch_lines(label: str, every_s: float = EVERY_S) -> Callable[[dict[str, Any]], None]:
    """Return what prints an epoch once some seconds have passed without a line; a quick training prints none."""
    shown = time.monotonic()

    def show(row: dict[str, Any]) -> None:
        nonlocal shown
        now = time.monotonic()
        if now - shown >= every_s:
            shown = now
            stage = f", {row['stage']}" if "stage" in row else ""
            of = f" of {row['n_epochs']}" if "n_epochs" in row else ""
            # Linear heads have one optimum, and no epochs on the way.
            state = "linear heads fitted" if "class_penalty" in row else f"epoch {row['epoch']}{of}"
            print(f"{label}{stage}: {state}", file=sys.stderr, flush=True)

    return show
