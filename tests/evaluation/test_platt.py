"""Platt's sigmoid against scikit-learn's and its own loss, and calibrators by name."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit, softmax
from sklearn.linear_model import LogisticRegression

from moola.errors import WrongUsage
from moola.evaluation.calibration import (
    CALIBRATORS,
    LOWEST_PROB,
    Calibrator,
    calibrated,
    fit_calibrator,
    fit_platt,
    fit_temperature,
    logits_of,
    platt_calibrator,
)
from moola.evaluation.class_metrics import brier
from tests.predictions_made import ones, two_class
from tests.slow_events import slow_platt_loss


def drawn(seed: int, n: int, slope: float = 1.0, intercept: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Differences, and classes drawn with the sigmoid of them."""
    rng = np.random.default_rng(seed)
    difference = 2 * rng.normal(size=n)
    return difference, (rng.random(n) < expit(slope * difference + intercept)).astype(np.int64)


@given(st.integers(0, 10_000), st.integers(4, 80))
def test_the_fit_is_that_of_scikit_learn(seed: int, n: int) -> None:
    difference, class_index = drawn(seed, n)
    n_second = class_index.sum()
    target = np.where(class_index == 1, (n_second + 1) / (n_second + 2), 1 / (n - n_second + 2))
    # A target between 0 and 1 is a window of both classes, with these weights.
    peer = LogisticRegression(C=np.inf, solver="newton-cholesky", tol=1e-9, max_iter=500)
    peer.fit(np.tile(difference, 2)[:, None], np.repeat([1, 0], n), np.append(target, 1 - target))
    wanted = peer.predict_proba(difference[:, None])[:, 1]
    slope, intercept = fit_platt(difference, class_index)
    np.testing.assert_allclose(expit(slope * difference + intercept), wanted, atol=1e-6)


@given(st.integers(0, 10_000), st.integers(2, 30), st.floats(0.3, 2.0), st.floats(-1.0, 1.0))
def test_no_step_away_from_the_fit_lowers_the_loss(seed: int, n: int, size: float, share: float) -> None:
    difference, class_index = drawn(seed, n)
    data = (difference.tolist(), class_index.tolist())
    slope, intercept = fit_platt(difference, class_index)
    least = slow_platt_loss(slope, intercept, *data)
    for step in (0.01 * size, 0.1 * size):
        assert least <= slow_platt_loss(slope + share * step, intercept + (1 - share) * step, *data) + 1e-12
        assert least <= slow_platt_loss(slope - share * step, intercept - (1 - share) * step, *data) + 1e-12


@pytest.mark.parametrize(("slope", "intercept"), [(0.5, 0.0), (2.0, -1.0), (1.0, 0.7)])
def test_a_known_sigmoid_is_recovered_from_many_windows(slope: float, intercept: float) -> None:
    assert fit_platt(*drawn(0, 30_000, slope, intercept)) == pytest.approx((slope, intercept), abs=0.06)


@given(st.integers(0, 1000), st.integers(3, 40), st.floats(1e-6, 1e6), st.floats(-50, 50))
def test_scale_and_shift_of_differences_go_into_the_parameters(seed: int, n: int, k: float, shift: float) -> None:
    difference, class_index = drawn(seed, n)
    slope, intercept = fit_platt(difference, class_index)
    again, moved = fit_platt(k * (difference + shift), class_index)
    assert again * k == pytest.approx(slope, rel=1e-4, abs=1e-6)
    np.testing.assert_allclose(again * k * (difference + shift) + moved, slope * difference + intercept, atol=1e-4)


def test_the_smoothed_targets_by_hand() -> None:
    # Two windows of each class at -1 and at 1: the fit goes through the targets 1/4 and 3/4 themselves.
    slope, intercept = fit_platt(np.array([-1.0, -1, 1, 1]), np.array([0, 0, 1, 1]))
    assert (slope, intercept) == pytest.approx((math.log(3), 0.0), abs=1e-6)


def test_one_class_alone_gives_a_share_short_of_one() -> None:
    slope, intercept = fit_platt(np.array([0.3, 1.2, -0.4]), np.array([1, 1, 1]))
    np.testing.assert_allclose([slope, expit(intercept)], [0.0, 4 / 5], atol=1e-6)


def test_equal_differences_leave_the_slope_at_nought() -> None:
    slope, intercept = fit_platt(np.full(4, 1e3), np.array([0, 1, 1, 1]))
    assert slope == 0.0
    assert expit(intercept) == pytest.approx((1 / 3 + 3 * 4 / 5) / 4, abs=1e-6)


def test_no_windows_and_windows_without_a_label_change_nothing() -> None:
    assert fit_platt(np.zeros(0), np.zeros(0, dtype=np.int64)) == (1.0, 0.0)
    difference, class_index = drawn(3, 30)
    more = np.append(difference, [99.0, -99.0]), np.append(class_index, [-1, -1])
    assert fit_platt(*more) == fit_platt(difference, class_index)
    for method in CALIBRATORS:
        logits = np.stack([np.zeros(32), more[0]], axis=1)
        assert fit_calibrator(method, logits, more[1]) == fit_calibrator(method, logits[:30], class_index)


def test_logits_that_rank_backwards_give_a_negative_slope() -> None:
    difference, class_index = drawn(0, 300)
    assert fit_platt(difference, 1 - class_index)[0] < 0


@pytest.mark.parametrize("method", sorted(CALIBRATORS))
@pytest.mark.parametrize("n_classes", [2, 3])
def test_calibrators_give_probabilities_that_sum_to_one(method: str, n_classes: int) -> None:
    rng = np.random.default_rng(0)
    logits = 3 * rng.normal(size=(60, n_classes))
    calibrator = fit_calibrator(method, logits, rng.integers(0, n_classes, size=60))
    prob = calibrator.apply(np.concatenate([logits, 1e4 * logits]))
    assert prob.shape == (120, n_classes)
    assert (prob >= 0).all()
    np.testing.assert_allclose(prob.sum(axis=1), 1.0)
    assert Calibrator(calibrator.method, calibrator.parameters) == calibrator


def test_the_temperature_is_that_of_the_calibration_page() -> None:
    difference, class_index = drawn(1, 50)
    logits = np.stack([np.zeros(50), difference], axis=1)
    calibrator = fit_calibrator("temperature", logits, class_index)
    assert calibrator == Calibrator("temperature", (fit_temperature(logits, class_index),))
    np.testing.assert_array_equal(calibrator.apply(logits), calibrated(logits, calibrator.parameters[0]))


def test_platt_of_two_classes_uses_the_difference_alone() -> None:
    difference, class_index = drawn(1, 50)
    calibrator = fit_calibrator("platt", np.stack([np.zeros(50), difference], axis=1), class_index)
    slope, intercept = calibrator.parameters
    assert calibrator == Calibrator("platt", fit_platt(difference, class_index))
    moved = np.stack([np.full(50, 7.0), difference + 7.0], axis=1)
    np.testing.assert_allclose(calibrator.apply(moved)[:, 1], expit(slope * difference + intercept))


def test_platt_of_three_classes_is_a_temperature_and_says_so() -> None:
    rng = np.random.default_rng(0)
    assert platt_calibrator(rng.normal(size=(20, 3)), rng.integers(0, 3, size=20)).method == "temperature"


def test_platt_mends_a_shift_that_no_temperature_can() -> None:
    difference, class_index = drawn(0, 3000)
    logits = np.stack([np.zeros(3000), 2 * difference + 3], axis=1)
    score = {}
    for method in CALIBRATORS:
        prob = fit_calibrator(method, logits[:1500], class_index[:1500]).apply(logits[1500:])
        table = two_class(class_index[1500:], prob[:, 1])
        score[method] = brier(table, ones(table))[0]
    assert score["platt"] < 0.9 * score["temperature"]


def test_an_unknown_calibration_is_refused_with_the_known_ones() -> None:
    for attempt in (
        lambda: Calibrator("beta", (1.0,)),
        lambda: fit_calibrator("beta", np.zeros((1, 2)), np.zeros(1, int)),
    ):
        with pytest.raises(WrongUsage, match=r"temperature, platt, but it is 'beta'\. Choose"):
            attempt()


def test_logits_of_probabilities_give_them_back() -> None:
    prob = np.array([[0.2, 0.8], [1.0, 0.0], [0.5, 0.5]])
    logits = logits_of(prob)
    assert np.isfinite(logits).all()
    np.testing.assert_allclose(softmax(logits, axis=1), prob, atol=2 * LOWEST_PROB)
