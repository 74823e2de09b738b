"""Comparisons: the corrected t-test, Holm's adjustment and power, against loops, scipy and hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from scipy.stats import norm
from scipy.stats import t as student_t

from moola.evaluation.class_metrics import brier, pr_auc
from moola.evaluation.comparisons import (
    N_RESAMPLES,
    block_length,
    block_weights,
    corrected_resampled_t,
    detectable_difference,
    drawn_block,
    holm,
    paired_differences,
    percentile_interval,
    resample_size,
    standard_error,
    windows_for_power,
    without_resampling_bias,
)
from tests import slow_statistics as slow
from tests.predictions_made import random_table, repeated, two_class
from tests.slow_metrics import slow_block_length
from tests.slow_statistics import power_of, slow_freedom, slow_resample_size

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


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 25)), min_size=2, max_size=30))
def test_a_block_is_one_more_than_the_most_later_windows_a_window_overlaps(spans: list[tuple[int, int]]) -> None:
    starts = sorted(start for start, _ in spans)
    ends = [start + length for start, (_, length) in zip(starts, spans, strict=True)]
    assert block_length(np.array(starts), np.array(ends)) == slow_block_length(starts, ends)


@pytest.mark.parametrize(("stride", "block"), [(105, 1), (104, 2), (35, 3), (10, 11), (1, 105)])
def test_windows_of_105_bars_at_a_stride(stride: int, block: int) -> None:
    start = np.arange(300) * stride
    assert block_length(start, start + 104) == block


def test_without_times_or_with_one_window_a_block_is_one_window() -> None:
    some = np.array([0, 5])
    assert block_length(None, None) == block_length(some, None) == block_length(None, some) == 1
    assert block_length(np.array([3]), np.array([9])) == 1


@given(st.integers(1, 40), st.integers(1, 60), st.integers(0, 100))
def test_every_resample_has_as_many_windows_as_its_size_says(n: int, block: int, seed: int) -> None:
    weights = block_weights(n, block, seed, 50)
    assert weights.shape == (50, n)
    assert (weights.sum(axis=1) == resample_size(n, block)).all()
    assert (weights >= 0).all()
    assert (weights == weights.round()).all()


@given(st.integers(1, 800), st.integers(1, 40))
def test_the_size_makes_up_for_what_sums_over_neighbours_miss(n: int, block: int) -> None:
    wanted = (
        slow_resample_size(n, block) * (norm.ppf(0.975) / student_t.ppf(0.975, max(slow_freedom(n, block), 1))) ** 2
    )
    assert resample_size(n, block) >= 1
    assert abs(resample_size(n, block) - max(wanted, 1)) <= 0.5 + 1e-9


@pytest.mark.parametrize(
    ("n", "block", "piece", "size"),
    [(60, 1, 1, 57), (2000, 1, 1, 1997), (60, 5, 5, 32), (500, 5, 15, 412), (6, 6, 6, 1)],
)
def test_sizes_of_some_tables(n: int, block: int, piece: int, size: int) -> None:
    assert (drawn_block(n, block), resample_size(n, block)) == (piece, size)


@given(st.integers(1, 3000), st.integers(1, 50))
def test_pieces_grow_with_windows_and_hold_what_overlaps(n: int, block: int) -> None:
    assert block <= drawn_block(n, block) <= max(3 * block, block)
    assert drawn_block(n, block) <= max(block, n // 20)
    assert drawn_block(n, 1) == 1
    assert resample_size(n, block) <= n


def test_there_are_two_thousand_resamples() -> None:
    assert N_RESAMPLES == 2000
    assert block_weights(5, 2, 0).shape == (2000, 5)


def test_the_seed_decides_the_resamples() -> None:
    np.testing.assert_array_equal(block_weights(20, 3, 7), block_weights(20, 3, 7))
    assert (block_weights(20, 3, 7) != block_weights(20, 3, 8)).any()


def test_every_window_counts_as_often_as_any_other_also_at_the_ends() -> None:
    weights = block_weights(24, 5, 0, 20_000)
    share = resample_size(24, 5) / 24
    assert weights.mean(axis=0) == pytest.approx(np.full(24, share), rel=0.1)


def test_pieces_are_drawn_whole_and_around_the_end() -> None:
    weights = block_weights(60, 4, 0, 500)
    n_pieces = -(-resample_size(60, 4) // 4)
    # A window's neighbours on the circle count with it.
    steps = np.abs(np.diff(weights, axis=1, append=weights[:, :1])).sum(axis=1)
    assert (steps <= 2 * n_pieces).all()
    assert ((weights[:, 0] > 0) & (weights[:, -1] > 0)).any()
    alone = np.abs(np.diff(block_weights(60, 1, 0, 500), axis=1)).sum(axis=1)
    assert (alone > 2 * n_pieces).any()


def test_where_one_block_spans_all_windows_a_resample_is_one_of_them() -> None:
    weights = block_weights(6, 6, 0, 200)
    assert (weights.sum(axis=1) == 1).all()
    assert (weights.max(axis=0) == 1).all()


def test_blocks_widen_the_interval_of_windows_that_go_together() -> None:
    same_within_ten = np.repeat(np.random.default_rng(0).normal(size=20), 10)

    def width(block: int) -> float:
        low, high = percentile_interval(block_weights(200, block, 0) @ same_within_ten / resample_size(200, block))
        return high - low

    assert width(10) > 2 * width(1)


def test_the_interval_is_the_central_share() -> None:
    values = np.arange(1001.0)
    assert percentile_interval(values) == pytest.approx((25.0, 975.0))
    assert percentile_interval(values, 0.5) == pytest.approx((250.0, 750.0))
    mixed = np.concatenate([np.full(500, np.nan), values])
    assert percentile_interval(np.random.default_rng(0).permutation(mixed)) == pytest.approx((25.0, 975.0))


def test_there_is_no_interval_where_most_resamples_have_no_figure() -> None:
    assert percentile_interval(np.array([np.nan, np.nan, 1.0])) is None
    assert percentile_interval(np.array([np.nan, 1.0])) == (1.0, 1.0)
    assert percentile_interval(np.full(4, np.nan)) is None
    assert percentile_interval(np.array([])) is None


@pytest.mark.parametrize("n", [10, 60])
def test_the_interval_covers_the_true_mean_of_windows_that_share_nothing(n: int) -> None:
    rng, covered = np.random.default_rng(2), 0
    for _ in range(400):
        low, high = percentile_interval(block_weights(n, 1, 0, 400) @ rng.normal(size=n) / resample_size(n, 1))
        covered += low <= 0 <= high
    assert 0.92 <= covered / 400 <= 0.98


@pytest.mark.parametrize(("n", "stride"), [(35, 26), (60, 26), (60, 35), (174, 18), (500, 26)])
def test_the_interval_covers_the_true_mean_of_windows_that_share_bars(n: int, stride: int) -> None:
    start = np.arange(n) * stride
    block = block_length(start, start + 104)
    weights = block_weights(n, block, 0, 500) / resample_size(n, block)
    one_by_one = block_weights(n, 1, 0, 500) / resample_size(n, 1)
    rng = np.random.default_rng(3)
    covered, naive = 0, 0
    for _ in range(400):
        total = np.append(0.0, rng.normal(size=start[-1] + 105).cumsum())
        errors = total[start + 105] - total[start]
        for resampled in (weights, one_by_one):
            low, high = percentile_interval(resampled @ errors)
            covered += resampled is weights and low <= 0 <= high
            naive += resampled is one_by_one and low <= 0 <= high
    assert 0.915 <= covered / 400 <= 0.985
    assert naive / 400 < 0.88


def test_resamples_are_moved_to_the_figure_and_no_lower_than_nought() -> None:
    moved = without_resampling_bias(np.array([0.3, 0.4, np.nan, 0.5]), 0.25)
    assert moved[[0, 1, 3]] == pytest.approx([0.15, 0.25, 0.35])
    assert np.isnan(moved[2])
    assert without_resampling_bias(np.array([0.1, 0.9]), 0.2) == pytest.approx([0.0, 0.6])
