import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moola.core.expansions import NO_POINTER, best_pair, class_text, mass_near, soft_curve
from tests.oracles import naive_best_pair

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
