import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moola.core.splits import Intervals, Split, chain_problems, forward_chain, index_problems
from tests.oracles import naive_forward_chain, shared_bar_pairs


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
