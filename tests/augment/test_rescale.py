from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from moola.augment import AUGMENTATIONS, windows_of
from moola.core.bars import price_problems
from moola.core.features import bar_ratios
from tests.augment.sources_made import pattern, planted, rng_of, source_of
from tests.strategies import tick_windows

TABLE = planted()
WINDOWS = windows_of(TABLE)
SOURCE = source_of(TABLE)
ENTRY = AUGMENTATIONS["rescale"]


def made_and_factors(window, again=0):
    made = ENTRY.make(window, SOURCE, rng_of(window, again))
    returns = [np.diff(np.log(w.ohlc[:, 3])) for w in (window, made)]
    return made, returns[1] / returns[0]


def test_every_return_up_to_the_end_has_one_factor_and_those_after_it_have_one():
    after_too = []
    for window in WINDOWS:
        made, factors = made_and_factors(window)
        before, after = factors[: window.end_bar], factors[window.end_bar :]
        np.testing.assert_allclose(before, before[0], rtol=1e-6)
        np.testing.assert_allclose(after, after[0], rtol=1e-6)
        assert 0.6 <= before[0] <= 1.6
        after_too.append(not np.isclose(before[0], after[0]))
        np.testing.assert_allclose(pattern(made), before[0] * pattern(window), rtol=1e-6)
        assert ENTRY.keeps_label(window, made, SOURCE) in (None, "another move is larger")
    assert 4 < sum(after_too) < 20


def test_wicks_scale_along_and_pointers_stay():
    for window in WINDOWS:
        made = ENTRY.make(window, SOURCE, rng_of(window))
        np.testing.assert_allclose(bar_ratios(made.ohlc[None]), bar_ratios(window.ohlc[None]), atol=2e-3)
        assert (made.start_bar, made.end_bar, made.label) == (window.start_bar, window.end_bar, window.label)


@given(tick_windows(), st.integers(-1, 44), st.integers(0, 5))
def test_bar_rules_hold_and_prices_have_no_scale(ohlc, end, again):
    end = min(end, ohlc.shape[1] - 1)
    window = replace(WINDOWS[0], ohlc=ohlc[0], start_bar=max(end - 3, 0) if end >= 0 else -1, end_bar=end)
    made = ENTRY.make(window, SOURCE, rng_of(window, again))
    assert price_problems(made.ohlc) == []
    times_seven = ENTRY.make(replace(window, ohlc=7.0 * ohlc[0]), SOURCE, rng_of(window, again))
    np.testing.assert_allclose(times_seven.ohlc, 7.0 * made.ohlc, rtol=1e-9)


def test_the_declared_check_sees_a_prior_range_that_changed():
    window = WINDOWS[0]
    made = ENTRY.make(window, SOURCE, rng_of(window))
    later = made.ohlc.copy()
    later[: window.start_bar] = (
        later[window.start_bar - 1, 3] * (later[: window.start_bar] / later[window.start_bar - 1, 3]) ** 1.2
    )
    assert ENTRY.keeps_label(window, replace(made, ohlc=later), SOURCE).startswith("the prior range changed")
    assert ENTRY.keeps_label(window, replace(made, end_bar=made.end_bar + 1), SOURCE) == "pointers moved"


def test_a_livelier_afterwards_that_outgrows_the_expansion_is_rejected():
    window = WINDOWS[0]
    ohlc = window.ohlc.copy()
    n_after = 12
    steps = np.ones(len(ohlc))
    steps[window.end_bar + 1 : window.end_bar + 1 + n_after] = 1.01
    made = replace(window, ohlc=ohlc * np.cumprod(steps)[:, None])
    assert window.end_bar + n_after < 75
    assert ENTRY.keeps_label(window, made, SOURCE) == "another move is larger"
