"""Wide definitions: what plain loops find, planted patterns, drawing, and no rule among them."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moola.core import random_definitions
from moola.core import wide_definitions as wide
from moola.core.move_finders import LogPrices, log_prices
from moola.core.random_definitions import Definition, repeats_a_rule
from moola.core.wide_definitions import WIDE_FAMILIES, WIDE_FINDERS, draw_wide
from moola.errors import WrongUsage
from tests.core.prices_made import adversarial, from_ticks, ticking_prices, walk_prices, walks
from tests.slow_definitions import each_window
from tests.slow_wide import SLOW_WIDE_FINDERS

NEW = ["level", "pole", "squeeze", "two_legs"]
PLAIN = Definition("", 10, 95, 4, 40, 0.5, 12, 0.5)


def of_family(family: str, window_bars: int, seed: int, most: int = 3) -> list[Definition]:
    return [one for one in draw_wide(45, window_bars, seed) if one.family == family][:most]


def assert_as_slow(prices: LogPrices, definition: Definition) -> None:
    found = WIDE_FINDERS[definition.family](prices, definition)
    expected = [SLOW_WIDE_FINDERS[definition.family](window, definition) for window in each_window(prices)]
    assert found.tolist() == [list(pointers) for pointers in expected]


@pytest.mark.parametrize("family", NEW)
@pytest.mark.parametrize("n_bars", [8, 9, 12, 21, 40, 105])
def test_random_walks_have_the_moves_that_loops_find(family, n_bars):
    for definition in of_family(family, n_bars, 1, most=1 if n_bars > 40 else 3):
        assert_as_slow(walk_prices(n_bars, 4, n_bars), definition)


@pytest.mark.parametrize("family", NEW)
@pytest.mark.parametrize("n_bars", [8, 25, 60])
def test_adversarial_windows_have_the_moves_that_loops_find(family, n_bars):
    for prices in adversarial(n_bars).values():
        for definition in of_family(family, n_bars, 2, most=2):
            assert_as_slow(prices, definition)


@given(ticking_prices(), st.integers(0, 500))
def test_windows_full_of_ties_have_the_moves_that_loops_find(prices, seed):
    for definition in draw_wide(15, prices.close.shape[1], seed):
        if definition.family in NEW:
            assert_as_slow(prices, definition)


@given(ticking_prices(), st.integers(0, 500))
def test_pointers_lie_inside_the_window_in_order_or_are_both_missing(prices, seed):
    n_bars = prices.close.shape[1]
    for definition in draw_wide(15, n_bars, seed):
        start, end = WIDE_FINDERS[definition.family](prices, definition).T
        missing = (start == -1) & (end == -1)
        assert (missing | ((start >= definition.first_bar) & (start <= end) & (end < n_bars))).all()
        if definition.family in {"pole", "two_legs", "level"}:
            assert (end < definition.last_bar).all()


@given(ticking_prices(), st.integers(0, 500))
def test_upside_down_the_same_moves_are_found_even_with_ties(prices, seed):
    mirrored = replace(prices, high=-prices.low, low=-prices.high, close=-prices.close)
    for definition in draw_wide(15, prices.close.shape[1], seed):
        if definition.family in NEW:
            find = WIDE_FINDERS[definition.family]
            assert np.array_equal(find(prices, definition), find(mirrored, definition))


@pytest.mark.parametrize("factor", [1e-4, 0.3, 1e5])
def test_prices_at_any_level_have_the_same_moves(factor):
    ohlc = walks(105, 30)
    for definition in draw_wide(30, 105, 2):
        find = WIDE_FINDERS[definition.family]
        assert np.array_equal(find(log_prices(ohlc), definition), find(log_prices(ohlc * factor), definition))


@pytest.mark.parametrize("family", NEW)
def test_constant_prices_have_no_move(family):
    prices = log_prices(np.full((3, 105, 4), 1.25))
    for definition in of_family(family, 105, 0):
        assert (WIDE_FINDERS[family](prices, definition) == -1).all()


def planted(close: list[int]) -> LogPrices:
    """One window of 105 bars whose closes are these, 0 before and the last one after; a tick to each side."""
    whole = np.array([[0] * 30 + close + [close[-1]] * (75 - len(close))])
    return from_ticks(whole, np.ones_like(whole), np.ones_like(whole))


def found(family: str, prices: LogPrices, **changed: float) -> list[int]:
    return WIDE_FINDERS[family](prices, replace(PLAIN, family=family, **changed)).tolist()[0]


def test_a_planted_pole_is_found_with_its_drift():
    prices = planted([10, 20, 30, 40, 38, 39, 38, 39, 38, 39, 20, 0, 15, -15])
    assert found("pole", prices, last_bar=44) == [30, 39]


def test_a_planted_squeeze_is_found_up_to_the_close_that_leaves_it():
    close = [20, -20] * 10 + [0] * 6 + [30] + [-20, 20] * 10
    prices = planted(close)
    assert found("squeeze", prices, first_bar=40) == [50, 56]


def test_a_planted_move_of_two_legs_is_found_whole():
    prices = planted([10, 20, 30, 40, 30, 20, 30, 40, 50, 60])
    assert found("two_legs", prices, exponent=0.1, reach=0.3) == [30, 39]
    assert found("two_legs", prices, exponent=0.1, reach=0.5) == [30, 37]
    assert found("two_legs", planted([10, 20, 30, 40]), reach=0.3) == [-1, -1]


def test_a_planted_level_is_found_from_its_bar_to_its_last_touch():
    prices = planted([20, 5, 20, -10, 20, -30, 20, 40, 60, 80])
    assert found("level", prices, first_bar=30) == [30, 36]


def test_families_keep_their_shares_and_all_have_finders_and_twins():
    assert set(WIDE_FAMILIES) == set(WIDE_FINDERS) == set(SLOW_WIDE_FINDERS)
    n_a_round = sum(WIDE_FAMILIES.values())
    drawn = draw_wide(3 * n_a_round, 105, 3)
    for first in (0, n_a_round, 2 * n_a_round):
        assert Counter(one.family for one in drawn[first : first + n_a_round]) == Counter(WIDE_FAMILIES)


@given(st.integers(0, 1000), st.integers(8, 230), st.integers(0, 20))
def test_the_seed_decides_bars_scale_and_leave_room(seed, window_bars, few):
    drawn = draw_wide(few + 15, window_bars, seed)
    assert draw_wide(few, window_bars, seed) == drawn[:few]
    assert draw_wide(15, window_bars, seed + 1) != drawn[:15]
    for definition in drawn:
        assert 1 <= definition.shortest <= definition.longest <= max(60 * window_bars / 105 + 0.5, 2)
        assert 0 < definition.first_bar < definition.last_bar - 1 < window_bars


def test_no_draw_of_many_seeds_is_a_published_rule_even_where_most_would_be(monkeypatch):
    drawn = [one for seed in range(20) for one in draw_wide(60, 105, seed)]
    assert not any(repeats_a_rule(one) for one in drawn)
    monkeypatch.setattr(wide, "EXPONENTS", (0.45, 0.46))
    monkeypatch.setattr(wide, "SHORTEST_BARS", (4, 6))
    monkeypatch.setattr(wide, "TIMES_LONGER", (4.0, 6.0))
    monkeypatch.setattr(wide, "LOOK_BARS", (20, 24))
    drawn = [one for one in draw_wide(60, 105, 0) if one.family == "move"]
    assert drawn
    assert not any(repeats_a_rule(one) for one in drawn)
    monkeypatch.setattr(random_definitions, "repeats_a_rule", lambda *_: False)
    assert any(repeats_a_rule(one) for one in draw_wide(60, 105, 0) if one.family == "move")


def test_a_drift_is_never_the_span_alone_and_does_not_end_where_it_is_broken():
    """Benchmark 3's span is the drift up to a close beyond the pole: this one holds the pole, whatever comes after."""
    drift = [10, 20, 30, 40, 38, 39, 38, 39, 38, 39]
    for after in ([60, 60], [38, 39], [0, 0]):
        assert found("pole", planted(drift + after), longest=6) == [30, 39]


def test_windows_too_short_for_moves_are_refused():
    with pytest.raises(WrongUsage, match="at least 8 bars"):
        draw_wide(1, 7, 0)
