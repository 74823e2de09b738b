"""Finders of moves: what plain loops find, planted moves, and properties that hold for any prices."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moola.core.bars import price_problems, upside_down
from moola.core.move_finders import FINDERS, Definition, LogPrices, log_prices, sliding_extreme
from moola.core.random_definitions import draw_definitions
from tests.core.prices_made import adversarial, from_ticks, quiet_ohlc, ticking_prices, walk_prices, walks
from tests.slow_definitions import SLOW_FINDERS, each_window, slow_legs
from tests.strategies import QUICK

FAMILIES = sorted(FINDERS)
# As `autolabel`'s zone: moves of 3 to 40 bars that prefer neither long nor short ones.
PLAIN = Definition("", 20, 85, 3, 40, 0.5, 20, 2.0)


def of_family(family: str, window_bars: int, seed: int, most: int = 3) -> list[Definition]:
    drawn = draw_definitions(30, window_bars, seed)
    return [definition for definition in drawn if definition.family == family][:most]


def assert_as_slow(prices: LogPrices, definition: Definition) -> None:
    found = FINDERS[definition.family](prices, definition)
    expected = [SLOW_FINDERS[definition.family](window, definition) for window in each_window(prices)]
    assert found.tolist() == [list(pointers) for pointers in expected]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("n_bars", [8, 9, 12, 20, 21, 33, 40, 105])
def test_random_walks_have_the_moves_that_loops_find(family, n_bars):
    for seed in range(2):
        for definition in of_family(family, n_bars, seed, most=1 if n_bars > 40 else 3):
            assert_as_slow(walk_prices(n_bars, 6, seed), definition)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("n_bars", [8, 25, 60])
def test_adversarial_windows_have_the_moves_that_loops_find(family, n_bars):
    for prices in adversarial(n_bars).values():
        for definition in of_family(family, n_bars, 1):
            assert_as_slow(prices, definition)


@QUICK
@given(ticking_prices(), st.integers(0, 500))
def test_windows_full_of_ties_have_the_moves_that_loops_find(prices, seed):
    for definition in draw_definitions(10, prices.close.shape[1], seed):
        assert_as_slow(prices, definition)


@QUICK
@given(ticking_prices(), st.integers(0, 500))
def test_pointers_lie_inside_the_window_in_order_or_are_both_missing(prices, seed):
    n_bars = prices.close.shape[1]
    for definition in draw_definitions(10, n_bars, seed):
        pointers = FINDERS[definition.family](prices, definition)
        assert pointers.shape == (len(prices.close), 2)
        start, end = pointers.T
        missing = (start == -1) & (end == -1)
        assert (missing | ((start >= definition.first_bar) & (start <= end) & (end < n_bars))).all()
        # What is sought in a stretch ends in it; what runs from an event on only begins there.
        if definition.family in {"move", "leg", "calm", "shift"}:
            assert (end < definition.last_bar).all()


@pytest.mark.parametrize("power", [-20, -1, 3, 30])
def test_prices_times_a_power_of_two_have_the_same_moves_bit_for_bit(power):
    ohlc = walks(40)
    once, again = log_prices(ohlc), log_prices(ohlc * 2.0**power)
    assert all(np.array_equal(getattr(once, name), getattr(again, name)) for name in vars(once))


@pytest.mark.parametrize("factor", [1e-4, 0.3, 7.0, 1e5])
def test_prices_at_any_level_have_the_same_moves(factor):
    ohlc = walks(105, 30)
    once, again = log_prices(ohlc), log_prices(ohlc * factor)
    for definition in draw_definitions(30, 105, 2):
        find = FINDERS[definition.family]
        assert np.array_equal(find(once, definition), find(again, definition))


@QUICK
@given(ticking_prices(), st.integers(0, 500))
def test_upside_down_the_same_moves_are_found_even_with_ties(prices, seed):
    mirrored = replace(prices, high=-prices.low, low=-prices.high, close=-prices.close)
    for definition in draw_definitions(10, prices.close.shape[1], seed):
        find = FINDERS[definition.family]
        # Of two legs of one size, the one up comes first.
        if definition.family != "leg":
            assert np.array_equal(find(prices, definition), find(mirrored, definition))


def test_bars_turned_upside_down_are_valid_and_have_the_same_moves():
    ohlc = walks(105, 30)
    turned = upside_down(ohlc)
    assert not price_problems(turned.reshape(-1, 4))
    assert np.allclose(upside_down(turned), ohlc, rtol=1e-15)
    for definition in draw_definitions(30, 105, 4):
        find = FINDERS[definition.family]
        assert np.array_equal(find(log_prices(ohlc), definition), find(log_prices(turned), definition))


@pytest.mark.parametrize("family", sorted(set(FINDERS) - {"calm"}))
def test_constant_prices_have_no_move(family):
    prices = log_prices(np.full((3, 105, 4), 1.25))
    assert (prices.pace == np.float32(1e-6)).all()
    for definition in of_family(family, 105, 0):
        assert (FINDERS[family](prices, definition) == -1).all()


def test_log_prices_say_how_far_the_closes_walked():
    ohlc = walks(20, 3)
    prices = log_prices(ohlc)
    assert np.allclose(prices.close, np.log(ohlc[:, :, 3] / ohlc[:, :1, 3]), atol=1e-7)
    assert np.allclose(prices.pace, np.log(ohlc[:, :, 1] / ohlc[:, :, 2]).mean(axis=1), rtol=1e-4)
    for row, bar in ((0, 0), (1, 1), (2, 19)):
        steps = [abs(float(prices.close[row, i] - prices.close[row, i - 1])) for i in range(1, bar + 1)]
        assert prices.walked[row, bar] == pytest.approx(sum(steps), abs=1e-6)


@pytest.mark.parametrize("direction", [-1, 1])
@pytest.mark.parametrize(("start", "end"), [(30, 38), (50, 54), (60, 80)])
class TestPlanted:
    """Windows that stand nearly still but for one move from `start` to `end`."""

    @staticmethod
    def still(seed: int = 0) -> np.ndarray:
        return np.random.default_rng(seed).normal(0, 2e-6, (5, 105))

    @staticmethod
    def moved(start: int, end: int, size: float) -> np.ndarray:
        return size * np.clip((np.arange(105) - start + 1) / (end - start + 1), 0, 1)

    def pointers(self, family: str, close: np.ndarray, span: float | np.ndarray = 1e-4) -> list[list[int]]:
        prices = log_prices(quiet_ohlc(close, span))
        return FINDERS[family](prices, replace(PLAIN, family=family)).tolist()

    def test_a_move(self, start, end, direction):
        close = self.still() + self.moved(start, end, 0.02 * direction)
        assert self.pointers("move", close) == [[start, end]] * 5

    def test_a_leg(self, start, end, direction):
        close = self.still() + direction * (self.moved(start, end, 0.02) - self.moved(end + 1, end + 3, 0.008))
        found = np.array(self.pointers("leg", close))
        # The noise before the leg has its own lowest bar, which is where the leg begins.
        assert (found[:, 1] == end).all()
        assert (found[:, 0] <= start).all()

    def test_a_breakout(self, start, end, direction):
        close = self.still() + self.moved(start, end, 0.02 * direction)
        assert [pair[0] for pair in self.pointers("breakout", close)] == [start] * 5
        back = close - self.moved(end + 1, end + 2, 0.005 * direction)
        assert self.pointers("breakout", back) == [[start, end]] * 5

    def test_a_shock(self, start, end, direction):
        # The bars before reach some 2e-4, and the barrier is twice that: only the second, smaller step passes it.
        close = self.still()
        close[:, start:] += 2.5e-4 * direction
        close[:, end:] += 2.2e-4 * direction
        assert self.pointers("shock", close) == [[start, end]] * 5

    def test_a_calm_stretch(self, start, end, direction):
        zigzag = np.where(np.arange(105) % 2, 0.01, -0.01) * direction
        zigzag[start - 1 : end + 1] = 0.0
        found = np.array(self.pointers("calm", zigzag[None].repeat(5, axis=0)))
        # Seven bars at least, whatever is calm.
        if end - start >= 7:
            assert (found == [start, end]).all()
        else:
            assert ((found[:, 0] <= start) & (found[:, 1] >= end)).all()

    def test_a_shift_of_volatility(self, start, end, direction):
        span = np.full((5, 105), 1e-4)
        span[:, start : end + 1] = 2e-3
        prices = log_prices(quiet_ohlc(direction * self.still(), span))
        # Means of four bars on each side: no wider than the shortest of these moves.
        found = FINDERS["shift"](prices, replace(PLAIN, family="shift", look_bars=8))
        assert found.tolist() == [[start, end]] * 5

    def test_a_turn(self, start, end, direction):
        del end
        bars = np.arange(105)
        vee = 1e-3 * np.minimum(np.abs(bars - start), 15) - 1e-4 * np.maximum(bars - start - 15, 0)
        assert self.pointers("turn", self.still() + direction * vee) == [[start + 1, start + 15]] * 5


@pytest.mark.parametrize(
    ("closes", "legs"),
    [
        # A turn needs 2 paces, 4 ticks: bars of 2 ticks.
        ([0, 3, 8, 12, 9, 7, 5, 1, 2, 6], [(0, 3), (3, 7), (7, 9)]),
        ([0, 3, 8, 12, 9, 10, 11, 15, 14, 13], [(0, 7)]),
        ([0, -1, -5, -3, -1, 3, -1, -2], [(0, 2), (2, 5), (5, 7)]),
        ([0, 1, 2, 3, 4, 5, 6, 7], [(0, 7)]),
    ],
)
def test_a_zigzag_turns_at_its_extremes(closes, legs):
    bars = np.array([closes])
    prices = from_ticks(bars, bars * 0 + 1, bars * 0 + 1)
    definition = Definition("leg", 0, len(closes), 1, 1, 0.0, 1, 2.0)
    (window,) = each_window(prices)
    assert [(a, b) for a, b, _ in slow_legs(window, definition) if b > a] == legs
    sizes = [abs(closes[b] - closes[a]) for a, b in legs]
    largest = legs[int(np.argmax(sizes))]
    assert FINDERS["leg"](prices, definition).tolist() == [[largest[0] + 1, largest[1]]]


@QUICK
@given(st.integers(1, 30), st.integers(1, 30), st.integers(0, 99))
def test_sliding_extremes_are_those_of_every_run(n_bars, n_runs, seed):
    values = np.random.default_rng(seed).normal(size=(3, n_bars + n_runs - 1))
    for ufunc, plain in ((np.maximum, max), (np.minimum, min)):
        expected = [[plain(row[i : i + n_bars]) for i in range(n_runs)] for row in values.tolist()]
        assert sliding_extreme(ufunc, values, n_bars).tolist() == expected
