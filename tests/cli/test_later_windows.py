"""Figures and verdicts on labelled windows that came later, and what is refused as seen."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from moola.evaluation.gates import Outcome, judge
from moola.stages import evaluate
from tests.conftest import DATA, RUNS, SPLIT

LOOKS = Path("artifacts/gates/looks.jsonl")
PROMOTED = Path("artifacts/models/supervised/enhanced_baseline_v2_relative.pt")


@pytest.fixture
def later(two_runs) -> tuple[str, str, str]:
    """Two runs, and a file of their split's test windows, which came later than all that they learned from."""
    frame = pl.read_parquet(DATA)
    frame[json.loads(Path(SPLIT).read_text())["test_indices"]].write_parquet("later.parquet")
    return *two_runs, "later.parquet"


def test_figures_of_later_windows_are_those_of_the_same_windows_as_a_test_part(later, moola):
    run, _, data = later
    of_test, of_later = (
        moola("eval", "--run", run, "--json").json,
        moola("eval", "--run", run, "--data", data, "--json").json,
    )
    assert of_later["figures"] == of_test["figures"]
    assert (of_later["part"], of_later["data"], of_later["leaks"]) == ("later", data, [])
    assert of_later["leak_proof"] is True
    # The figures of the run's own test part stay where they were.
    assert Path(f"artifacts/metrics/{run}.json").is_file()
    assert of_later["metrics_file"] == f"artifacts/metrics/{run}-later.json"
    assert "44 windows of later.parquet" in moola("eval", "--run", run, "--data", data).out


def test_windows_that_the_model_saw_are_refused_or_marked(later, moola):
    run, second, _ = later
    split = json.loads(Path(SPLIT).read_text())
    refused = moola("eval", "--run", run, "--data", DATA).ends(3)
    starts = pl.read_parquet(DATA)["start_ts"].dt.timestamp("us")
    model_saw_until = split["time_range"]["val"][1]
    assert "a window must begin when the model's labels were over (" in refused.err
    # The range of the split ends when its last bar begins, that of the model when it is over: no window is between.
    until = pl.Series([model_saw_until]).str.to_datetime(time_zone="UTC").dt.timestamp("us")[0]
    assert f"but {int((starts <= until).sum())} do not" in refused.err
    assert "first at row 0" in refused.err
    marked = moola("eval", "--run", run, "--data", DATA, "--allow-overlap", "--json").json
    assert marked["leak_proof"] is False
    assert len(marked["leaks"]) == 1
    held = moola("gate", "--run", run, "--baseline", second, "--data", DATA, "--allow-overlap", "--json")
    assert (held.code, held.json["verdict"]) == (4, "hold")
    assert held.json["reason"].startswith("the challenger's figures prove nothing")


@pytest.mark.slow
def test_the_bars_of_each_of_two_encoders_count_as_seen(later, moola, train, monkeypatch):
    *_, data = later
    for name, rows in (("early.pt", slice(0, 40)), ("late.pt", slice(None))):
        pl.read_parquet(DATA)[rows].write_parquet("some.parquet")
        moola("pretrain-bilstm", "--input", "some.parquet", "--output", name, "--arms", "masked").ends(0)
    for name in ("MOOLA_HIDDEN_DIM", "MOOLA_NUM_LAYERS"):
        monkeypatch.delenv(name)
    run = train("--pretrained-encoder", "late.pt", "early.pt", "--freeze-encoder").last_line
    # The model's own record says so, wherever its encoders are by now.
    for name in ("late.pt", "early.pt"):
        Path(name).unlink()
    for words in (("eval",), ("gate", "--baseline", run)):
        refused = moola(*words, "--run", run, "--data", data).ends(3)
        assert "a window must begin when its encoder's bars were over (" in refused.err
    assert not LOOKS.exists()


def test_a_gate_on_later_windows_is_the_gate_on_the_same_windows_and_looks_are_counted(later, moola):
    run, second, data = later
    usual = moola("gate", "--run", run, "--baseline", second, "--json")
    given = moola("gate", "--run", run, "--baseline", second, "--data", data, "--json")
    assert usual.code == given.code
    same = ("verdict", "reason", "comparisons", "windows_sha256", "perfect_ece", "n_windows")
    assert {name: usual.json[name] for name in same} == {name: given.json[name] for name in same}
    # The same two models on the same windows are one look, however the windows were named.
    assert (given.json["n_looks"], given.json["n_runs"]) == (1, 1)
    third = moola("gate", "--run", second, "--baseline", run, "--data", data, "--json").json
    assert (third["n_looks"], third["n_runs"]) == (2, 2)
    told = moola("gate", "--run", run, "--baseline", second).out
    assert "2 comparisons have been made on these windows, of 2 runs" in told
    assert "A perfectly calibrated model with these probabilities would show ECE" in told
    assert len(LOOKS.read_text().splitlines()) == 4
    # Fewer windows are other windows.
    pl.read_parquet(data)[:30].write_parquet("fewer.parquet")
    assert moola("gate", "--run", run, "--baseline", second, "--data", "fewer.parquet", "--json").json["n_looks"] == 1
    LOOKS.write_text(LOOKS.read_text() + "{\n")
    moola("gate", "--run", run, "--baseline", second).ends(3, "first line 6")


def test_a_run_is_promoted_by_its_gate_on_later_windows_and_the_model_before_comes_back(later, moola, monkeypatch):
    run, second, data = later
    ours, theirs = ((RUNS / name / "model.pkl").read_bytes() for name in (run, second))
    outcomes = [Outcome.HOLD_RULE, Outcome.PROMOTE]
    monkeypatch.setattr(
        evaluate, "judge", lambda *given, **options: replace(judge(*given, **options), outcome=outcomes.pop(0))
    )
    refused = moola("promote", "--run", second, "--baseline", run, "--accept", "inconclusive")
    assert (refused.code, "Nothing overrides hold" in refused.err) == (4, True)
    assert not PROMOTED.parent.exists()
    PROMOTED.parent.mkdir(parents=True)
    PROMOTED.write_bytes(theirs)
    answer = moola("promote", "--run", run, "--data", data, "--ece-rule", "noise", "--json").ends(0)
    assert (answer.json["verdict"], answer.json["baseline_kind"]) == ("promote", "promoted model")
    assert PROMOTED.read_bytes() == ours
    (kept,) = (PROMOTED.parent / "previous").iterdir()
    assert kept.read_bytes() == theirs
    (entry,) = [json.loads(line) for line in (PROMOTED.parent / "promotions.jsonl").read_text().splitlines()]
    assert (entry["run_id"], entry["part"], entry["data"], entry["ece_rule"]) == (run, "later", data, "noise")
    # The model in use is the baseline of the next gate, on later windows too.
    monkeypatch.setattr(evaluate, "judge", judge)
    found = moola("gate", "--run", second, "--data", data, "--json").json
    assert (found["baseline_kind"], found["baseline"]) == ("promoted model", str(PROMOTED))
    moola("promote", "--run", run, "--baseline", second).ends(1, "is in use already")
    back = moola("promote", "--back", "true", "--json").ends(0)
    assert (back.json["action"], PROMOTED.read_bytes()) == ("back", theirs)
    assert moola("promote", "--back").code == 1
    for words in ((), ("--back", "--run", run)):
        assert moola("promote", *words).code == 2


def test_a_project_s_training_data_is_never_taken_for_later_windows(later, moola, monkeypatch):
    run, _, data = later
    Path("moola.toml").write_text(f'data = "{DATA}"\n')
    monkeypatch.setenv("MOOLA_DATA", DATA)
    assert moola("eval", "--run", run, "--json").json["part"] == "test"
    Path("moola.toml").write_text(f'[eval]\ndata = "{data}"\n')
    assert moola("eval", "--run", run, "--json").json["part"] == "later"


def test_windows_that_cannot_be_evaluated_are_refused_and_those_without_label_or_times_are_told(later, moola):
    run, _, data = later
    frame = pl.read_parquet(data)

    def on(spoiled: pl.DataFrame, *more):
        spoiled.write_parquet("spoiled.parquet")
        return moola("eval", "--run", run, "--data", "spoiled.parquet", *more)

    for spoiled, said in (
        (frame.with_columns(label=pl.lit(None, pl.String)), "none of 44 has one"),
        (frame.with_columns(label=pl.lit("flag")), "44 of 44 are not, first 'flag'"),
        (frame[:0], "Error"),
    ):
        answer = on(spoiled).ends(3, said)
    answer = on(frame.with_columns(label=pl.when(pl.int_range(pl.len()) < 4).then(None).otherwise("label"))).ends(0)
    assert "40 windows of spoiled.parquet" in answer.out
    assert "4 of 44 windows have no label" in answer.err
    answer = on(frame.drop("start_ts", "end_ts"), "--json")
    assert answer.json["leak_proof"] is None
    assert "could not be checked" in answer.err


def test_options_of_later_windows_need_them(later, moola):
    run, _, data = later
    assert moola("gate", "--run", run, "--allow-overlap").code == 2
    assert moola("eval", "--events", "e.parquet", "--truth", "t.csv", "--data", data).code == 2
    assert moola("gate", "--run", "artifacts/cv/any", "--baseline", "b", "--data", data).code == 2
