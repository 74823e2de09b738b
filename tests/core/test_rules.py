import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moola.core.expansions import NO_POINTER, best_pair, class_text, label_window, mass_near, soft_curve
from tests.made import random_walk_bars
from tests.oracles import naive_best_pair, naive_rule


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


# Eighths multiply without rounding, so that equal products are ties and nothing else is.
eighths = st.integers(0, 8).map(lambda n: n / 8)


@given(st.lists(st.tuples(eighths, eighths), min_size=1, max_size=12))
def test_best_pair_equals_the_double_loop_with_its_ties(pairs):
    start_prob, end_prob = (np.array([values]) for values in zip(*pairs, strict=True))
    start, end = best_pair(start_prob, end_prob)
    assert (start[0], end[0]) == naive_best_pair(start_prob[0].tolist(), end_prob[0].tolist())


def test_best_pair_equals_the_double_loop_on_smooth_curves():
    rng = np.random.default_rng(3)
    start_prob, end_prob = rng.dirichlet(np.ones(30), 50), rng.dirichlet(np.ones(30), 50)
    start, end = best_pair(start_prob, end_prob)
    expected = [naive_best_pair(s, e) for s, e in zip(start_prob.tolist(), end_prob.tolist(), strict=True)]
    assert list(zip(start.tolist(), end.tolist(), strict=True)) == expected


def test_best_pair_never_ends_before_it_starts_where_the_curves_peak_so():
    start, end = best_pair(np.array([[0.1, 0.2, 0.7]]), np.array([[0.6, 0.3, 0.1]]))
    assert (start[0], end[0]) == (2, 2)


def test_ties_go_to_the_earliest_end_then_the_earliest_start():
    start, end = best_pair(np.array([[0.5, 0.5, 0.0]]), np.array([[0.0, 0.5, 0.5]]))
    assert (start[0], end[0]) == (0, 1)


@given(st.integers(0, 30), st.just(0.0) | st.floats(0.01, 6.0))
def test_a_soft_curve_sums_to_1_and_peaks_at_its_pointer(pointer, sigma):
    curve = soft_curve(np.array([pointer]), 31, sigma)[0]
    assert curve.sum() == pytest.approx(1.0)
    assert curve.argmax() == pointer
    assert (curve >= 0).all()


def test_a_soft_curve_is_the_gaussian_of_its_width():
    curve = soft_curve(np.array([10]), 21, 2.0)[0]
    assert curve[12] / curve[10] == pytest.approx(np.exp(-0.5))
    assert curve[6] / curve[10] == pytest.approx(np.exp(-2.0))
    assert curve[8] == pytest.approx(curve[12])


def test_no_width_puts_everything_on_the_bar():
    assert soft_curve(np.array([2, 0]), 4, 0.0).tolist() == [[0, 0, 1, 0], [1, 0, 0, 0]]


def test_a_width_below_one_bar_is_still_a_gaussian():
    curve = soft_curve(np.array([2]), 5, 0.5)[0]
    assert curve[1] / curve[2] == pytest.approx(np.exp(-2.0))


def test_no_pointer_is_a_curve_of_zeros_and_leaves_its_neighbours():
    assert NO_POINTER == -1
    curve = soft_curve(np.array([NO_POINTER, 1]), 4, 1.0)
    assert not curve[0].any()
    assert curve[1].sum() == pytest.approx(1.0)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=15), st.integers(0, 14), st.integers(0, 5))
def test_mass_near_sums_the_bars_within_the_tolerance(values, bar, tolerance):
    curve = np.array([values]) / max(1.0, sum(values))
    expected = sum(curve[0][t] for t in range(len(values)) if abs(t - bar) <= tolerance)
    assert mass_near(curve, np.array([bar]), tolerance)[0] == pytest.approx(min(expected, 1.0))


def test_mass_near_is_never_above_1():
    curve = np.full((1, 10), 0.1) + 1e-12
    assert mass_near(curve, np.array([5]), 20)[0] == 1.0


def test_a_class_that_is_the_state_before_is_named_as_such():
    assert [class_text(name) for name in ("consolidation", "retracement", "bull")] == [
        "after consolidation",
        "after retracement",
        "bull",
    ]
