"""Figures and report of predictions in memory: those of the commands."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import polars as pl
import pytest

from moola import evaluate, read_windows, report
from moola.errors import InvalidData
from moola.runs.run_store import FACTS
from moola.tables.split_file import read_split
from tests.api.faced import WINDOWS, model_of_28
from tests.conftest import DATA, SPLIT

TRAIN, TEST = WINDOWS[:28], WINDOWS[28:]


@pytest.fixture(scope="module")
def said():
    return model_of_28().predict(TEST)


@pytest.mark.slow
def test_figures_are_those_of_eval(made_run, moola):
    run = made_run()
    metrics, event_metrics = ("pr_auc", "brier"), ("pointer_f1",)
    asked = ("--metrics", *metrics, "--event-metrics", *event_metrics, "--seed", "3")
    figures = moola("eval", "--run", run, *asked, "--json").json["figures"]
    split = read_split(Path(SPLIT)).split
    predictions = pl.read_parquet(f"{run}/predictions.parquet").filter(part="test")
    threshold = json.loads(Path(run, FACTS).read_text())["pointer_threshold"]
    learned = read_windows(DATA)[split.train]
    found = evaluate(
        predictions, learned, metrics=metrics, event_metrics=event_metrics, pointer_threshold=threshold, seed=3
    )
    assert {row["name"]: row for row in found.to_dicts()} == figures


def test_the_order_of_rows_changes_nothing_and_windows_that_were_learned_from_are_warned_of(said, caplog):
    few = {"metrics": ("brier",), "event_metrics": ("hit_at_pm3",)}
    with caplog.at_level(logging.WARNING):
        assert evaluate(said[::-1], TRAIN, **few).equals(evaluate(said, TRAIN, **few))
        assert not caplog.text
        evaluate(said, WINDOWS[:30], metrics=("brier",), event_metrics=())
    assert "Not leak-proof: 2 of 30 train windows share bars with evaluated ones." in caplog.text


@pytest.mark.slow
def test_a_report_is_one_page_with_the_bars_of_its_windows(said, tmp_path):
    page = report(tmp_path / "report.html", said, TRAIN, TEST[::-1], title="First look")
    text = page.read_text()
    assert "First look" in text
    assert "No verdict." in text
    assert "Bars are not drawn" not in text
    assert "Overlap not checked" not in text
    assert report(tmp_path / "again.html", said, TRAIN, TEST, title="First look").read_bytes() == page.read_bytes()
    bare = report(tmp_path / "bare.html", said.drop("start_ts", "end_ts"), TRAIN).read_text()
    assert "Bars are not drawn: they were not given" in bare
    assert "Overlap not checked" in bare
    leaky = report(tmp_path / "leaky.html", said, WINDOWS).read_text()
    assert "12 of 40 train windows share bars with evaluated ones" in leaky


def test_tables_that_cannot_be_judged_are_refused(said, tmp_path):
    with pytest.raises(InvalidData, match="but predictions lacks row, part"):
        evaluate(said.drop("row", "part"), TRAIN)
    with pytest.raises(InvalidData, match="predictions must have windows to evaluate on, but there are 0"):
        evaluate(said[:0], TRAIN)
    with pytest.raises(InvalidData, match="every train window must have a label, but 28 of 28 have none"):
        evaluate(said, TRAIN.drop("label"))
    with pytest.raises(InvalidData, match=r"prices of every evaluated window, but 2 are missing, first made_0028"):
        report(tmp_path / "report.html", said, TRAIN, TEST[2:])
    assert list(tmp_path.iterdir()) == []
