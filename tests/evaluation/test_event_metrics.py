"""Pointer metrics against naive loops, by hand, and under resampling weights."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moola.evaluation.class_metrics import Metric
from moola.evaluation.pointer_metrics import (
    ENDS,
    HIT_BARS,
    TOLERANCES,
    choose_pointer_threshold,
    hit_at,
    lead_lag,
    nearest_expansions,
    nearest_pointers,
    pointer_f1,
    pointer_precision,
    pointer_recall,
)
from moola.tables.prediction_table import Predictions
from tests import slow_metrics as slow
from tests.predictions_made import close, expansions_table, ones, random_table, repeated, table_of

Twin = Callable[[Predictions], float]
QUARTERS = [Fraction(1, 4), Fraction(1, 2), Fraction(3, 4)]


def hit_twin(tolerance: int, which: str) -> Twin:
    return lambda table: slow.slow_hit_at(table, tolerance, which)


def lag_twin(which: str, quantile: Fraction) -> Twin:
    return lambda table: slow.slow_lead_lag(table, which, quantile)


def score_twin(number: int, threshold: float) -> Twin:
    return lambda table: slow.slow_pointer_scores(table, threshold)[number]


TWINS: dict[str, tuple[Metric, Twin]] = {
    **{f"hit {t} {w}": (hit_at(t, w), hit_twin(t, w)) for t in TOLERANCES for w in (*ENDS, "both")},
    **{f"lag {w} {q}": (lead_lag(w, float(q)), lag_twin(w, q)) for w in ENDS for q in QUARTERS},
}
for cut in (0.0, 0.5, 1.0):
    for number, scored in enumerate((pointer_precision, pointer_recall, pointer_f1)):
        TWINS[f"{scored.__name__} {cut}"] = (scored(cut), score_twin(number, cut))
Drawn = tuple[Any, ...]
TABLES = st.tuples(st.integers(0, 10_000), st.integers(1, 30))


def compare_with_twins(table: Predictions, counts: np.ndarray) -> None:
    again = repeated(table, counts)
    for name, (metric, twin) in TWINS.items():
        plain, weighted = metric(table, np.stack([np.ones(len(table)), counts.astype(np.float64)]))
        assert close(plain, twin(table)), name
        assert close(weighted, twin(again)), name
        if len(again):
            assert close(weighted, metric(again, ones(again))[0]), name


@settings(max_examples=8)
@given(drawn=TABLES, seed=st.integers(0, 1000))
def test_metrics_are_what_their_slow_twins_say_also_under_weights(drawn: Drawn, seed: int) -> None:
    table = random_table(*drawn)
    compare_with_twins(table, np.random.default_rng(seed).integers(0, 4, size=len(table)))


@settings(max_examples=8)
@given(drawn=TABLES, seed=st.integers(0, 1000))
def test_windows_of_several_expansions_are_scored_as_their_slow_twins_say(drawn: Drawn, seed: int) -> None:
    table, window = expansions_table(*drawn)
    compare_with_twins(table, np.random.default_rng(seed).integers(0, 4, size=int(window.max()) + 1)[window])


def of_one_window(
    true: list[tuple[int, int]], said: list[tuple[int, int]], prob: list[tuple[float, float]] | None = None
) -> Predictions:
    """One window of several expansions: a row each."""
    n = len(true)
    table = table_of([0] * n, [[1.0, 0.0]] * n, None, true, said, prob or [(1.0, 1.0)] * n)
    ids = [f"w_exp_{i + 1}" for i in range(n)]
    return replace(table, window_id=ids, start_us=np.zeros(n, dtype=int), end_us=np.ones(n, dtype=int))


def scores_of(table: Predictions, threshold: float = 0.0) -> list[float]:
    return [float(score(threshold)(table, ones(table))[0]) for score in (pointer_precision, pointer_recall, pointer_f1)]


def hits_of(table: Predictions, tolerance: int = 3) -> list[float]:
    return [float(hit_at(tolerance, which)(table, ones(table))[0]) for which in ("start", "end", "both")]


def test_both_pointers_are_those_of_one_expansion() -> None:
    # From the start of the first to the end of the second: each pointer is right, the pair is not.
    table = of_one_window([(40, 46), (70, 74)], [(40, 74)] * 2)
    assert hits_of(table) == [1.0, 1.0, 0.0]
    assert scores_of(table) == [1.0, 0.5, pytest.approx(2 / 3)]


def test_a_window_of_several_rows_counts_once() -> None:
    two, one = of_one_window([(40, 46), (70, 74)], [(40, 46)] * 2), one_pointer_pair((40, 46), (60, 66))
    table = two.joined(replace(one, window_id=["alone"]))
    assert hits_of(table) == [0.5] * 3
    # Four pointers predicted, two of them right; six true ones, two of them found.
    assert scores_of(table) == [0.5, pytest.approx(1 / 3), pytest.approx(0.4)]
    # The window of one row is 20 bars late: half of the windows, not a third.
    assert [lead_lag("start", quantile)(table, ones(table))[0] for quantile in (0.5, 0.51)] == [0.0, 20.0]


def test_a_pointer_shared_by_two_expansions_is_one_pointer() -> None:
    table = of_one_window([(40, 50), (40, 60)], [(40, 50)] * 2)
    assert scores_of(table) == [1.0, pytest.approx(2 / 3), pytest.approx(0.8)]


def test_each_row_may_predict_an_expansion_of_its_own() -> None:
    table = of_one_window([(40, 46), (70, 74)], [(70, 74), (40, 46)], [(0.9, 0.9), (0.4, 0.4)])
    assert scores_of(table) == [1.0] * 3
    assert hits_of(table) == [1.0] * 3
    assert scores_of(table, 0.5) == [1.0, 0.5, pytest.approx(2 / 3)]
    assert choose_pointer_threshold(table) == 0.0


def test_rows_with_the_same_bars_are_one_window_whatever_their_ids() -> None:
    table = replace(of_one_window([(40, 46), (70, 74)], [(40, 46)] * 2), window_id=["first", "second"])
    assert scores_of(table)[0] == 0.5
    same = replace(table, shared_bars=np.array(["a1", "a1"], dtype=object))
    assert scores_of(same)[0] == 1.0
    # The same bars at another time are another window.
    assert scores_of(replace(same, start_us=np.array([0, 5])))[0] == 0.5


def test_the_nearest_expansion_is_a_pair_and_the_nearest_pointers_are_not() -> None:
    table = of_one_window([(40, 46), (70, 74)], [(42, 73), (-1, -1)])
    assert nearest_pointers(table)[0].tolist() == [40, 74]
    # The worse end is 27 bars off in one and 28 in the other.
    assert nearest_expansions(table).tolist() == [[40, 46], [70, 74]]
    empty = table.take(np.zeros(0, dtype=np.int64))
    assert nearest_expansions(empty).shape == nearest_pointers(empty).shape == (0, 2)
    nothing = replace(table, true_bar=np.full((2, 2), -1))
    assert nearest_expansions(nothing).tolist() == nearest_pointers(nothing).tolist() == [[-1, -1]] * 2


def test_of_two_pointers_equally_near_the_earlier_row_counts() -> None:
    table = of_one_window([(40, 50), (60, 70)], [(50, 60)] * 2)
    assert lead_lag("start", 0.5)(table, ones(table))[0] == 10
    assert lead_lag("start", 0.5)(table.take(np.array([1, 0])), ones(table))[0] == -10


def one_pointer_pair(true: tuple[int, int], said: tuple[int, int]) -> Predictions:
    return table_of([0], [[1.0, 0.0]], None, [true], [said], [[1.0, 1.0]])


def test_tolerances_are_those_of_the_contract() -> None:
    assert TOLERANCES == (1, 2, 3, 5)


def test_the_first_bar_of_a_window_is_a_pointer_like_any_other() -> None:
    table = table_of([0, 0], [[1.0, 0.0]] * 2, None, [(0, 5), (0, 0)], [(0, 9), (0, 0)], [[0.25, 0.5], [0.75, 1.0]])
    assert [hit_at(3, which)(table, ones(table))[0] for which in ("start", "end", "both")] == [1.0, 0.5, 0.5]
    assert [lead_lag("end", quantile)(table, ones(table))[0] for quantile in (0.0, 0.5, 0.51)] == [0.0, 0.0, 4.0]
    scores = [score(0.0)(table, ones(table))[0] for score in (pointer_precision, pointer_recall, pointer_f1)]
    assert scores == [0.75] * 3
    only_first = table.take(np.array([1]))
    assert lead_lag("start", 0.5)(only_first, ones(only_first))[0] == 0.0
    alone = one_pointer_pair((0, 50), (0, 10))
    # The end is a false alarm: what is said of bar 0 alone is the best that can be said.
    surer_start = replace(alone, pointer_prob=np.array([[0.75, 0.25]]))
    assert choose_pointer_threshold(surer_start) == 0.75


@pytest.mark.parametrize("tolerance", TOLERANCES)
@pytest.mark.parametrize("sign", [-1, 1])
def test_a_hit_is_within_the_tolerance_and_not_a_bar_further(tolerance: int, sign: int) -> None:
    for miss, hit in ((0, 1.0), (1, 0.0)):
        table = one_pointer_pair((40, 50), (40 + sign * (tolerance + miss), 50))
        assert hit_at(tolerance, "start")(table, ones(table))[0] == hit
        assert hit_at(tolerance, "both")(table, ones(table))[0] == hit
        assert hit_at(tolerance, "end")(table, ones(table))[0] == 1.0


@pytest.mark.parametrize("metric", [hit_at(3, "both"), lead_lag("start", 0.5), pointer_recall(0.0)])
def test_without_any_expansion_there_is_no_figure(metric: Metric) -> None:
    table = table_of([0, 0], [[1.0, 0.0]] * 2, None, None, [(3, 4), (5, 6)])
    assert np.isnan(metric(table, ones(table))[0])


def test_a_quantile_of_lags_is_a_bar_that_was_seen() -> None:
    table = table_of([0, 0], [[1.0, 0.0]] * 2, None, [(30, 50)] * 2, [(30, 50), (37, 50)])
    assert lead_lag("start", 0.5)(table, ones(table))[0] == 0
    assert lead_lag("start", 0.51)(table, ones(table))[0] == 7


def test_a_threshold_takes_what_is_equal_to_it() -> None:
    table = table_of([0], [[1.0, 0.0]], None, [(10, 20)], [(10, 20)], [[0.5, 0.4]])
    assert pointer_recall(0.5)(table, ones(table))[0] == 0.5


def test_pointer_hits_are_within_three_bars() -> None:
    assert HIT_BARS == 3
    for miss, hit in ((3, 1.0), (4, 0.5)):
        table = one_pointer_pair((40, 50), (40 - miss, 50))
        assert pointer_f1(0.0)(table, ones(table))[0] == hit


@given(drawn=TABLES)
def test_the_chosen_threshold_is_the_lowest_of_the_best(drawn: Drawn) -> None:
    table = random_table(*drawn)

    def f1(threshold: float) -> float:
        value = slow.slow_pointer_scores(table, threshold)[2]
        return 0.0 if math.isnan(value) else value

    chosen = choose_pointer_threshold(table)
    tried = {0.0, *table.pointer_prob[table.predicted_bar >= 0].tolist()}
    assert chosen in tried
    assert f1(chosen) == pytest.approx(max(f1(threshold) for threshold in tried))
    assert all(f1(threshold) < f1(chosen) for threshold in tried if threshold < chosen)


def test_without_predicted_pointers_the_threshold_is_nought() -> None:
    table = random_table(0, 5)
    assert choose_pointer_threshold(replace(table, predicted_bar=np.full((5, 2), -1))) == 0.0
