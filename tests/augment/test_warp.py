from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moola.augment import AUGMENTATIONS, windows_of
from moola.core.bars import price_problems
from moola.core.windows import inner_zone
from tests.augment.sources_made import pattern, planted, rng_of, scaled, source_of
from tests.strategies import tick_windows

TABLE = planted()
WINDOWS = windows_of(TABLE)
SOURCE = source_of(TABLE)
ENTRY = AUGMENTATIONS["warp"]


def test_pointers_move_and_the_move_is_found_there():
    moved = []
    for window in WINDOWS:
        made = ENTRY.make(window, SOURCE, rng_of(window))
        moved.append((made.start_bar, made.end_bar) != (window.start_bar, window.end_bar))
        # The expansion's path of closes, read at another pace, from the same close to the same close.
        real = np.concatenate([[0.0], pattern(window)])
        place = np.linspace(0, len(real) - 1, made.n_expansion_bars + 1)
        np.testing.assert_allclose(pattern(made), np.interp(place, np.arange(len(real)), real)[1:], atol=1e-12)
        assert ENTRY.keeps_label(window, made, SOURCE) is None
    assert all(moved)


def test_the_windows_ends_stay_and_so_do_wicks_and_gaps():
    for window in WINDOWS:
        made = ENTRY.make(window, SOURCE, rng_of(window))
        np.testing.assert_allclose(made.ohlc[[0, -1], 3], window.ohlc[[0, -1], 3], rtol=1e-12)
        wicks = [w.ohlc[:, 1] / w.ohlc[:, [0, 3]].max(axis=1) for w in (window, made)]
        assert np.isclose(wicks[1][:, None], wicks[0][None, :], rtol=0, atol=1e-12).any(axis=1).all()


def test_pointers_stay_inside_the_inner_zone_and_the_limits():
    first, last = inner_zone(TABLE.window_bars)
    for window in WINDOWS:
        for again in range(20):
            made = ENTRY.make(window, SOURCE, rng_of(window, again))
            assert first <= made.start_bar <= made.end_bar < last
            assert 0.7 <= made.n_expansion_bars / window.n_expansion_bars <= 1.4
            assert 0.85 <= made.start_bar / window.start_bar <= 1.18


@given(tick_windows(), st.integers(0, 44), st.integers(0, 44), st.integers(0, 5))
def test_bar_rules_hold_and_prices_have_no_scale(ohlc, one, other, again):
    n_bars = ohlc.shape[1]
    start, end = sorted((min(one, n_bars - 1), min(other, n_bars - 1)))
    window = replace(WINDOWS[0], ohlc=ohlc[0], start_bar=start, end_bar=end)
    made = ENTRY.make(window, SOURCE, rng_of(window, again))
    if made is None:
        return
    assert price_problems(made.ohlc) == []
    assert 0 <= made.start_bar <= made.end_bar < n_bars
    times_seven = ENTRY.make(replace(window, ohlc=7.0 * ohlc[0]), SOURCE, rng_of(window, again))
    np.testing.assert_allclose(times_seven.ohlc, 7.0 * made.ohlc, rtol=1e-9)
    assert (times_seven.start_bar, times_seven.end_bar) == (made.start_bar, made.end_bar)


@pytest.mark.parametrize(("start", "end"), [(-1, -1), (0, 5), (1, 5), (60, 104)])
def test_what_cannot_be_stretched_gives_nothing(start, end):
    window = replace(WINDOWS[0], start_bar=start, end_bar=end)
    assert ENTRY.make(window, SOURCE, rng_of(window)) is None


def test_the_declared_check_sees_lost_labels():
    window = WINDOWS[0]
    made = ENTRY.make(window, SOURCE, rng_of(window))
    wrong = {
        "pointers out of order": replace(made, start_bar=made.end_bar + 1),
        "expansion stretched too far": replace(made, end_bar=made.start_bar + 2 * window.n_expansion_bars),
        "the move changed": replace(made, ohlc=made.ohlc**1.1),
    }
    for reason, spoiled in wrong.items():
        assert ENTRY.keeps_label(window, spoiled, SOURCE) == reason


def test_windows_at_other_prices_are_made_alike():
    for window, other in zip(WINDOWS, windows_of(scaled(TABLE, 1300.0)), strict=True):
        one, two = (ENTRY.make(w, SOURCE, rng_of(w)) for w in (window, other))
        np.testing.assert_allclose(two.ohlc, 1300.0 * one.ohlc, rtol=1e-10)
