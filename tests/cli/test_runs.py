"""The commands of runs: what they print, and what pruning leaves."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.runs.test_pruning import SUBJECT
from tests.runs.test_store import made_run, run_id

RUNS = Path("artifacts/runs")


@pytest.fixture
def three(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for second in range(3):
        made_run(RUNS, run_id(second), pretrained=True, **SUBJECT)


def test_without_apply_nothing_goes(three, moola):
    answer = moola("runs", "prune", "--keep", "1").ends(0)
    lines = answer.out.splitlines()
    assert [line.split()[0] for line in lines[1:4]] == [run_id(second) for second in range(3)]
    assert [line.split("  ")[-1].strip() for line in lines[1:4]] == ["goes", "goes", "among the newest"]
    assert lines[4].startswith("2 of 3 runs would go (")
    assert lines[5] == "Next: moola runs prune --keep 1 --apply"
    assert len(list(RUNS.iterdir())) == 3


def test_with_apply_what_may_go_is_gone(three, moola):
    answer = moola("runs", "prune", "--keep", "1", "--apply", "--json").ends(0)
    gone = [run_id(0), run_id(1)]
    assert json.loads(answer.out) == {"going": gone, "removed": gone, "left": []}
    assert [path.name for path in RUNS.iterdir()] == [run_id(2)]


def test_no_runs_is_no_fault_and_a_count_below_0_wrong_usage(moola, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    answer = moola("runs", "prune")
    assert (answer.code, answer.out) == (0, "0 of 0 runs would go (0.0 MB); nothing was removed.\n")
    answer = moola("runs", "prune", "--keep", "-1").ends(2, "--keep must be at least 0")
