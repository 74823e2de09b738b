"""Training whose numbers leave all bounds, and a GPU whose memory ends."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from moola.models.sealed import read_sealed
from moola.training import loop
from tests.faults.fault import Fault, fault, run
from tests.faults.world import begun_run

PRETRAIN = "pretrain-bilstm --input bars.parquet --output new.pt --arms masked --stride 50"
TS2VEC = "pretrain-ts2vec --input bars.parquet --output new.pt --stride 50"
TRAIN = "train --data relative.parquet --split split.json --n-heads 1 --epochs"
BEGUN = ("artifacts/runs/",)
CHECKPOINT = "new.pt.checkpoint"


def spoiled(_parameters: object, _norm: float) -> torch.Tensor:
    """Stand in for clipping a gradient that is not finite."""
    return torch.tensor(float("inf"))


def no_memory(_parameters: object, _norm: float) -> torch.Tensor:
    """Stand in for a step that the GPU's memory cannot hold."""
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")


def at_the_step(stand_in: Callable[..., object]) -> Callable[[pytest.MonkeyPatch], None]:
    return lambda patch: patch.setattr("moola.training.loop.clip_grad_norm_", stand_in)


def nan_in_epoch_2(patch: pytest.MonkeyPatch) -> None:
    """Let every loss of the second epoch be NaN, the first time that it comes to it."""
    whole, waiting = loop._train_epoch, [1]

    def train_epoch(objective: Any, optimiser: Any, rates: Any, epoch: int, team: Any) -> dict[str, float]:
        if epoch in waiting:
            waiting.remove(epoch)
            losses = objective.losses
            objective.losses = lambda batch: ({"loss": losses(batch)[0]["loss"] * math.nan}, 1)
        return whole(objective, optimiser, rates, epoch, team)

    patch.setattr(loop, "_train_epoch", train_epoch)


def nan_after_a_step(patch: pytest.MonkeyPatch) -> None:
    """Let a step of the optimiser turn a weight to NaN."""
    step = torch.optim.AdamW.step

    def spoil(optimiser: torch.optim.AdamW) -> None:
        step(optimiser)
        with torch.no_grad():
            optimiser.param_groups[0]["params"][0].fill_(math.nan)

    patch.setattr(torch.optim.AdamW, "step", spoil)


def nan_after_training(patch: pytest.MonkeyPatch) -> None:
    """Let a weight of the finished network be NaN, behind the back of all that watches training."""
    from moola.fit import jobs

    whole = jobs.fit_on_inputs

    def fit_on_inputs(*arguments: Any) -> Any:
        fitted = whole(*arguments)
        with torch.no_grad():
            next(fitted.model.network.parameters()).fill_(math.nan)
        return fitted

    patch.setattr(jobs, "fit_on_inputs", fit_on_inputs)


def goes_on(checkpoint: Path, *command: str) -> None:
    """The first epoch's checkpoint is whole, and the same command with --resume continues from it to the end."""
    assert read_sealed(checkpoint, loop.CHECKPOINT_KIND)["epoch"] == 1
    answer = run(*command)
    assert answer.code == 0, answer.err
    assert "Resumed after epoch 1" in answer.err
    assert not checkpoint.exists()


def no_model() -> None:
    assert not list(begun_run().glob("model*"))


def train_goes_on() -> None:
    folder = begun_run()
    goes_on(folder / "checkpoint.pt", *f"{TRAIN} 2 --resume {folder.name}".split())
    assert (folder / "manifest.json").is_file()


def pretraining_goes_on() -> None:
    assert not Path("new.pt").exists()
    goes_on(Path(CHECKPOINT), *f"{PRETRAIN} --epochs 2 --resume".split())


TRAIN_ONE = (f"{TRAIN} 1", BEGUN, no_model)


def gradient(line: str, *more: Any) -> Fault:
    command = line.split(maxsplit=1)[0]
    row = f"numbers-gradient-{command} | an infinite gradient, at `{command}` | 1 | must be a finite number, but it is "
    return fault(line, f"{row}inf at epoch 1, batch 1. Lower --learning-rate", at_the_step(spoiled), *more)


def memory(line: str, *more: Any) -> Fault:
    command = line.split(maxsplit=1)[0]
    row = f"numbers-memory-{command} | the memory of a GPU at its end, at `{command}` | 1 | Lower --batch-size"
    return fault(line, row, at_the_step(no_memory), *more)


# One loop trains every network: each fault is met at `train`, the first also at the commands that pretrain.
NUMBERS = [
    gradient(PRETRAIN),
    gradient(TS2VEC),
    gradient(*TRAIN_ONE),
    memory(PRETRAIN),
    memory(*TRAIN_ONE),
    fault(
        f"{TRAIN} 1 --learning-rate 1e9",
        "numbers-rate-train | a learning rate of 1e9, at `train` | 1 | at epoch 1, batch 1. Lower --learning-rate",
        leaves=BEGUN,
        then=no_model,
    ),
    fault(
        f"{TRAIN} 1",
        "numbers-weights-train | weights that a step turns to NaN, at `train` | 1 | "
        "the weights' norm must be a finite number, but it is nan at epoch 1, batch 1",
        nan_after_a_step,
        BEGUN,
        no_model,
    ),
    fault(
        f"{TRAIN} 1 --learning-rate 1e300",
        "numbers-rate-overflow | a learning rate of 1e300, beyond what 32 bits hold | 2 | "
        "--learning-rate must be above 0 and at most 1e+12",
    ),
    fault(
        f"{PRETRAIN} --epochs 2",
        "numbers-epoch-2-bilstm | a loss of NaN in epoch 2, at `pretrain-bilstm`: epoch 1's checkpoint is kept, and "
        "--resume continues from it | 1 | the training loss must be a finite number, but it is nan at epoch 2, batch 1",
        nan_in_epoch_2,
        (CHECKPOINT,),
        pretraining_goes_on,
    ),
    fault(
        f"{TRAIN} 2",
        "numbers-epoch-2-train | a loss of NaN in epoch 2, at `train`: epoch 1's checkpoint is kept, and "
        "--resume continues from it | 1 | the training loss must be a finite number, but it is nan at epoch 2, batch 1",
        nan_in_epoch_2,
        BEGUN,
        train_goes_on,
    ),
    fault(
        f"{TRAIN} 1",
        "numbers-weights-written | a network whose weights are NaN when it is to be written | 1 | "
        "weights must be finite numbers to be kept",
        nan_after_training,
        BEGUN,
        no_model,
    ),
]
