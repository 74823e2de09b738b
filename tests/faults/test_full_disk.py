"""A disk that is really full: a file system in memory of 8 MB, where this machine lets one be mounted."""

from __future__ import annotations

import contextlib
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.fault import files_under, run_id
from tests.faults.world import enter

COMMANDS = {
    "sample": "sample --quick --output new",
    "windows": "windows --bars bars.parquet --output new.parquet --stride 50",
    "train": "train --data relative.parquet --split split.json --n-heads 1 --epochs 1 --save-run",
    "scan": "scan --model artifacts/runs/{run}/model.pkl --bars bars.parquet --output new.csv",
    "follow": "scan --model artifacts/runs/{run}/model.pkl --follow bars.parquet --output new.csv --polls 1",
    "cv": "cv --data relative.parquet --model prevalence --folds 2 --seeds 1 --processes 1 --no-controls",
    "pretrain": "pretrain-bilstm --input bars.parquet --output new.pt --arms masked --stride 50 --epochs 1",
    "label": "labels import --input windows.parquet --bars bars.parquet --store new.db",
    "report": "report --run {run} --output new.html",
    "tune": "tune --data relative.parquet --split split.json --trials 1 --study new.db",
}

QUICK = ("windows",)
SLOW = tuple(name for name in COMMANDS if name not in QUICK)


@pytest.fixture(scope="module")
def full(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Return a folder with the small world in it and not a byte free."""
    disk = tmp_path_factory.mktemp("disk")
    mount = shutil.which("mount")
    done = mount and subprocess.run(
        [mount, "-t", "tmpfs", "-o", "size=8m", "tmpfs", disk], check=False, capture_output=True
    )
    if not done or done.returncode:
        pytest.skip("this user may not mount a file system in memory")
    try:
        shutil.copytree(world, disk, dirs_exist_ok=True)
        # To the last byte.
        with contextlib.suppress(OSError), (disk / "full").open("wb", buffering=0) as file:
            while True:
                file.write(b"\0" * 4096)
        assert not shutil.disk_usage(disk).free
        yield disk
    finally:
        subprocess.run(["umount", disk], check=True)


@pytest.mark.parametrize("name", [*QUICK, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)])
def test_a_full_disk_is_one_message_and_leaves_nothing(full: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    enter(full, monkeypatch)
    before = files_under(full)
    words = [word.replace("{run}", run_id()) for word in shlex.split(COMMANDS[name])]
    ended = subprocess.run([sys.executable, "-m", "moola.cli", *words], check=False, capture_output=True, text=True)
    assert ended.returncode == 1, ended.stderr
    assert "Traceback" not in ended.stderr
    assert "Logging error" not in ended.stderr
    assert ended.stderr.count("Error: ") == 1
    after = {path: content for path, content in files_under(full).items() if "data/logs" not in path}
    assert {path for path in after if path.endswith((".lock", ".tmp"))} == set()
    assert {path: after.get(path) for path in before if "data/logs" not in path} == {
        path: content for path, content in before.items() if "data/logs" not in path
    }
