"""What a store holds, counted by hand."""

from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np
import pytest

from moola.core.bars import Bars
from moola.core.label_rules import ChartLabels, ChartSpan
from moola.errors import InvalidData
from moola.labels.label_positions import BarPlaces, learn_bars, require_same_bars
from moola.labels.label_stats import _span_agreement, session_of, stats
from moola.options.label_options import LabelsStatsOptions
from moola.tables.label_store import LabelStore
from tests.labels.labels_made import BARS, WINDOW_BARS, made_label, made_store, write_made_bars
from tests.made import HOUR_US
from tests.test_golden import VERSIONS

# The bars are hourly from midnight: bar n starts at hour n of the day.
LABELS = (
    made_label(0, (5, 9, "a"), grade="A"),
    made_label(0, (8, 13, "a"), annotator="ben"),
    made_label(24, (7, 9, "a"), (12, 14, "b"), grade="B"),
    made_label(24, (7, 9, "a"), (12, 14, "b"), annotator="ben"),
    made_label(48, (17, 18, "b")),
    made_label(48, (17, 18, "a"), annotator="ben"),
    made_label(72),
    made_label(72, status="rejected", annotator="ben", grade="D", reason="thin"),
    made_label(96, status="skipped"),
    made_label(96, (1, 2, "b"), annotator="cem"),
)


def test_counts_agreement_and_conflicts_by_hand(tmp_path):
    bars = write_made_bars(tmp_path / "bars.parquet")
    store = made_store(tmp_path / "labels.db", *LABELS)
    result = stats(LabelsStatsOptions(store=store, bars=bars, window_bars=WINDOW_BARS))
    assert (result["n_windows"], result["n_labels"], result["n_expansions"]) == (5, 10, 9)
    assert result["status"] == {"labelled": 8, "rejected": 1, "skipped": 1}
    assert result["grades"] == {"A": 1, "B": 1, "C": 0, "D": 1, "none": 6}
    assert result["classes"] == {"a": 5, "b": 4}
    assert result["without_expansion"] == 1
    assert result["sessions"] == {"Asia": 2, "London": 3, "London and New York": 2, "New York": 2}
    assert {hour: n for hour, n in result["hours"].items() if n} == {"1": 1, "5": 1, "7": 2, "8": 1, "12": 2, "17": 2}
    assert len(result["hours"]) == 24
    ana, ben, cem = result["annotators"]
    assert (ana["annotator"], ana["status"], ana["classes"]) == (
        "ana",
        {"labelled": 4, "rejected": 0, "skipped": 1},
        {"a": 2, "b": 2},
    )
    assert (ben["n_labels"], cem["n_labels"]) == (4, 1)
    pair = result["agreement"][0]
    # Both labelled three windows: a/a, a+b/a+b, b/a.
    assert (pair["first"], pair["second"], pair["n_windows"]) == ("ana", "ben", 3)
    assert pair["same_class"] == pytest.approx(2 / 3)
    assert pair["kappa"] == pytest.approx((2 / 3 - 1 / 3) / (1 - 1 / 3))
    assert pair["start"] == {"n": 3, "median_abs_bars": 0.0, "within_3": 1.0}
    assert pair["end"] == {"n": 3, "median_abs_bars": 0.0, "within_3": pytest.approx(2 / 3)}
    assert result["agreement"][1]["kappa"] is None
    assert result["agreement"][1]["kappa_reason"] == "no window was labelled by both"
    assert {entry["window_id"]: entry["reason"] for entry in result["conflicts"]} == {
        "w0": "end is 4 bars apart: ana at bar 9, ben at bar 13",
        "w48": "class: ana says b, ben says a",
        "w72": "rejected by ben, labelled by ana",
    }
    # Without a gap elapsed times tell the same.
    by_time = stats(LabelsStatsOptions(store=store, window_bars=WINDOW_BARS))
    assert (result["pointers_from"], by_time["pointers_from"]) == ("bars", "times")
    assert by_time | {"pointers_from": "bars"} == result


def test_one_class_has_no_kappa_and_an_empty_store_no_figures(tmp_path):
    same = [made_label(0, (1, 2, "a"), annotator=name) for name in ("ana", "ben")]
    store = made_store(tmp_path / "labels.db", *same)
    pair = stats(LabelsStatsOptions(store=store))["agreement"][0]
    assert (pair["kappa"], pair["kappa_reason"]) == (None, "both gave every window the same class")
    empty = stats(LabelsStatsOptions(store=made_store(tmp_path / "empty.db")))
    assert (empty["n_labels"], empty["classes"], empty["agreement"], empty["conflicts"]) == (0, {}, [], [])


def test_other_bars_under_one_id_are_a_conflict_and_not_compared(tmp_path):
    other = made_label(30, (1, 2, "a"), window_id="w0", annotator="ben")
    store = made_store(tmp_path / "labels.db", made_label(0, (1, 2, "a")), other)
    result = stats(LabelsStatsOptions(store=store))
    assert result["agreement"][0]["n_windows"] == 0
    assert result["conflicts"] == [{"window_id": "w0", "reason": "annotators saw other bars under this id"}]


def test_every_hour_has_a_session():
    found = [session_of(hour) for hour in range(24)]
    expected = ["Asia"] * 7 + ["London"] * 5 + ["London and New York"] * 4 + ["New York"] * 5 + ["Asia"] * 3
    assert found == expected


START_US = 1_500_000_000_000_000


def chart(who: str, symbol: str, bars: list[tuple[int, int, str]], looked: tuple[int, int]) -> ChartLabels:
    # The end is a moment inside the last bar.
    spans = tuple(ChartSpan(START_US + a * HOUR_US, START_US + b * HOUR_US + 60_000_000, name) for a, b, name in bars)
    return ChartLabels(symbol, who, spans, ((START_US + looked[0] * HOUR_US, START_US + looked[1] * HOUR_US),))


def test_only_bars_that_both_looked_at_are_compared_and_symbols_apart():
    one = np.full(300, "X", dtype=object)
    bars = Bars(START_US + HOUR_US * np.arange(300), np.ones((300, 4)), one)
    anna = chart("anna", "X", [(10, 19, "up"), (50, 59, "down"), (150, 159, "up")], (0, 299))
    bert = chart("bert", "X", [(10, 18, "up"), (50, 59, "up")], (0, 99))
    cleo = chart("cleo", "Y", [(10, 18, "up")], (0, 99))
    (pair,) = _span_agreement([anna, bert, cleo], bars)
    assert (pair["symbol"], pair["first"], pair["second"]) == ("X", "anna", "bert")
    # The third of anna's lies where bert did not look; the second is of another class.
    assert (pair["n_first"], pair["n_second"], pair["n_same"]) == (2, 2, 1)
    assert pair["mean_iou"] == pytest.approx(0.9)
    assert pair["ap"] == pytest.approx(0.25)
    nameless = replace(bars, symbol=np.full(300, "", dtype=object))
    assert _span_agreement([anna, bert], nameless) == [pair]
    assert _span_agreement([anna, bert, cleo], nameless) == []


@pytest.fixture
def store(tmp_path):
    """Two labels on bars 0 to 19 and 40 to 59."""
    with LabelStore(tmp_path / "labels.db") as opened:
        places = BarPlaces(BARS, WINDOW_BARS)
        for label in (made_label(0, (5, 9, "a")), made_label(40, (5, 9, "a"))):
            opened.save(label, 0, places.content(label.symbol, label.start_us, label.end_us))
        learn_bars(opened, places, "bars.parquet")
        yield opened


def ask(store, start_us=BARS.start_us, ohlc=BARS.ohlc, symbol=BARS.symbol):
    require_same_bars(store, BarPlaces(Bars(start_us, ohlc, symbol), WINDOW_BARS), "bars.parquet", set(symbol.tolist()))


def test_bars_that_grew_lost_their_oldest_or_were_rounded_are_the_same(store, caplog):
    ask(store)
    for rows in (slice(0, 61), slice(10, 200), slice(50, 200), slice(100, 200)):
        ask(store, BARS.start_us[rows], BARS.ohlc[rows], BARS.symbol[rows])
    ask(store, ohlc=BARS.ohlc.astype(np.float32).astype(np.float64))
    assert caplog.text == ""


def test_a_corrected_bar_is_said_with_its_count(store, caplog):
    corrected = BARS.ohlc.copy()
    corrected[[3, 4, 150]] *= 1.001
    ask(store, ohlc=corrected)
    assert "1 labelled windows or spans are on bars that were corrected since: 2 bars" in caplog.text


def test_other_prices_and_other_lengths_are_refused(store):
    with pytest.raises(InvalidData, match="40 of 40 bars have other prices"):
        ask(store, ohlc=BARS.ohlc * 4)
    # Nobody adds labels: whoever gives bars without a symbol means the labels that are there.
    unnamed = BarPlaces(Bars(BARS.start_us, BARS.ohlc * 4, np.full(len(BARS), "", dtype=object)), WINDOW_BARS)
    with pytest.raises(InvalidData, match="40 of 40 bars have other prices"):
        require_same_bars(store, unnamed, "bars.parquet")
    # To label them is to begin another instrument, which the labels of this one do not reach.
    require_same_bars(store, unnamed, "bars.parquet", {""})
    assert unnamed.known_symbol("EURUSD") is None
    with pytest.raises(
        InvalidData, match="length of those that were labelled, 3600 s for 'EURUSD', but they have 14400"
    ):
        ask(store, BARS.start_us[::4], BARS.ohlc[::4], BARS.symbol[::4])
    # Another symbol is another instrument of the same store.
    ask(store, ohlc=BARS.ohlc * 4, symbol=np.full(len(BARS), "GBPUSD", dtype=object))


def test_labels_of_the_first_version_learn_the_bars_of_the_first_opening(tmp_path, caplog):
    shutil.copy(VERSIONS[0] / "labels.db", tmp_path)
    hour = 3_600_000_000
    bars = Bars(np.arange(400) * hour, np.tile([1.0, 1.2, 0.9, 1.1], (400, 1)), np.full(400, "EURUSD", dtype=object))
    with LabelStore(tmp_path / "labels.db") as store:
        assert store.bars() == {}
        learn_bars(store, BarPlaces(bars, 105), "bars.parquet")
        assert len(store.bars()) > 0
        assert "were not yet tied to bars" in caplog.text
        assert "from version 1 to version 3" in caplog.text
        with pytest.raises(InvalidData, match="other prices"):
            ask(store, bars.start_us, bars.ohlc * 2, bars.symbol)
    assert (tmp_path / "labels.db.version-1").read_bytes()[:16] == b"SQLite format 3\x00"
