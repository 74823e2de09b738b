"""When windows close, from the times of their first and last bars alone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moola.core.bars import DAY, HOUR, MINUTE, closing_us, window_bar_lengths_us
from moola.core.splits import Intervals, forward_chain
from tests.strategies import QUICK

N_BARS = 105
LENGTHS = (MINUTE, 5 * MINUTE, 7 * MINUTE, 15 * MINUTE, 20 * MINUTE, HOUR, 90 * MINUTE, 4 * HOUR, 8 * HOUR, DAY)


def week_days(length: int, opens: int = 0, closes: int = DAY, n_days: int = 260) -> np.ndarray:
    """Starts of the bars of a market that is shut at weekends and outside its hours."""
    days = np.arange(n_days)
    days = days[days % 7 < 5]
    return (days[:, None] * DAY + np.arange(opens, closes, length)[None, :]).ravel()


def cut(times: np.ndarray, n_windows: int, seed: int = 17) -> tuple[np.ndarray, np.ndarray]:
    first = np.sort(np.random.default_rng(seed).permutation(len(times) - N_BARS)[:n_windows])
    return times[first], times[first + N_BARS - 1]


@pytest.mark.parametrize("n_windows", [20, 60])
@pytest.mark.parametrize("length", [15 * MINUTE, 20 * MINUTE, HOUR, 90 * MINUTE, 4 * HOUR, 8 * HOUR])
def test_weekends_do_not_make_bars_longer(length, n_windows):
    assert set(window_bar_lengths_us(*cut(week_days(length), n_windows), N_BARS).tolist()) == {length}


@pytest.mark.parametrize("length", [MINUTE, 5 * MINUTE, HOUR])
def test_nights_do_not_make_bars_longer(length):
    times = week_days(length, 14 * HOUR + 30 * MINUTE, 21 * HOUR)
    assert set(window_bar_lengths_us(*cut(times, 60), N_BARS).tolist()) == {length}


def test_days_stay_days_where_clocks_change():
    times = week_days(DAY, n_days=1000)
    summer = (times // DAY) % 365 < 180
    assert set(window_bar_lengths_us(*cut(times - summer * HOUR, 60), N_BARS).tolist()) == {DAY}


def test_each_symbol_has_its_own_length_and_one_symbol_may_have_several():
    pieces = [cut(week_days(length), 20) for length in (HOUR, 8 * HOUR)]
    start, last = (np.concatenate(column) for column in zip(*pieces, strict=True))
    expected = [HOUR] * 20 + [8 * HOUR] * 20
    names = np.array(["a"] * 20 + ["b"] * 20, dtype=object)
    assert window_bar_lengths_us(start, last, N_BARS, names).tolist() == expected
    assert window_bar_lengths_us(start, last, N_BARS).tolist() == expected


def test_a_window_without_company_and_one_bar_windows():
    assert closing_us(np.array([0]), np.array([104 * 7 * MINUTE]), N_BARS).tolist() == [105 * 7 * MINUTE]
    assert window_bar_lengths_us(np.array([0, HOUR]), np.array([0, HOUR]), 1).tolist() == [HOUR, HOUR]
    assert window_bar_lengths_us(np.array([0]), np.array([0]), 1).tolist() == [0]
    assert window_bar_lengths_us(np.array([0, HOUR]), np.array([4 * HOUR, 5 * HOUR]), None).tolist() == [HOUR, HOUR]


@given(
    st.lists(st.tuples(st.sampled_from(LENGTHS), st.integers(0, 400)), min_size=12, max_size=40),
    st.sampled_from([0, HOUR, 3 * HOUR]),
)
@QUICK
def test_no_training_bar_meets_a_held_out_window_whatever_the_timeframes(made, embargo):
    length = np.array([one for one, _ in made])
    # Each on the grid of its own bars, so that a bar of 8 hours may lie across the first of a held-out hour.
    start = np.array([place * 3 * HOUR // one * one for one, place in made])
    last = start + (N_BARS - 1) * length
    symbol = np.array([f"every {one}" for one in length], dtype=object)
    close = closing_us(start, last, N_BARS, symbol)
    assert (close == start + N_BARS * length).all()
    split = forward_chain(Intervals(start, close, np.arange(len(start))), 0.25, 0.25, embargo)
    for before, after in ((split.train, split.val), (split.train, split.test), (split.val, split.test)):
        for row in before:
            assert (last[row] + length[row] + embargo <= start[after]).all()
