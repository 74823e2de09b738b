import numpy as np
import pytest

from moola.core.bars import Bars, bar_interval_us, bar_problems, price_problems
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
