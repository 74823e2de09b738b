from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moola.core.bars import Bars
from moola.core.features import relative_features
from moola.core.splits import (
    Intervals,
    Split,
    chain_problems,
    content_hashes,
    forward_chain,
    groups_of_equal,
    index_problems,
    make_folds,
    near_any,
    same_but_for_scale,
    sharing_problems,
)
from moola.core.windows import cut_windows, inner_zone, intersects, take_windows
from moola.errors import InvalidData
from moola.stages.sample import read_sample_bars
from tests.made import HOUR_US, random_walk_bars
from tests.oracles import naive_first_bars, naive_forward_chain, shared_bar_pairs
from tests.planted import planted_windows


def rows(*values):
    return np.array(values, dtype=np.int64)


def timed(start, length=10):
    start = np.asarray(start, dtype=np.int64)
    return Intervals(start, start + length, np.arange(len(start)))


def untimed(*group):
    return Intervals(None, None, rows(*group))


def parts_of(split):
    return [split.train.tolist(), split.val.tolist(), split.test.tolist(), sorted(split.dropped)]


starts = st.lists(st.integers(0, 60), min_size=4, max_size=25)

fractions = st.sampled_from([(0.2, 0.25), (0.3, 0.0), (0.25, 0.5), (0.1, 0.1)])


@given(starts, fractions, st.integers(1, 12), st.sampled_from([0, 0, 3, 15]))
def test_a_split_equals_the_naive_one_row_after_the_other(start, fraction, length, embargo):
    intervals = timed(start, length)
    n_val, n_test = (round(len(start) * share) for share in fraction)
    expected = naive_forward_chain(start, (intervals.end_us - 1).tolist(), n_val, n_test, embargo)
    assert parts_of(forward_chain(intervals, *fraction, embargo)) == [sorted(part) for part in expected]


@given(starts, fractions, st.integers(1, 12))
def test_no_window_shares_a_bar_with_a_later_part_and_every_row_is_somewhere(start, fraction, length):
    intervals = timed(start, length)
    split = forward_chain(intervals, *fraction)
    train, val, test, dropped = parts_of(split)
    end = (intervals.end_us - 1).tolist()
    assert shared_bar_pairs(train, val + test, start, end) == []
    assert shared_bar_pairs(val, test, start, end) == []
    assert sorted(train + val + test + dropped) == list(range(len(start)))
    if val and test:
        assert max(end[row] for row in train + val) < min(start[row] for row in test)
    assert chain_problems(split, intervals, [str(row) for row in range(len(start))]) == []


@given(starts, fractions, st.integers(1, 12), st.randoms(use_true_random=False))
def test_shuffling_rows_shuffles_the_split_and_nothing_else(start, fraction, length, random):
    order = list(range(len(start)))
    random.shuffle(order)
    straight = parts_of(forward_chain(timed(start, length), *fraction))
    shuffled = parts_of(forward_chain(timed([start[row] for row in order], length), *fraction))
    assert [sorted(order[row] for row in part) for part in shuffled] == straight


def test_straddling_windows_are_dropped_with_the_reason_and_never_moved():
    intervals = timed(range(0, 100, 5), length=10)
    split = forward_chain(intervals, 0.2, 0.25)
    assert split.train.tolist() == list(range(10))
    assert split.val.tolist() == [11, 12, 13]
    assert split.test.tolist() == [15, 16, 17, 18, 19]
    assert split.dropped == {
        10: "starts in train and still runs when val begins",
        14: "starts in val and still runs when test begins",
    }


def test_a_window_that_ends_just_before_the_next_part_begins_is_kept():
    assert forward_chain(timed([0, 10, 20, 30]), 0.25, 0.25).dropped == {}
    assert sorted(forward_chain(timed([0, 10, 20, 30], length=11), 0.25, 0.25).dropped) == [1, 2]


def test_an_embargo_keeps_windows_further_away_from_both_boundaries():
    intervals = timed(range(0, 200, 10))
    none, some = (forward_chain(intervals, 0.2, 0.25, embargo) for embargo in (0, 20))
    assert sorted(none.dropped) == []
    assert sorted(some.dropped) == [9, 10, 13, 14]
    assert some.test.tolist() == none.test.tolist()


def test_rows_of_one_window_stand_on_one_side():
    start = [0, 10, 20, 30, 30, 30, 40, 50]
    split = forward_chain(Intervals(rows(*start), rows(*start) + 9, rows(0, 1, 2, 3, 3, 3, 4, 5)), 0.25, 0.25)
    sides = [{row in part for row in (3, 4, 5)} for part in parts_of(split)]
    assert all(len(side) == 1 for side in sides)


def test_equal_bars_under_different_times_are_not_put_on_two_sides():
    start = rows(0, 10, 20, 30, 40, 50, 60, 70)
    intervals = Intervals(start, start + 9, rows(0, 1, 2, 3, 4, 5, 6, 0))
    split = forward_chain(intervals, 0.25, 0.25)
    assert chain_problems(split, intervals, list("abcdefgh")) == []


def test_without_a_test_part_val_is_the_latest():
    split = forward_chain(timed(range(0, 100, 10)), 0.3, 0.0)
    assert (split.train.tolist(), split.val.tolist(), len(split.test)) == ([0, 1, 2, 3, 4, 5, 6], [7, 8, 9], 0)


def test_without_times_rows_go_in_order():
    assert parts_of(forward_chain(untimed(*range(8)), 0.25, 0.25)) == [[0, 1, 2, 3], [4, 5], [6, 7], []]


def test_without_times_groups_of_equal_bars_stay_whole_or_are_dropped():
    intervals = untimed(0, 1, 2, 3, 3, 4, 5, 5, 6, 0)
    split = forward_chain(intervals, 0.2, 0.2)
    assert chain_problems(split, intervals, list("abcdefghij")) == []
    assert {0, 9} <= set(split.dropped)
    train, val, test, dropped = parts_of(split)
    assert sorted(train + val + test + dropped) == list(range(10))


@pytest.mark.parametrize("known", ["start", "end"])
def test_one_end_of_the_times_alone_is_as_good_as_none(known):
    times = rows(0, 10, 20, 30)
    start, end = (times, None) if known == "start" else (None, times + 90)
    half, none = Intervals(start, end, rows(0, 1, 2, 3)), untimed(0, 1, 2, 3)
    assert parts_of(forward_chain(half, 0.25, 0.25, 10**12)) == parts_of(forward_chain(none, 0.25, 0.25))
    assert chain_problems(Split(rows(0, 1), rows(2), rows(3)), half, list("abcd")) == []


def test_an_embargo_in_time_means_nothing_without_times():
    assert parts_of(forward_chain(untimed(*range(8)), 0.25, 0.25, 10**12))[3] == []


def test_index_lists_that_break_rules_are_told_all_at_once():
    found = {
        p.rule: (p.count, p.first_row, p.detail) for p in index_problems(Split(rows(0, 1, 1, 9), rows(), rows(1, 2)), 9)
    }
    assert found == {
        "train rows must be within 0..8": (1, None, "found 9"),
        "train rows must be listed once": (1, None, ""),
        "val must have rows": (1, None, ""),
        "train and test must share no row": (1, 1, ""),
    }


def test_a_negative_row_is_out_of_range_and_an_empty_test_is_no_fault():
    assert [p.detail for p in index_problems(Split(rows(-1, 0), rows(1), rows()), 3)] == ["found -1"]
    assert index_problems(Split(rows(0), rows(1), rows()), 3) == []


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 8), st.sampled_from("abc")), min_size=3, max_size=12))
def test_a_leak_is_found_exactly_when_a_window_is_not_over_before_the_next_part(windows):
    start, length, part = zip(*windows, strict=True)
    intervals = Intervals(rows(*start), rows(*start) + rows(*length) + 1, np.arange(len(start)))
    by_part = [rows(*(i for i, name in enumerate(part) if name == wanted)) for wanted in "abc"]
    expected = 0
    for earlier, later in ((0, 1), (0, 2), (1, 2)):
        if len(by_part[later]):
            opening = min(start[row] for row in by_part[later])
            expected += sum(start[row] + length[row] >= opening for row in by_part[earlier])
    found = chain_problems(Split(*by_part), intervals, [str(i) for i in range(len(start))])
    assert sum(problem.count for problem in found) == expected


def test_overlap_names_the_worst_pair_with_its_times():
    day = 86_400_000_000
    intervals = Intervals(rows(0, day, 2 * day, 4 * day), rows(day, 3 * day, 5 * day, 6 * day), np.arange(4))
    (problem,) = chain_problems(Split(rows(0, 1), rows(3, 2), rows()), intervals, ["a", "b", "c", "d"])
    assert problem.rule == "every train window must end before the first bar of val"
    assert (problem.count, problem.first_row) == (1, 1)
    assert problem.detail == (
        "train row 1 (b, ends 1970-01-04T00:00:00Z) overlaps val row 2 (c, starts 1970-01-03T00:00:00Z)"
    )


@pytest.mark.parametrize(
    "intervals", [untimed(0, 1, 2, 1), Intervals(rows(0, 10, 20, 30), rows(9, 19, 29, 39), rows(0, 1, 2, 1))]
)
def test_equal_bars_on_two_sides_are_found_with_and_without_times(intervals):
    (problem,) = chain_problems(Split(rows(0, 1), rows(2), rows(3)), intervals, ["a", "b", "c", "d"])
    assert problem.rule == "the same bars must not be in train and test"
    assert (problem.count, problem.first_row, problem.detail) == (1, 1, "train row 1 (b) and test row 3 (d)")


def test_the_twin_that_is_named_has_the_same_bars():
    (problem,) = chain_problems(Split(rows(0, 1), rows(2, 3), rows()), untimed(0, 1, 2, 1), list("abcd"))
    assert problem.detail == "train row 1 (b) and val row 3 (d)"


def test_windows_are_timed_when_both_ends_are_known():
    start, group = rows(0, 10), rows(0, 1)
    assert Intervals(start, start + 9, group).timed
    assert not Intervals(start, None, group).timed
    assert not Intervals(None, start, group).timed


def test_neighbours_without_times_are_no_proof_of_overlap():
    assert chain_problems(Split(rows(0, 1), rows(2), rows(3)), untimed(0, 1, 2, 3), list("abcd")) == []


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


OHLC = planted_windows(40, seed=3).ohlc


@pytest.mark.parametrize("decimals", [None, 5])
@pytest.mark.parametrize("factor", [2.0, 100.0, 1.1, 1 / 3])
def test_a_window_at_another_scale_is_the_same(factor, decimals):
    scaled = OHLC[[3]] * factor
    both = np.concatenate([OHLC, scaled if decimals is None else np.round(scaled, decimals)])
    expected = [*range(40), 3]
    assert same_but_for_scale(both).tolist() == expected
    assert same_but_for_scale(relative_features(both)).tolist() == expected


def test_real_bars_are_taken_for_no_others():
    ohlc = read_sample_bars().ohlc
    windows = np.lib.stride_tricks.sliding_window_view(ohlc, 105, axis=0)[::5].transpose(0, 2, 1)
    assert len(set(same_but_for_scale(windows).tolist())) == len(windows)


def test_windows_that_hardly_move_are_the_same_only_where_they_are_equal():
    rng = np.random.default_rng(1)
    quiet = 1.1 * np.exp(rng.uniform(-4e-6, 4e-6, (20, 105, 1))) * np.ones(4)
    quiet[7] = quiet[2]
    assert same_but_for_scale(quiet).tolist() == groups_of_equal(content_hashes(quiet)).tolist()
    assert same_but_for_scale(quiet)[7] == 2


def test_few_windows_and_one_bar():
    assert same_but_for_scale(OHLC[:1]).tolist() == [0]
    assert same_but_for_scale(OHLC[:2, :1]).tolist() == [0, 1]


@pytest.mark.parametrize(("window_bars", "zone"), [(105, (30, 75)), (210, (60, 150)), (21, (6, 15))])
def test_inner_zone_scales_with_the_length(window_bars, zone):
    assert inner_zone(window_bars) == zone


@st.composite
def bar_tables(draw):
    steps = draw(st.lists(st.sampled_from([1, 1, 1, 2, 30]), min_size=1, max_size=40))
    cut = draw(st.integers(0, len(steps)))
    hours = np.cumsum(steps).astype(np.int64)
    symbol = np.array(["a"] * cut + ["b"] * (len(steps) - cut), dtype=object)
    return Bars(hours * HOUR_US, random_walk_bars(len(steps)).ohlc, symbol)


@given(bar_tables(), st.integers(1, 5), st.integers(1, 9), st.sampled_from([None, 1, 2, 24]))
def test_cutting_equals_the_naive_loop(bars, stride, window_bars, max_gap_h):
    limit = np.inf if max_gap_h is None else max_gap_h * HOUR_US
    first, n_dropped = naive_first_bars(bars.start_us.tolist(), bars.symbol.tolist(), stride, window_bars, limit)
    cut = cut_windows(bars, stride, window_bars, None if max_gap_h is None else max_gap_h * 3600.0)
    assert cut.first_bar.tolist() == first
    assert (len(cut), cut.n_dropped_gap, cut.window_bars) == (len(first), n_dropped, window_bars)


def test_a_window_over_a_gap_is_dropped_and_one_over_a_gap_at_the_limit_is_kept():
    bars = random_walk_bars(20)
    gapped = Bars(bars.start_us + np.where(np.arange(20) >= 10, 4 * HOUR_US, 0), bars.ohlc, bars.symbol)
    assert cut_windows(gapped, 5, 5, 4.9 * 3600).first_bar.tolist() == [0, 5, 10, 15]
    assert cut_windows(gapped, 1, 5, 4.9 * 3600).n_dropped_gap == 4
    assert cut_windows(gapped, 1, 5, 5.0 * 3600).n_dropped_gap == 0


def test_windows_never_reach_from_one_symbol_into_the_next():
    bars = random_walk_bars(20)
    two = Bars(bars.start_us, bars.ohlc, np.array(["a"] * 12 + ["b"] * 8, dtype=object))
    assert cut_windows(two, 4, 8).first_bar.tolist() == [0, 4, 12]


def test_too_few_bars_give_no_windows():
    assert len(cut_windows(random_walk_bars(104), 1)) == 0
    assert len(cut_windows(random_walk_bars(105), 1)) == 1
    assert len(cut_windows(random_walk_bars(0), 1)) == 0


def test_interleaved_symbols_are_refused():
    bars = random_walk_bars(10)
    mixed = Bars(bars.start_us, bars.ohlc, np.array(["a", "b"] * 5, dtype=object))
    with pytest.raises(ValueError, match="'a' must be contiguous"):
        cut_windows(mixed, 1, 3)


def test_taken_windows_are_copies_of_the_slices():
    bars = random_walk_bars(30)
    taken = take_windows(bars.ohlc, np.array([7, 0, 20]), 10)
    expected = np.stack([bars.ohlc[first : first + 10] for first in (7, 0, 20)])
    assert np.array_equal(taken, expected)
    taken[:] = -1
    assert (bars.ohlc > 0).all()


@given(st.lists(st.tuples(st.integers(0, 12), st.integers(0, 5)), min_size=1), st.integers(0, 12), st.integers(0, 5))
def test_intervals_intersect_when_they_share_a_time(spans, first, length):
    start = np.array([s for s, _ in spans])
    end = np.array([s + n for s, n in spans])
    wanted = set(range(first, first + length + 1))
    expected = [bool(wanted & set(range(s, s + n + 1))) for s, n in spans]
    assert intersects(start, end + 1, first, first + length + 1).tolist() == expected
