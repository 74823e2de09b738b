"""The small world that faults happen in: bars, windows, a split, an encoder, a finished run, labels."""

from __future__ import annotations

from pathlib import Path

import pytest

from moola.tables.bar_table import write_bars
from tests.faults.fault import run
from tests.made import random_walk_bars
from tests.small import stay_small

N_BARS, N_WINDOWS = 3000, 24
MADE = (
    "windows --bars bars.parquet --output unlabelled.parquet --stride 50",
    f"autolabel --bars bars.parquet --output windows.parquet --n-windows {N_WINDOWS}",
    "convert --input windows.parquet --output relative.parquet",
    "split --data relative.parquet --output split.json",
    "pretrain-bilstm --input bars.parquet --output encoder.pt --split split.json --arms masked --stride 50 --epochs 1",
    "train --data relative.parquet --split split.json --pretrained-encoder encoder.pt --n-heads 1 --epochs 1",
    "labels import --input windows.parquet --bars bars.parquet --store labels.db",
    "labels export --store labels.db --bars bars.parquet --output labels.parquet",
)


def make_world(folder: Path, patch: pytest.MonkeyPatch) -> None:
    """Fill a folder, which becomes the working folder, by the commands that a user would type."""
    enter(folder, patch)
    write_bars(Path("bars.parquet"), random_walk_bars(N_BARS))
    for command in MADE:
        answer = run(*command.split())
        assert answer.code == 0, (command, answer.err)
    for log in Path("data/logs").iterdir():
        log.unlink()


def enter(folder: Path, patch: pytest.MonkeyPatch) -> None:
    """Work in a folder, with tiny networks."""
    patch.chdir(folder)
    stay_small(patch)


def the_run() -> Path:
    """Return the finished run's folder."""
    return next(path for path in Path("artifacts/runs").iterdir() if path.is_dir())


def begun_run() -> Path:
    """Return the folder of the run that a fault cut short, which must not pass for a finished one."""
    (folder,) = [path for path in Path("artifacts/runs").iterdir() if not (path / "manifest.json").exists()]
    shown = next(line for line in run("runs", "list").out.splitlines() if folder.name in line)
    assert "incomplete" in shown, shown
    return folder
