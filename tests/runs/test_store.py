"""The run store: a run is whole when its manifest is there, and is refused when a file has changed."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from moola.errors import MoolaError, OperationFailed, UntrustedFile, WrongUsage
from moola.files import sha256_bytes
from moola.runs import run_store
from moola.runs.run_store import (
    RUN_ID,
    Run,
    create_run,
    find_run,
    finish_run,
    git_commit,
    list_runs,
    machine,
    new_run_id,
    newest_matching,
    versions,
    write_run_json,
)

ID = "20260102T030405Z-enhanced_simple_lstm-s17-0123abcd"


def run_id(second: int, seed: int = 17) -> str:
    return f"20260102T0304{second:02d}Z-enhanced_simple_lstm-s{seed}-0123abcd"


def made_run(root: Path, name: str = ID, **record: Any) -> Run:
    run = create_run(root, name)
    run.path(run_store.MODEL).write_bytes(b"weights of " + name.encode())
    write_run_json(run, run_store.METRICS, {"brier": 0.2})
    return finish_run(run, record)


def everything_in(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_run_is_made_finished_and_found_whole(tmp_path: Path) -> None:
    finished = made_run(tmp_path, seed=17)
    found = find_run(tmp_path, ID)
    assert found == finished
    assert found.run_id == ID
    assert found.folder == tmp_path / ID
    assert found.read(run_store.METRICS) == {"brier": 0.2}


def test_a_run_is_found_by_id_and_by_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "artifacts/runs"
    finished = made_run(root)
    monkeypatch.chdir(tmp_path)
    relative = Path("artifacts/runs")
    for name in (ID, Path(ID), root / ID, relative / ID, f"artifacts/runs/{ID}/"):
        assert find_run(relative, name).manifest == finished.manifest


def test_the_manifest_lists_every_other_file_with_its_hash(tmp_path: Path) -> None:
    run = made_run(tmp_path, seed=17, data_sha256="ab")
    manifest = json.loads(run.path(run_store.MANIFEST).read_bytes())
    assert manifest == run.manifest
    others = {
        name: sha256_bytes(data) for name, data in everything_in(run.folder).items() if name != run_store.MANIFEST
    }
    assert manifest["files"] == others
    assert set(others) == {run_store.MODEL, run_store.METRICS}
    assert (manifest["seed"], manifest["data_sha256"], manifest["run_id"]) == (17, "ab", ID)
    assert manifest["versions"] == versions()
    assert manifest["machine"] == machine()
    assert {"git_commit", "finished_at"} <= set(manifest)


def test_the_manifest_is_written_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[str] = []
    write = run_store.write_atomic

    def noting(path: Path, content: bytes) -> None:
        written.append(path.name)
        assert (path.name == run_store.MANIFEST) == (len(written) == 3)
        write(path, content)

    monkeypatch.setattr(run_store, "write_atomic", noting)
    run = create_run(tmp_path, ID)
    for name in (run_store.CONFIG, run_store.METRICS):
        write_run_json(run, name, {})
        assert list_runs(tmp_path) == [Run(run.folder, None)]
    finish_run(run, {})
    assert written == [run_store.CONFIG, run_store.METRICS, run_store.MANIFEST]


def test_finishing_drops_the_checkpoint_and_keeps_it_out_of_the_manifest(tmp_path: Path) -> None:
    run = create_run(tmp_path, ID)
    run.path(run_store.CHECKPOINT).write_bytes(b"epoch 3")
    finished = finish_run(run, {})
    assert not run.path(run_store.CHECKPOINT).exists()
    assert finished.manifest["files"] == {}
    assert find_run(tmp_path, ID) == finished


def test_a_manifest_that_cannot_be_written_leaves_the_run_resumable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = create_run(tmp_path, ID)
    run.path(run_store.CHECKPOINT).write_bytes(b"epoch 3")
    run.path(run_store.MODEL).write_bytes(b"weights")
    before = everything_in(run.folder)

    def disk_full(path: Path, content: bytes) -> None:
        raise OperationFailed("no space")

    monkeypatch.setattr(run_store, "write_atomic", disk_full)
    with pytest.raises(OperationFailed, match="no space"):
        finish_run(run, {})
    assert everything_in(run.folder) == before


def test_a_leftover_of_a_killed_write_does_not_make_the_run_unfindable(tmp_path: Path) -> None:
    run = create_run(tmp_path, ID)
    run.path(run_store.MODEL).write_bytes(b"weights")
    # What the atomic writer leaves behind when the process is killed before it replaces.
    run.path(".checkpoint.pt.x1y2z3.tmp").write_bytes(b"half")
    finish_run(run, {})
    assert find_run(tmp_path, ID).manifest["files"][run_store.MODEL] == sha256_bytes(b"weights")


@pytest.mark.parametrize("name", [run_store.MODEL, run_store.METRICS])
@pytest.mark.parametrize("change", ["flip", "cut", "grow", "empty", "remove"])
def test_a_changed_or_missing_file_is_refused(tmp_path: Path, name: str, change: str) -> None:
    path = made_run(tmp_path).path(name)
    data = path.read_bytes()
    if change == "remove":
        path.unlink()
    else:
        flipped = bytes([data[0] ^ 1]) + data[1:]
        path.write_bytes({"flip": flipped, "cut": data[:-1], "grow": data + b" ", "empty": b""}[change])
    said = "is missing" if change == "remove" else "differs from its SHA-256 in the manifest"
    with pytest.raises(UntrustedFile, match=rf"{re.escape(name)} {said}\. Train the run again"):
        find_run(tmp_path, ID)
    with pytest.raises(UntrustedFile):
        find_run(tmp_path, ID, complete=False)


def test_a_manifest_that_lists_no_files_is_refused(tmp_path: Path) -> None:
    path = made_run(tmp_path).path(run_store.MANIFEST)
    for files in (None, [run_store.MODEL], "all"):
        path.write_text(json.dumps({"files": files}))
        with pytest.raises(UntrustedFile, match="must list the run's files"):
            find_run(tmp_path, ID)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b"null"])
def test_a_damaged_manifest_is_refused(tmp_path: Path, content: bytes) -> None:
    made_run(tmp_path).path(run_store.MANIFEST).write_bytes(content)
    with pytest.raises(MoolaError, match="manifest"):
        find_run(tmp_path, ID)


@pytest.mark.parametrize("name", ["../outside", "folder/inside", "/outside"])
def test_a_manifest_that_names_files_elsewhere_is_untrusted(tmp_path: Path, name: str) -> None:
    run = made_run(tmp_path)
    (tmp_path / "outside").write_bytes(b"x")
    run.path(run_store.MANIFEST).write_text(json.dumps({"files": {name: sha256_bytes(b"x")}}))
    with pytest.raises(UntrustedFile):
        find_run(tmp_path, ID)


def test_an_incomplete_run_is_refused_with_the_way_on(tmp_path: Path) -> None:
    run = create_run(tmp_path, ID)
    run.path(run_store.MODEL).write_bytes(b"weights")
    with pytest.raises(OperationFailed, match=rf"it was interrupted\. Continue with .*--resume {ID}"):
        find_run(tmp_path, ID)
    assert find_run(tmp_path, ID, complete=False) == Run(tmp_path / ID, None)


def test_a_run_that_is_not_there_is_said_plainly(tmp_path: Path) -> None:
    with pytest.raises(OperationFailed, match=r"there is no folder .* See `moola runs list`"):
        find_run(tmp_path, ID)


@pytest.mark.parametrize(
    "name", ["../x", "..", ".", "", "a/b", "/x", "a/../b", "x\x00", "-x", ".hidden", "a b", "a..b", "x" * 121, "ü"]
)
def test_names_that_are_no_plain_names_are_refused_and_touch_nothing(tmp_path: Path, name: str) -> None:
    root = tmp_path / "runs"
    root.mkdir()
    (tmp_path / "x").mkdir()
    for act in (find_run, create_run):
        with pytest.raises(WrongUsage):
            act(root, name)
    assert list(root.iterdir()) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["runs", "x"]


def test_a_second_run_of_the_same_second_gets_a_number(tmp_path: Path) -> None:
    names = [create_run(tmp_path, ID).run_id for _ in range(3)]
    assert names == [ID, f"{ID}-2", f"{ID}-3"]
    assert all(RUN_ID.fullmatch(name) for name in names)


def test_a_root_that_cannot_be_written_is_said_plainly(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.touch()
    for root in (blocked, blocked / "runs"):
        with pytest.raises(OperationFailed, match="runs must be kept under"):
            create_run(root, ID)


def test_a_run_is_named_after_time_model_seed_and_options() -> None:
    name = new_run_id("enhanced_simple_lstm", 17, "0123abcd" * 8)
    assert re.fullmatch(r"\d{8}T\d{6}Z-enhanced_simple_lstm-s17-0123abcd", name)
    assert RUN_ID.fullmatch(name)


def test_runs_are_listed_oldest_first_with_incomplete_ones_and_nothing_else(tmp_path: Path) -> None:
    for second in (30, 10, 20):
        made_run(tmp_path, run_id(second), second=second)
    create_run(tmp_path, run_id(15))
    (tmp_path / "notes").mkdir()
    (tmp_path / run_id(40)).write_text("a file, no folder")
    runs = list_runs(tmp_path)
    assert [run.run_id for run in runs] == [run_id(second) for second in (10, 15, 20, 30)]
    assert [None if run.manifest is None else run.manifest["second"] for run in runs] == [10, None, 20, 30]
    assert list_runs(tmp_path / "nowhere") == []


def test_listing_does_not_check_files(tmp_path: Path) -> None:
    made_run(tmp_path).path(run_store.MODEL).write_bytes(b"changed")
    assert [run.run_id for run in list_runs(tmp_path)] == [ID]


def test_the_newest_matching_run_is_found(tmp_path: Path) -> None:
    made_run(tmp_path, run_id(10), pretrained=False, data="a")
    made_run(tmp_path, run_id(20), pretrained=False, data="a")
    made_run(tmp_path, run_id(30), pretrained=True, data="a")
    made_run(tmp_path, run_id(40), pretrained=False, data="b")
    create_run(tmp_path, run_id(50))

    def newest(**wanted: Any) -> str | None:
        run = newest_matching(tmp_path, **wanted)
        return None if run is None else run.run_id

    assert newest(pretrained=False, data="a") == run_id(20)
    assert newest(pretrained=True) == run_id(30)
    assert newest() == run_id(40)
    assert newest(pretrained=True, data="b") is None
    assert newest(seed=1) is None
    assert newest_matching(tmp_path / "nowhere") is None


def test_the_newest_matching_run_is_checked(tmp_path: Path) -> None:
    made_run(tmp_path, run_id(10), data="a")
    made_run(tmp_path, run_id(20), data="a").path(run_store.MODEL).write_bytes(b"changed")
    with pytest.raises(UntrustedFile):
        newest_matching(tmp_path, data="a")


def test_json_files_hold_no_nan(tmp_path: Path) -> None:
    run = create_run(tmp_path, ID)
    with pytest.raises(ValueError, match="JSON compliant"):
        write_run_json(run, run_store.METRICS, {"brier": float("nan")})
    assert list(run.folder.iterdir()) == []


def test_versions_name_what_computes(monkeypatch: pytest.MonkeyPatch) -> None:
    assert set(versions()) == {"python", "moola", "torch", "numpy", "polars", "scipy"}
    monkeypatch.setattr(run_store, "VERSIONED", ("no-such-package-as-this",))
    assert versions()["no-such-package-as-this"] == "not installed"


def test_the_machine_is_described_and_not_named() -> None:
    assert set(machine()) == {"system", "processor", "cpu_count"}
    assert os.uname().nodename not in json.dumps(machine())


def test_the_commit_is_that_of_the_working_folder_or_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert git_commit() is None
    who = ["-c", "user.name=a", "-c", "user.email=a@b.example"]
    for command in (["init", "-q"], [*who, "commit", "-q", "--allow-empty", "-m", "first"]):
        subprocess.run(["git", *command], check=True, capture_output=True)
    assert re.fullmatch(r"[0-9a-f]{40}", git_commit() or "")


def test_without_git_there_is_no_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*arguments: Any, **options: Any) -> None:
        raise FileNotFoundError("git")

    monkeypatch.setattr(subprocess, "run", missing)
    assert git_commit() is None


def test_a_run_that_cannot_keep_its_config_leaves_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OperationFailed("full")

    monkeypatch.setattr("moola.runs.run_store.write_atomic", full)
    with pytest.raises(OperationFailed, match="full"), run_store.opened(tmp_path / "new/runs", "run", "r1", {}, None):
        pass
    assert list(tmp_path.iterdir()) == []
