"""Training whose numbers leave all bounds, and a GPU whose memory ends."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from tests.faults.fault import Fault

PRETRAIN = "pretrain-bilstm --input bars.parquet --output new.pt --arms masked --stride 50"
TS2VEC = "pretrain-ts2vec --input bars.parquet --output new.pt --stride 50"
TRAIN = "train --data relative.parquet --split split.json --n-heads 1 --epochs 1"


def spoiled(_parameters: object, _norm: float) -> torch.Tensor:
    """Stand in for clipping a gradient that is not finite."""
    return torch.tensor(float("inf"))


def no_memory(_parameters: object, _norm: float) -> torch.Tensor:
    """Stand in for a step that the GPU's memory cannot hold."""
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")


def at_the_step(stand_in: Callable[..., object]) -> Callable[[pytest.MonkeyPatch], None]:
    return lambda patch: patch.setattr("moola.training.loop.clip_grad_norm_", stand_in)


COMMANDS = {"bilstm": PRETRAIN, "ts2vec": TS2VEC, "train": TRAIN}

NUMBERS = [
    fault
    for name, line in COMMANDS.items()
    for fault in (
        Fault(
            f"numbers-gradient-{name}",
            f"an infinite gradient, at `{line.split()[0]}`",
            line,
            1,
            "must be a finite number, but it is inf at epoch 1, batch 1. Lower --learning-rate",
            at_the_step(spoiled),
            ("artifacts/runs/",) if name == "train" else (),
        ),
        Fault(
            f"numbers-memory-{name}",
            f"the memory of a GPU at its end, at `{line.split()[0]}`",
            line,
            1,
            "Lower --batch-size",
            at_the_step(no_memory),
            ("artifacts/runs/",) if name == "train" else (),
        ),
    )
]
