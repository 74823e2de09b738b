"""Features of overlapping windows from bars equal those of the windows, computed one by one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moola.core import features as bar_features
from moola.core.bars import upside_down
from moola.core.features import BarFeatures, relative_features
from moola.core.windows import take_windows
from tests.made import random_walk_bars
from tests.oracles import naive_features
from tests.strategies import tick_windows


@given(tick_windows(), st.data())
def test_any_window_has_the_features_of_the_naive_loop(ohlc, data):
    bars = ohlc[0]
    window_bars = data.draw(st.integers(1, len(bars)))
    first = np.array(data.draw(st.lists(st.integers(0, len(bars) - window_bars), min_size=1, max_size=4)))
    found = BarFeatures(bars).windows(first, window_bars)
    expected = [naive_features(bars[one : one + window_bars].tolist()) for one in first]
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("stride", [1, 3])
def test_overlapping_windows_of_real_length(stride):
    bars = random_walk_bars(300).ohlc
    first = np.arange(0, 196, stride)
    expected = relative_features(take_windows(bars, first, 105))
    np.testing.assert_allclose(BarFeatures(bars).windows(first, 105), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("size", [1, 7, 20, 64])
def test_pieces_of_the_table_change_nothing_but_rounding(size, monkeypatch):
    bars, first = random_walk_bars(150).ohlc, np.arange(40)
    whole = BarFeatures(bars).windows(first, 105)
    monkeypatch.setattr(bar_features, "BARS_AT_A_TIME", size)
    np.testing.assert_allclose(BarFeatures(bars).windows(first, 105), whole, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("size", [1, 7, 40])
def test_how_many_windows_are_mended_at_once_changes_no_bit(size, monkeypatch):
    features, first = BarFeatures(random_walk_bars(150).ohlc), np.arange(40)
    whole = features.windows(first, 105)
    monkeypatch.setattr(bar_features, "HEADS_AT_A_TIME", size)
    assert features.windows(first, 105).tobytes() == whole.tobytes()


def test_bars_with_nineteen_before_them_are_taken_from_the_table_as_they_are():
    features, first = BarFeatures(random_walk_bars(150).ohlc), np.arange(0, 45, 3)
    found = features.windows(first, 105)
    assert found[:, 19:].tobytes() == take_windows(features.whole, first + 19, 86).tobytes()
    assert not np.array_equal(found[:, 18, 7:], take_windows(features.whole, first + 18, 1)[:, 0, 7:])


def test_no_window_sees_a_bar_outside_it():
    bars = random_walk_bars(160).ohlc
    other = random_walk_bars(160, seed=9).ohlc
    mixed = np.concatenate([other[:30], bars[30:135], other[135:]])
    first = np.array([30])
    found = [BarFeatures(one).windows(first, 105) for one in (bars, mixed)]
    np.testing.assert_allclose(found[0], found[1], rtol=1e-9, atol=1e-9)


def test_no_windows_and_constant_prices():
    assert BarFeatures(random_walk_bars(120).ohlc).windows(np.array([], dtype=int), 105).shape == (0, 105, 11)
    assert not BarFeatures(np.full((200, 4), 1.1)).windows(np.arange(90), 105).any()


def test_turned_features_are_the_same_bytes_as_those_of_turned_bars():
    bars, first = random_walk_bars(5000).ohlc, np.arange(0, 4800, 7)
    found = BarFeatures(bars, turned=True).windows(first, 105)
    assert found.tobytes() == BarFeatures(upside_down(bars)).windows(first, 105).tobytes()
