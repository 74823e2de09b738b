"""`moola eval`, `compare` and `gate` of events: from files to figures, with what is assumed said."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from matplotlib.image import imread

from moola.core.bars import Bars, utc_text
from moola.evaluation import event_figures
from moola.options.judging_options import EvalOptions
from moola.stages import judge_events
from moola.tables.bar_table import write_bars
from tests.charts_made import planted, write_events, write_spans
from tests.made import random_walk_bars
from tests.slow_spans import SlowPiece

N_BARS, CLASSES = 4000, ["bear", "bull"]
ON_BARS = ("--truth", "spans.csv", "--bars", "bars.parquet")


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> tuple[Path, Bars]:
    """Make bars, 40 spans, events that found 30 and events that found 15 of them."""
    folder, bars = tmp_path_factory.mktemp("charts"), random_walk_bars(N_BARS)
    write_bars(folder / "bars.parquet", bars)
    events, spans = planted(1, 40, N_BARS, 0.75, 8)
    write_spans(folder / "spans.csv", bars, spans, CLASSES)
    write_events(folder / "events.parquet", bars, events, CLASSES)
    write_events(folder / "poor.parquet", bars, planted(1, 40, N_BARS, 0.375, 12)[0], CLASSES)
    whole = {"from": [utc_text(int(bars.start_us[0]))], "to": [utc_text(int(bars.start_us[-1]))]}
    pl.DataFrame(whole).write_csv(folder / "stretches.csv")
    return folder, bars


@pytest.fixture(autouse=True)
def _rough_intervals(monkeypatch) -> None:
    every = event_figures.resampling_weights
    monkeypatch.setattr(event_figures, "resampling_weights", lambda judged, seed, n=200: every(judged, seed, n))


@pytest.fixture
def bars(made, tmp_path, monkeypatch) -> Bars:
    """Work in a folder with all of it; returns the bars."""
    shutil.copytree(made[0], tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return made[1]


def test_eval_shows_the_planted_figures_and_writes_them_beside_the_events(bars, moola, undrawn):
    answer = moola("eval", "--events", "events.parquet", *ON_BARS, "--stretches", "stretches.csv", "--json").ends(0)
    result = json.loads(answer.out)
    assert (result["n_spans"], result["n_events"], result["n_bars"]) == (40, 38, N_BARS)
    figures = result["figures"]
    assert figures["ap_iou50_class"]["value"] == pytest.approx(0.75)
    assert figures["ap_iou50_class"]["low"] < 0.75 < figures["ap_iou50_class"]["high"]
    assert figures["alarms_per_1000"]["value"] == pytest.approx(2)
    assert figures["late_bars_end_median"]["value"] == 0
    assert "late_bars_known_median" not in figures
    assert json.loads(Path("events.eval.json").read_text())["figures"] == figures
    for plot in (result["curve_plot"], result["reliability_plot"]):
        assert Path(plot).read_bytes().startswith(b"\x89PNG")


def test_events_reported_as_bars_came_are_also_evaluated_by_when_they_were_known(bars, moola):
    live = pl.read_parquet("events.parquet").with_columns(
        known_ts=pl.col("end_ts") + pl.duration(hours=6), n_bars_after=pl.lit(6, pl.Int64)
    )
    live.write_parquet("live.parquet")
    result, *_ = judge_events.evaluated(
        EvalOptions(events=Path("live.parquet"), truth=Path("spans.csv"), bars=Path("bars.parquet"))
    )
    assert result["figures"]["late_bars_known_median"]["value"] == 6


def test_a_gallery_shows_pieces_and_without_stretches_eval_says_what_it_assumes(bars, moola, undrawn):
    answer = moola("eval", "--events", "events.parquet", *ON_BARS, "--save-gallery", "gallery.png").ends(0)
    assert Path("gallery.png").read_bytes().startswith(b"\x89PNG")
    assert "in gallery.png" in answer.out
    assert "ASSUMED: a person looked at every bar from the first span to the last" in answer.out
    assert "moola gate --events events.parquet" in answer.out
    without = moola("eval", "--events", "events.parquet", "--truth", "spans.csv", "--save-gallery", "no.png").ends(2)
    assert "--save-gallery must come with --bars" in without.err


@pytest.mark.slow
def test_a_gallery_is_drawn(bars, moola):
    moola("eval", "--events", "events.parquet", *ON_BARS, "--save-gallery", "gallery.png").ends(0)
    image = imread("gallery.png")
    assert image.shape[1] > 1000
    assert len(np.unique(image.reshape(-1, image.shape[2]), axis=0)) > 50


def test_eval_without_bars_counts_the_same_where_there_are_no_gaps(bars, moola, undrawn):
    # Spans end a minute into their last bar: their common distance is a minute, of which a bar is 60.
    frame = pl.read_csv("spans.csv").with_columns(pl.col("end").str.replace(":01:00", ":00:00"))
    frame.write_csv("spans.csv")
    answer = moola("eval", "--events", "events.parquet", "--truth", "spans.csv", "--stretches", "stretches.csv").ends(0)
    assert "without gaps, weekends included" in answer.out
    result = json.loads(Path("events.eval.json").read_text())
    assert result["bars"] is None
    assert result["figures"]["ap_iou50_class"]["value"] == pytest.approx(0.75)
    assert result["figures"]["ap_iou50_class"]["moves"] is None


def test_min_prob_cuts_precision_and_recall_and_leaves_average_precision(bars, moola, undrawn):
    words = ("eval", "--events", "events.parquet", *ON_BARS, "--stretches", "stretches.csv", "--json")
    figures = json.loads(moola(*words, "--min-prob", "0.7").out)["figures"]
    assert figures["precision"]["value"] == 1
    assert figures["alarms_per_1000"]["value"] == 0
    assert figures["ap_iou50_class"]["value"] == pytest.approx(0.75)


@pytest.mark.slow
def test_two_symbols_are_evaluated_together_and_each_by_itself(tmp_path, monkeypatch, moola, undrawn):
    monkeypatch.chdir(tmp_path)
    events, spans = planted(1, 20, 2000, 1.0, 5)
    both = []
    for number, name in enumerate(("EURUSD", "USDJPY")):
        one = random_walk_bars(2000, seed=number, symbol=name)
        write_bars(Path(f"{name}.parquet"), one)
        write_events(Path(f"{name}.events.parquet"), one, events if number else [], CLASSES)
        write_spans(Path(f"{name}.csv"), one, spans, CLASSES)
        both.append(pl.read_csv(f"{name}.csv").with_columns(symbol=pl.lit(name)))
    pl.concat(both).write_csv("spans.csv")
    pl.concat([pl.read_parquet(f"{name}.parquet") for name in ("EURUSD", "USDJPY")]).write_parquet("bars.parquet")
    answer = moola("eval", "--events", "USDJPY.events.parquet", *ON_BARS, "--json").ends(0)
    result = json.loads(answer.out)
    assert result["figures"]["recall"]["value"] == pytest.approx(0.5)
    assert {name: row["recall"]["value"] for name, row in result["by_symbol"].items()} == {"EURUSD": 0, "USDJPY": 1}


def test_gate_promotes_better_events_and_holds_worse_ones(bars, moola):
    words = (*ON_BARS, "--stretches", "stretches.csv", "--json")
    better = moola("gate", "--events", "events.parquet", "--baseline-events", "poor.parquet", *words)
    result = json.loads(better.out)
    assert (better.code, result["verdict"]) == (0, "promote"), result["reason"]
    assert [row["metric"] for row in result["comparisons"]] == ["ap_iou50_class", "alarms_per_1000", "event_ece"]
    worse = moola("gate", "--events", "poor.parquet", "--baseline-events", "events.parquet", *words[:-1]).ends(4)
    assert "names no model" in worse.out
    assert "Verdict: hold" in worse.out


def test_compare_ranks_tables_of_events(bars, moola):
    answer = moola(
        "compare", "poor.parquet", "events.parquet", *ON_BARS, "--plot", "c.png", "--output", "c.csv", "--json"
    ).ends(0)
    result = json.loads(answer.out)
    assert (result["baseline"], result["best"]) == ("poor.parquet", "events.parquet")
    row = next(r for r in result["rows"] if r["name"] == "events.parquet" and r["metric"] == "ap_iou50_class")
    assert row["difference"] == pytest.approx(0.375)
    assert 0 < row["low"] < row["difference"] < row["high"]
    assert row["p_holm"] < 0.05
    assert len(pl.read_csv("c.csv")) == len(result["rows"])
    assert Path("c.png").read_bytes().startswith(b"\x89PNG")


def test_spans_outside_the_stretches_and_classes_without_spans_are_said(bars, moola, undrawn):
    half = {"from": [utc_text(int(bars.start_us[0]))], "to": [utc_text(int(bars.start_us[N_BARS // 2]))]}
    pl.DataFrame(half).write_csv("half.csv")
    write_events(Path("other.parquet"), bars, [SlowPiece(10, 19, 0, 0.9)], ["wedge"])
    answer = moola("eval", "--events", "other.parquet", *ON_BARS, "--stretches", "half.csv").ends(0)
    assert "20 spans do not count" in answer.out
    assert "ASSUMED" not in answer.out
    said = "No span of spans.csv has the class wedge of other.parquet"
    assert said in answer.err
    # A table to beat may find the same pieces under another name: nothing is shown by beating it.
    gate = moola("gate", "--events", "events.parquet", "--baseline-events", "other.parquet", *ON_BARS)
    assert (gate.code, said in gate.err, "every event of other.parquet has another (wedge)" in gate.err) == (
        3,
        True,
        True,
    )
    assert said in moola("compare", "events.parquet", "other.parquet", *ON_BARS).err


ON = " ".join(ON_BARS)
WRONG = {
    "eval": "one of --run and --events must be given, but neither is",
    "eval --run r --events e": "both are",
    "eval --run r --truth spans.csv": "--truth must come with the events of a scan",
    "eval --events events.parquet": "must be evaluated with --truth",
    f"gate --events events.parquet {ON}": "must be compared with --baseline-events",
    f"compare events.parquet {ON}": "at least two tables of events",
    f"eval --events e {ON} --min-prob 2": "--min-prob must be within 0 to 1",
}


@pytest.mark.parametrize(("line", "says"), WRONG.items())
def test_options_that_do_not_go_together_are_wrong_usage(bars, moola, line, says):
    moola(*line.split()).ends(2, says)


def test_spans_that_a_model_proposed_are_left_out_where_asked(bars, moola):
    words = ("eval", "--events", "events.parquet", *ON_BARS, "--stretches", "stretches.csv", "--json")
    refused = moola(*words, "--without-proposals")
    assert refused.code == 3
    assert "has no column 'source' of marked, accepted, corrected" in refused.err
    frame = pl.read_csv("spans.csv")
    sources = ["accepted", "corrected", "marked", "marked"] * (len(frame) // 4)
    frame.with_columns(pl.Series("source", sources)).write_csv("spans.csv")
    whole = json.loads(moola(*words).out)
    result = json.loads(moola(*words, "--without-proposals").out)
    assert (result["n_spans"], result["n_proposals_left_out"]) == (len(frame) // 2, len(frame) // 2)
    # An event that found a span that is left out is no false alarm either.
    n_false, n_false_left = (
        one["figures"]["alarms_per_1000"]["value"] * one["n_bars"] / 1000 for one in (whole, result)
    )
    assert n_false_left == pytest.approx(n_false)
