"""What every test shares: one thread, a folder of its own, and the sample made once.

The process that hands tests out to others reads this file too, so what is heavy is imported where it is asked for.
"""

from __future__ import annotations

import fcntl
import functools
import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings

from moola.cli import main

# The same examples each time and no clock: a slow machine is no failure.
settings.register_profile("moola", deadline=None, derandomize=True, database=None, max_examples=15)
settings.load_profile("moola")

RUNS = Path("artifacts/runs")
DATA = "data/processed/labeled/train_latest_relative.parquet"
SPLIT = "data/splits/fwd_chain_v3.json"


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)


def shared_folder(factory: pytest.TempPathFactory, name: str, fill: Callable[[Path], None]) -> Path:
    """Return a folder that one of the processes that run the tests fills, and that all read."""
    root = factory.getbasetemp()
    root = root.parent if "PYTEST_XDIST_WORKER" in os.environ else root
    folder, begun = root / name, root / f"{name}-begun"
    with (root / f"{name}-lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            shutil.rmtree(begun, ignore_errors=True)
            begun.mkdir()
            fill(begun)
            begun.rename(folder)
    return folder


@pytest.fixture(scope="session")
def sample_made_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    def fill(folder: Path) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(folder)
            with pytest.raises(SystemExit) as stop:
                main(["sample", "--quick", "--json"])
        assert stop.value.code == 0
        shutil.rmtree(folder / "data/logs", ignore_errors=True)

    return shared_folder(tmp_path_factory, "sample", fill)


@pytest.fixture
def sample(sample_made_once: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of its own with the sample in it; networks are tiny unless a test says otherwise."""
    shutil.copytree(sample_made_once / "data", tmp_path / "data")
    from tests.small import stay_small

    monkeypatch.chdir(tmp_path)
    stay_small(monkeypatch)
    return tmp_path


@pytest.fixture(scope="session")
def made_once(sample_made_once: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Make the folder that commands (each a tuple of words) leave of the sample; the same commands run once."""

    from tests.small import stay_small

    @functools.cache
    def make(*commands: tuple[str, ...]) -> Path:
        def fill(folder: Path) -> None:
            shutil.copytree(sample_made_once / "data", folder / "data")
            with pytest.MonkeyPatch.context() as patch:
                patch.chdir(folder)
                stay_small(patch)
                for command in commands:
                    with pytest.raises(SystemExit) as stop:
                        main([*command])
                    assert stop.value.code == 0, command
            shutil.rmtree(folder / "data/logs")

        name = hashlib.sha256(repr(commands).encode()).hexdigest()[:16]
        return shared_folder(tmp_path_factory, f"made-{name}", fill)

    return make


@pytest.fixture
def made_run(sample: Path, made_once: Callable[..., Path]) -> Callable[..., Path]:
    """Copy what commands leave, the last of them training options, into the test's folder; returns the run's."""

    def copy(*options: str, before: tuple[tuple[str, ...], ...] = ()) -> Path:
        made = made_once(*before, ("train", "--data", DATA, "--split", SPLIT, *options))
        shutil.copytree(made, sample, dirs_exist_ok=True)
        (run,) = [path for path in RUNS.iterdir() if path.is_dir()]
        return run

    return copy


@pytest.fixture
def two_runs(sample: Path, made_once: Callable[..., Path]) -> tuple[str, str]:
    """Names of two runs on the sample that differ by their seed."""
    words = ("train", "--data", DATA, "--split", SPLIT, "--seed")
    shutil.copytree(made_once((*words, "17"), (*words, "18")), sample, dirs_exist_ok=True)
    first, second = (next(RUNS.glob(f"*-s{seed}-*")).name for seed in (17, 18))
    return first, second


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let pictures be files of no content: what stands in them takes a second to lay out."""
    from matplotlib.figure import Figure

    monkeypatch.setattr(Figure, "savefig", lambda _, file, **__: file.write(b"\x89PNG"))


class Answer:
    """What one command did: exit code, text on stdout and stderr."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err

    def ends(self, code: int, *said: str) -> Answer:
        """Return itself, after it is seen to have ended in this code with these texts on stderr."""
        assert self.code == code, self.err
        for text in said:
            assert text in self.err, self.err
        return self

    @property
    def json(self) -> dict:
        return json.loads(self.out)

    @property
    def last_line(self) -> str:
        return self.out.strip().splitlines()[-1]


@pytest.fixture
def moola(capsys: pytest.CaptureFixture[str]) -> Callable[..., Answer]:
    """Run a command line in this process."""

    def run(*arguments: str) -> Answer:
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return Answer(int(stop.value.code or 0), out, err)

    return run


@pytest.fixture
def train(moola) -> Callable[..., Answer]:
    """Train on the sample; fails the test when training fails."""

    def run(*arguments: str) -> Answer:
        answer = moola("train", "--data", DATA, "--split", SPLIT, *arguments)
        assert answer.code == 0, answer.err
        return answer

    return run
