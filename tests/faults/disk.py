"""Disks that are full, read-only or failing when something is written."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable

import pytest

from tests.faults.fault import Fault


def failing(where: str, number: int) -> Callable[[pytest.MonkeyPatch], None]:
    """Let a step of the one writer fail as the system would."""

    def fail(*_args: object, **_kwargs: object) -> None:
        raise OSError(number, os.strerror(number))

    return lambda patch: patch.setattr(f"moola.files.{where}", fail)


STEPS = {
    "full": ("a full disk", "_HashedFile.write", errno.ENOSPC, "No space left on device"),
    "read-only": ("a folder that may not be written", "tempfile.mkstemp", errno.EACCES, "Permission denied"),
    "broken-write": ("a disk that fails at a write", "_HashedFile.write", errno.EIO, "Input/output error"),
    "broken-flush": ("a disk that fails at the flush", "os.fsync", errno.EIO, "Input/output error"),
    "gone": ("a folder that disappears", "os.replace", errno.ENOENT, "No such file or directory"),
}
COMMANDS = {
    "convert": "convert --input windows.parquet --output relative.parquet",
    "split": "split --data relative.parquet --output split.json",
    "labels-export": "labels export --store labels.db --bars bars.parquet --output labels.parquet",
    "pretrain": "pretrain-bilstm --input bars.parquet --output encoder.pt --arms masked --stride 50 --epochs 1",
    "train": "train --data relative.parquet --split split.json --n-heads 1 --epochs 1 --save-run",
    "scan": "scan --model artifacts/runs/{run}/model.pkl --bars bars.parquet --output events.csv",
    "report": "report --run {run} --output report.html",
}

# A run that began stays, to be gone on with; a table's log of epochs is no result.
LEAVES = {"train": ("artifacts/runs/",)}
DISK = [
    Fault(
        f"disk-{step}-{command}",
        f"{what}, at `{command}`",
        line,
        1,
        said,
        failing(where, number),
        LEAVES.get(command, ()),
    )
    for step, (what, where, number, said) in STEPS.items()
    for command, line in COMMANDS.items()
]
