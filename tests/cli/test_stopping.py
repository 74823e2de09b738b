"""Commands that are stopped end in 130 or 143, keep what was finished, and name the command that continues."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from moola.cli.console import EpochProgress, FitProgress
from moola.leakcheck import training_controls
from moola.locks import alone, lock_beside
from moola.models.sealed import read_sealed
from tests.conftest import DATA, SPLIT

BARS = "data/raw/eurusd_1h_2017.parquet"
TRAIN = ("train", "--data", DATA, "--split", SPLIT)
PRETRAIN = ("pretrain-bilstm", "--input", DATA, "--output", "encoder.pt", "--epochs", "2", "--arms", "masked")
CV = ("cv", "--data", DATA, "--folds", "2", "--seeds", "1", "--processes", "1")
SCAN = ("scan", "--bars", "few.csv", "--output", "events.csv", "--batch-windows", "200", "--min-prob", "0", "--model")
MODEL = "artifacts/models/supervised/enhanced_baseline_v2_relative.pt"


@pytest.fixture
def stopped_by(monkeypatch):
    """Let a signal arrive when a progress is told of something finished for the first time."""
    # Where tests run in the background Ctrl-C is ignored from the start.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)

    def arm(progress: type, number: signal.Signals) -> None:
        shown = progress.__call__

        def call(self, *told):
            shown(self, *told)
            monkeypatch.setattr(progress, "__call__", shown)
            os.kill(os.getpid(), number)

        monkeypatch.setattr(progress, "__call__", call)

    yield arm
    signal.signal(signal.SIGINT, before)


def resume_hint(answer) -> list[str]:
    typed = answer.err.strip().rpartition("Continue with: moola ")[2]
    return shlex.split(typed)


def same_files(one: Path, other: Path) -> bool:
    names = ("model.pkl", "predictions.parquet", "metrics.json", "history.jsonl")
    there = [name for name in names if (one / name).is_file()]
    assert "predictions.parquet" in there
    return all((one / name).read_bytes() == (other / name).read_bytes() for name in there)


@pytest.mark.slow
def test_a_stopped_training_goes_on_by_the_command_it_printed_and_one_at_a_time(made_run, moola, stopped_by):
    whole = made_run("--epochs", "2")
    command = (*TRAIN, "--epochs", "2")
    stopped_by(EpochProgress, signal.SIGINT)
    answer = moola(*command).ends(130)
    run = next(path for path in whole.parent.iterdir() if path.is_dir() and path != whole)
    assert f"Interrupted; what was finished is in {run}." in answer.err
    assert read_sealed(run / "checkpoint.pt", "checkpoint")["epoch"] == 1
    on = resume_hint(answer)
    assert on == [*command, "--resume", run.name]
    listed = moola("runs", "list", "--json").json["runs"]
    assert [row["run"] for row in listed if row["state"] == "incomplete"] == [run.name]
    assert moola("eval", "--run", run.name).code == 1

    before = {path: path.read_bytes() for path in run.iterdir()}
    moola(*on, "--seed", "99").ends(2, "(or other data). Give the same options.")
    with alone(lock_beside(run), "work on it"):
        answer = moola(*on)
    assert answer.code == 1
    assert f"one process at a time must work on run {run.name}, but process {os.getpid()} on " in answer.err
    assert {path: path.read_bytes() for path in run.iterdir()} == before

    resumed = moola(*on).ends(0)
    assert resumed.last_line == run.name
    assert "Resumed after epoch 1" in resumed.err
    assert same_files(run, whole)
    assert not list(whole.parent.glob(".*"))
    moola(*on).ends(1, f"{run.name} is complete")


@pytest.mark.slow
def test_a_stopped_pretraining_goes_on(sample, moola, stopped_by):
    assert moola(*PRETRAIN).code == 0
    whole = Path("encoder.pt").read_bytes()
    Path("encoder.pt").unlink()
    stopped_by(EpochProgress, signal.SIGTERM)
    answer = moola(*PRETRAIN, "--json").ends(143)
    assert not Path("encoder.pt").exists()
    assert read_sealed(Path("encoder.pt.checkpoint"), "checkpoint")["epoch"] == 1
    assert resume_hint(answer) == [*PRETRAIN, "--json", "--resume"]
    moola(*resume_hint(answer)).ends(0, "Resumed after epoch 1")
    assert Path("encoder.pt").read_bytes() == whole
    assert not Path("encoder.pt.checkpoint").exists()


@pytest.mark.slow
def test_a_stopped_cv_keeps_its_fits_and_goes_on(sample, moola, stopped_by):
    command = (*CV, "--controls=false", "--model", "logistic")
    whole = Path("artifacts/cv") / moola(*command).last_line
    stopped_by(FitProgress, signal.SIGTERM)
    answer = moola(*command).ends(143)
    run = next(path for path in whole.parent.iterdir() if path.is_dir() and path != whole)
    fits = {path: path.stat().st_mtime_ns for path in (run / "fits").iterdir()}
    assert len(fits) == 2
    assert resume_hint(answer) == [*command, "--resume", run.name]
    assert moola(*resume_hint(answer)).code == 0
    assert {path: path.stat().st_mtime_ns for path in fits} == fits
    assert same_files(run, whole)


def test_a_command_that_keeps_nothing_names_no_resume_hint(sample, moola, stopped_by):
    stopped_by(EpochProgress, signal.SIGTERM)
    answer = moola(*TRAIN, "--save-run", "false").ends(143)
    assert answer.err.strip().endswith("Interrupted. Existing files are unchanged.")
    assert not Path("artifacts").exists()
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


@pytest.mark.parametrize(("command", "held"), [(PRETRAIN, "encoder.pt"), ((*SCAN, "model.pkl"), "events.csv")])
def test_the_second_into_one_output_is_refused(made_run, moola, command, held):
    (made_run() / "model.pkl").rename("model.pkl")
    pl.read_parquet(BARS).head(200).write_csv("few.csv")
    with alone(lock_beside(Path(held)), "work on it"):
        answer = moola(*command)
    assert answer.code == 1
    assert f"into {held}, but process {os.getpid()} on " in answer.err
    assert not Path(held).exists()


def test_the_second_promotion_is_refused_and_a_killed_one_is_finished(two_runs, moola, monkeypatch):
    from moola.runs import promotion

    baseline, run = two_runs
    promote = ("promote", "--run", run, "--baseline", baseline, "--accept", "inconclusive")
    promoted_folder = Path(MODEL).parent
    with alone(lock_beside(promoted_folder), "promote"):
        answer = moola(*promote)
    assert answer.code == 1
    assert f"one process at a time must promote under {promoted_folder}, but process {os.getpid()} on" in answer.err
    assert not promoted_folder.exists()
    monkeypatch.setattr("moola.stages.evaluate.finish_promotion", lambda _: {"run_id": run, "sha256": "1"})
    finished = moola(*promote, "--json").ends(0)
    assert finished.json == {"run_id": run, "sha256": "1", "promoted_to": MODEL}
    assert "was cut short: it is finished now" in finished.err
    assert promotion.read_log(promoted_folder) == []


@pytest.mark.parametrize("words", [["--help"], ["runs", "list", "--json"]])
def test_a_reader_who_left_is_no_error(words, tmp_path):
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "moola.cli", *words]
    ended = subprocess.run(command, cwd=tmp_path, stdout=writing, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writing)
    assert ended.returncode == 1
    assert "Error" not in ended.stderr
    assert "Traceback" not in ended.stderr


def test_another_broken_pipe_is_told(moola, tmp_path, monkeypatch):
    def broken(*_arguments):
        raise BrokenPipeError(32, "Broken pipe")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("moola.runs.run_store.list_runs", broken)
    moola("runs", "list").ends(1, "Unexpected BrokenPipeError")


@pytest.mark.slow
@pytest.mark.parametrize("command", ["cv", "leakcheck"])
def test_stopped_controls_name_no_run_of_their_own(sample, moola, monkeypatch, stopped_by, command):
    """A control trains in a folder that is gone by then: the cv continues by its own id, `leakcheck` begin again."""

    def stop(_):
        return lambda *told: os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(training_controls, "epoch_lines", stop)
    words = {"cv": [*CV], "leakcheck": ["leakcheck", *TRAIN[1:]]}[command]
    answer = moola(*words).ends(143)
    if command == "leakcheck":
        assert "--resume" not in answer.err
        return
    (run,) = (path for path in Path("artifacts/cv").iterdir() if path.is_dir())
    assert resume_hint(answer) == [*words, "--resume", run.name]
    assert f"what was finished is in {run}." in answer.err
