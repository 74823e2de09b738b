"""What a store holds, counted by hand."""

from __future__ import annotations

import pytest

from moola.labels.label_stats import session_of, stats
from moola.options.label_options import LabelsStatsOptions
from tests.labels.labels_made import WINDOW_BARS, made_label, made_store, write_made_bars

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
