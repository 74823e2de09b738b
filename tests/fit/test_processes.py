"""Processes that fit: none outlives the command that started it, and one that dies is told."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from moola.errors import OperationFailed
from moola.fit.processes import run_jobs

ROOT = Path(__file__).resolve().parents[2]
STARTER = """
from tests.fit.test_processes import working
from moola.fit.processes import run_jobs
if __name__ == "__main__":
    run_jobs(working, [("pipe",), ("pipe",)], 2, print)
"""


def working(pipe: str) -> str:
    """Say that it began, and much later that nothing ended it."""
    with open(pipe, "w") as told:
        told.write("began ")
        told.flush()
        time.sleep(30)
        told.write("outlived its parent")
    return pipe


def dying(number: int) -> str:
    os.kill(os.getpid(), signal.SIGKILL)
    return ""


def waiting(pipe: str) -> str:
    return "first" if not pipe else working(pipe)


@pytest.fixture
def pipe(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), str(ROOT / "src")]))
    os.mkfifo("pipe")
    return tmp_path / "pipe"


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_parent_leaves_no_process_at_work(pipe, how):
    starter = subprocess.Popen([sys.executable, "-c", STARTER])
    with pipe.open() as told:
        said = ""
        while said.count("began") < 2:
            said += told.read(6)
        starter.send_signal(how)
        # Ends when the last process that writes is gone.
        assert told.read() == ""
    assert starter.wait() == -how


def test_an_interrupted_command_waits_for_no_fit(pipe):
    def stop(*_):
        raise KeyboardInterrupt

    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    with pytest.raises(KeyboardInterrupt):
        run_jobs(waiting, [("",), (str(pipe),)], 2, stop)
    assert b"outlived" not in os.read(reader, 100)
    os.close(reader)


def test_a_process_that_dies_is_told_with_a_way_on():
    with pytest.raises(OperationFailed, match=r"one ended without an error .* continue with --resume"):
        run_jobs(dying, [(0,), (1,)], 2, lambda *_: None)
