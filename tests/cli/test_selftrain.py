"""Self-training through `train`: whole output, three classes, no pointers, an interruption, and what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import polars as pl
import pytest

from tests.conftest import DATA, SPLIT

BARS = "data/raw/eurusd_1h_2017.parquet"
STUDENT = (
    *("--unlabelled", BARS, "--stride", "90", "--student-epochs", "1", "--n-teachers", "1", "--n-heads", "1"),
    *("--epochs", "1", "--augment-data", "false"),
)
KEPT = ("model.pkl", "predictions.parquet", "metrics.json", "history.jsonl")


def files_of(run: str) -> dict[str, bytes]:
    return {name: (Path("artifacts/runs") / run / name).read_bytes() for name in KEPT}


def manifest_of(run: str) -> dict:
    return json.loads((Path("artifacts/runs") / run / "manifest.json").read_text())


def relabelled(moola, name: str, label: pl.Expr) -> list[str]:
    """Write the sample with other labels, and split it."""
    pl.read_parquet(DATA).with_columns(label=label).write_parquet(f"{name}.parquet")
    assert moola("split", "--data", f"{name}.parquet", "--output", f"{name}.json").code == 0
    return ["train", "--data", f"{name}.parquet", "--split", f"{name}.json"]


ENCODER = ("pretrain-bilstm", "--input", DATA, "--split", SPLIT, "--output", "e.pt", "--arms", "masked")
TAUGHT = (*STUDENT, "--pretrained-encoder", "e.pt")


@pytest.fixture
def whole(made_run) -> dict[str, bytes]:
    """What the training that the tests repeat and stop leaves, its encoder beside it."""
    run = made_run(*TAUGHT, before=(ENCODER,))
    files = files_of(run.name)
    shutil.rmtree(run)
    return files


def test_a_frozen_model_is_refitted_and_teaches_a_student(whole, moola, train):
    answer = train(*TAUGHT)
    stages = [line.split(":")[0] for line in answer.err.splitlines() if ": epoch 1 of 1, " in line]
    assert stages == ["train", "refit", "teacher-1", "student-1"]
    assert "windows left out (windows that run into or follow 2017-" in answer.err
    assert "Self-training, round 1: a student learns from " in answer.err
    told = answer.out.splitlines()
    assert told[0].startswith("Encoder trained: digest ")
    assert told[1].startswith("Best epoch 1 of 1 on ")
    assert "temperature 1.00" in told[1]
    run = answer.last_line
    lines = [json.loads(line) for line in (Path("artifacts/runs") / run / "history.jsonl").read_text().splitlines()]
    assert [(line["stage"], line["epoch"], line["best"]) for line in lines] == [(stage, 1, True) for stage in stages]
    assert not list((Path("artifacts/runs") / run).glob("checkpoint*"))
    manifest = manifest_of(run)
    assert manifest["leak_proof"] is True
    assert manifest["leaks"] == []
    assert len(manifest["unlabelled_sha256"]) == 64
    assert f"SHA-256 `{manifest['unlabelled_sha256']}`" in (Path("artifacts/runs") / run / "model_card.md").read_text()
    shown = moola("eval", "--run", run, "--json")
    assert shown.code == 0, shown.err
    assert files_of(run) == whole


def test_a_run_stopped_in_a_later_stage_goes_on_to_the_same_bytes(whole, moola, train, monkeypatch):
    """Of the stages only the last: tests/fit/test_stages.py stops in each."""
    from moola.cli import training_commands

    class Stopping(training_commands.EpochProgress):
        def __call__(self, row):
            if row["stage"] == "student-1":
                raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(training_commands, "EpochProgress", Stopping)
        assert moola("train", "--data", DATA, "--split", SPLIT, *TAUGHT).code == 130
    (run,) = (path for path in Path("artifacts/runs").iterdir() if path.is_dir())
    assert (run / "checkpoint-student-1.pt").is_file()
    assert train(*TAUGHT, "--resume", run.name).last_line == run.name
    assert files_of(run.name) == whole
    assert not list(run.glob("checkpoint*"))


def test_going_on_with_other_windows_without_labels_is_refused(made_run, moola):
    run = made_run(*TAUGHT, before=(ENCODER,))
    (run / "manifest.json").unlink()
    pl.read_parquet(BARS).tail(-100).write_parquet(BARS)
    answer = moola("train", "--data", DATA, "--split", SPLIT, *TAUGHT, "--resume", run.name)
    assert answer.code == 2
    assert "(or other data). Give the same options." in answer.err


def test_three_classes_and_no_pointers_have_a_student_too(sample, moola):
    third = pl.when(pl.int_range(pl.len()) % 3 == 0).then(pl.lit("third")).otherwise(pl.col("label"))
    answer = moola(*relabelled(moola, "three", third), *STUDENT, "--predict-pointers", "false")
    assert answer.code == 0, answer.err
    shown = moola("eval", "--run", answer.last_line, "--json").json["figures"]
    assert {"f1_third", "pr_auc"} <= set(shown)
    assert shown["hit_at_pm3_both"]["reason"] == "the model predicts no pointers"


def test_a_class_of_few_windows_is_a_warning(sample, moola):
    order = pl.int_range(pl.len())
    rare = pl.when(order.is_in([3, 9, 20, 31, 40])).then(pl.lit("rare")).otherwise(pl.col("label"))
    answer = moola(*relabelled(moola, "rare", rare), *STUDENT)
    assert answer.code == 0, answer.err
    assert "Class rare has only 5 training windows: expect little of it." in answer.err


def test_the_mirror_of_directed_classes_must_be_said(sample, moola):
    directed = pl.when(pl.col("label") == "retracement").then(pl.lit("bull")).otherwise(pl.lit("bear"))
    given = relabelled(moola, "directed", directed)
    refused = moola(*given, "--mirror-average", "--epochs", "1")
    assert refused.code == 2
    assert "--mirror-average must know every class upside down, but bear, bull may have a direction" in refused.err
    assert not Path("artifacts/runs").exists()
    said = moola(*given, "--mirror-average", "--mirror-classes", "bull:bear", "--epochs", "1")
    assert said.code == 0, said.err


def test_windows_that_all_follow_the_held_out_ones_are_refused(sample, moola):
    pl.read_parquet(BARS).tail(300).write_parquet("late.parquet")
    given = ["late.parquet" if word == BARS else word for word in STUDENT]
    answer = moola("train", "--data", DATA, "--split", SPLIT, *given)
    assert answer.code == 3
    assert "must be over when the split's val and test begin" in answer.err
