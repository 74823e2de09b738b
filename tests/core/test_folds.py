"""Folds against a brute force over pairs of windows, and against purgedcv where it is installed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moola.core.splits import Intervals, Split, chain_problems, make_folds, near_any, sharing_problems
from moola.errors import InvalidData


def windows(starts, length: int = 10) -> Intervals:
    start = np.asarray(starts, dtype=np.int64)
    return Intervals(start, start + length, np.arange(len(start)))


def naive_near(intervals: Intervals, row: int, held, embargo: int) -> bool:
    for other in held:
        apart = (
            intervals.end_us[row] + embargo <= intervals.start_us[other]
            or intervals.end_us[other] + embargo <= intervals.start_us[row]
        )
        if not apart:
            return True
    return False


@st.composite
def made_folds(draw):
    n = draw(st.integers(40, 70))
    starts = np.cumsum(draw(st.lists(st.integers(0, 9), min_size=n, max_size=n)))
    return windows(starts), draw(st.integers(0, 15)), draw(st.sampled_from(["expanding", "rolling", "combinatorial"]))


@given(made_folds())
def test_no_train_or_val_window_is_near_a_held_out_one(case):
    intervals, embargo, scheme = case
    try:
        folds = make_folds(intervals, scheme, 4, 0.4, 0.25, embargo)
    except InvalidData:
        return
    for fold in folds:
        assert not any(naive_near(intervals, row, fold.test, embargo) for row in [*fold.train, *fold.val])
        assert not any(naive_near(intervals, row, fold.val, embargo) for row in fold.train)
        for row, reason in fold.dropped.items():
            held = fold.test if "test" in reason else fold.val
            assert naive_near(intervals, row, held, embargo)


@given(st.lists(st.integers(0, 200), min_size=5, max_size=40), st.integers(0, 12), st.integers(0, 2**30))
def test_near_any_is_the_double_loop(starts, embargo, seed):
    intervals = windows(starts)
    held = np.random.default_rng(seed).permutation(len(starts))[: len(starts) // 3 + 1]
    rows = np.arange(len(starts))
    expected = [row in held or naive_near(intervals, row, held, embargo) for row in rows]
    assert near_any(intervals, rows, held, embargo).tolist() == expected


def test_expanding_walks_forward_over_every_later_window_once():
    intervals = windows(range(0, 1000, 10))
    folds = make_folds(intervals, "expanding", 5, 0.4, 0.2, 0)
    assert np.concatenate([fold.test for fold in folds]).tolist() == list(range(40, 100))
    assert [len(fold.train) + len(fold.val) for fold in folds] == [40, 52, 64, 76, 88]
    for fold in folds:
        assert fold.dropped == {}
        assert chain_problems(fold, intervals, [str(i) for i in range(100)]) == []


def test_folds_without_val_train_on_all_that_the_test_block_leaves():
    intervals = windows(range(0, 1000, 5))
    folds = make_folds(intervals, "expanding", 3, 0.4, 0.0, 0)
    assert [len(fold.val) for fold in folds] == [0, 0, 0]
    for fold in folds:
        # Windows of 10 at a stride of 5: of those before the block, the last one shares bars with it.
        assert fold.train.tolist() == list(range(fold.test[0] - 1))


def test_rolling_keeps_the_length_of_the_first_fold():
    folds = make_folds(windows(range(0, 1000, 10)), "rolling", 5, 0.4, 0.2, 0)
    assert {len(fold.train) + len(fold.val) for fold in folds} == {40}
    assert folds[-1].train.min() == 48


def test_combinatorial_judges_every_window_in_equally_many_folds():
    folds = make_folds(windows(range(0, 600, 10)), "combinatorial", 6, 0.4, 0.2, 0)
    assert len(folds) == 15
    counts = np.bincount(np.concatenate([fold.test for fold in folds]))
    assert set(counts.tolist()) == {5}


@pytest.mark.parametrize(("n_blocks", "n_judged"), [(2, 20), (3, 26)])
def test_few_blocks_leave_one_to_train_on(n_blocks, n_judged):
    folds = make_folds(windows(range(0, 400, 10)), "combinatorial", n_blocks, 0.4, 0.2, 0)
    assert len(folds) == n_blocks
    assert min(len(fold.test) for fold in folds) == n_judged


def test_embargo_drops_on_both_sides_of_a_test_block():
    intervals = windows(range(0, 600, 10))
    plain, wide = (make_folds(intervals, "combinatorial", 6, 0.4, 0.2, embargo) for embargo in (0, 15))
    middle = next(i for i, fold in enumerate(plain) if 25 in fold.test and 35 in fold.test)
    assert not [row for row, why in plain[middle].dropped.items() if "test" in why]
    # Test windows 20..39 run from 200 to 399: within 15 of them start 40 (400), 41 (410), and end 18 (189), 19 (199).
    assert [row for row, why in wide[middle].dropped.items() if "test" in why] == [18, 19, 40, 41]


def test_symbols_at_the_same_time_are_purged_too():
    starts = np.repeat(np.arange(0, 500, 10), 2)
    intervals = windows(starts)
    for fold in make_folds(intervals, "expanding", 4, 0.4, 0.2, 0):
        assert not set(starts[fold.train].tolist()) & set(starts[fold.test].tolist())


def test_equal_bars_never_stand_on_two_sides():
    intervals = windows(range(0, 1000, 10))
    group = intervals.group.copy()
    group[3] = group[90]
    fold = make_folds(Intervals(intervals.start_us, intervals.end_us, group), "expanding", 5, 0.4, 0.2, 0)[-1]
    assert 3 not in fold.train
    assert 3 in fold.dropped


def test_too_few_windows_and_no_times_are_refused():
    with pytest.raises(InvalidData, match="fold 1 of 5 has no"):
        make_folds(windows(range(0, 6)), "expanding", 5, 0.4, 0.2, 0)
    # All of the first block runs into the second.
    with pytest.raises(InvalidData, match="fold 1 of 2 has no train"):
        make_folds(windows(range(0, 20), length=100), "expanding", 2, 0.4, 0.0, 0)
    times = np.arange(50)
    for start, end in ((None, None), (times, None), (None, times)):
        with pytest.raises(InvalidData, match="must have windows with times"):
            make_folds(Intervals(start, end, np.arange(50)), "expanding", 5, 0.4, 0.2, 0)


def test_sharing_is_told_with_its_row_and_touching_is_none():
    split = Split(np.array([0, 1, 3]), np.array([5]), np.array([2]))
    (problem,) = sharing_problems(split, windows([0, 15, 20, 30, 40, 50]), list("abcdef"))
    assert (problem.count, problem.first_row) == (1, 1)
    assert "no train window may share a bar with test" in problem.rule


@pytest.mark.parametrize("seed", range(4))
def test_purging_agrees_with_an_independent_splitter(seed):
    pandas = pytest.importorskip("pandas")
    purgedcv = pytest.importorskip("purgedcv")
    start = np.cumsum(np.random.default_rng(seed).integers(1, 9, 60))
    # It takes intervals as half-open: a window that ends on bar t is over at t + 1.
    times = [pandas.Series(pandas.to_datetime(moment, unit="h")) for moment in (start, start + 10)]
    splitter = purgedcv.CombinatorialPurgedCV(6, 2, prediction_times=times[0], evaluation_times=times[1])
    theirs = {tuple(test): set(train) for train, test in splitter.split(np.zeros((60, 1)))}
    folds = make_folds(windows(start), "combinatorial", 6, 0.4, 0.2, 0)
    assert len(folds) == len(theirs)
    for fold in folds:
        purged = {row for row, reason in fold.dropped.items() if "test" in reason}
        assert set(range(60)) - set(fold.test.tolist()) - purged == theirs[tuple(fold.test)]
