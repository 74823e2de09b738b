"""Venn-Abers intervals against exact pooling, against scikit-learn, by hand, and in calibration."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.isotonic import isotonic_regression

from moola.evaluation.coverage import VennAbers, venn_abers
from tests.slow_events import slow_venn_abers

# A grid of scores, so that many are equal.
SCORES = st.integers(-6, 6).map(lambda k: k / 2)
CALIBRATION = st.lists(st.tuples(SCORES, st.integers(0, 1)), max_size=25)
NEW = st.lists(SCORES | st.floats(-4, 4), min_size=1, max_size=12)


def predicted(calibration: list[tuple[float, int]], new: list[float]) -> VennAbers:
    scores = np.array([score for score, _ in calibration], dtype=np.float64)
    return venn_abers(scores, np.array([k for _, k in calibration], dtype=np.int64), np.array(new, dtype=np.float64))


@given(CALIBRATION, NEW)
def test_intervals_are_those_of_the_slow_twin(calibration: list[tuple[float, int]], new: list[float]) -> None:
    interval = predicted(calibration, new)
    scores, classes = [s for s, _ in calibration], [k for _, k in calibration]
    wanted = np.array([slow_venn_abers(scores, classes, score) for score in new])
    np.testing.assert_allclose(interval.low_prob, wanted[:, 0], atol=1e-12)
    np.testing.assert_allclose(interval.high_prob, wanted[:, 1], atol=1e-12)


@given(st.integers(0, 10_000), st.integers(1, 60))
def test_intervals_are_those_of_scikit_learn(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    scores, classes, new = rng.normal(size=n), rng.integers(0, 2, size=n), rng.normal(size=5)
    interval = venn_abers(scores, classes, new)
    for i, score in enumerate(new):
        at = int((scores < score).sum())
        ranked = classes[np.argsort(scores)].astype(np.float64)
        low, high = (isotonic_regression(np.insert(ranked, at, added))[at] for added in (0.0, 1.0))
        assert (interval.low_prob[i], interval.high_prob[i]) == pytest.approx((low, high), abs=1e-12)


def test_three_windows_by_hand() -> None:
    interval = predicted([(1.0, 0), (2.0, 1), (3.0, 1)], [0.0, 1.5, 2.0, 4.0])
    # Below all: as 1 it pools with the 0, 1/2. Between 0 and 1: free either way. On the score 2: 1/2 as 0.
    np.testing.assert_allclose(interval.low_prob, [0, 0, 1 / 2, 2 / 3])
    np.testing.assert_allclose(interval.high_prob, [1 / 2, 1, 1, 1])
    np.testing.assert_allclose(interval.merged_prob, [1 / 3, 1 / 2, 2 / 3, 3 / 4])
    np.testing.assert_allclose(interval.class_prob[:, 0], 1 - interval.merged_prob)


def test_without_calibration_windows_nothing_is_known() -> None:
    for interval in (predicted([], [0.3, -1.0]), predicted([(0.0, -1)], [0.3, -1.0])):
        assert interval.low_prob.tolist() == [0, 0]
        assert interval.high_prob.tolist() == [1, 1]
        assert interval.merged_prob.tolist() == [0.5, 0.5]
    assert venn_abers(np.array([0.0]), np.array([1]), np.zeros(0)).class_prob.shape == (0, 2)


@given(CALIBRATION, NEW, st.randoms(use_true_random=False))
def test_intervals_hold_the_merged_probability_grow_with_the_score_and_forget_order_and_scale(
    calibration: list[tuple[float, int]], new: list[float], random: object
) -> None:
    new = [round(score, 3) for score in new]
    interval = predicted(calibration, sorted(new))
    assert (interval.low_prob <= interval.high_prob).all()
    assert (interval.low_prob <= interval.merged_prob + 1e-12).all()
    assert (interval.merged_prob <= interval.high_prob + 1e-12).all()
    for prob in (interval.low_prob, interval.high_prob, interval.merged_prob):
        assert (np.diff(prob) >= -1e-12).all()
        assert ((prob >= 0) & (prob <= 1)).all()
    mixed = calibration[:]
    random.shuffle(mixed)
    other = predicted([(np.exp(score), k) for score, k in mixed], np.exp(sorted(new)).tolist())
    np.testing.assert_allclose(other.class_prob, interval.class_prob, atol=1e-12)


@given(CALIBRATION, NEW)
def test_the_two_classes_are_treated_alike(calibration: list[tuple[float, int]], new: list[float]) -> None:
    interval = predicted(calibration, new)
    mirrored = predicted([(-score, 1 - k) for score, k in calibration], [-score for score in new])
    np.testing.assert_allclose(mirrored.low_prob, 1 - interval.high_prob, atol=1e-12)
    np.testing.assert_allclose(mirrored.merged_prob, 1 - interval.merged_prob, atol=1e-12)


def test_intervals_narrow_with_windows_and_are_calibrated() -> None:
    rng = np.random.default_rng(0)
    widths = []
    for n in (30, 3000):
        prob = rng.random(n + 4000) ** 2
        classes = (rng.random(n + 4000) < prob).astype(np.int64)
        # The score is far from a probability; the order is right.
        interval = venn_abers(10 * prob[:n] - 3, classes[:n], 10 * prob[n:] - 3)
        widths.append(float((interval.high_prob - interval.low_prob).mean()))
        if n == 3000:
            for low in (0.0, 0.2, 0.4, 0.6, 0.8):
                member = (interval.merged_prob >= low) & (interval.merged_prob < low + 0.2)
                assert classes[n:][member].mean() == pytest.approx(interval.merged_prob[member].mean(), abs=0.06)
    assert widths[1] < 0.05 < widths[0]
