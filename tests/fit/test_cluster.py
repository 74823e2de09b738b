"""Jobs on Ray: the same results as processes give, each counted once, also when a worker is killed in the middle."""

from __future__ import annotations

import builtins
import os
import signal
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from moola.errors import InvalidData, OperationFailed
from moola.fit import processes
from moola.fit.processes import run_jobs

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(autouse=True)
def here_alone(monkeypatch):
    """A cluster of this machine, whose workers find the tests."""
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).resolve().parents[2]), prepend=os.pathsep)


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
    ended: list[str] = []
    counts: list[tuple[int, int]] = []

    def on_fit(done: int, n: int, name: str) -> None:
        ended.append(name)
        counts.append((done, n))

    run_jobs(square, [(str(folder), number) for number in range(6)], 2, on_fit, 1, engine)
    assert counts == [(done, 7) for done in range(2, 8)]
    results = {path.name: path.read_text() for path in folder.glob("result-*")}
    return sorted(ended), results, sorted((folder / "calls.txt").read_text().split())


@pytest.mark.slow
def test_a_killed_worker_changes_no_result_and_no_count(tmp_path, monkeypatch):
    by_processes, by_ray = (run(tmp_path, monkeypatch, engine) for engine in ("processes", "ray"))
    assert by_ray[:2] == by_processes[:2]
    assert by_processes[2].count("3") == 1
    assert by_ray[2].count("3") == 2


@pytest.mark.slow
def test_what_a_job_raises_on_ray_is_raised(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
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


def test_without_ray_it_is_said_how_to_install_it(monkeypatch):
    real = builtins.__import__

    def refusing(name, *arguments, **named):
        if name == "ray":
            raise ImportError("No module named 'ray'")
        return real(name, *arguments, **named)

    monkeypatch.setattr(builtins, "__import__", refusing)
    with pytest.raises(OperationFailed, match=r'pip install "moola\[ray\]"'):
        processes.require_ray()


def test_without_jobs_no_cluster_is_started(monkeypatch):
    monkeypatch.setattr(processes, "require_ray", lambda: pytest.fail("Ray was started"))
    run_jobs(failing, [], 2, lambda *_: None, 0, "ray")
