"""Promotions that must be refused before anything is written, and the way back."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from moola.options.option_fields import PROMOTED_NAME, PROMOTED_ROOT
from moola.runs.promotion import LOG_NAME, previous_path, promote_file
from tests.faults.fault import fault
from tests.faults.world import the_run

TARGET = PROMOTED_ROOT / PROMOTED_NAME


def two_promoted(_: pytest.MonkeyPatch | None = None) -> None:
    """Promote the bytes of another model, then the run's."""
    Path("older.pt").write_bytes(b"older")
    promote_file(Path("older.pt"), TARGET, {"run_id": "older"})
    promote_file(the_run() / "model.pkl", TARGET, {"run_id": the_run().name})


def half_a_last_line(patch: pytest.MonkeyPatch) -> None:
    """Cut the promotion log short, as a copy that ended early."""
    two_promoted(patch)
    log = PROMOTED_ROOT / LOG_NAME
    log.write_bytes(log.read_bytes()[:-40])


def previous_gone(patch: pytest.MonkeyPatch) -> None:
    """Remove every model that was in use before."""
    two_promoted(patch)
    shutil.rmtree(previous_path(TARGET, "").parent)


PROMOTIONS = [
    fault(
        "promote --run {run} --accept inconclusive",
        "promotion-log-half | a promotion log whose last line is half there: the models stay as they were | "
        "3 | 1 of 2 lines are none",
        half_a_last_line,
    ),
    fault("promote --back", "promotion-log-half-back | the same, at the way back | 3 | first line 2", half_a_last_line),
    fault(
        "promote --run {run} --baseline artifacts/runs/{run}/model.pkl --accept inconclusive",
        "promotion-in-use | a run whose model is in use already | 1 | must be another than the one in use",
        two_promoted,
    ),
    fault("promote --back", "promotion-back-none | a way back where nothing was promoted | 1 | must have been in use"),
    fault(
        "promote --back",
        "promotion-back-gone | a way back to a model whose file is gone | 1 | 0 of 2 files have it",
        previous_gone,
    ),
    fault("promote --back --run {run}", "promotion-back-run | a way back with a run | 2 | must go without --run"),
    fault("promote", "promotion-nothing | a promotion of nothing | 2 | must be given --run or --back"),
    fault(
        "gate --run {run} --min-gain -0.1", "gate-min-gain | a least gain below 0 | 2 | --min-gain must be at least 0"
    ),
]
