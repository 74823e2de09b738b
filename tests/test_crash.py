"""The crash harness in short: each command killed once, half of them inside a write; and the harness can fail."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"


@pytest.fixture(scope="module")
def crash():
    sys.path.insert(0, str(BENCHMARKS))
    try:
        spec = importlib.util.spec_from_file_location("crash", BENCHMARKS / "crash.py")
        module = importlib.util.module_from_spec(spec)
        # Its frozen dataclasses look their own module up.
        sys.modules["crash"] = module
        spec.loader.exec_module(module)
        yield module
    finally:
        sys.path.remove(str(BENCHMARKS))
        del sys.modules["crash"]


@pytest.mark.slow
def test_a_fault_point_kills_inside_a_write_and_leaves_what_stood(tmp_path):
    """The fourth step of `sample` is the second half of its first file's bytes."""
    command = [sys.executable, str(BENCHMARKS / "fault_point.py"), "4", "sample", "--quick"]
    assert subprocess.run(command, cwd=tmp_path, capture_output=True, check=False).returncode == -signal.SIGKILL
    left = [path for path in tmp_path.rglob("*") if path.is_file() and path.suffix != ".log"]
    assert left == []


def test_a_half_written_file_and_a_lost_label_are_found(crash, tmp_path):
    (tmp_path / "half.json").write_text('{"a": 1')
    with pytest.raises(crash.Lost, match=r"half\.json must be whole"):
        crash.verify(tmp_path)
    case = next(case for case in crash.CASES if case.name == "label saves")
    (tmp_path / "half.json").write_text("{}")
    from fault_point import save_labels

    save_labels(tmp_path / crash.STORE, 3)
    (tmp_path / "names.json").write_text("{}")
    harness = crash.Crashes(case, tmp_path, tmp_path, 1, 17)
    harness._look_at_labels(tmp_path / crash.STORE, {"window-0001"})
    with pytest.raises(crash.Lost, match="1 are not: window-0009"):
        harness._look_at_labels(tmp_path / crash.STORE, {"window-0001", "window-0009"})


@pytest.mark.slow
def test_no_kill_loses_anything(crash, monkeypatch, capsys):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    pages = []
    assert crash.main(["--share", "0.1", "--seed", "3"], lambda *page: pages.append(page)) == 0
    assert "| all | 7 | " in capsys.readouterr().out
    assert pages == []
