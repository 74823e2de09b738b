from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moola.core.bars import (
    DAY,
    HOUR,
    MINUTE,
    Bars,
    bar_interval_us,
    bar_problems,
    closing_us,
    join_bars,
    price_problems,
    resample,
    split_doubts,
    time_doubt,
    window_bar_lengths_us,
)
from moola.core.splits import Intervals, forward_chain
from tests.made import HOUR_US, random_walk_bars

KINDS = [(0, "open"), (1, "high"), (2, "low"), (3, "close")]


def found(problems):
    return {problem.rule: (problem.count, problem.first_row) for problem in problems}


def test_valid_bars_break_no_rule():
    assert bar_problems(random_walk_bars(50)) == []
    assert bar_problems(random_walk_bars(0)) == []


@pytest.mark.parametrize("price", [5.0, 0.5, 1e-9])
def test_flat_bars_are_valid_at_any_price(price):
    assert price_problems(np.full((3, 4), price)) == []


@pytest.mark.parametrize(("column", "name"), KINDS)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_price_that_is_not_finite_is_counted_with_its_first_row(column, name, value):
    ohlc = random_walk_bars(9).ohlc
    ohlc[[4, 7], column] = value
    assert found(price_problems(ohlc)) == {f"{name} must be a finite number": (2, 4)}


@pytest.mark.parametrize(("column", "name"), KINDS)
@pytest.mark.parametrize("value", [0.0, -3.0])
def test_a_price_that_is_not_above_0_is_counted_with_its_first_row(column, name, value):
    ohlc = random_walk_bars(9).ohlc
    ohlc[[2, 3, 8], column] = value
    assert found(price_problems(ohlc)) == {f"{name} must be above 0": (3, 2)}


@pytest.mark.parametrize("column", [0, 3])
def test_a_high_below_the_body_and_a_low_above_it_are_two_rules(column):
    ohlc = np.tile([10.0, 12.0, 8.0, 10.0], (6, 1))
    ohlc[1, column] = 12.5
    ohlc[[3, 4], column] = 7.5
    assert found(price_problems(ohlc)) == {
        "high must be at least max(open, close)": (1, 1),
        "low must be at most min(open, close)": (2, 3),
    }


def test_high_below_low_breaks_both_rules():
    ohlc = np.tile([10.0, 12.0, 8.0, 10.0], (3, 1))
    ohlc[2, [1, 2]] = 8.0, 12.0
    assert found(price_problems(ohlc)) == {
        "high must be at least max(open, close)": (1, 2),
        "low must be at most min(open, close)": (1, 2),
    }


def test_every_broken_rule_is_reported_at_once():
    bars = random_walk_bars(10)
    ohlc, start_us = bars.ohlc.copy(), bars.start_us.copy()
    ohlc[1, 0] = np.nan
    ohlc[2, 3] = -1.0
    ohlc[3, 1] = ohlc[3, 2] / 2
    ohlc[4, 2] = ohlc[4, 1] * 2
    start_us[6] = start_us[5]
    start_us[8] = start_us[2] - 1
    assert found(bar_problems(Bars(start_us, ohlc, bars.symbol))) == {
        "open must be a finite number": (1, 1),
        "close must be above 0": (1, 2),
        "high must be at least max(open, close)": (1, 3),
        "low must be at most min(open, close)": (1, 4),
        "timestamps must increase within a symbol": (1, 8),
        "a symbol and timestamp must have one bar": (1, 6),
    }


def test_a_repeat_far_from_its_first_is_found_too():
    bars = random_walk_bars(6)
    start_us = bars.start_us.copy()
    start_us[5] = start_us[1]
    assert found(bar_problems(Bars(start_us, bars.ohlc, bars.symbol))) == {
        "timestamps must increase within a symbol": (1, 5),
        "a symbol and timestamp must have one bar": (1, 5),
    }


def test_two_symbols_may_have_bars_at_the_same_times():
    bars = random_walk_bars(4)
    symbol = np.array(["a", "b"] * 4, dtype=object)
    both = Bars(np.repeat(bars.start_us, 2), np.repeat(bars.ohlc, 2, axis=0), symbol)
    assert bar_problems(both) == []
    assert both.symbols == ["a", "b"]


def test_order_and_repeats_are_judged_within_each_symbol():
    bars = random_walk_bars(6)
    symbol = np.array(["b", "b", "b", "a", "a", "a"], dtype=object)
    start_us = np.array([3, 4, 4, 1, 2, 1], dtype=np.int64)
    assert found(bar_problems(Bars(start_us, bars.ohlc, symbol))) == {
        "timestamps must increase within a symbol": (1, 5),
        "a symbol and timestamp must have one bar": (2, 2),
    }


def test_the_usual_interval_ignores_gaps_and_is_0_for_a_lone_bar():
    start_us = random_walk_bars(9).start_us
    start_us[5:] += 48 * HOUR_US
    assert bar_interval_us(start_us) == HOUR_US
    assert bar_interval_us(start_us[:2]) == HOUR_US
    assert bar_interval_us(start_us[:1]) == 0


DAY_US = 86_400_000_000

FIRST_US = int(datetime(2024, 1, 1, tzinfo=UTC).timestamp() * 1e6)


def daily(n=60, seed=3, size=0.01):
    rng = np.random.default_rng(seed)
    close = 400 * np.exp(np.cumsum(rng.normal(0, size, n)))
    opens = np.concatenate([[400.0], close[:-1] * np.exp(rng.normal(0, size / 4, n - 1))])
    ohlc = np.stack([opens, np.maximum(opens, close) * 1.002, np.minimum(opens, close) * 0.998, close], axis=1)
    return FIRST_US + DAY_US * np.arange(n), ohlc


@pytest.mark.parametrize(
    ("factor", "name"),
    [(4, "4:1"), (2, "2:1"), (1.5, "3:2"), (10, "10:1"), (20, "20:1"), (1 / 5, "1:5"), (0.1, "1:10")],
)
@pytest.mark.parametrize("row", [1, 30, 59])
def test_a_split_is_found_at_its_row(factor, name, row):
    start_us, ohlc = daily()
    ohlc[row:] /= factor
    (found,) = split_doubts(start_us, ohlc)
    assert (found.bar, found.name) == (row, name)
    assert (found.close_before, found.open_after) == (ohlc[row - 1, 3], ohlc[row, 0])


def test_two_splits_are_two():
    start_us, ohlc = daily()
    ohlc[20:] /= 4
    ohlc[40:] /= 2
    assert [(one.bar, one.name) for one in split_doubts(start_us, ohlc)] == [(20, "4:1"), (40, "2:1")]


def test_bars_as_they_are_raise_no_doubt():
    assert split_doubts(*daily(500)) == []
    assert split_doubts(*daily(2)) == []


def test_a_bad_tick_that_comes_back_is_no_split():
    start_us, ohlc = daily()
    ohlc[30] /= 4
    assert split_doubts(start_us, ohlc) == []


def test_a_move_that_is_usual_is_no_split():
    assert split_doubts(*daily(400, size=0.2)) == []


def test_a_move_over_a_long_gap_in_time_is_no_split():
    start_us, ohlc = daily()
    ohlc[30:] /= 2
    start_us[30:] += 100 * DAY_US
    assert split_doubts(start_us, ohlc) == []


@pytest.mark.parametrize(
    ("step_us", "said"),
    [(DAY_US, None), (7 * DAY_US, None), (8 * DAY_US, "8 days"), (100_000, None), (50_000, "0.05 s"), (0, None)],
)
def test_a_length_of_few_bars_is_doubted(step_us, said):
    found = time_doubt(FIRST_US + step_us * np.arange(20))
    assert found is None if said is None else said in found


def test_the_first_day_of_1970_is_doubted():
    assert "3 of 3 bars begin on 1970-01-01" in time_doubt(np.arange(3) * 3_600_000_000)


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


def slow_resample(bars: Bars, coarse_us: int) -> list[tuple[int, str, list[float]]]:
    """Bar by bar: a new one where the hour or the symbol is another."""
    made: list[tuple[int, str, list[list[float]]]] = []
    for time, symbol, ohlc in zip(bars.start_us.tolist(), bars.symbol.tolist(), bars.ohlc.tolist(), strict=True):
        begins = time - time % coarse_us
        if not made or made[-1][:2] != (begins, symbol):
            made.append((begins, symbol, []))
        made[-1][2].append(ohlc)
    return [
        (begins, symbol, [fine[0][0], max(f[1] for f in fine), min(f[2] for f in fine), fine[-1][3]])
        for begins, symbol, fine in made
        if 4 * len(fine) * HOUR_US >= coarse_us
    ]


def with_gaps(n: int, seed: int, symbol: str) -> Bars:
    bars = random_walk_bars(n, seed, start="2013-12-30T05:00", symbol=symbol)
    kept = np.random.default_rng(seed).random(n) < 0.6
    kept[0] = True
    return Bars(bars.start_us[kept], bars.ohlc[kept], bars.symbol[kept])


@given(st.integers(1, 200), st.integers(0, 1000), st.sampled_from([1, 2, 4, 8, 24]))
def test_coarser_bars_are_what_a_loop_makes(n, seed, hours):
    parts = [with_gaps(n, seed, "A"), with_gaps(n, seed + 1, "B")]
    both = Bars(*(np.concatenate([getattr(part, name) for part in parts]) for name in ("start_us", "ohlc", "symbol")))
    found = resample(both, HOUR_US, hours * HOUR_US)
    expected = slow_resample(both, hours * HOUR_US)
    assert list(zip(found.start_us.tolist(), found.symbol.tolist(), found.ohlc.tolist(), strict=True)) == expected
    assert not len(found) or bar_problems(found) == []


@given(st.integers(1, 60), st.integers(1, 20), st.integers(0, 1000))
def test_joined_bars_are_what_a_loop_makes_wherever_gaps_are(n_bars, n, seed):
    bars = with_gaps(n_bars, seed, "A")
    found = join_bars(bars, n)
    assert bar_problems(found) == []
    for row, first in enumerate(range(0, len(bars), n)):
        piece = bars.ohlc[first : first + n]
        assert found.start_us[row] == bars.start_us[first]
        assert found.ohlc[row].tolist() == [piece[0, 0], piece[:, 1].max(), piece[:, 2].min(), piece[-1, 3]]
    assert len(found) == -(-len(bars) // n)


def test_the_same_length_gives_the_same_bars():
    bars = with_gaps(50, 3, "A")
    found = resample(bars, HOUR_US, HOUR_US)
    assert np.array_equal(found.start_us, bars.start_us)
    assert np.array_equal(found.ohlc, bars.ohlc)


def test_a_day_with_an_evening_alone_is_left_out():
    bars = random_walk_bars(24 + 5)
    assert len(resample(bars, HOUR_US, 24 * HOUR_US)) == 1
    assert len(resample(random_walk_bars(24 + 6), HOUR_US, 24 * HOUR_US)) == 2


def test_no_bars_give_none_and_odd_lengths_are_refused():
    empty = random_walk_bars(0)
    assert len(resample(empty, HOUR_US, 2 * HOUR_US)) == 0
    with pytest.raises(ValueError, match="cannot be made"):
        resample(random_walk_bars(5), HOUR_US, 90 * 60_000_000)
