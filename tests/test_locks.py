"""One process at a time: the second is refused by name, and a dead one's lock is taken over."""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from moola.errors import OperationFailed
from moola.locks import alone, lock_beside

HOLDER = """
import sys
from pathlib import Path
from moola.locks import alone
with alone(Path("place/.r1.lock"), "work on run r1"):
    print("held", flush=True)
    sys.stdin.read()
"""
LOCK = Path("place/.r1.lock")


@pytest.fixture
def holder(tmp_path, monkeypatch):
    """Another process that holds the lock until its input ends."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).resolve().parents[1] / "src"))
    process = subprocess.Popen([sys.executable, "-c", HOLDER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def test_a_second_process_is_refused_with_the_holders_name(holder):
    named = f"process {holder.pid} on {socket.gethostname()}"
    with pytest.raises(OperationFailed) as refused, alone(LOCK, "work on run r1"):
        pass
    assert str(refused.value) == (
        f"one process at a time must work on run r1, but {named} is doing so (it holds {LOCK}). Wait for it, or end it."
    )
    holder.communicate("")
    assert not LOCK.parent.exists()
    with alone(LOCK, "work on run r1"):
        assert LOCK.read_text() == f"process {os.getpid()} on {socket.gethostname()}\n"


def test_a_killed_holders_lock_is_taken_over_and_said(holder, caplog):
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert LOCK.exists()
    with caplog.at_level(logging.INFO, "moola.locks"), alone(LOCK, "work on run r1"):
        assert f"Taking over from process {holder.pid} on" in caplog.text
        assert LOCK.read_text().startswith(f"process {os.getpid()} ")
    assert not LOCK.exists()


def test_a_lock_that_goes_between_two_steps_is_made_anew(tmp_path, monkeypatch):
    """Whoever opened the file of a holder that then ended must not hold a file that no other process finds."""
    lock = lock_beside(tmp_path / "r1")
    real, opened = os.open, []

    def opening(path, *rest):
        handle = real(path, *rest)
        if not opened:
            os.unlink(path)
        opened.append(handle)
        return handle

    monkeypatch.setattr(os, "open", opening)
    with alone(lock, "work on run r1"):
        assert len(opened) == 2
        with pytest.raises(OperationFailed, match=f"but process {os.getpid()} on"), alone(lock, "work on run r1"):
            pass
    assert not lock.exists()


def test_an_error_inside_frees_the_lock_and_leaves_no_folder(tmp_path):
    with pytest.raises(ValueError, match="inside"), alone(tmp_path / "a/b/.lock", "do it"):
        raise ValueError("inside")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OperationFailed, match="cannot be made"), alone(tmp_path / "file/.lock", "do it"):
        pass


def test_a_lock_that_a_full_disk_cannot_sign_is_not_left(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("moola.locks.os.pwrite", full)
    with pytest.raises(OperationFailed, match="No space left on device"), alone(tmp_path / "new" / ".l.lock", "write"):
        pass
    assert list(tmp_path.iterdir()) == []
