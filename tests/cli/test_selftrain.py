"""Self-training through `train`: whole output, three classes, no pointers, an interruption, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

from moola.cli import training_commands
from tests.conftest import DATA, RUNS, SPLIT

BARS = "data/raw/eurusd_1h_2017.parquet"
STUDENT = (
    *("--unlabelled", BARS, "--stride", "90", "--student-epochs", "1", "--n-teachers", "1", "--n-heads", "1"),
    *("--epochs", "1", "--augment-data", "false"),
)
KEPT = ("model.pkl", "predictions.parquet", "metrics.json", "history.jsonl")


def files_of(run: Path) -> dict[str, bytes]:
    return {name: (run / name).read_bytes() for name in KEPT}


def relabelled(moola, name: str, label: pl.Expr) -> list[str]:
    """Write the sample with other labels, and split it."""
    pl.read_parquet(DATA).with_columns(label=label).write_parquet(f"{name}.parquet")
    assert moola("split", "--data", f"{name}.parquet", "--output", f"{name}.json").code == 0
    return ["train", "--data", f"{name}.parquet", "--split", f"{name}.json"]


ENCODER = ("pretrain-bilstm", "--input", DATA, "--split", SPLIT, "--output", "e.pt", "--arms", "masked")
TAUGHT = ("train", "--data", DATA, "--split", SPLIT, *STUDENT, "--pretrained-encoder", "e.pt")


@pytest.mark.slow
@pytest.mark.slow
def test_a_frozen_model_is_refitted_and_teaches_a_student_and_a_stopped_one_ends_in_the_same_bytes(
    sample, moola, monkeypatch
):
    """Stopped in the last of the stages: tests/fit/test_stages.py stops in each."""
    assert moola(*ENCODER).code == 0
    answer = moola(*TAUGHT).ends(0)
    stages = [line.split(":")[0] for line in answer.err.splitlines() if ": epoch 1 of 1, " in line]
    assert stages == ["train", "refit", "teacher-1", "student-1"]
    assert "windows left out (windows that run into or follow 2017-" in answer.err
    assert "Self-training, round 1: a student learns from " in answer.err
    told = answer.out.splitlines()
    assert told[0].startswith("Encoder trained: digest ")
    assert told[1].startswith("Best epoch 1 of 1 on ")
    assert "temperature 1.00" in told[1]
    run = RUNS / answer.last_line
    lines = [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]
    assert [(line["stage"], line["epoch"], line["best"]) for line in lines] == [(stage, 1, True) for stage in stages]
    assert not list(run.glob("checkpoint*"))
    manifest = json.loads((run / "manifest.json").read_text())
    assert (manifest["leak_proof"], manifest["leaks"]) == (True, [])
    assert len(manifest["unlabelled_sha256"]) == 64
    assert f"SHA-256 `{manifest['unlabelled_sha256']}`" in (run / "model_card.md").read_text()
    moola("eval", "--run", run.name, "--json").ends(0)
    whole = files_of(run)

    class Stopping(training_commands.EpochProgress):
        def __call__(self, row):
            if row["stage"] == "student-1":
                raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(training_commands, "EpochProgress", Stopping)
        assert moola(*TAUGHT).code == 130
    (begun,) = (path for path in RUNS.iterdir() if path.is_dir() and path != run)
    assert (begun / "checkpoint-student-1.pt").is_file()
    bars = Path(BARS).read_bytes()
    pl.read_parquet(BARS).tail(-100).write_parquet(BARS)
    moola(*TAUGHT, "--resume", begun.name).ends(2, "(or other data). Give the same options.")
    Path(BARS).write_bytes(bars)
    assert moola(*TAUGHT, "--resume", begun.name).last_line == begun.name
    assert files_of(begun) == whole
    assert not list(begun.glob("checkpoint*"))


@pytest.mark.slow
def test_three_classes_and_no_pointers_have_a_student_too(sample, moola):
    third = pl.when(pl.int_range(pl.len()) % 3 == 0).then(pl.lit("third")).otherwise(pl.col("label"))
    pl.read_parquet(DATA).drop("expansion_start", "expansion_end").write_parquet(DATA)
    given = relabelled(moola, "three", third)
    answer = moola(*given, *STUDENT).ends(0)
    shown = moola("eval", "--run", answer.last_line, "--json").json["figures"]
    assert {"f1_third", "pr_auc"} <= set(shown)
    assert shown["hit_at_pm3_both"]["value"] is None
    assert shown["hit_at_pm3_both"]["reason"] == "the model predicts no pointers"
    assert moola(*given, "--predict-pointers").code == 3


def test_a_class_of_few_windows_is_a_warning(sample, moola):
    order = pl.int_range(pl.len())
    rare = pl.when(order.is_in([3, 9, 20, 31, 40])).then(pl.lit("rare")).otherwise(pl.col("label"))
    answer = moola(*relabelled(moola, "rare", rare), "--no-save-run").ends(0)
    assert "Class rare has only 5 training windows: expect little of it." in answer.err


def test_the_mirror_of_directed_classes_must_be_said(sample, moola):
    directed = pl.when(pl.col("label") == "retracement").then(pl.lit("bull")).otherwise(pl.lit("bear"))
    given = relabelled(moola, "directed", directed)
    refused = moola(*given, "--mirror-average", "--epochs", "1").ends(2)
    assert "--mirror-average must know every class upside down, but bear, bull may have a direction" in refused.err
    assert not RUNS.exists()
    moola(*given, "--mirror-average", "--mirror-classes", "bull:bear", "--no-save-run").ends(0)


def test_windows_that_all_follow_the_held_out_ones_are_refused(sample, moola):
    pl.read_parquet(BARS).tail(300).write_parquet("late.parquet")
    given = ["late.parquet" if word == BARS else word for word in STUDENT]
    answer = moola("train", "--data", DATA, "--split", SPLIT, *given).ends(3)
    assert "must be over when the split's val and test begin" in answer.err
