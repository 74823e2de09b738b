import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moola.core.bars import Bars
from moola.core.windows import cut_windows, inner_zone, intersects, take_windows
from tests.made import HOUR_US, random_walk_bars
from tests.oracles import naive_first_bars


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
