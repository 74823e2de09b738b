from dataclasses import replace

import numpy as np

from moola.augment import AUGMENTATIONS, windows_of
from moola.augment.transforms import LEAST_BARS
from moola.core.bars import price_problems
from tests.augment.sources_made import pattern, planted, rng_of, scaled, source_of

TABLE = planted()
WINDOWS = windows_of(TABLE)
SOURCE = source_of(TABLE)
ENTRY = AUGMENTATIONS["transplant"]


def made_pairs():
    pairs = [(window, ENTRY.make(window, SOURCE, rng_of(window))) for window in WINDOWS]
    return [(window, made) for window, made in pairs if made is not None]


def test_thirty_bars_before_the_start_are_kept_and_those_before_them_are_anothers():
    assert len(made_pairs()) > 10
    for window, made in made_pairs():
        join = window.start_bar - 30
        assert np.array_equal(made.ohlc[join:], window.ohlc[join:])
        assert np.array_equal(pattern(made), pattern(window))
        returns = np.diff(np.log(made.ohlc[:join, 3]))
        donors = []
        for other in WINDOWS:
            theirs = np.diff(np.log(other.ohlc[:join, 3]))
            if np.allclose(returns / theirs, (returns / theirs)[0], rtol=1e-6):
                donors.append(other)
        assert len(donors) == 1
        assert donors[0].window_id != window.window_id
        # The donor's own expansion is not among the bars.
        assert donors[0].start_bar >= join
        assert ENTRY.keeps_label(window, made, SOURCE) is None


def test_there_is_no_jump_where_the_bars_join_and_the_bar_rules_hold():
    for window, made in made_pairs():
        join = window.start_bar - 30
        gaps = [w.ohlc[join, 0] / w.ohlc[join - 1, 3] for w in (window, made)]
        np.testing.assert_allclose(gaps[1], gaps[0], rtol=1e-12)
        assert price_problems(made.ohlc) == []
        size = [np.log(w.ohlc[:join, 1] / w.ohlc[:join, 2]).mean() for w in (window, made)]
        np.testing.assert_allclose(size[1], size[0], rtol=1e-9)


def test_prices_have_no_scale_donors_included():
    other_source = source_of(scaled(TABLE, 1300.0))
    for window, other in zip(WINDOWS, windows_of(scaled(TABLE, 1300.0)), strict=True):
        one, two = ENTRY.make(window, SOURCE, rng_of(window)), ENTRY.make(other, other_source, rng_of(window))
        assert (one is None) == (two is None)
        if one is not None:
            np.testing.assert_allclose(two.ohlc, 1300.0 * one.ohlc, rtol=1e-10)


def test_hardly_any_context_or_no_donor_gives_nothing():
    window = next(w for w in WINDOWS if w.start_bar > 40)
    short = replace(window, start_bar=30 + LEAST_BARS - 1)
    assert ENTRY.make(short, SOURCE, rng_of(window)) is None
    assert ENTRY.make(replace(window, start_bar=-1, end_bar=-1), SOURCE, rng_of(window)) is None
    alone = replace(SOURCE, windows=(window,))
    assert ENTRY.make(window, alone, rng_of(window)) is None
    early = replace(SOURCE, windows=tuple(replace(w, start_bar=5) for w in WINDOWS if w is not window))
    assert ENTRY.make(window, early, rng_of(window)) is None
    flat = replace(SOURCE, windows=(replace(WINDOWS[0], window_id="flat", ohlc=np.ones((105, 4)), start_bar=70),))
    assert ENTRY.make(window, flat, rng_of(window)) is None


def test_the_declared_check_sees_a_changed_prior_state_and_a_jump():
    window, made = made_pairs()[0]
    join = window.start_bar - 30
    later = made.ohlc.copy()
    later[join] *= 1.001
    assert ENTRY.keeps_label(window, replace(made, ohlc=later), SOURCE).startswith("the prior state")
    later = made.ohlc.copy()
    later[:join] *= 1.001
    assert ENTRY.keeps_label(window, replace(made, ohlc=later), SOURCE).startswith("a jump")
