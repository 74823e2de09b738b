import numpy as np
import pytest

from moola.core.expansions import label_window
from tests.made import random_walk_bars
from tests.oracles import naive_rule


def as_tuple(label):
    return label.label, label.expansion_start, label.expansion_end, label.reason


def window_of(close, span=1.0):
    """Bars around given closes with the same range each, level 1000."""
    close = np.asarray(close, dtype=float) + 1000.0
    open_ = np.concatenate([close[:1], close[:-1]])
    middle = (open_ + close) / 2
    half = np.maximum(span / 2, np.abs(open_ - close) / 2)
    return np.stack([open_, middle + half, middle - half, close], axis=1)


def closes(prior, move, n_move=10, start=45):
    """105 closes: alternating, `prior` over the 20 bars before `start`, `move` over `n_move` bars, alternating."""
    close = np.zeros(105)
    close[start - 20 : start] = np.linspace(0, prior, 21)[1:]
    close[start : start + n_move] = prior + np.linspace(0, move, n_move + 1)[1:]
    close[start + n_move :] = prior + move
    return close + np.where(np.arange(105) % 2, 0.05, -0.05)


def some_windows():
    bars = random_walk_bars(105 * 60, seed=2).ohlc.reshape(60, 105, 4)
    quiet = bars.copy()
    quiet[:, :40] = bars[:, :1] * (1 + (bars[:, :40] / bars[:, :1] - 1) * 0.3)
    return np.concatenate([bars, quiet])


def test_the_rule_equals_its_naive_twin_and_every_outcome_occurs():
    windows = some_windows()
    outcomes = [as_tuple(label_window(window)) for window in windows]
    assert outcomes == [naive_rule(window.tolist()) for window in windows]
    assert {reason for *_, reason in outcomes} == {"came_back", "went_nowhere", "ambiguous", "no_expansion"}


@pytest.mark.parametrize("factor", [2.0**-20, 64.0, 0.37, 1234.5])
def test_the_rule_does_not_depend_on_the_price_scale(factor):
    for window in some_windows()[::4]:
        assert as_tuple(label_window(window * factor)) == as_tuple(label_window(window))


@pytest.mark.parametrize("sign", [1, -1])
def test_a_move_after_drift_against_it_is_a_retracement_either_way_up(sign):
    found = label_window(window_of(sign * closes(prior=-4.0, move=14.0)))
    assert as_tuple(found) == ("retracement", 45, 54, "came_back")


@pytest.mark.parametrize("sign", [1, -1])
def test_a_move_out_of_a_narrow_flat_stretch_is_a_consolidation_either_way_up(sign):
    found = label_window(window_of(sign * closes(prior=0.0, move=14.0)))
    assert as_tuple(found) == ("consolidation", 45, 54, "went_nowhere")


def test_a_flat_but_wide_prior_state_is_ambiguous():
    window = window_of(closes(prior=0.0, move=14.0))
    window[35, 1] += 6.0
    found = label_window(window)
    assert (found.label, found.reason) == (None, "ambiguous")
    assert (found.expansion_start, found.expansion_end) == (45, 54)


def test_a_move_that_continues_its_trend_is_ambiguous():
    found = label_window(window_of(closes(prior=2.0, move=14.0)))
    assert (found.label, found.reason) == (None, "ambiguous")


def test_no_move_and_no_range_say_so():
    assert as_tuple(label_window(window_of(closes(0.0, 0.0)))) == (None, -1, -1, "no_expansion")
    assert as_tuple(label_window(np.full((105, 4), 7.0))) == (None, -1, -1, "no_range")


def test_a_crooked_path_is_no_expansion():
    close = closes(prior=0.0, move=14.0)
    close[44:57] += np.where(np.arange(13) % 2, 4.0, -4.0)
    assert label_window(window_of(close)).reason == "no_expansion"


def test_what_follows_the_inner_zone_changes_nothing():
    for window, other in zip(some_windows()[:20], some_windows()[20:40], strict=True):
        changed = np.concatenate([window[:75], other[75:]])
        assert as_tuple(label_window(changed)) == as_tuple(label_window(window))


@pytest.mark.parametrize("start", [30, 66])
def test_the_expansion_stays_inside_the_inner_zone(start):
    found = label_window(window_of(closes(prior=0.0, move=20.0, n_move=15, start=start)))
    assert found.expansion_start >= 30
    assert found.expansion_end < 75


@pytest.mark.parametrize("window_bars", [21, 42, 50, 60, 70])
def test_a_short_window_gets_no_label_that_rests_on_bars_it_does_not_have(window_bars):
    # 20 bars before an inner zone that begins before bar 21 would be read from the window's other end.
    first = round(30 * window_bars / 105)
    close = np.zeros(window_bars)
    close[first : first + 6] = np.linspace(0, 12, 7)[1:]
    close[first + 6 :] = 12.0
    found = label_window(window_of(close + np.where(np.arange(window_bars) % 2, 0.05, -0.05)))
    assert found.label is None
