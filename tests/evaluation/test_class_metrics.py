"""Class metrics against naive loops, against scikit-learn, and under resampling weights."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    balanced_accuracy_score,
    brier_score_loss,
    f1_score,
    matthews_corrcoef,
)

from moola.evaluation.class_metrics import (
    Metric,
    accuracy,
    average_precision,
    balanced_accuracy,
    brier,
    confidence,
    ece,
    ece_equal_mass,
    f1_macro,
    f1_of,
    mass_bin,
    mcc,
    pr_auc,
    pr_auc_of,
    weighted_share,
    width_bin,
)
from moola.tables.prediction_table import Predictions
from tests import slow_metrics as slow
from tests.predictions_made import THREE, TWO, close, ones, random_table, repeated, table_of, two_class


def balanced_of(table: Predictions) -> float:
    with warnings.catch_warnings():
        # A class is predicted that no window has.
        warnings.simplefilter("ignore", UserWarning)
        return float(balanced_accuracy_score(table.class_index, table.class_prob.argmax(axis=1)))


TWINS: dict[str, tuple[Metric, Callable[[Predictions], float]]] = {
    "pr_auc": (pr_auc, slow.slow_pr_auc),
    "pr_auc_of": (pr_auc_of("retracement"), lambda table: slow.slow_pr_auc_of(table, 1)),
    "brier": (brier, slow.slow_brier),
    "ece": (ece, slow.slow_ece),
    "ece_equal_mass": (ece_equal_mass, slow.slow_ece_equal_mass),
    "accuracy": (accuracy, slow.slow_accuracy),
    "balanced_accuracy": (balanced_accuracy, balanced_of),
    "mcc": (mcc, slow.slow_mcc),
    "f1_of": (f1_of("consolidation"), lambda table: slow.slow_f1_of(table, 0)),
    "f1_macro": (f1_macro, slow.slow_f1_macro),
}
# Bins of equal mass are those of the table itself, whatever each window counts.
RESAMPLED = [name for name in TWINS if name != "ece_equal_mass"]
Drawn = tuple[Any, ...]
TABLES = st.tuples(st.integers(0, 10_000), st.integers(1, 40), st.sampled_from([TWO, THREE]), st.booleans())


@pytest.mark.parametrize("name", TWINS)
@given(drawn=TABLES)
def test_a_metric_is_what_its_slow_twin_says(name: str, drawn: Drawn) -> None:
    table = random_table(*drawn)
    metric, twin = TWINS[name]
    (value,) = metric(table, ones(table))
    assert close(value, twin(table)), (value, twin(table))


@pytest.mark.parametrize("name", RESAMPLED)
@given(drawn=TABLES, seed=st.integers(0, 1000))
def test_weights_do_what_repeating_windows_does(name: str, drawn: Drawn, seed: int) -> None:
    table = random_table(*drawn)
    metric, twin = TWINS[name]
    counts = np.random.default_rng(seed).integers(0, 4, size=(3, len(table))).astype(np.float64)
    counts[:, 0] += 1
    values = metric(table, counts)
    assert values.shape == (3,)
    for value, row in zip(values, counts, strict=True):
        again = repeated(table, row)
        assert close(value, metric(again, ones(again))[0])
        assert close(value, twin(again))


@given(drawn=TABLES, seed=st.integers(0, 1000))
def test_equal_mass_bins_stay_those_of_the_table_under_weights(drawn: Drawn, seed: int) -> None:
    table = random_table(*drawn)
    counts = np.random.default_rng(seed).integers(1, 4, size=len(table)).astype(np.float64)
    sure, correct = slow.confidences(table)
    rows = np.repeat(np.arange(len(table)), counts.astype(int))
    bins = slow.mass_bins_of(sure)
    by_hand = slow.slow_ece_in_bins([sure[i] for i in rows], [correct[i] for i in rows], [bins[i] for i in rows])
    assert close(ece_equal_mass(table, counts[None])[0], by_hand)


@given(drawn=TABLES)
def test_metrics_are_those_of_scikit_learn(drawn: Drawn) -> None:
    table = random_table(*drawn)
    true, said = table.class_index, table.class_prob.argmax(axis=1)
    weights = ones(table)
    assert accuracy(table, weights)[0] == pytest.approx(accuracy_score(true, said))
    if len(set(true.tolist())) > 1:
        assert mcc(table, weights)[0] == pytest.approx(matthews_corrcoef(true, said), abs=1e-12)
    there = sorted({*true.tolist(), *said.tolist()})
    macro = f1_score(true, said, labels=there, average="macro", zero_division=0)
    assert f1_macro(table, weights)[0] == pytest.approx(macro)
    for k, name in enumerate(table.class_names):
        if k in there:
            one = f1_score(true == k, said == k, zero_division=0)
            assert f1_of(name)(table, weights)[0] == pytest.approx(one)
        if 0 < (true == k).sum() < len(table):
            precision = average_precision_score(true == k, table.class_prob[:, k])
            assert pr_auc_of(name)(table, weights)[0] == pytest.approx(precision)
    if len(table.class_names) == 2:
        binary = brier_score_loss(true == 1, table.class_prob[:, 1], pos_label=True)
        assert brier(table, weights)[0] == pytest.approx(binary)


def test_equal_scores_enter_together() -> None:
    table = two_class(np.array([1, 0, 0, 1]), np.array([0.5, 0.5, 0.5, 0.5]))
    assert pr_auc(table, ones(table))[0] == pytest.approx(0.5)
    score, positive = np.array([0.9, 0.9, 0.1]), np.array([True, False, False])
    for order in ([0, 1, 2], [1, 0, 2]):
        assert average_precision(score[order], positive[order], np.ones((1, 3)))[0] == pytest.approx(0.5)


def test_a_window_that_counts_nought_does_not_split_or_join_ties() -> None:
    score, positive = np.array([0.9, 0.9, 0.1]), np.array([True, False, False])
    assert average_precision(score, positive, np.array([[1.0, 0.0, 2.0]]))[0] == pytest.approx(1.0)


@pytest.mark.parametrize("label", [0, 1])
def test_a_class_that_is_absent_has_no_precision(label: int) -> None:
    table = two_class(np.full(4, label), np.array([0.1, 0.4, 0.6, 0.9]))
    assert np.isnan(pr_auc(table, ones(table))[0])
    assert np.isnan(pr_auc_of("retracement")(table, ones(table))[0])


def test_one_resample_without_a_class_leaves_the_others() -> None:
    table = two_class(np.array([0, 1, 1]), np.array([0.1, 0.4, 0.6]))
    values = pr_auc(table, np.array([[1.0, 1.0, 1.0], [0.0, 2.0, 1.0], [3.0, 0.0, 0.0]]))
    assert np.isnan(values).tolist() == [False, True, True]


def test_ece_by_hand() -> None:
    # (0.5, 0.6]: confidences 0.6, 0.56, one of two right: |0.5 - 0.58|. (0.8, 0.9]: 0.9 and wrong: 0.9.
    table = two_class(np.array([0, 0, 0]), np.array([0.4, 0.56, 0.9]))
    assert confidence(table)[0] == pytest.approx([0.6, 0.56, 0.9])
    assert confidence(table)[1].tolist() == [True, False, False]
    assert ece(table, ones(table))[0] == pytest.approx(2 / 3 * 0.08 + 1 / 3 * 0.9)
    assert ece(table, np.array([[0.0, 0.0, 1.0], [1.0, 0.0, 1.0]])) == pytest.approx([0.9, 0.5 * 0.4 + 0.5 * 0.9])


@pytest.mark.parametrize(
    ("sure", "bin_"),
    [(0.0, 0), (0.05, 0), (0.1, 0), (0.1001, 1), (0.5, 4), (0.5001, 5), (0.7, 6), (0.9, 8), (0.95, 9), (1.0, 9)],
)
def test_width_bins_are_open_below_and_closed_above(sure: float, bin_: int) -> None:
    assert width_bin(np.array([sure])).tolist() == [bin_]


def test_mass_bins_hold_a_fifth_each_and_equal_confidences_together() -> None:
    bins = mass_bin(np.linspace(0.5, 1.0, 50))
    assert np.bincount(bins).tolist() == [10] * 5
    assert (np.diff(bins) >= 0).all()
    tied = mass_bin(np.array([0.6] * 7 + [0.9] * 3))
    assert len(set(tied[:7].tolist())) == len(set(tied[7:].tolist())) == 1
    assert tied[0] < tied[-1]
    assert mass_bin(np.array([0.8])).tolist() == [0]


def test_the_first_of_equal_classes_is_said() -> None:
    table = table_of([0, 1], [[0.5, 0.5], [0.5, 0.5]])
    assert accuracy(table, ones(table))[0] == 0.5
    assert f1_of("retracement")(table, ones(table))[0] == 0.0


def test_f1_of_a_class_neither_there_nor_said_does_not_exist_and_macro_leaves_it_out() -> None:
    table = table_of([0, 0, 1], [[0.9, 0.1, 0.0], [0.2, 0.8, 0.0], [0.1, 0.9, 0.0]], THREE)
    assert np.isnan(f1_of("trend")(table, ones(table))[0])
    first, second = 2 / 3, 2 / 3
    assert f1_of("consolidation")(table, ones(table))[0] == pytest.approx(first)
    assert f1_macro(table, ones(table))[0] == pytest.approx((first + second) / 2)


def test_f1_is_nought_where_a_class_is_only_there_or_only_said() -> None:
    table = table_of([2, 0], [[0.9, 0.1, 0.0], [0.1, 0.9, 0.0]], THREE)
    values = [f1_of(name)(table, ones(table))[0] for name in THREE]
    assert values == [0.0, 0.0, 0.0]


def test_a_share_of_nothing_does_not_exist() -> None:
    share = weighted_share(np.array([1.0, 0.0]), np.array([4.0, 0.0]))
    assert share[0] == 0.25
    assert np.isnan(share[1])
