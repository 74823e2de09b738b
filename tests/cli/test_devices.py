"""`pretrain-bilstm --devices 2`: what one process learns at the same batch, give or take rounding."""

from __future__ import annotations

import contextlib
import os
import queue
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from moola.errors import InvalidData
from moola.fit import process_group
from moola.models.model_files import read_encoder
from moola.tables.bar_table import write_bars
from moola.training.device import ProcessGroup
from tests.made import random_walk_bars

ARGUMENTS = (
    "pretrain-bilstm", "--input", "bars.parquet", "--window-bars", "24", "--hidden-dim", "4", "--num-layers", "1",
    "--epochs", "2", "--batch-size", "50", "--stride", "2", "--device", "cpu", "--precision", "float32",
)  # fmt: skip


@pytest.fixture
def bars(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_bars(Path("bars.parquet"), random_walk_bars(600))
    return tmp_path


def weights(path: str) -> dict[str, np.ndarray]:
    return {name: value.numpy() for name, value in read_encoder(Path(path)).encoder.state_dict().items()}


@pytest.mark.parametrize(
    ("option", "value", "code", "says"),
    [
        ("--input", "none.parquet", 1, "there is no file none.parquet"),
        ("--window-bars", "700", 3, "must have bars for a window"),
        ("--input-dim", "4", 2, "--input-dim must agree with the data"),
        ("--devices", "0", 2, "must be within 1 to 256"),
    ],
)
def test_what_no_process_could_learn_from_is_refused_before_any_is_started(
    bars, moola, monkeypatch, option, value, code, says
):
    words = [*ARGUMENTS, "--output", "e.pt", "--devices", "95", "--input-dim", "11"]
    words[words.index(option) + 1] = value
    monkeypatch.delattr("moola.fit.process_group._started")
    answer = moola(*words)
    assert (answer.code, says in answer.err) == (code, True), answer.err


# On `make test` tests/training/test_team.py and test_pretrain.py hold the same without the command.
@pytest.mark.slow
def test_two_processes_learn_what_one_does_and_the_same_by_torchrun(bars, moola):
    arms = ("--arms", "masked", "structure")
    one = moola(*ARGUMENTS, *arms, "--output", "one.pt", "--json")
    two = moola(*ARGUMENTS, *arms, "--output", "two.pt", "--json", "--devices", "2")
    assert (one.code, two.code) == (0, 0), two.err
    for name in ("val_loss", "best_epoch", "n_train_windows", "epochs_run"):
        assert one.json[name] == pytest.approx(two.json[name], rel=1e-3)
    for (name, alone), together in zip(weights("one.pt").items(), weights("two.pt").values(), strict=True):
        np.testing.assert_allclose(together, alone, atol=2e-3, err_msg=name)
    assert not list(bars.glob("*.checkpoint"))
    torchrun = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone", "-m", "moola.cli"]
    done = subprocess.run(
        [sys.executable, *torchrun, *ARGUMENTS, *arms, "--output", "theirs.pt"],
        check=False, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Encoder in theirs.pt") == 1
    assert Path("theirs.pt").read_bytes() == Path("two.pt").read_bytes()


class Here:
    """A process that is none: it does its work when it is started, and ends as the work says."""

    def __init__(self, target, args, daemon) -> None:
        self.work, self.exitcode = (target, args), None

    def start(self) -> None:
        target, args = self.work
        try:
            target(*args)
            self.exitcode = 0
        except SystemExit as end:
            self.exitcode = end.code

    def is_alive(self) -> bool:
        return self.exitcode is None

    def join(self, _seconds: float = 0.0) -> None:
        pass


@pytest.fixture
def members_here(monkeypatch) -> None:
    """Start no processes: what their work puts into the queue and how it ends is told as if they were."""
    context = SimpleNamespace(Queue=queue.Queue, Process=Here)
    monkeypatch.setattr(process_group.multiprocessing, "get_context", lambda _: context)
    monkeypatch.setattr(process_group, "_joined", lambda *_: contextlib.nullcontext())
    monkeypatch.setattr(process_group, "end_with_parent", lambda: None)


def test_a_member_that_ends_badly_is_told_by_its_number(bars, moola, members_here, monkeypatch):
    def ending(options, on_epoch, team: ProcessGroup):
        raise SystemExit(9 * team.rank)

    monkeypatch.setattr("moola.stages.pretrain.pretrain", ending)
    moola(*ARGUMENTS, "--output", "e.pt", "--devices", "2").ends(1, "some ended (by number: {1: 9})")
    assert not Path("e.pt").exists()


@pytest.mark.slow
def test_a_member_that_dies_ends_all_with_a_reason(bars, moola, monkeypatch):
    monkeypatch.setattr("moola.stages.pretrain.pretrain", dying)
    moola(*ARGUMENTS, "--output", "e.pt", "--devices", "2").ends(1, "some ended")
    assert not Path("e.pt").exists()


def dying(options, on_epoch, team: ProcessGroup):
    if team.rank == 1:
        os._exit(9)
    time.sleep(60)


def test_what_a_member_refuses_is_told_as_if_it_were_alone(bars, moola, members_here, monkeypatch):
    monkeypatch.setattr("moola.stages.pretrain.pretrain", refusing)
    answer = moola(*ARGUMENTS, "--output", "e.pt", "--devices", "2").ends(3)
    assert answer.err.count("windows must be there") == 1


def refusing(options, on_epoch, team: ProcessGroup):
    raise InvalidData("windows must be there, but 0 are. Give some.")


def test_other_than_torchruns_count_is_refused(bars, moola, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "3")
    monkeypatch.setenv("RANK", "0")
    moola(*ARGUMENTS, "--output", "e.pt", "--devices", "2").ends(2, "agree with torchrun")


@pytest.mark.parametrize(("asked", "threads"), [(None, 1), ("2", 2)])
def test_numpy_takes_one_thread_unless_the_environment_says_otherwise(asked: str | None, threads: int) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}
    environment |= {} if asked is None else {"OPENBLAS_NUM_THREADS": asked}
    ask = (
        "import contextlib\nfrom moola.cli import main\n"
        "with contextlib.suppress(SystemExit):\n    main(['--version'])\n"
        "import numpy, threadpoolctl\nprint([one['num_threads'] for one in threadpoolctl.threadpool_info()])"
    )
    done = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.splitlines()[-1] == str([threads])
