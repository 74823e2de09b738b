"""The block bootstrap: blocks as long as windows overlap, every resample as large as the table."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm
from scipy.stats import t as student_t

from moola.evaluation.comparisons import (
    N_RESAMPLES,
    block_length,
    block_weights,
    drawn_block,
    percentile_interval,
    resample_size,
    without_resampling_bias,
)
from tests.slow_metrics import slow_block_length
from tests.slow_statistics import slow_freedom, slow_resample_size


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
