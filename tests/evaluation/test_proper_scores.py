"""Proper scores against loops, scikit-learn and numbers by hand; calibration against known truth."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit, logit
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss as sklearn_log_loss

from moola.evaluation.class_metrics import (
    Metric,
    brier,
    brier_decomposition,
    brier_skill,
    calibration_intercept,
    calibration_slope,
    calibration_slope_intercept,
    ece,
    ece_debiased,
    log_loss,
)
from moola.tables.prediction_table import Predictions
from tests import slow_statistics as slow
from tests.predictions_made import THREE, TWO, ones, random_table, repeated, table_of, two_class
from tests.slow_metrics import slow_brier

TABLES = st.builds(
    random_table, st.integers(0, 10_000), st.integers(1, 40), st.sampled_from([TWO, THREE]), st.booleans()
)
SHARES = {"consolidation": 27, "retracement": 8, "trend": 5}
RESAMPLED: dict[str, Metric] = {
    "log_loss": log_loss,
    "brier_skill": brier_skill(SHARES),
    "slope": calibration_slope("retracement"),
    "intercept": calibration_intercept("retracement"),
    **{name: lambda table, weights, i=i: brier_decomposition(table, weights, "retracement")[i] for i, name in
       enumerate(("reliability", "resolution", "uncertainty", "within_bin"))},
}  # fmt: skip


def counts_of(table: Predictions, seed: int) -> np.ndarray:
    counts = np.random.default_rng(seed).integers(0, 4, size=(3, len(table))).astype(np.float64)
    counts[:, 0] += 1
    return counts


def drawn(n: int, slope: float, intercept: float, seed: int = 0) -> Predictions:
    """Windows whose classes follow a known recalibration of the probabilities."""
    rng = np.random.default_rng(seed)
    said = rng.uniform(0.05, 0.95, size=n)
    true = rng.random(n) < expit(intercept + slope * logit(said))
    return two_class(true.astype(np.int64), said)


@given(table=TABLES)
def test_log_loss_is_that_of_a_loop_and_of_scikit_learn(table: Predictions) -> None:
    (value,) = log_loss(table, ones(table))
    assert value == pytest.approx(slow.slow_log_loss(table))
    labels = list(range(len(table.class_names)))
    assert value == pytest.approx(sklearn_log_loss(table.class_index, table.class_prob, labels=labels))


def test_log_loss_by_hand_and_at_the_ends() -> None:
    table = two_class(np.array([1, 0, 1]), np.array([0.5, 0.75, 1.0]))
    assert log_loss(table, ones(table))[0] == pytest.approx((math.log(2) + math.log(4)) / 3)
    wrong = two_class(np.array([1, 1]), np.array([0.0, 1.0]))
    values = log_loss(wrong, np.array([[1.0, 0.0], [1.0, 1.0], [0.0, 2.0], [0.0, 0.0]]))
    assert values[:3] == pytest.approx([52 * math.log(2), 26 * math.log(2), 0.0])
    assert np.isnan(values[3])


@given(table=TABLES)
def test_brier_skill_is_that_of_loops(table: Predictions) -> None:
    (value,) = brier_skill(SHARES)(table, ones(table))
    shares = {name: float(SHARES[name]) for name in SHARES}
    assert value == pytest.approx(1 - slow_brier(table) / slow.slow_brier_of_shares(table, shares))


def test_brier_skill_does_not_exist_against_shares_without_error() -> None:
    table = two_class(np.array([0, 0]), np.array([0.2, 0.6]))
    assert np.isnan(brier_skill({"consolidation": 5})(table, ones(table))[0])


@pytest.mark.parametrize("shares", [{}, {"a": 0.0}, {"a": -1.0, "b": 2.0}, {"a": math.nan}])
def test_shares_that_are_none_are_refused(shares: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="class shares must be 0 or above"):
        brier_skill(shares)


@given(table=TABLES, seed=st.integers(0, 1000))
def test_the_parts_sum_to_brier_exactly(table: Predictions, seed: int) -> None:
    weights = np.concatenate([ones(table), counts_of(table, seed)])
    parts = brier_decomposition(table, weights)
    total = parts.reliability - parts.resolution + parts.uncertainty + parts.within_bin
    np.testing.assert_allclose(total, brier(table, weights), atol=1e-12)
    for part in parts[:3]:
        assert (part >= -1e-15).all()


@given(table=TABLES)
def test_each_part_is_that_of_a_loop(table: Predictions) -> None:
    of_each = [
        slow.slow_brier_parts(table.class_prob[:, k].tolist(), (table.class_index == k).tolist())
        for k in range(len(table.class_names))
    ]
    if len(of_each) == 2:
        for k, name in enumerate(TWO):
            assert np.ravel(brier_decomposition(table, ones(table), name)) == pytest.approx(of_each[k], abs=1e-12)
        rarer = 1 if 2 * (table.class_index == 1).sum() <= len(table) else 0
        wanted = of_each[rarer]
    else:
        wanted = tuple(sum(part) / 2 for part in zip(*of_each, strict=True))
    assert np.ravel(brier_decomposition(table, ones(table))) == pytest.approx(wanted, abs=1e-12)


def test_brier_parts_by_hand() -> None:
    # Two bins: 0.2, 0.2 with one of two positive, 0.84, 0.88 with both. Base rate 3/4.
    table = two_class(np.array([0, 1, 1, 1]), np.array([0.2, 0.2, 0.84, 0.88]))
    parts = brier_decomposition(table, ones(table), "retracement")
    assert parts.reliability[0] == pytest.approx(0.5 * 0.3**2 + 0.5 * 0.14**2)
    assert parts.resolution[0] == pytest.approx(0.5 * 0.25**2 + 0.5 * 0.25**2)
    assert parts.uncertainty[0] == pytest.approx(0.75 * 0.25)
    assert parts.within_bin[0] == pytest.approx(0.5 * 0.02**2)
    assert np.isnan(np.ravel(brier_decomposition(table, np.zeros((1, 4))))).all()


@pytest.mark.parametrize("name", RESAMPLED)
@given(seed=st.integers(0, 1000))
def test_weights_do_what_repeating_windows_does(name: str, seed: int) -> None:
    table = random_table(seed, 30, coarse=seed % 2 == 0)
    counts = counts_of(table, seed)
    for value, row in zip(RESAMPLED[name](table, counts), counts, strict=True):
        again = repeated(table, row)
        assert value == pytest.approx(RESAMPLED[name](again, ones(again))[0], abs=1e-7, nan_ok=True)


@given(seed=st.integers(0, 1000), slope=st.sampled_from([0.5, 1.0, 2.0]))
def test_slope_and_intercept_are_those_of_scikit_learn(seed: int, slope: float) -> None:
    table = drawn(60, slope, 0.5, seed)
    x = logit(table.class_prob[:, 1])[:, None]
    fit = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000).fit(x, table.class_index)
    (found,), (at_nought,) = calibration_slope_intercept(table, ones(table), "retracement")
    assert found == pytest.approx(fit.coef_[0, 0], abs=1e-4)
    assert at_nought == pytest.approx(fit.intercept_[0], abs=1e-4)
    (mirrored,), (with_other_sign,) = calibration_slope_intercept(table, ones(table), "consolidation")
    assert (mirrored, with_other_sign) == pytest.approx((found, -at_nought), abs=1e-8)


@pytest.mark.parametrize(
    ("classes", "said"),
    [
        ([0, 0, 0], [0.1, 0.5, 0.9]),
        ([1, 1, 1], [0.1, 0.5, 0.9]),
        ([0, 0, 1], [0.1, 0.5, 0.9]),
        ([1, 0, 0], [0.1, 0.5, 0.9]),
        ([0, 0, 1, 1], [0.1, 0.5, 0.5, 0.9]),
        ([1, 1, 0, 0], [0.1, 0.2, 0.6, 0.9]),
        ([1, 1, 0, 0], [0.1, 0.5, 0.5, 0.9]),
        ([0, 1, 0], [0.3, 0.3, 0.3]),
        ([], []),
    ],
    ids=[
        "no second",
        "no first",
        "separable",
        "upside down",
        "touching",
        "both upside down",
        "touching upside down",
        "one probability",
        "no windows",
    ],
)
def test_a_slope_that_has_no_finite_fit_is_nan(classes: list[int], said: list[float]) -> None:
    table = two_class(np.array(classes, dtype=np.int64), np.array(said))
    slope, intercept = calibration_slope_intercept(table, ones(table), "retracement")
    assert np.isnan([slope[0], intercept[0]]).all()


def test_one_separable_resample_leaves_the_others_alone() -> None:
    table = two_class(np.array([0, 1, 0, 1]), np.array([0.1, 0.3, 0.6, 0.9]))
    weights = np.array([[1.0, 1.0, 1.0, 1.0], [1.0, 0.0, 1.0, 2.0], [1.0, 1.0, 0.0, 1.0], [2.0, 1.0, 1.0, 1.0]])
    slope = calibration_slope("retracement")(table, weights)
    assert np.isnan(slope).tolist() == [False, True, True, False]


def test_sure_probabilities_and_hardly_overlapping_classes_have_a_fit() -> None:
    rng = np.random.default_rng(0)
    said = np.concatenate([[0.0, 1.0], np.linspace(0.001, 0.999, 200)])
    classes = (said > 0.5).astype(np.int64)
    classes[[101, 102]] = 1 - classes[[101, 102]]
    table = two_class(classes, said)
    weights = rng.multinomial(202, np.full(202, 1 / 202), size=50).astype(np.float64)
    weights[:, [101, 102]] += 1
    slope, intercept = calibration_slope_intercept(table, weights, "retracement")
    assert (slope > 1).all()
    x = logit(np.clip(said, 2.0**-52, 1 - 2.0**-52))
    prob = expit(intercept[:, None] + slope[:, None] * x)
    assert np.abs((weights * (prob - classes)).sum(axis=1)).max() < 1e-6
    assert np.abs((weights * (prob - classes) * x).sum(axis=1)).max() < 1e-5


def test_a_fit_whose_plain_newton_steps_run_away_is_found() -> None:
    x, classes = np.array([-0.54, -0.3, -0.98, 0.17]), np.array([0, 1, 1, 0])
    weights = np.array([[1450.0, 1.0, 2.0, 130.0]])
    (slope,), (intercept,) = calibration_slope_intercept(two_class(classes, expit(x)), weights, "retracement")
    off = weights[0] * (expit(intercept + slope * x) - classes)
    assert [off.sum(), (off * x).sum()] == pytest.approx([0.0, 0.0], abs=1e-6)


def test_a_fit_that_hardly_exists_is_kept_where_it_settles_and_nan_where_it_wanders() -> None:
    # The two in the middle are a hair apart the other way round than the outer ones, which would separate.
    hair, classes = 1e-8, np.array([1, 0, 1, 0])
    inner = two_class(classes, np.array([0.001, 0.5, 0.5 + hair, 0.999]))
    end = logit(0.999)
    (slope,) = calibration_slope("retracement")(inner, ones(inner))
    assert slope == pytest.approx(-math.log(end / hair) / end, rel=1e-5)
    outer = two_class(classes, np.array([0.0, 0.5, 0.5 + hair, 1.0]))
    assert np.isnan(calibration_slope("retracement")(outer, np.array([[1000.0, 1.0, 1.0, 1.0]]))[0])


@given(table=TABLES, seed=st.integers(0, 1000))
def test_debiased_ece_is_that_of_a_loop_over_pairs(table: Predictions, seed: int) -> None:
    (value,) = ece_debiased(table, ones(table))
    assert value**2 == pytest.approx(slow.slow_ece_debiased(table) ** 2, abs=1e-12, nan_ok=True)
    counts = counts_of(table, seed)
    for resampled, row in zip(ece_debiased(table, counts), counts, strict=True):
        assert resampled**2 == pytest.approx(slow.slow_ece_debiased(table, row.tolist()) ** 2, abs=1e-12, nan_ok=True)


def test_debiased_ece_of_one_confidence_is_that_of_kumar_liang_and_ma() -> None:
    # 10 windows at 0.9, 4 right: 0.25 - 0.4 * 0.6 / 9.
    table = two_class(np.array([0] * 6 + [1] * 4), np.full(10, 0.9))
    assert ece_debiased(table, ones(table))[0] == pytest.approx(math.sqrt(0.25 - 0.24 / 9))


def test_debiased_ece_without_any_pair_does_not_exist() -> None:
    table = table_of([0, 1], [[0.95, 0.05], [0.35, 0.65]])
    assert np.isnan(ece_debiased(table, ones(table))[0])
    assert np.isnan(ece_debiased(table, np.array([[5.0, 0.0]]))[0])


def test_chance_alone_gives_as_much_below_nought_as_above_where_plain_ece_is_high() -> None:
    plain, debiased, moved = [], [], []
    for seed in range(200):
        table = drawn(60, 1.0, 0.0, seed)
        plain.append(ece(table, ones(table))[0])
        debiased.append(ece_debiased(table, ones(table))[0])
        weights = np.random.default_rng(seed).multinomial(60, np.full(60, 1 / 60), size=20).astype(np.float64)
        moved.append(np.mean(ece_debiased(table, weights) ** 2) - debiased[-1] ** 2)
    assert np.mean(plain) > 0.09
    assert 0.4 < np.mean(np.array(debiased) == 0) < 0.65
    assert np.mean(debiased) < 0.6 * np.mean(plain)
    # Resamples have no bias of their own but the cut at 0.
    assert abs(np.mean(moved)) < 0.01
