"""Coarser bars: what plain loops make, what is left out, and the rules that they obey."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moola.core.bars import Bars, bar_problems, resample
from tests.made import HOUR_US, random_walk_bars


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
