"""Disks that are full, read-only or failing when something is written."""

from __future__ import annotations

import errno
import os
import sqlite3
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from moola.models.model_files import read_model, write_model
from moola.options.option_fields import PROMOTED_NAME, PROMOTED_ROOT
from moola.runs.promotion import promote_file
from moola.stages import evaluate
from moola.tables import label_store
from tests.faults.fault import Fault, fault, run
from tests.faults.world import begun_run, the_run

Make = Callable[[pytest.MonkeyPatch], None]
FULL = "No space left on device"


def failing(where: str, number: int) -> Make:
    """Let a step of the one writer fail as the system would."""

    def fail(*_args: object, **_kwargs: object) -> None:
        raise OSError(number, os.strerror(number))

    return lambda patch: patch.setattr(f"moola.files.{where}", fail)


def full_at(name: str) -> Make:
    """Let the disk be full once, when a file whose name begins so is to be written."""

    def make(patch: pytest.MonkeyPatch) -> None:
        whole, waiting = tempfile.mkstemp, [f".{name}"]

        def mkstemp(prefix: str, **others: Any) -> tuple[int, str]:
            if waiting and prefix.startswith(waiting[0]):
                waiting.clear()
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return whole(prefix=prefix, **others)

        patch.setattr("moola.files.tempfile.mkstemp", mkstemp)

    return make


def window_list(then: Make) -> Make:
    """Promote another model first, which a fault of the next one (that the gate lets through) must leave in use."""

    def make(patch: pytest.MonkeyPatch) -> None:
        older = read_model(the_run() / "model.pkl")
        write_model(Path("older.pt"), replace(older, temperature=older.temperature * 2))
        promote_file(Path("older.pt"), PROMOTED_ROOT / PROMOTED_NAME, {"run_id": "older"})
        gate = evaluate.gate
        patch.setattr(evaluate, "gate", lambda options: gate(options) | {"verdict": "promote"})
        then(patch)

    return make


def store_at_its_end(patch: pytest.MonkeyPatch) -> None:
    """Let the label store have no page more than it has: SQLite says so as it does of a full disk."""
    windows = pl.read_parquet("windows.parquet")
    windows.with_columns(annotator=pl.lit("bob" * 20).cast(windows["annotator"].dtype)).write_parquet("bob.parquet")
    whole = label_store.open_database

    def open_database(*arguments: Any) -> sqlite3.Connection:
        connection = whole(*arguments)
        connection.execute("PRAGMA max_page_count = 1")
        return connection

    patch.setattr(label_store, "open_database", open_database)


def goes_on() -> None:
    """The run that the disk cut short passes for no finished one, and continues to its end."""
    folder = begun_run()
    answer = run(*COMMANDS["train"].split(), "--resume", folder.name)
    assert answer.code == 0, answer.err
    assert (folder / "manifest.json").is_file()


def cv_goes_on() -> None:
    """The fit that stood stays as it was, and the cv continues to its end."""
    (folder,) = Path("artifacts/cv").iterdir()
    (fit,) = folder.glob("fits/*.parquet")
    before = fit.read_bytes()
    answer = run(*COMMANDS["cv"].split(), "--resume", folder.name)
    assert answer.code == 0, answer.err
    assert (folder / "manifest.json").is_file()
    assert fit.read_bytes() == before


STEPS = {
    "full": ("a full disk", "_HashedFile.write", errno.ENOSPC, FULL),
    "read-only": ("a folder that may not be written", "tempfile.mkstemp", errno.EACCES, "Permission denied"),
    "broken-write": ("a disk that fails at a write", "_HashedFile.write", errno.EIO, "Input/output error"),
    "broken-flush": ("a disk that fails at the flush", "os.fsync", errno.EIO, "Input/output error"),
    "gone": ("a folder that disappears", "os.replace", errno.ENOENT, "No such file or directory"),
}
PROMOTE = "promote --run {run}"
COMMANDS = {
    "convert": "convert --input windows.parquet --output relative.parquet",
    "split": "split --data relative.parquet --output split.json",
    "labels-export": "labels export --store labels.db --bars bars.parquet --output labels.parquet",
    "pretrain": "pretrain-bilstm --input bars.parquet --output encoder.pt --arms masked --stride 50 --epochs 1",
    "train": "train --data relative.parquet --split split.json --n-heads 1 --epochs 1 --save-run",
    "cv": "cv --data relative.parquet --model prevalence --folds 2 --seeds 1 --processes 1 --no-controls",
    "promote": PROMOTE,
    "scan": "scan --model artifacts/runs/{run}/model.pkl --bars bars.parquet --output events.csv",
    "report": "report --run {run} --output report.html",
}
AT_FILES = {
    "train": ("checkpoint.pt", "model.pkl", "manifest.json"),
    "promote": (
        f".{PROMOTED_NAME}.pending.json",
        f"{Path(PROMOTED_NAME).stem}-",
        PROMOTED_NAME,
        "promotions.jsonl",
    ),
}
PREPARED: dict[str, Callable[[Make], Make]] = {"promote": window_list}
# The gate of a promotion looked at its windows, whatever becomes of the files: the look stays counted.
LOOKED = ("artifacts/gates/",)

# Every command meets a full disk; the other faults of the one writer are met where it writes one file and several.
DISK = [
    Fault(
        f"disk-{step}-{command}",
        f"{what}, at `{command}`",
        line,
        1,
        said,
        PREPARED.get(command, lambda make: make)(failing(where, number)),
        LOOKED if command == "promote" else (),
    )
    for step, (what, where, number, said) in STEPS.items()
    for command, line in COMMANDS.items()
    if step == "full" or command in ("convert", "train", "promote")
]
DISK += [
    Fault(
        f"disk-full-train-{name}",
        f"a disk that is full when `train` writes {name}: the run is shown as incomplete, and --resume ends it",
        COMMANDS["train"],
        1,
        FULL,
        full_at(name),
        # A run that began stays, to be gone on with.
        ("artifacts/runs/",),
        goes_on,
    )
    for name in AT_FILES["train"]
]
DISK += [
    Fault(
        f"disk-full-promote-{name.strip('.')}",
        f"a disk that is full when `promote` writes {name}: the window_list stays as it was",
        PROMOTE,
        1,
        FULL,
        window_list(full_at(name)),
        LOOKED,
    )
    for name in AT_FILES["promote"]
]
DISK.append(
    Fault(
        "disk-full-cv-midway",
        "a disk that is full in the middle of `cv`: what is done stays, and --resume ends it",
        COMMANDS["cv"],
        1,
        FULL,
        full_at("prevalence-f2-s17-l1.parquet"),
        ("artifacts/cv/",),
        cv_goes_on,
    )
)
DISK.append(
    fault(
        "labels import --input bob.parquet --bars bars.parquet --store labels.db",
        "disk-full-labels | a disk that is full when labels are saved: none of them is | 1 | "
        "database or disk is full; nothing was changed. Free space",
        store_at_its_end,
    )
)
