"""Processes that fit: none outlives the command that started it, one that dies is told, and Ray gives the same."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from moola.errors import InvalidData, OperationFailed
from moola.fit import processes
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


@pytest.mark.slow
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


# Jobs on Ray: the same results as processes give, each counted once, also when a worker is killed in the middle.


def on_ray(test):
    """Mark a test that starts a cluster; Ray itself warns of much."""
    for name in ("DeprecationWarning", "FutureWarning", "ResourceWarning", "pytest.PytestUnraisableExceptionWarning"):
        test = pytest.mark.filterwarnings(f"ignore::{name}")(test)
    return pytest.mark.slow(test)


@pytest.fixture
def here_alone(tmp_path, monkeypatch):
    """A cluster of this machine, whose workers find the tests."""
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("PYTHONPATH", str(ROOT), prepend=os.pathsep)
    monkeypatch.chdir(tmp_path)


def square(folder: str, number: int) -> str:
    """Write a result file; the worker of job 3 is killed the first time, as by the kernel when memory runs out."""
    place = Path(folder)
    with (place / "calls.txt").open("a") as calls:
        calls.write(f"{number}\n")
    time.sleep(0.05)
    mark = place / "killed"
    if number == 3 and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    Path(f"result-{number}").write_text(str(number**2))
    return f"job {number}"


def failing(number: int) -> str:
    raise InvalidData(f"job {number} must be even, but it is odd. Give another.")


def run(tmp_path, monkeypatch, engine: str) -> tuple[list[str], dict[str, str], list[str]]:
    folder = tmp_path / engine
    folder.mkdir()
    monkeypatch.chdir(folder)
    if engine == "processes":
        (folder / "killed").touch()
    told: list[tuple[int, int, str]] = []
    run_jobs(square, [(str(folder), number) for number in range(6)], 2, lambda *row: told.append(row), 1, engine)
    assert [row[:2] for row in told] == [(done, 7) for done in range(2, 8)]
    results = {path.name: path.read_text() for path in folder.glob("result-*")}
    return sorted(row[2] for row in told), results, sorted((folder / "calls.txt").read_text().split())


@on_ray
def test_a_killed_worker_changes_no_result_and_no_count(here_alone, tmp_path, monkeypatch):
    by_processes, by_ray = (run(tmp_path, monkeypatch, engine) for engine in ("processes", "ray"))
    assert by_ray[:2] == by_processes[:2]
    assert by_processes[2].count("3") == 1
    assert by_ray[2].count("3") == 2


@on_ray
def test_what_a_job_raises_on_ray_is_raised(here_alone):
    with pytest.raises(InvalidData, match="job 1 must be even"):
        run_jobs(failing, [(1,)], 1, lambda *_: None, 0, "ray")


class RayError(Exception):
    pass


class RayTaskError(RayError):
    def __init__(self, cause: Exception) -> None:
        self.cause = cause


def ray_here(ended: list[str], dies: bool = False) -> SimpleNamespace:
    """The part of Ray that is used, in this process: a job runs when its result is asked for."""

    def get(call):
        if dies:
            raise RayError
        try:
            return call()
        except Exception as error:
            raise RayTaskError(error) from error

    return SimpleNamespace(
        init=lambda **_: None,
        shutdown=lambda: ended.append("shutdown"),
        remote=lambda **_: lambda work: SimpleNamespace(remote=lambda *given: lambda: work(*given)),
        wait=lambda waiting, num_returns: (waiting[:1], waiting[1:]),
        get=get,
        exceptions=SimpleNamespace(RayError=RayError, RayTaskError=RayTaskError),
    )


@pytest.mark.parametrize(
    ("dies", "kind", "says"), [(False, InvalidData, "job 1 must be even"), (True, OperationFailed, "one died")]
)
def test_what_a_job_raises_is_raised_and_the_cluster_is_left(tmp_path, monkeypatch, dies, kind, says):
    ended: list[str] = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(processes, "require_ray", lambda: ray_here(ended, dies))
    with pytest.raises(kind, match=says):
        run_jobs(failing, [(1,), (2,)], 1, lambda *_: None, 0, "ray")
    assert ended == ["shutdown"]


def test_without_ray_it_is_said_how_to_install_it_and_without_jobs_nothing_is_started(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    run_jobs(failing, [], 2, lambda *_: None, 0, "ray")
    with pytest.raises(OperationFailed, match=r'pip install "moola\[ray\]"'):
        processes.require_ray()
