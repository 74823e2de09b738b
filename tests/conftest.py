"""What every test shares: one thread, a folder of its own, and the sample made once."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import settings

from moola.cli import main

# The same examples each time and no clock: a slow machine is no failure.
settings.register_profile("moola", deadline=None, derandomize=True, database=None)
settings.load_profile("moola")

# Small enough that a whole run takes a second or two.
SMALL = {"MOOLA_HIDDEN_DIM": "6", "MOOLA_NUM_LAYERS": "1", "MOOLA_EPOCHS": "2", "MOOLA_DEVICE": "cpu"}
DATA = "data/processed/labeled/train_latest_relative.parquet"
SPLIT = "data/splits/fwd_chain_v3.json"


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def sample_made_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sample")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        with pytest.raises(SystemExit) as stop:
            main(["sample", "--json"])
    assert stop.value.code == 0
    shutil.rmtree(folder / "data/logs", ignore_errors=True)
    return folder


@pytest.fixture
def sample(sample_made_once: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of its own with the sample in it; networks are tiny unless a test says otherwise."""
    shutil.copytree(sample_made_once / "data", tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    for name, value in SMALL.items():
        monkeypatch.setenv(name, value)
    return tmp_path


class Answer:
    """What one command did: exit code, text on stdout and stderr."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err

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
