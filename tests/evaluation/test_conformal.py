"""Conformal answers against slow twins, by hand, and their coverage on many exchangeable draws."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.isotonic import isotonic_regression

from moola.errors import WrongUsage
from moola.evaluation.coverage import (
    CANNOT_TELL,
    ENDS,
    VennAbers,
    class_answers,
    class_coverage,
    class_sets,
    class_thresholds,
    conformal_quantile,
    error_bars,
    error_coverage,
    forward_class_sets,
    forward_error_bars,
    forward_turns,
    mean_set_size,
    pointer_errors,
    venn_abers,
)
from tests import slow_events as slow
from tests.predictions_made import THREE, TWO, random_table
from tests.slow_events import slow_venn_abers

ALPHAS = st.sampled_from([Fraction(k, 20) for k in range(1, 20)])

SEEDS = st.integers(0, 10_000)

WHICH = {"start": [0], "end": [1], "both": [0, 1]}


def one(n: int) -> np.ndarray:
    return np.ones((1, n))


@given(st.lists(st.integers(0, 9), max_size=40), ALPHAS, st.floats(0.01, 100.0), st.randoms(use_true_random=False))
def test_the_quantile_is_that_of_the_slow_twin_in_any_order_and_scale(
    scores: list[int], alpha: Fraction, k: float, random: object
) -> None:
    found = conformal_quantile(np.array(scores, dtype=np.float64), float(alpha))
    assert found == slow.slow_conformal_quantile(scores, alpha)
    random.shuffle(scores)
    assert conformal_quantile(k * np.array(scores, dtype=np.float64), float(alpha)) == (k * found)


def test_the_quantile_needs_nine_windows_for_nine_in_ten() -> None:
    assert conformal_quantile(np.arange(9.0), 0.1) == 8
    assert math.isinf(conformal_quantile(np.arange(8.0), 0.1))
    assert conformal_quantile(np.arange(19.0), 0.1) == 17
    assert math.isinf(conformal_quantile(np.zeros(0), 0.5))


@pytest.mark.parametrize("alpha", [0.0, 1.0, -0.1, 90.0, math.nan])
def test_an_alpha_outside_nought_and_one_is_refused(alpha: float) -> None:
    with pytest.raises(WrongUsage, match="alpha must be between 0 and 1"):
        conformal_quantile(np.zeros(3), alpha)


@given(SEEDS, st.integers(0, 30), ALPHAS, st.booleans(), st.sampled_from([TWO, THREE]))
def test_answers_are_those_of_the_slow_twin(
    seed: int, n: int, alpha: Fraction, by_class: bool, names: list[str]
) -> None:
    known, new = random_table(seed, n, names), random_table(seed + 1, 12, names)
    class_index = np.where(np.arange(n) % 5 == 4, -1, known.class_index)
    thresholds = class_thresholds(known.class_prob, class_index, float(alpha), by_class)
    sets = class_sets(new.class_prob, thresholds)
    assert sets.any(axis=1).all()
    calibration = list(zip(known.class_prob.tolist(), class_index.tolist(), strict=True))
    wanted = [slow.slow_answer(prob, names, calibration, alpha, by_class) for prob in new.class_prob.tolist()]
    assert class_answers(sets, names) == wanted


def test_too_few_windows_tell_no_class() -> None:
    thresholds = class_thresholds(np.array([[0.9, 0.1]] * 3), np.zeros(3, dtype=np.int64), 0.1)
    assert class_answers(class_sets(np.array([[1.0, 0.0]]), thresholds), TWO) == [CANNOT_TELL]
    # A class without calibration windows cannot be left out of any set.
    by_class = class_thresholds(np.array([[0.9, 0.1]] * 20), np.zeros(20, dtype=np.int64), 0.1, by_class=True)
    assert math.isinf(by_class[1])
    assert class_sets(np.array([[1.0, 0.0]]), by_class)[0, 1]


def drawn(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities of a poor model, and classes that follow others of their own, one in four the second."""
    class_index = (rng.random(n) < 0.25).astype(np.int64)
    second = 1 / (1 + np.exp(-3 * (2 * class_index - 1.5 + 1.5 * rng.normal(size=n))))
    return np.stack([1 - second, second], axis=1), class_index


@pytest.mark.slow
@pytest.mark.parametrize("alpha", [0.1, 0.3])
@pytest.mark.parametrize("by_class", [False, True])
def test_sets_cover_what_they_promise_on_average_over_draws(alpha: float, by_class: bool) -> None:
    rng = np.random.default_rng(0)
    covered: list[list[float]] = [[], [], []]
    for _ in range(400):
        prob, class_index = drawn(rng, 60)
        new, true = drawn(rng, 20)
        sets = class_sets(new, class_thresholds(prob, class_index, alpha, by_class))
        covered[2].append(class_coverage(sets, true, one(20))[0])
        for k in (0, 1):
            covered[k].append(class_coverage(sets[true == k], true[true == k], one(int((true == k).sum())))[0])
    # Three standard errors of the mean of 400 draws at most.
    share = [float(np.nanmean(values)) for values in covered]
    assert share[2] >= 1 - alpha - 0.012
    if by_class:
        assert min(share) >= 1 - alpha - 0.03
    elif alpha == 0.1:
        assert share[2] <= 1 - alpha + 0.03
        assert share[1] < 1 - alpha


@pytest.mark.parametrize("n", [9, 30])
def test_bars_cover_what_they_promise_on_average_over_draws(n: int) -> None:
    rng = np.random.default_rng(1)
    share = []
    for _ in range(800):
        error = np.abs(np.rint(4 * rng.standard_t(2, size=n + 20)))
        share.append(error_coverage(error[n:], error_bars(error[:n], 0.1), one(20))[0])
    assert np.mean(share) >= 0.9 - 0.012


def pointer_bars(true_bar: np.ndarray, predicted_bar: np.ndarray, alpha: float) -> dict[str, int | None]:
    return {which: error_bars(pointer_errors(true_bar, predicted_bar, which), alpha) for which in ENDS}


@given(SEEDS, st.integers(0, 40), ALPHAS)
def test_bars_are_those_of_the_slow_twin(seed: int, n: int, alpha: Fraction) -> None:
    table = random_table(seed, n)
    found = pointer_bars(table.true_bar, table.predicted_bar, float(alpha))
    true, said = table.true_bar.tolist(), table.predicted_bar.tolist()
    assert found == {which: slow.slow_error_bars(true, said, ends, alpha) for which, ends in WHICH.items()}
    mixed = np.random.default_rng(seed).permutation(n)
    assert pointer_bars(table.true_bar[mixed], table.predicted_bar[mixed], float(alpha)) == found


@pytest.mark.parametrize(("miss", "share"), [(0, 1.0), (1, 0.5)])
def test_coverage_counts_errors_up_to_k_and_not_a_bar_further(miss: int, share: float) -> None:
    error = np.array([0.0, 3.0 + miss, np.nan])
    assert error_coverage(error, 3, one(3))[0] == share
    assert error_coverage(error, np.array([0.0, 3.0, 0.0]), one(3))[0] == share
    assert error_coverage(np.append(error, np.inf), None, one(4))[0] == 1.0
    assert error_coverage(np.array([np.inf, 1.0]), 3, one(2))[0] == 0.5


@given(SEEDS, st.integers(1, 25))
def test_coverage_under_weights_is_that_of_windows_written_down_as_often(seed: int, n: int) -> None:
    table, rng = random_table(seed, n), np.random.default_rng(seed)
    class_index = np.where(rng.random(n) < 0.2, -1, table.class_index)
    counts = rng.integers(0, 3, size=(3, n)).astype(np.float64)
    sets = class_sets(table.class_prob, np.array([0.6, 0.5]))
    error = pointer_errors(table.true_bar, table.predicted_bar, "both")
    for row, drawn_counts in enumerate(counts):
        rows = np.repeat(np.arange(n), drawn_counts.astype(int))
        again = one(len(rows))
        for whole, part in (
            (class_coverage(sets, class_index, counts), class_coverage(sets[rows], class_index[rows], again)),
            (mean_set_size(sets, counts), mean_set_size(sets[rows], again)),
            (error_coverage(error, 4, counts), error_coverage(error[rows], 4, again)),
        ):
            np.testing.assert_allclose(whole[row], part[0])


def test_without_judged_windows_there_is_no_coverage() -> None:
    sets = np.ones((2, 2), dtype=bool)
    assert np.isnan(class_coverage(sets, np.array([-1, -1]), one(2))[0])
    assert np.isnan(mean_set_size(sets[:0], one(0))[0])
    assert np.isnan(error_coverage(np.full(2, np.nan), 3, one(2))[0])


@given(SEEDS, st.integers(1, 40), st.booleans())
def test_each_fold_is_calibrated_on_earlier_ones(seed: int, n: int, by_class: bool) -> None:
    table = random_table(seed, n)
    fold = np.random.default_rng(seed).integers(0, 4, size=n)
    error = pointer_errors(table.true_bar, table.predicted_bar, "start")
    turns = forward_turns(fold, lambda rows, judged: rows % 7 != judged[0] % 7)
    sets, told = forward_class_sets(table.class_prob, table.class_index, turns, 0.3, by_class)
    within_bars = forward_error_bars(error, turns, 0.3)
    for row in range(n):
        first = int(np.flatnonzero(fold == fold[row])[0])
        rows = [i for i in range(n) if fold[i] < fold[row] and i % 7 != first % 7]
        thresholds = class_thresholds(table.class_prob[rows], table.class_index[rows], 0.3, by_class)
        np.testing.assert_array_equal(sets[[row]], class_sets(table.class_prob[[row]], thresholds))
        assert told[row] == np.isfinite(thresholds).all()
        k = error_bars(error[rows], 0.3)
        assert within_bars[row] == (np.inf if k is None else k)


def test_forward_sets_cover_what_was_asked_where_nothing_changes() -> None:
    rng = np.random.default_rng(2)
    fold = np.arange(60) // 12
    share = []
    for _ in range(300):
        prob, class_index = drawn(rng, 60)
        sets, told = forward_class_sets(prob, class_index, forward_turns(fold), 0.1)
        share.append(class_coverage(sets[told], class_index[told], one(int(told.sum())))[0])
    assert np.mean(share) >= 0.9 - 0.012
    # Changing a window's own label changes the answers of later folds alone.
    before, _ = forward_class_sets(prob, class_index, forward_turns(fold), 0.1)
    class_index[24:36] = 1 - class_index[24:36]
    after, _ = forward_class_sets(prob, class_index, forward_turns(fold), 0.1)
    np.testing.assert_array_equal(after[:36], before[:36])
    assert (after[36:] != before[36:]).any()


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
