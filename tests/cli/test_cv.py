"""cv, its gate and compare through their commands, with tiny networks."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from moola.leakcheck.checking import CHECKS
from moola.leakcheck.subject import Finding
from moola.models import references
from moola.tables.prediction_table import read_predictions
from tests.conftest import DATA

WHOLE_FOREST = references.N_TREES
TINY = ("cv", "--data", DATA)


@pytest.fixture
def cv(sample, moola, monkeypatch):
    for name, value in {"FOLDS": "3", "SEEDS": "2", "PROCESSES": "1", "CONTROLS": "false"}.items():
        monkeypatch.setenv(f"MOOLA_{name}", value)

    def run(*arguments):
        answer = moola(*TINY, *arguments).ends(0)
        return answer

    return run


def folder(name: str) -> Path:
    return Path("artifacts/cv") / name


def test_cv_judges_every_later_window_once_beside_references_and_has_a_verdict(cv, moola, monkeypatch, undrawn):
    # test_leakcheck.py trains the networks of the controls.
    monkeypatch.setitem(CHECKS, "trained controls", lambda _: [Finding("trained controls", "ok", "not trained here")])
    given = ("--folds", "2", "--seeds", "1", "--label-fractions", "0.5", "--controls", "--save-curve", "curve.png")
    answer = cv(*given)
    for said in ("controls found no leak", "Conformal sets", "prevalence", "share of labels"):
        assert said in answer.out
    assert Path("curve.png").read_bytes().startswith(b"\x89PNG")
    run = folder(answer.last_line)
    pooled = read_predictions(run / "predictions.parquet")
    assert len(set(pooled.row.tolist())) == len(pooled) == 104
    assert np.all(np.diff(pooled.start_us) >= 0)
    metrics = json.loads((run / "metrics.json").read_text())
    assert set(metrics["references"]) == {"prevalence", "logistic", "summary_trees", "nearest"}
    briers = {name: row["brier"] for name, row in metrics["references"].items()}
    assert metrics["figures"]["brier"]["trivial"] == pytest.approx(briers["prevalence"])
    assert [row["label_fraction"] for row in metrics["label_efficiency"]] == [0.5, 1.0]
    assert metrics["label_efficiency"][0]["n_train_windows"] < metrics["label_efficiency"][1]["n_train_windows"]
    assert (metrics["controls"]["run"], metrics["controls"]["leaks"]) == (True, [])
    assert metrics["labelled_by"] == ["rule:prior-state-1"]

    against = metrics["against_reference"]
    assert briers[against["reference"]] == min(briers.values())
    assert against["verdict"] in ("promote", "inconclusive", "hold")
    page = Path(moola("report", "--run", run.name, "--json").json["report"]).read_text()
    assert f"Verdict: {against['verdict']}." in page
    assert "Should I trust it?" in page

    # Pointers of the pool are decoded as those of every fit.
    fits = sorted(run.glob("fits/enhanced*-l1.parquet"))
    own = {row: bars for fit in fits for row, bars in rows_of(read_predictions(fit).of_part("test"))}
    assert len(fits) == 2
    assert dict(rows_of(pooled)) == own
    weights = [json.loads(fit.with_suffix(".json").read_text())["length_weight"] for fit in fits]
    assert all(len(weight) == 105 and len(set(weight)) > 1 for weight in weights)
    # A fit of before this was in its record is done again.
    record = json.loads(fits[0].with_suffix(".json").read_text())
    record.pop("length_weight")
    fits[0].with_suffix(".json").write_text(json.dumps(record))
    (run / "manifest.json").unlink()
    cv(*given, "--resume", run.name)
    assert json.loads(fits[0].with_suffix(".json").read_text())["length_weight"] == weights[0]


def rows_of(predictions):
    return [
        (row, (bars, tuple(prob)))
        for row, bars, prob in zip(
            predictions.row.tolist(), predictions.predicted_bar.tolist(), predictions.pointer_prob.tolist(), strict=True
        )
    ]


@pytest.mark.slow
def test_a_cv_that_was_stopped_goes_on_to_the_same_bytes_and_every_fold_is_a_split_that_train_takes(cv, moola):
    whole = folder(cv().last_line)
    names = ("predictions.parquet", "metrics.json", "training_facts.json")
    expected = {name: (whole / name).read_bytes() for name in names}
    (whole / "manifest.json").unlink()
    for name in (*names, "fits/enhanced_simple_lstm-f2-s18-l1.parquet", "fits/logistic-f1-s17-l1.json"):
        (whole / name).unlink()
    assert cv("--resume", whole.name).last_line == whole.name
    assert {name: (whole / name).read_bytes() for name in names} == expected
    assert moola(*TINY, "--resume", whole.name).code == 1
    for path in sorted((whole / "folds").iterdir()):
        assert moola("train", "--data", DATA, "--split", path, "--epochs", "1").code == 0
    # Each window has an answer of its own.
    table = pl.read_parquet(whole / "single_windows.parquet")
    assert len(table) == 104
    assert set(table["answer"]) <= {"consolidation", "retracement", "unknown"}
    assert (table["prob_retracement_low"] <= table["prob_retracement_high"]).all()
    (whole / "manifest.json").unlink()
    moola(*TINY, "--resume", whole.name, "--seed", "3").ends(2, "Give the same options")


@pytest.mark.slow
def test_processes_change_no_byte(cv, monkeypatch):
    # Processes of their own know of no fewer trees.
    monkeypatch.setattr(references, "N_TREES", WHOLE_FOREST)
    one, two = (folder(cv("--processes", n).last_line) for n in ("1", "2"))
    assert (one / "predictions.parquet").read_bytes() == (two / "predictions.parquet").read_bytes()


@pytest.mark.slow
def test_pretraining_in_each_fold_ends_before_its_held_out_windows(cv):
    bars = "data/raw/eurusd_1h_2017.parquet"
    answer = cv("--pretrain-bars", bars, "--pretrain-epochs", "1", "--initial-fraction", "0.6", "--json")
    assert answer.json["leaks"] == []
    run = folder(answer.json["cv_id"])
    assert len(list((run / "encoders").iterdir())) == 3


@pytest.mark.slow
def test_an_encoder_that_saw_a_fold_is_marked_and_held(cv, moola):
    baseline = cv().last_line
    source = "data/processed/unlabeled/windows.parquet"
    assert moola("pretrain-bilstm", "--input", source, "--output", "all.pt").code == 0
    marked = cv("--pretrained-encoder", "all.pt")
    assert "NOT LEAK-PROOF" in marked.out
    verdict = moola("gate", "--run", marked.last_line, "--baseline", baseline, "--json").ends(4)
    lines = {row["what"]: row["verdict"] for row in verdict.json["judgements"]}
    # Linear heads are fitted once a fold, whatever the seeds: three folds, three differences.
    assert verdict.json["resampled_t"]["n"] == 3
    assert lines["controls"] == "hold"
    assert verdict.json["verdict"] == "hold"


@pytest.mark.slow
def test_gate_on_cv_needs_a_whole_cv_of_the_same_folds_as_baseline(cv, moola):
    first, second, wider = cv().last_line, cv("--seed", "5").last_line, cv("--embargo", "5").last_line
    assert moola("gate", "--run", first).code == 3
    moola("gate", "--run", first, "--baseline", wider).ends(3, "embargo_bars is 0")
    fit = folder(first) / "fits/prevalence-f1-s17-l1.parquet"
    fit.write_bytes(fit.read_bytes()[:-1] + b"x")
    assert moola("gate", "--run", first, "--baseline", second).code == 5


@pytest.mark.parametrize(
    "wrong", ["--conformal-alpha 2", "--epochs 0", "--freeze-encoder", "--processes -1", "--hidden-dim -4"]
)
def test_wrong_options_are_found_before_the_work(sample, moola, wrong):
    assert moola(*TINY, *wrong.split()).code == 2
    assert not Path("artifacts/cv").exists()


@pytest.mark.slow
def test_combinatorial_and_rolling_schemes(cv, moola):
    paths = json.loads(cv("--scheme", "combinatorial", "--json").out)
    assert paths["n_folds"] == 3
    assert [row["fold"] for row in paths["by_fold"]] == [1, 2, 3]
    assert [row["path"] for row in paths["by_path"]] == [1, 2]
    assert paths["n_pooled"] == 174
    assert cv("--scheme", "rolling", "--embargo", "24").code == 0
    moola(*TINY, "--scheme", "combinatorial", "--pretrain-bars", "data/raw/eurusd_1h_2017.parquet").ends(2)


@pytest.mark.slow
def test_references_alone_are_models_too(cv):
    metrics = json.loads(
        (folder(cv("--model", "logistic", "--folds", "2", "--seeds", "1").last_line) / "metrics.json").read_text()
    )
    assert metrics["figures"]["brier"]["value"] == pytest.approx(metrics["references"]["logistic"]["brier"])


@pytest.mark.slow
def test_compare_shows_paired_differences_and_writes_table_and_plot(cv, moola, train):
    first, second = cv().last_line, cv("--augment-data", "true").last_line
    third = cv("--model", "summary_trees").last_line
    moola("compare", first, second, third, "--output", "c.csv", "--plot", "c.png", "--json").ends(0)
    table = pl.read_csv("c.csv")
    assert table["name"].n_unique() == 3
    brier = table.filter((pl.col("metric") == "brier") & pl.col("difference").is_not_null())
    assert len(brier) == 2
    assert (brier["low"] <= brier["difference"]).all()
    assert (brier["difference"] <= brier["high"]).all()
    assert (brier["p_holm"] >= brier["p"]).all()
    assert (brier["detectable"] > 0).all()
    assert Path("c.png").read_bytes().startswith(b"\x89PNG")
    run = train("--epochs", "1").last_line
    moola("compare", first, run).ends(3, "must be evaluated on the same windows")
    assert moola("compare", first).code == 2
