"""Old runs that nothing needs: which they are, and how they go."""

from __future__ import annotations

import contextlib
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from moola.errors import OperationFailed
from moola.locks import alone, lock_beside
from moola.runs.promotion import read_log
from moola.runs.run_store import Run, list_runs

# Hidden, so that a removal that is cut short leaves no half of a run; the next one ends it.
GOING = ".pruned-"
WANTED_BY_GATES = ("data_sha256", "split_sha256")


@dataclass(frozen=True)
class Candidate:
    """One run, the bytes it takes, and why it stays; nothing there where it may go."""

    run: Run
    n_bytes: int
    stays: str


def candidates(root: Path, promoted_folder: Path, keep: int) -> list[Candidate]:
    """Return every run under a root, oldest first, with why it stays.

    The `keep` newest runs stay, runs of the promotion log (as challenger or as baseline), and of each data and split
    the newest complete run from scratch, which the gate takes as its baseline.
    """
    runs = list_runs(root)
    promoted = {entry.get(key) for entry in read_log(promoted_folder) for key in ("run_id", "baseline")}
    newest = {run.run_id for run in runs[len(runs) - min(keep, len(runs)) :]}
    scratch = {_subject(run): run.run_id for run in runs if run.manifest and run.record.get("pretrained") is False}
    found = []
    for run in runs:
        why = {
            "among the newest": run.run_id in newest,
            "in the promotion log": run.run_id in promoted,
            "the gate's baseline on its data": run.run_id in scratch.values(),
        }
        stays = ", ".join(reason for reason, holds in why.items() if holds)
        n_bytes = sum(path.lstat().st_size for path in run.folder.rglob("*") if not path.is_dir())
        found.append(Candidate(run, n_bytes, stays))
    return found


def prune(root: Path, found: list[Candidate]) -> tuple[list[str], list[str]]:
    """Remove what may go; return the ids of what went, and why others did not."""
    removed, failed = [], []
    remove_remains(root)
    for one in found:
        if one.stays:
            continue
        try:
            remove(one.run)
            removed.append(one.run.run_id)
        except OperationFailed as error:
            failed.append(str(error))
    return removed, failed


def _subject(run: Run) -> tuple[str, ...]:
    return tuple(str(run.record.get(key)) for key in WANTED_BY_GATES)


def remove(run: Run) -> None:
    """Remove a run, atomically.

    Raises
    ------
    OperationFailed
        A process works on the run, or its folder cannot be removed.
    """
    going = run.folder.with_name(f"{GOING}{run.run_id}")
    with alone(lock_beside(run.folder), f"work on run {run.run_id}"):
        try:
            os.replace(run.folder, going)
        except OSError as error:
            raise OperationFailed(
                f"a run that goes must be removable, but {run.folder} is not ({error.strerror}). Fix its permissions."
            ) from error
    shutil.rmtree(going)


def remove_remains(root: Path) -> None:
    """End removals that were cut short."""
    for folder in root.glob(f"{GOING}*"):
        with contextlib.suppress(OSError):
            shutil.rmtree(folder)
