"""States around moves: what plain loops measure, by hand on one window, and at any level and either way up."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moola.core.bars import upside_down
from moola.core.move_finders import BOUND, FINDERS, STATES, LogPrices, log_prices, states
from moola.core.random_definitions import draw_definitions
from tests.core.prices_made import adversarial, ticking_prices, walk_prices, walks
from tests.slow_definitions import each_window, slow_states


def assert_as_slow(prices: LogPrices, pointers: np.ndarray, look_bars: int) -> None:
    found = states(prices, pointers, look_bars)
    assert (found.shape, found.dtype) == ((len(prices.close), len(STATES)), np.float32)
    assert np.isfinite(found).all()
    assert np.abs(found).max(initial=0) <= BOUND
    pairs = zip(each_window(prices), pointers.tolist(), strict=True)
    expected = [slow_states(window, (start, end), look_bars) for window, (start, end) in pairs]
    assert np.allclose(found, expected, atol=2e-3, rtol=1e-3)


def any_pointers(n_windows: int, n_bars: int, seed: int) -> np.ndarray:
    """Any first and last bar, the window's edges included; one window in four has none."""
    rng = np.random.default_rng(seed)
    pointers = np.sort(rng.integers(0, n_bars, (n_windows, 2)), axis=1)
    pointers[rng.random(n_windows) < 0.25] = -1
    return pointers


@pytest.mark.parametrize("n_bars", [8, 12, 40, 105])
@pytest.mark.parametrize("look_bars", [1, 2, 9, 30])
def test_random_walks_have_the_states_that_loops_measure(n_bars, look_bars):
    assert_as_slow(walk_prices(n_bars, 12), any_pointers(12, n_bars, look_bars), look_bars)


@given(ticking_prices(), st.integers(0, 500), st.integers(1, 20))
def test_windows_full_of_ties_have_the_states_that_loops_measure(prices, seed, look_bars):
    assert_as_slow(prices, any_pointers(4, prices.close.shape[1], seed), look_bars)


@pytest.mark.parametrize("name", sorted(adversarial(12)))
def test_adversarial_windows_have_the_states_that_loops_measure(name):
    prices = adversarial(12)[name]
    for pointers in ([0, 0], [0, 11], [5, 7], [6, 6], [11, 11], [-1, -1]):
        assert_as_slow(prices, np.array([pointers]), 4)


def test_windows_without_a_move_are_zeros():
    assert (states(walk_prices(30, 3), np.full((3, 2), -1), 9) == 0).all()


@pytest.mark.parametrize("power", [-20, 3])
def test_powers_of_two_change_no_bit_and_other_factors_nothing_that_counts(power):
    ohlc, pointers = walks(40), any_pointers(12, 40, 0)
    measured = states(log_prices(ohlc), pointers, 9)
    assert np.array_equal(states(log_prices(ohlc * 2.0**power), pointers, 9), measured)
    assert np.allclose(states(log_prices(ohlc * 3.0**power), pointers, 9), measured, atol=1e-3)


@given(ticking_prices(), st.integers(0, 500), st.integers(1, 20))
def test_upside_down_only_the_direction_turns(prices, seed, look_bars):
    pointers = any_pointers(4, prices.close.shape[1], seed)
    mirrored = replace(prices, high=-prices.low, low=-prices.high, close=-prices.close)
    once, turned = states(prices, pointers, look_bars), states(mirrored, pointers, look_bars)
    rows, start, end = np.arange(4), np.maximum(pointers[:, 0] - 1, 0), pointers[:, 1]
    moved = prices.close[rows, end] != prices.close[rows, start]
    assert np.array_equal(turned[moved, 0], -once[moved, 0])
    assert np.allclose(turned[moved, 1:], once[moved, 1:], atol=1e-6)


def test_bars_turned_upside_down_have_the_same_states_but_for_the_direction():
    ohlc = walks(105, 30)
    once, turned = log_prices(ohlc), log_prices(upside_down(ohlc))
    for definition in draw_definitions(16, 105, 6):
        pointers = FINDERS[definition.family](once, definition)
        measured = states(once, pointers, definition.look_bars)
        other = states(turned, pointers, definition.look_bars)
        # A stretch that is calm may end where it began, which is neither up nor down.
        sure = np.abs(measured[:, 1]) < BOUND
        assert np.array_equal(other[sure, 0], -measured[sure, 0])
        assert np.allclose(other[sure, 1:], measured[sure, 1:], atol=2e-3)
