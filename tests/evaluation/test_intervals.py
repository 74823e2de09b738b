"""The block bootstrap: blocks as long as windows overlap, every resample as large as the table."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moola.evaluation.intervals import (
    N_RESAMPLES,
    block_length,
    block_weights,
    percentile_interval,
    without_resampling_bias,
)
from tests.slow_metrics import slow_block_length


@settings(deadline=None, max_examples=100)
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


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 40), st.integers(1, 60), st.integers(0, 100))
def test_every_resample_has_as_many_windows_as_there_are(n: int, block: int, seed: int) -> None:
    weights = block_weights(n, block, seed, 50)
    assert weights.shape == (50, n)
    assert (weights.sum(axis=1) == n).all()
    assert (weights >= 0).all()
    assert (weights == weights.round()).all()


def test_there_are_two_thousand_resamples() -> None:
    assert N_RESAMPLES == 2000
    assert block_weights(5, 2, 0).shape == (2000, 5)


def test_the_seed_decides_the_resamples() -> None:
    np.testing.assert_array_equal(block_weights(20, 3, 7), block_weights(20, 3, 7))
    assert (block_weights(20, 3, 7) != block_weights(20, 3, 8)).any()


def test_every_window_counts_once_on_average_also_at_the_ends() -> None:
    weights = block_weights(12, 5, 0)
    assert weights.mean(axis=0) == pytest.approx(np.ones(12), abs=0.1)


def test_blocks_are_drawn_whole_and_around_the_end() -> None:
    weights = block_weights(12, 4, 0, 500)
    # Three whole blocks: a window's neighbours on the circle count with it.
    steps = np.abs(np.diff(weights, axis=1, append=weights[:, :1])).sum(axis=1)
    assert (steps <= 6).all()
    assert ((weights[:, 0] > 0) & (weights[:, -1] > 0)).any()
    alone = np.abs(np.diff(block_weights(12, 1, 0, 500), axis=1)).sum(axis=1)
    assert (alone > 6).any()


def test_a_block_as_long_as_the_table_repeats_it() -> None:
    assert (block_weights(6, 6, 0, 20) == 1).all()


def test_blocks_widen_the_interval_of_windows_that_go_together() -> None:
    same_within_ten = np.repeat(np.random.default_rng(0).normal(size=20), 10)

    def width(block: int) -> float:
        low, high = percentile_interval(block_weights(200, block, 0) @ same_within_ten / 200)
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


def test_the_interval_covers_the_true_mean() -> None:
    rng, covered = np.random.default_rng(2), 0
    for _ in range(100):
        sample = rng.normal(size=60)
        low, high = percentile_interval(block_weights(60, 1, 0, 400) @ sample / 60)
        covered += low <= 0 <= high
    assert 88 <= covered <= 99


def test_resamples_are_moved_to_the_figure_and_no_lower_than_nought() -> None:
    moved = without_resampling_bias(np.array([0.3, 0.4, np.nan, 0.5]), 0.25)
    assert moved[[0, 1, 3]] == pytest.approx([0.15, 0.25, 0.35])
    assert np.isnan(moved[2])
    assert without_resampling_bias(np.array([0.1, 0.9]), 0.2) == pytest.approx([0.0, 0.6])
