"""Figures and verdicts on labelled windows that came later, and what is refused as seen."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import polars as pl
import pytest

from tests.conftest import DATA, SPLIT

LOOKS = Path("artifacts/gates/looks.jsonl")
PROMOTED = Path("artifacts/models/supervised/enhanced_baseline_v2_relative.pt")


@pytest.fixture
def later(made_run) -> tuple[str, str]:
    """A run, and a file of its split's test windows, which came later than all that it learned from."""
    run = made_run().name
    frame = pl.read_parquet(DATA)
    frame[json.loads(Path(SPLIT).read_text())["test_indices"]].write_parquet("later.parquet")
    return run, "later.parquet"


def second_run(run: str, moola) -> str:
    answer = moola("train", "--data", DATA, "--split", SPLIT, "--seed", "18")
    assert answer.code == 0, answer.err
    return answer.last_line


def test_figures_of_later_windows_are_those_of_the_same_windows_as_a_test_part(later, moola):
    run, data = later
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
    run, _ = later
    split = json.loads(Path(SPLIT).read_text())
    refused = moola("eval", "--run", run, "--data", DATA)
    assert refused.code == 3
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
    second = second_run(run, moola)
    held = moola("gate", "--run", run, "--baseline", second, "--data", DATA, "--allow-overlap", "--json")
    assert (held.code, held.json["verdict"]) == (4, "hold")
    assert held.json["reason"].startswith("the challenger's figures prove nothing")


def test_the_bars_of_the_encoder_count_as_seen(later, moola, train):
    _, data = later
    pretrained = moola("pretrain-bilstm", "--input", DATA, "--output", "e.pt", "--epochs", "1")
    assert pretrained.code == 0, pretrained.err
    run = train("--pretrained-encoder", "e.pt", "--freeze-encoder").last_line
    # The model's own record says so, wherever its encoder is by now.
    Path("e.pt").unlink()
    refused = moola("gate", "--run", run, "--baseline", run, "--data", data)
    assert refused.code == 3
    assert "a window must begin when its encoder's bars were over (" in refused.err
    assert not LOOKS.exists()


def test_the_bars_of_each_of_two_encoders_count_as_seen(later, moola, train, monkeypatch):
    _, data = later
    for name, rows in (("early.pt", slice(0, 40)), ("late.pt", slice(None))):
        pl.read_parquet(DATA)[rows].write_parquet("some.parquet")
        pretrained = moola("pretrain-bilstm", "--input", "some.parquet", "--output", name, "--epochs", "1")
        assert pretrained.code == 0, pretrained.err
    for name in ("MOOLA_HIDDEN_DIM", "MOOLA_NUM_LAYERS"):
        monkeypatch.delenv(name)
    run = train("--pretrained-encoder", "late.pt", "early.pt", "--freeze-encoder").last_line
    for name in ("late.pt", "early.pt"):
        Path(name).unlink()
    refused = moola("eval", "--run", run, "--data", data)
    assert refused.code == 3
    assert "its encoder's bars were over" in refused.err


def test_a_gate_on_later_windows_is_the_gate_on_the_same_windows_and_looks_are_counted(later, moola):
    run, data = later
    second, third = second_run(run, moola), None
    usual = moola("gate", "--run", run, "--baseline", second, "--json")
    given = moola("gate", "--run", run, "--baseline", second, "--data", data, "--json")
    assert usual.code == given.code
    same = ("verdict", "reason", "comparisons", "windows_sha256", "perfect_ece", "n_windows")
    assert {name: usual.json[name] for name in same} == {name: given.json[name] for name in same}
    # The same two models on the same windows are one look, however the windows were named.
    assert (given.json["n_looks"], given.json["n_runs"]) == (1, 1)
    third = moola("gate", "--run", second, "--baseline", run, "--data", data, "--json").json
    assert (third["n_looks"], third["n_runs"]) == (2, 2)
    assert (
        "2 comparisons have been made on these windows, of 2 runs"
        in moola("gate", "--run", run, "--baseline", second).out
    )
    assert len(LOOKS.read_text().splitlines()) == 4
    # Fewer windows are other windows.
    pl.read_parquet(data)[:30].write_parquet("fewer.parquet")
    assert moola("gate", "--run", run, "--baseline", second, "--data", "fewer.parquet", "--json").json["n_looks"] == 1
    LOOKS.write_text(LOOKS.read_text() + "{\n")
    damaged = moola("gate", "--run", run, "--baseline", second)
    assert damaged.code == 3
    assert "first line 6" in damaged.err


def test_every_gate_prints_what_a_perfect_model_would_show(later, moola):
    run, _ = later
    shown = moola("gate", "--run", run, "--baseline", second_run(run, moola))
    assert "A perfectly calibrated model with these probabilities would show ECE" in shown.out


def test_a_run_is_promoted_by_its_gate_on_later_windows(later, moola, monkeypatch):
    run, data = later
    second = second_run(run, moola)
    from dataclasses import replace

    from moola.evaluation.gates import judge
    from moola.stages import evaluate

    monkeypatch.setattr(
        evaluate, "judge", lambda *given, **options: replace(judge(*given, **options), verdict="promote")
    )
    answer = moola("promote", "--run", run, "--baseline", second, "--data", data, "--ece-rule", "noise", "--json")
    assert answer.code == 0, answer.err
    assert PROMOTED.read_bytes() == (Path("artifacts/runs") / run / "model.pkl").read_bytes()
    (entry,) = [json.loads(line) for line in (PROMOTED.parent / "promotions.jsonl").read_text().splitlines()]
    assert (entry["part"], entry["data"], entry["ece_rule"]) == ("later", data, "noise")
    # The model in use is the baseline of the next gate, on later windows too.
    found = moola("gate", "--run", second, "--data", data, "--json").json
    assert (found["baseline_kind"], found["baseline"]) == ("promoted model", str(PROMOTED))


def test_a_project_s_training_data_is_never_taken_for_later_windows(later, moola, monkeypatch):
    run, data = later
    Path("moola.toml").write_text(f'data = "{DATA}"\n')
    monkeypatch.setenv("MOOLA_DATA", DATA)
    assert moola("eval", "--run", run, "--json").json["part"] == "test"
    Path("moola.toml").write_text(f'[eval]\ndata = "{data}"\n')
    assert moola("eval", "--run", run, "--json").json["part"] == "later"


@pytest.mark.parametrize(
    ("spoil", "code", "said"),
    [
        (lambda frame: frame.with_columns(label=pl.lit(None, pl.String)), 3, "none of 44 has one"),
        (lambda frame: frame.with_columns(label=pl.lit("flag")), 3, "44 of 44 are not, first 'flag'"),
        (lambda frame: frame[:0], 3, ""),
    ],
)
def test_windows_that_cannot_be_evaluated_are_refused(later, moola, spoil, code, said):
    run, data = later
    spoil(pl.read_parquet(data)).write_parquet("spoiled.parquet")
    answer = moola("eval", "--run", run, "--data", "spoiled.parquet")
    assert answer.code == code
    assert said in answer.err


def test_windows_without_a_label_are_left_out_and_counted(later, moola):
    run, data = later
    frame = pl.read_parquet(data).with_row_index("row")
    bare = frame.with_columns(label=pl.when(pl.col("row") < 4).then(None).otherwise("label")).drop("row")
    bare.write_parquet("bare.parquet")
    answer = moola("eval", "--run", run, "--data", "bare.parquet")
    assert answer.code == 0, answer.err
    assert "40 windows of bare.parquet" in answer.out
    assert "4 of 44 windows have no label" in answer.err


def test_windows_without_times_are_said_to_be_unchecked(later, moola):
    run, data = later
    pl.read_parquet(data).drop("start_ts", "end_ts").write_parquet("timeless.parquet")
    answer = moola("eval", "--run", run, "--data", "timeless.parquet", "--json")
    assert answer.json["leak_proof"] is None
    assert "could not be checked" in answer.err
    same = Path("same.parquet")
    shutil.copy(DATA, same)
    assert moola("eval", "--run", run, "--data", same).code == 3


def test_options_of_later_windows_need_them(later, moola):
    run, data = later
    assert moola("gate", "--run", run, "--allow-overlap").code == 2
    assert moola("eval", "--events", "e.parquet", "--truth", "t.csv", "--data", data).code == 2
    assert moola("gate", "--run", "20260101T000000Z-cv_x-s1-00000000", "--baseline", "b", "--data", data).code == 2
