"""Detected expansions against slow twins, by hand, and under resampling weights."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moola.evaluation.pointer_metrics import (
    MAP_TOLERANCES,
    average_precision_at,
    event_windows,
    expansion_iou,
    hit_at,
    iou_by_window,
    matched_detections,
    mean_average_precision,
)
from moola.tables.prediction_table import Predictions
from tests.predictions_made import close, ones, random_table, repeated, table_of
from tests.slow_events import SlowWindow, slow_detection_ap, slow_iou

NONE = (-1, -1)
SEEDS = st.integers(0, 10_000)


def events_table(rows: list[tuple[int, tuple[int, int], tuple[int, int], float]]) -> Predictions:
    """Rows of (window, true, said, confidence); rows of one window have its times and numbered ids."""
    n = len(rows)
    table = table_of([0] * n, [[1.0, 0.0]] * n, None, [r[1] for r in rows], [r[2] for r in rows])
    window = np.array([r[0] for r in rows], dtype=np.int64)
    ids = [f"w{number}_exp_{row}" for row, number in enumerate(window)]
    prob = np.array([(r[3], 1.0) for r in rows]).reshape(-1, 2)
    return replace(table, window_id=ids, start_us=window, end_us=window + 1, pointer_prob=prob)


def crowded_rows(seed: int, n_windows: int) -> list[tuple[int, tuple[int, int], tuple[int, int], float]]:
    """Windows of one to four rows, pointers close together so that many pairs compete, coarse confidences."""
    rng = np.random.default_rng(seed)
    rows = []
    for window in range(n_windows):
        for _ in range(int(rng.integers(1, 5))):
            true, said = (tuple(int(bar) for bar in rng.integers(30, 38, size=2)) for _ in range(2))
            true = NONE if rng.random() < 0.25 else true
            said = NONE if rng.random() < 0.2 else said
            rows.append((window, true, said, int(rng.integers(0, 4)) / 4))
    return rows


def slow_windows(rows: list, counts: np.ndarray | None = None) -> list[SlowWindow]:
    windows = []
    for window in sorted({row[0] for row in rows}):
        own = [row for row in rows if row[0] == window]
        said = [(row[2], row[3]) for row in own if row[2] != NONE]
        count = 1 if counts is None else int(counts[window])
        windows.append(SlowWindow(said, [row[1] for row in own if row[1] != NONE], count))
    return windows


@given(SEEDS, st.integers(1, 12))
def test_average_precision_is_what_its_slow_twin_says_also_under_weights(seed: int, n_windows: int) -> None:
    rows = crowded_rows(seed, n_windows)
    table = events_table(rows)
    counts = np.random.default_rng(seed).integers(0, 4, size=n_windows)
    weights = np.stack([np.ones(len(rows)), counts[[row[0] for row in rows]]]).astype(np.float64)
    wanted = []
    for tolerance in MAP_TOLERANCES:
        wanted.append([slow_detection_ap(slow_windows(rows, of), tolerance) for of in (None, counts)])
        plain, weighted = average_precision_at(tolerance)(table, weights)
        assert close(plain, wanted[-1][0])
        assert close(weighted, wanted[-1][1])
    for value, each in zip(mean_average_precision(table, weights), np.mean(wanted, axis=0), strict=True):
        assert close(value, each)
        assert math.isnan(value) or 0 <= value <= 1


@given(SEEDS, st.integers(1, 12))
def test_neither_the_order_of_rows_nor_the_scale_of_confidence_matters(seed: int, n_windows: int) -> None:
    table = events_table(crowded_rows(seed, n_windows))
    value = mean_average_precision(table, ones(table))[0]
    mixed = table.take(np.random.default_rng(seed).permutation(len(table)))
    assert close(mean_average_precision(mixed, ones(table))[0], value)
    scaled = replace(table, pointer_prob=table.pointer_prob * np.array([0.5, 1.0]))
    assert close(mean_average_precision(scaled, ones(table))[0], value)


def ap(rows: list, tolerance: int = 3) -> float:
    table = events_table(rows)
    return float(average_precision_at(tolerance)(table, ones(table))[0])


@pytest.mark.parametrize("tolerance", MAP_TOLERANCES)
@pytest.mark.parametrize("sign", [-1, 1])
def test_a_hit_is_within_the_tolerance_at_both_ends(tolerance: int, sign: int) -> None:
    off = sign * tolerance
    assert ap([(0, (40, 60), (40 + off, 60 - off), 0.5)], tolerance) == 1.0
    assert ap([(0, (40, 60), (40 + off + sign, 60), 0.5)], tolerance) == 0.0
    assert ap([(0, (40, 60), (40, 60 + off + sign), 0.5)], tolerance) == 0.0


def test_a_detection_finds_one_expansion_and_an_expansion_is_found_once() -> None:
    # One detection of a window with two expansions, written on both of its rows: one hit, one miss.
    twice = [(0, (40, 50), (41, 51), 0.9), (0, (42, 52), (41, 51), 0.9)]
    assert ap(twice) == 0.5
    # Two detections near one expansion: the surer one finds it, the other is a false alarm.
    assert ap([(0, (40, 50), (41, 51), 0.5), (0, NONE, (40, 50), 0.9), (1, (40, 50), NONE, 0.0)]) == 0.5
    assert ap([(0, (40, 50), (41, 51), 0.9), (0, (42, 52), (43, 53), 0.8)]) == 1.0
    # The same detection in two windows that are not one: two.
    assert ap([(0, (40, 50), (41, 51), 0.9), (1, (42, 52), (41, 51), 0.9)]) == 1.0


def test_tolerances_are_those_of_the_contract() -> None:
    assert MAP_TOLERANCES == (1, 2, 3, 5, 8)


def test_the_first_bar_of_a_window_is_a_pointer_like_any_other() -> None:
    rows = [(0, (0, 4), (0, 4), 0.9), (1, (0, 0), (0, 0), 0.8)]
    assert ap(rows, 1) == 1.0
    assert iou_by_window(events_table(rows)).tolist() == [1.0, 1.0]


def test_the_nearest_expansion_is_taken_first() -> None:
    # Were (43, 50) taken for the first detection, the second would find nothing within 3 bars.
    rows = [(0, (40, 50), (40, 50), 0.9), (0, (43, 50), (45, 50), 0.8)]
    assert ap(rows) == 1.0


def test_confidence_is_the_product_of_both_pointers() -> None:
    table = events_table([(0, (40, 50), (40, 50), 0.0), (1, NONE, (40, 50), 0.0)])
    table = replace(table, pointer_prob=np.array([[0.6, 0.6], [0.9, 0.3]]))
    matched = matched_detections(table, (3,), event_windows(table))
    np.testing.assert_allclose(matched.confidence, [0.36, 0.27])
    assert average_precision_at(3)(table, ones(table))[0] == 1.0


def test_equal_confidences_enter_together() -> None:
    rows = [(0, (40, 50), (40, 50), 0.5), (1, NONE, (40, 50), 0.5)]
    assert ap(rows) == ap(rows[::-1]) == 0.5


def test_where_there_is_nothing_to_find_or_nothing_said() -> None:
    assert math.isnan(ap([(0, NONE, (40, 50), 0.5)]))
    assert math.isnan(ap([(0, NONE, NONE, 0.5)]))
    assert ap([(0, (40, 50), NONE, 0.5)]) == 0.0
    empty = random_table(0, 1).take(np.zeros(0, dtype=np.int64))
    assert np.isnan(mean_average_precision(empty, np.ones((2, 0)))).all()
    table = events_table([(0, (40, 50), (40, 50), 0.5), (1, NONE, (40, 50), 0.9)])
    values = mean_average_precision(table, np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]]))
    assert values[0] == 1.0
    assert np.isnan(values[1:]).all()


def test_windows_are_told_apart_by_times_and_by_id_up_to_the_expansion() -> None:
    table = table_of([0] * 5, [[1.0, 0.0]] * 5)
    ids = ["a_exp_1", "a_exp_2", "b", "b_exp_1", "a_exp_3"]
    times = np.array([0, 0, 0, 0, 9])
    table = replace(table, window_id=ids, start_us=times, end_us=times + 1)
    assert event_windows(table).tolist() == [0, 0, 1, 1, 2]
    assert event_windows(replace(table, start_us=None, end_us=None)).tolist() == [0, 0, 1, 1, 0]
    shared = np.array(["f0", "", "f0", "", ""], dtype=object)
    assert event_windows(replace(table, shared_bars=shared)).tolist() == [0, 1, 0, 2, 3]


def test_a_row_written_down_twice_is_a_window_drawn_twice() -> None:
    table = table_of([0] * 4, [[1.0, 0.0]] * 4, None, [(40, 50), (60, 70)] * 2)
    at = np.zeros(4, dtype=np.int64)
    table = replace(table, window_id=["a_exp_1", "a_exp_2"] * 2, start_us=at, end_us=at)
    assert event_windows(table).tolist() == [0, 0, 1, 1]
    # One id with other pointers is another expansion.
    assert event_windows(replace(table, window_id=["a"] * 4)).tolist() == [0, 0, 1, 1]


def test_windows_may_be_given() -> None:
    rows = [(0, (40, 50), (41, 51), 0.9), (1, (42, 52), (41, 51), 0.9)]
    table, same = events_table(rows), np.array([7, 7])
    assert average_precision_at(3, same)(table, ones(table))[0] == 0.5
    assert mean_average_precision(table, ones(table), (3,), same)[0] == 0.5


@given(SEEDS, st.integers(1, 30))
def test_overlap_is_that_of_bars_counted_one_by_one(seed: int, n: int) -> None:
    table = random_table(seed, n)
    # A true expansion never ends before it starts; a predicted one here does at times.
    wanted = [slow_iou(t, s) for t, s in zip(table.true_bar.tolist(), table.predicted_bar.tolist(), strict=True)]
    np.testing.assert_allclose(iou_by_window(table), wanted)
    counts = np.random.default_rng(seed).integers(0, 4, size=(1, n)).astype(np.float64)
    again = repeated(table, counts[0])
    assert close(expansion_iou(table, counts)[0], expansion_iou(again, ones(again))[0])
    known = [iou for iou in wanted if not math.isnan(iou)]
    assert close(expansion_iou(table, ones(table))[0], sum(known) / len(known) if known else math.nan)


def test_overlap_is_with_the_expansion_of_the_window_that_is_overlapped_most() -> None:
    rows = [(0, (40, 49), (70, 74), 1.0), (0, (70, 74), (70, 74), 1.0), (1, (40, 49), NONE, 0.0)]
    table = events_table(rows)
    assert iou_by_window(table).tolist() == [1.0, 1.0, 0.0]
    # Two windows, the first of two rows.
    assert expansion_iou(table, ones(table))[0] == 0.5


@given(SEEDS, st.integers(1, 30))
def test_equal_confidence_makes_average_precision_recall_times_precision(seed: int, n: int) -> None:
    table = replace(random_table(seed, n), pointer_prob=np.ones((n, 2)))
    n_true, n_said = (int((bars >= 0).all(axis=1).sum()) for bars in (table.true_bar, table.predicted_bar))
    recall = hit_at(3, "both")(table, ones(table))[0]
    wanted = recall * (recall * n_true / n_said if n_said else 0.0)
    assert close(average_precision_at(3)(table, ones(table))[0], wanted)
