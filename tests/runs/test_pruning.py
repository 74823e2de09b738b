"""Pruning: old runs that nothing needs go, whole or not at all."""

from __future__ import annotations

import json

import pytest

from moola.errors import OperationFailed
from moola.locks import alone, lock_beside
from moola.runs import pruning
from moola.runs.promotion import LOG_NAME
from moola.runs.pruning import candidates, remove, remove_remains
from moola.runs.run_store import create_run, list_runs
from tests.runs.test_store import made_run, run_id

SUBJECT = {"data_sha256": "d", "split_sha256": "s"}


@pytest.fixture
def root(tmp_path):
    """Two runs from scratch, one that was promoted against a third, and an interrupted one; oldest first."""
    runs = tmp_path / "runs"
    for second, pretrained in enumerate([False, False, True, True, True]):
        made_run(runs, run_id(second), pretrained=pretrained, **SUBJECT)
    create_run(runs, run_id(5))
    promoted_folder = tmp_path / "promoted"
    promoted_folder.mkdir()
    (promoted_folder / LOG_NAME).write_text(json.dumps({"run_id": run_id(3), "baseline": run_id(2)}) + "\n")
    return runs


def stays(root, keep: int) -> dict[str, str]:
    return {one.run.run_id: one.stays for one in candidates(root, root.parent / "promoted", keep)}


def test_what_is_needed_stays_and_the_rest_may_go(root):
    assert list(stays(root, 0).values()) == [
        "",
        "the gate's baseline on its data",
        "in the promotion log",
        "in the promotion log",
        "",
        "",
    ]


@pytest.mark.parametrize("keep", [0, 1, 2, 6, 7])
def test_the_newest_stay(root, keep):
    newest = [run.run_id for run in list_runs(root)][6 - min(keep, 6) :]
    found = stays(root, keep)
    assert [name for name, why in found.items() if "among the newest" in why] == newest


def test_a_run_from_scratch_on_other_data_is_a_baseline_too(root):
    made_run(root, run_id(0, seed=3), pretrained=False, data_sha256="other", split_sha256="s")
    assert stays(root, 0)[run_id(0, seed=3)] == "the gate's baseline on its data"


def test_bytes_are_those_of_the_files(root):
    one = candidates(root, root, 0)[0]
    assert one.n_bytes == sum(path.stat().st_size for path in one.run.folder.iterdir())


def test_a_removed_run_leaves_nothing(root):
    remove(candidates(root, root, 0)[0].run)
    assert not [path for path in root.iterdir() if run_id(0) in path.name]
    assert len(list_runs(root)) == 5


def test_a_run_at_work_is_refused_and_stays_whole(root):
    run = list_runs(root)[5]
    with alone(lock_beside(run.folder), "work"), pytest.raises(OperationFailed, match="one process at a time"):
        remove(run)
    assert run.folder.is_dir()


def test_a_removal_cut_short_leaves_no_half_run_and_the_next_one_ends_it(root, monkeypatch):
    def stop(_folder):
        raise KeyboardInterrupt

    run = list_runs(root)[0]
    with monkeypatch.context() as patch:
        patch.setattr(pruning.shutil, "rmtree", stop)
        with pytest.raises(KeyboardInterrupt):
            remove(run)
    assert run.run_id not in {one.run_id for one in list_runs(root)}
    assert list(root.glob(".pruned-*"))
    remove_remains(root)
    assert not list(root.glob(".pruned-*"))
