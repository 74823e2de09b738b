"""The main job through its commands, on the sample, with tiny networks."""

from __future__ import annotations

import json
import runpy
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from tests.conftest import DATA, RUNS, SPLIT

ENCODER = "artifacts/encoders/pretrained/bilstm_mae_11d_v1.pt"
BARS, UNLABELLED = "data/raw/eurusd_1h_2017.parquet", "data/processed/unlabeled/windows.parquet"
MASKED = ("--arms", "masked")
PRETRAIN = ("pretrain-bilstm", "--input", DATA, "--split", SPLIT, "--output", ENCODER, *MASKED)
ALL_METRICS = ("--metrics", "pr_auc", "brier", "ece", "accuracy", "f1_macro", "f1_per_class")
ALL_EVENTS = ("--event-metrics", "hit_at_pm3", "lead_lag", "pointer_f1")


def files_of(run: str) -> dict[str, bytes]:
    names = ("model.pkl", "predictions.parquet", "metrics.json", "history.jsonl")
    return {name: (RUNS / run / name).read_bytes() for name in names}


@pytest.mark.slow
def test_sample_is_the_same_each_time_and_replaces_no_file_that_differs(sample, moola):
    def content():
        return {
            path: path.read_bytes() for path in Path("data").rglob("*") if path.is_file() and "logs" not in str(path)
        }

    before = content()
    answer = moola("sample", "--quick").ends(0)
    assert "a published rule labelled them, not a person" in answer.out
    assert content() == before
    path = Path(UNLABELLED)
    path.write_bytes(path.read_bytes() + b" ")
    spoiled = content()
    answer = moola("sample", "--quick").ends(1, str(path))
    assert content() == spoiled


def test_sample_refuses_to_replace_labels_of_a_person(sample, moola):
    path = Path("data/processed/labeled/train_latest.parquet")
    labelled = pl.read_parquet(path)
    assert (len(labelled), labelled["annotator"].unique().to_list()) == (174, ["rule:prior-state-1"])
    labelled.with_columns(annotator=pl.lit("ann")).write_parquet(path)
    before = path.read_bytes()
    moola("sample", "--quick").ends(1)
    assert path.read_bytes() == before
    assert moola("sample", "--quick", "--overwrite").code == 0


def test_pretrain_frozen_unfrozen_eval_gate_promote_predict(made_run, moola, train):
    scratch = made_run(before=(PRETRAIN,)).name
    frozen = train("--pretrained-encoder", ENCODER, "--freeze-encoder", "--input-dim", "11", "--augment-data", "false")
    assert "Encoder: 8 of 8 tensors taken" in frozen.err
    assert "digest equal before and after" in frozen.out
    unfrozen = train("--pretrained-encoder", ENCODER, "--no-freeze-encoder", "--augment-data", "true")
    assert "Encoder trained: digest" in unfrozen.out
    run = unfrozen.last_line
    folder = RUNS / run
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["encoder"]["digest_before"] != manifest["encoder"]["digest_after"]
    assert manifest["leak_proof"] is True
    assert manifest["leaks"] == []

    shown = moola(
        "eval", "--run", str(folder), *ALL_METRICS, *ALL_EVENTS, "--save-reliability-plot", "artifacts/plots/r.png",
        "--save-metrics", "artifacts/metrics/enh_rel.json",
    )  # fmt: skip
    assert shown.code == 0, shown.err
    assert "44 windows of test" in shown.out
    assert "a rule, not a person" in shown.out
    assert Path("artifacts/plots/r.png").read_bytes().startswith(b"\x89PNG")
    figures = json.loads(Path("artifacts/metrics/enh_rel.json").read_text())["figures"]
    assert {"pr_auc", "brier", "ece", "hit_at_pm3_both", "lead_lag_start_median", "pointer_f1"} <= set(figures)
    assert figures["brier"]["low"] <= figures["brier"]["value"] <= figures["brier"]["high"]
    assert figures["pr_auc"]["trivial"] == pytest.approx(0.5)

    gate = moola("gate", "--run", str(folder), "--json")
    assert gate.code in (0, 4)
    assert gate.json["baseline"] == scratch
    assert gate.json["baseline_kind"] == "from-scratch run"
    assert gate.json["verdict"] in ("promote", "inconclusive", "hold")

    promoted = Path("artifacts/models/supervised/enhanced_baseline_v2_relative.pt")
    promoted.parent.mkdir(parents=True)
    shutil.copy(folder / "model.pkl", promoted)
    predict = ("predict", "--model", promoted, "--data", DATA, "--output")
    answer = moola(*predict, "p.parquet").ends(0)
    assert "windows lie in the times of the labels that the model learned from (" in answer.out
    parts = json.loads(Path(SPLIT).read_text())
    n_test, n_known = len(parts["test_indices"]), len(parts["train_indices"]) + len(parts["val_indices"])
    said = moola(*predict, "q.parquet", "--json").json
    # Purged windows may share times with either side, those of test with none.
    assert n_known <= said["n_learned"] <= said["n_windows"] - n_test
    ours = pl.read_parquet("p.parquet").drop("part")
    theirs = pl.read_parquet(folder / "predictions.parquet").drop("part")
    assert ours.join(theirs.select("row"), on="row").sort("row").equals(theirs.sort("row"))
    same = moola("gate", "--run", str(folder), "--json").json
    assert same["baseline_kind"] == "promoted model"
    assert same["reason"] == "challenger and baseline give the same probabilities"


def test_the_same_command_twice_gives_the_same_bytes_and_files_open_with_weights_only(made_run, moola, train):
    first = made_run("--augment-data", before=(PRETRAIN,))
    second = train("--augment-data").last_line
    assert first.name != second
    assert files_of(first.name) == files_of(second)
    once = Path(ENCODER).read_bytes()
    for path in (Path(ENCODER), first / "model.pkl"):
        content = torch.load(path, weights_only=True)
        assert set(content) == {"kind", "format_version", "content", "sha256"}
        assert content["content"]["features"]["names"][0] == "log_return_open"
    Path(ENCODER).unlink()
    moola(*PRETRAIN)
    assert Path(ENCODER).read_bytes() == once


def test_pretraining_keeps_val_and_test_and_the_embargo_of_the_split_out(sample, moola):
    assert moola("split", "--data", DATA, "--output", "wide.json", "--purge-window", "154").code == 0
    ends = []
    for split in (SPLIT, "wide.json"):
        answer = moola(
            "pretrain-bilstm", "--input", UNLABELLED, "--split", split, "--output", "e.pt", *MASKED, "--json"
        )
        assert answer.json["n_held_out"] > 0
        ends.append(np.datetime64(answer.json["time_range"][1][:-1]))
        held_from = np.datetime64(json.loads(Path(split).read_text())["time_range"]["val"][0][:-1])
        assert ends[-1] <= held_from  # The last bar closes, and val begins.
    assert held_from - ends[1] > np.timedelta64(50, "h")


@pytest.mark.slow
def test_pretraining_takes_bars_and_labelled_windows_too(two_runs, moola, train):
    moola("pretrain-bilstm", "--input", BARS, "--stride", "90", "--output", "b.pt", *MASKED, "--json").ends(0)
    labelled = moola("pretrain-bilstm", "--input", DATA, "--output", "l.pt", *MASKED)
    assert "Without --split all 174 labelled windows are seen" in labelled.err
    run = train("--pretrained-encoder", "l.pt").last_line
    manifest = json.loads((RUNS / run / "manifest.json").read_text())
    assert "the encoder was pretrained on times" in manifest["leaks"][0]
    verdict = moola("gate", "--run", run, "--json").ends(4)
    assert verdict.json["verdict"] == "hold"
    assert verdict.json["reason"].startswith("the challenger's figures prove nothing")


def test_test_rows_change_nothing_in_the_weights(made_run, moola):
    """Poisoned test labels leave the trained weights as they were."""
    weights = torch.load(made_run() / "model.pkl", weights_only=True)["content"]["weights"]
    split = json.loads(Path(SPLIT).read_text())
    frame = pl.read_parquet(DATA).with_row_index("row")
    swap = pl.when(pl.col("label") == "retracement").then(pl.lit("consolidation")).otherwise(pl.lit("retracement"))
    poisoned = pl.when(pl.col("row").is_in(split["test_indices"])).then(swap).otherwise(pl.col("label"))
    frame.with_columns(label=poisoned).drop("row").write_parquet("poisoned.parquet")
    split.pop("data_sha256")
    Path("poisoned.json").write_text(json.dumps(split))
    answer = moola("train", "--data", "poisoned.parquet", "--split", "poisoned.json").ends(0)
    again = torch.load(RUNS / answer.last_line / "model.pkl", weights_only=True)["content"]["weights"]
    assert all(torch.equal(weights[name], again[name]) for name in weights)


def test_relative_script_is_convert(sample, monkeypatch):
    script = Path(__file__).resolve().parents[2] / "scripts/data/make_relative_parquet.py"
    source = "data/processed/labeled/train_latest.parquet"
    monkeypatch.setattr("sys.argv", [str(script), "--input", source, "--output", "r.parquet"])
    with pytest.raises(SystemExit) as stop:
        runpy.run_path(str(script), run_name="__main__")
    assert not stop.value.code
    assert Path("r.parquet").read_bytes() == Path(DATA).read_bytes()
