"""Pretraining on Ray Train: the weights of as many processes of one machine, also when one is killed in the middle."""

from __future__ import annotations

import builtins
import os
import signal
from pathlib import Path

import pytest

from moola.errors import InvalidData, OperationFailed
from moola.fit import cluster_team
from moola.fit.teams import run_together
from moola.options.training_options import PretrainOptions
from moola.stages.pretrain import checkpoint_of, look, pretrain
from moola.tables.bar_table import write_bars
from tests.made import random_walk_bars

EPOCHS = 4
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Bars, and a cluster of this machine, whose workers find the tests."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).resolve().parents[2]), prepend=os.pathsep)
    write_bars(Path("bars.parquet"), random_walk_bars(600))
    return tmp_path


def run(output: str, work=pretrain, **given) -> tuple[bytes, list[int]]:
    sizes = {"window_bars": 24, "hidden_dim": 4, "num_layers": 1, "epochs": EPOCHS, "batch_size": 50, "stride": 2}
    options = PretrainOptions(
        input=Path("bars.parquet"), output=Path(output), device="cpu", precision="float32", devices=2, **sizes, **given
    )
    told = []
    run_together(work, look, options, checkpoint_of(options.output), lambda row: told.append(row["epoch"]))
    return Path(output).read_bytes(), told


def dying(options, on_epoch, team):
    """Note each epoch; the second process is killed after epoch 2 the first time."""

    def noting(row):
        if team.rank == 1:
            with Path("epochs.txt").open("a") as epochs:
                epochs.write(f"{row['epoch']}\n")
            if row["epoch"] == 2 and not Path("killed").exists():
                Path("killed").touch()
                os.kill(os.getpid(), signal.SIGKILL)
        on_epoch(row)

    return pretrain(options, noting, team)


def refusing(options, on_epoch, team):
    with Path("tries.txt").open("a") as tries:
        tries.write(f"{team.rank}\n")
    raise InvalidData("windows must be there, but 0 are. Give some.")


@pytest.mark.slow
def test_two_of_ray_learn_the_bytes_of_two_of_this_machine(folder):
    here, _ = run("here.pt")
    # A checkpoint of other options is no business of a command without --resume.
    checkpoint_of(Path("ray.pt")).write_bytes(b"of another command")
    there, told = run("ray.pt", engine="ray")
    assert there == here
    assert told == [1, 2, 3, 4]
    assert sorted(path.name for path in folder.iterdir()) == ["bars.parquet", "here.pt", "ray.pt"]


@pytest.mark.slow
def test_a_killed_one_of_two_changes_no_byte_and_no_epoch_is_told_twice(folder):
    here, _ = run("here.pt")
    there, told = run("ray.pt", dying, engine="ray")
    assert there == here
    assert Path("epochs.txt").read_text().split() in (["1", "2", "3", "4"], ["1", "2", "2", "3", "4"])
    assert Path("killed").exists()
    assert sorted(set(told)) == told
    assert told[-1] == EPOCHS


@pytest.mark.slow
def test_what_a_member_refuses_is_refused_once(folder):
    with pytest.raises(InvalidData, match="windows must be there"):
        run("ray.pt", refusing, engine="ray")
    assert len(Path("tries.txt").read_text().split()) <= 2


def test_without_ray_train_it_is_said_how_to_install_it(folder, monkeypatch):
    real = builtins.__import__

    def missing(name, *arguments, **named):
        if name.startswith("ray"):
            raise ImportError("No module named 'pyarrow'")
        return real(name, *arguments, **named)

    monkeypatch.setattr(builtins, "__import__", missing)
    monkeypatch.setattr(cluster_team, "on_cluster", lambda *_: pytest.fail("Ray was started"))
    with pytest.raises(OperationFailed, match=r'pyarrow.*pip install "moola\[ray\]"'):
        run("ray.pt", engine="ray")
