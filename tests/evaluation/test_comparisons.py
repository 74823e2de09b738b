"""Comparisons: the corrected t-test, Holm's adjustment and power, against loops, scipy and hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from moola.evaluation.class_metrics import brier, pr_auc
from moola.evaluation.comparisons import (
    block_weights,
    corrected_resampled_t,
    detectable_difference,
    holm,
    paired_differences,
    standard_error,
    windows_for_power,
)
from tests import slow_statistics as slow
from tests.predictions_made import random_table, repeated, two_class
from tests.slow_statistics import power_of

DIFFERENCES = st.lists(st.integers(-50, 50).map(lambda i: i / 100), min_size=2, max_size=30)


def test_paired_differences_are_those_of_the_same_repeated_windows() -> None:
    challenger = random_table(0, 30)
    baseline = two_class(challenger.class_index, np.random.default_rng(1).random(30))
    weights = block_weights(30, 3, 0, 20)
    found = paired_differences(challenger, baseline, brier, weights)
    for value, row in zip(found, weights, strict=True):
        one, other = repeated(challenger, row), repeated(baseline, row)
        ones = np.ones((1, len(one)))
        assert value == pytest.approx(brier(one, ones)[0] - brier(other, ones)[0])
    assert np.isnan(paired_differences(challenger, baseline, pr_auc, np.eye(30)[:1])).all()


def test_differences_of_other_windows_are_refused() -> None:
    table = random_table(0, 10)
    relabelled = two_class(1 - table.class_index, table.class_prob[:, 1])
    for other in (table.take(np.arange(9)), table.take(np.arange(10)[::-1]), relabelled):
        with pytest.raises(ValueError, match="same windows with the same labels"):
            paired_differences(table, other, brier, np.ones((1, 10)))


@given(DIFFERENCES, st.integers(1, 500), st.integers(1, 500))
def test_the_corrected_t_is_that_of_a_loop_and_holds_together(values: list[float], n_train: int, n_test: int) -> None:
    found = corrected_resampled_t(np.array(values), n_train, n_test)
    if len(set(values)) == 1:
        return
    assert found.t == pytest.approx(slow.slow_corrected_t(values, n_train, n_test), abs=1e-9)
    assert found.mean == pytest.approx(np.mean(values))
    assert 0 <= found.p_two_sided <= 1
    # The interval leaves 0 out exactly when the test says so.
    if abs(found.p_two_sided - 0.05) > 1e-9:
        assert (found.low > 0 or found.high < 0) == (found.p_two_sided < 0.05)


@given(DIFFERENCES)
def test_with_hardly_any_test_rows_it_is_the_plain_t_test(values: list[float]) -> None:
    if len(set(values)) == 1:
        return
    found = corrected_resampled_t(np.array(values), 10**15, 1)
    plain = stats.ttest_1samp(values, 0.0)
    assert (found.t, found.p_two_sided) == pytest.approx((plain.statistic, plain.pvalue), abs=1e-6)
    low, high = plain.confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((low, high), abs=1e-6)


def test_the_corrected_t_by_hand() -> None:
    # Mean 0.02, s^2 = 0.0001; 1/3 + 1/9 = 4/9, so the error is 0.01 * 2/3; t = 3 with 2 degrees: p = 0.0955.
    found = corrected_resampled_t(np.array([0.01, 0.02, 0.03]), 90, 10)
    assert found.t == pytest.approx(3.0)
    assert found.p_two_sided == pytest.approx(1 - 3 / math.sqrt(11))
    half = 4.302652729696142 * 0.02 / 3
    assert (found.low, found.high) == pytest.approx((0.02 - half, 0.02 + half))
    narrower = corrected_resampled_t(np.array([0.01, 0.02, 0.03]), 90, 10, level=0.5)
    assert narrower.high - narrower.low < found.high - found.low


def test_the_corrected_t_at_its_edges() -> None:
    assert all(math.isnan(value) for value in vars(corrected_resampled_t(np.array([]), 9, 1)).values())
    one = corrected_resampled_t(np.array([0.3]), 9, 1)
    assert one.mean == 0.3
    assert math.isnan(one.t)
    assert math.isnan(one.p_two_sided)
    same = corrected_resampled_t(np.full(5, 0.1), 9, 1)
    assert vars(same) == {"t": math.inf, "p_two_sided": 0.0, "mean": 0.1, "low": 0.1, "high": 0.1}
    assert corrected_resampled_t(np.full(5, -0.1), 9, 1).t == -math.inf
    none = corrected_resampled_t(np.zeros(5), 9, 1)
    assert (none.t, none.p_two_sided) == (0.0, 1.0)


@pytest.mark.parametrize(("n_train", "n_test", "value"), [(0, 5, 0.1), (5, 0, 0.1), (5, 5, math.nan)])
def test_what_cannot_be_tested_is_refused(n_train: int, n_test: int, value: float) -> None:
    with pytest.raises(ValueError, match="must be"):
        corrected_resampled_t(np.array([0.0, value]), n_train, n_test)


def test_it_finds_nothing_in_repeats_of_nothing_where_the_plain_test_does() -> None:
    rng = np.random.default_rng(0)
    corrected = plain = 0
    for _ in range(300):
        errors = rng.normal(size=100)
        repeats = np.array([errors[rng.permutation(100)[:20]].mean() for _ in range(30)])
        corrected += corrected_resampled_t(repeats, 80, 20).p_two_sided < 0.05
        plain += stats.ttest_1samp(repeats, 0.0).pvalue < 0.05
    assert plain > 120
    assert corrected < 36


@given(st.lists(st.integers(0, 40).map(lambda i: i / 200), max_size=12))
def test_holm_is_that_of_a_loop(p_values: list[float]) -> None:
    named = {f"model {i}": p for i, p in enumerate(p_values)}
    found = holm(named)
    assert list(found) == list(named)
    assert list(found.values()) == pytest.approx(slow.slow_holm(p_values))
    for name, p in named.items():
        assert p <= found[name] <= min(1.0, len(named) * p + 1e-12)


def test_holm_by_hand() -> None:
    found = holm({"a": 0.01, "b": 0.04, "c": 0.03, "d": 0.005})
    assert found == pytest.approx({"a": 0.03, "b": 0.06, "c": 0.06, "d": 0.02})
    assert holm({}) == {}
    assert holm({"a": 0.9, "b": 0.8}) == {"a": 1.0, "b": 1.0}


@pytest.mark.parametrize("p", [-0.1, 1.1, math.nan])
def test_p_values_that_are_none_are_refused(p: float) -> None:
    with pytest.raises(ValueError, match=r"p-values must be in \[0, 1\], but 1 are not, first b"):
        holm({"a": 0.5, "b": p})


def test_the_standard_error_leaves_out_what_does_not_exist() -> None:
    assert standard_error(np.array([1.0, math.nan, 3.0])) == 1.0
    assert math.isnan(standard_error(np.array([1.0, math.nan])))
    assert math.isnan(detectable_difference(np.array([])))
    assert math.isnan(power_of(0.1, np.array([math.nan])))
    assert windows_for_power(0.1, np.array([math.nan]), 60) is None


def test_the_detectable_difference_by_hand() -> None:
    resampled = np.array([-0.01, 0.01])
    assert detectable_difference(resampled) == pytest.approx((1.6448536 + 0.8416212) * 0.01)
    assert detectable_difference(resampled, power=0.5) == pytest.approx(1.6448536 * 0.01)
    assert detectable_difference(resampled, power=0.01, level=0.5) == 0.0


@given(st.floats(0.5, 0.99), st.floats(0.5, 0.99), st.integers(0, 100))
def test_power_and_detectable_difference_undo_each_other(power: float, level: float, seed: int) -> None:
    resampled = np.random.default_rng(seed).normal(size=50)
    assert power_of(detectable_difference(resampled, power, level), resampled, level) == pytest.approx(power)
    assert power_of(0.0, resampled, level) == pytest.approx(1 - level)


def test_power_without_spread() -> None:
    assert power_of(0.1, np.zeros(3)) == 1.0
    assert power_of(0.0, np.zeros(3)) == power_of(-0.1, np.zeros(3)) == 0.0


def test_power_is_what_a_simulated_test_has() -> None:
    rng = np.random.default_rng(0)
    error, difference = 0.02, 0.04
    shown = np.mean(rng.normal(difference, error, size=20_000) > 1.6448536 * error)
    assert power_of(difference, rng.normal(0.0, error, size=20_000)) == pytest.approx(shown, abs=0.02)


def test_so_many_windows_have_the_power_asked_for() -> None:
    rng = np.random.default_rng(0)
    errors = rng.normal(size=60)
    resampled = block_weights(60, 1, 0) @ errors / 59
    needed = windows_for_power(0.2, resampled, 60)
    assert needed is not None
    scaled = resampled * math.sqrt(60 / needed)
    assert power_of(0.2, scaled - scaled.mean()) == pytest.approx(0.8, abs=0.005)
    assert windows_for_power(detectable_difference(resampled), resampled, 60) in (60, 61)
    assert windows_for_power(0.0, resampled, 60) is windows_for_power(-0.1, resampled, 60) is None
    assert windows_for_power(0.1, np.zeros(5), 60) == 1
