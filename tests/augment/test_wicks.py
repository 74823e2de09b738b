"""Wicks redrawn: bodies stay, every wick has a factor of its own, and bars stay bars."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from moola.augment import AUGMENTATIONS, windows_of
from moola.augment.training_windows import Window
from moola.core.bars import price_problems
from tests.augment.sources_made import planted, rng_of, source_of
from tests.strategies import tick_windows

TABLE = planted()
WINDOWS = windows_of(TABLE)
SOURCE = source_of(TABLE)
ENTRY = AUGMENTATIONS["wicks"]


def wick_lengths(window: Window) -> np.ndarray:
    """Upper and lower wicks in logs, by hand."""
    logs = np.log(window.ohlc)
    bodies = [(max(bar[0], bar[3]), min(bar[0], bar[3])) for bar in logs]
    return np.array([[bar[1] - top, bottom - bar[2]] for bar, (top, bottom) in zip(logs, bodies, strict=True)])


def test_bodies_and_pointers_stay_and_each_wick_has_its_factor():
    for window in WINDOWS:
        made = ENTRY.make(window, SOURCE, rng_of(window))
        np.testing.assert_allclose(made.ohlc[:, [0, 3]], window.ohlc[:, [0, 3]], rtol=1e-12)
        assert (made.start_bar, made.end_bar, made.label) == (window.start_bar, window.end_bar, window.label)
        before, after = wick_lengths(window), wick_lengths(made)
        there = before > 1e-9
        factors = after[there] / before[there]
        assert factors.min() > 0.5 - 1e-6
        assert factors.max() < 2.0 + 1e-6
        assert len(np.unique(factors.round(6))) > there.sum() // 2
        assert ENTRY.keeps_label(window, made, SOURCE) is None


@given(tick_windows(), st.integers(0, 5))
def test_bar_rules_hold_prices_have_no_scale_and_no_wick_stays_none(ohlc, again):
    window = replace(WINDOWS[0], ohlc=ohlc[0], start_bar=-1, end_bar=-1)
    made = ENTRY.make(window, SOURCE, rng_of(window, again))
    assert price_problems(made.ohlc) == []
    times_seven = ENTRY.make(replace(window, ohlc=7.0 * ohlc[0]), SOURCE, rng_of(window, again))
    np.testing.assert_allclose(times_seven.ohlc, 7.0 * made.ohlc, rtol=1e-9)
    bare = ohlc[0][:, 1] == ohlc[0][:, [0, 3]].max(axis=1)
    np.testing.assert_allclose(made.ohlc[bare, 1], ohlc[0][bare, 1], rtol=1e-12)


def test_the_declared_check_sees_a_body_or_a_pointer_that_changed():
    window = WINDOWS[0]
    made = ENTRY.make(window, SOURCE, rng_of(window))
    other = made.ohlc.copy()
    other[3, 3] *= 1.001
    assert ENTRY.keeps_label(window, replace(made, ohlc=other), SOURCE) == "a body changed"
    assert ENTRY.keeps_label(window, replace(made, end_bar=made.end_bar + 1), SOURCE) == "pointers moved"
