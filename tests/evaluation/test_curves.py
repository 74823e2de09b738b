"""Precision-recall steps and the confusion matrix agree with the figures that they lie behind."""

from __future__ import annotations

import numpy as np
import pytest

from moola.evaluation.class_metrics import accuracy, average_precision, confusion, precision_recall
from tests.predictions_made import THREE, ones, random_table, table_of


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("coarse", [True, False])
def test_area_is_the_average_precision(seed, coarse):
    predictions = random_table(seed, 25, THREE, coarse)
    score, positive = predictions.class_prob[:, 0], predictions.class_index == 0
    expected = average_precision(score, positive, ones(predictions))[0]
    curve = precision_recall(score, positive)
    assert curve.area == pytest.approx(expected)
    assert curve.recall[-1] == 1
    assert curve.precision[-1] == pytest.approx(curve.share)


def test_equal_scores_enter_together():
    curve = precision_recall(np.array([0.9, 0.5, 0.5, 0.1]), np.array([True, True, False, False]))
    np.testing.assert_allclose(curve.recall, [0.5, 1.0, 1.0])
    np.testing.assert_allclose(curve.precision, [1.0, 2 / 3, 0.5])


@pytest.mark.parametrize("positive", [[], [True, True], [False, False]])
def test_one_sided_windows_have_no_curve(positive):
    assert precision_recall(np.linspace(0, 1, len(positive)), np.array(positive, dtype=bool)) is None


def test_confusion_counts_rows_by_truth():
    predictions = table_of([0, 0, 1, -1], [[0.9, 0.1], [0.2, 0.8], [0.4, 0.6], [0.1, 0.9]])
    assert confusion(predictions).tolist() == [[1, 1], [0, 1]]
    many = random_table(5, 40, THREE)
    counts = confusion(many)
    assert np.trace(counts) / counts.sum() == pytest.approx(accuracy(many, ones(many))[0])
