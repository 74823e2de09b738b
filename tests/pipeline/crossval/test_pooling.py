"""Pooling: seeds averaged in logits, folds laid out in time, calibration from other folds alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from moola.pipeline.crossval.pooling import average, calibrate_out_of_fold, paths, pool
from tests.predictions_made import two_class

RNG = np.random.default_rng(0)


def table(probability, rows, labels=None):
    probability = np.asarray(probability, dtype=float)
    labels = np.zeros(len(rows), dtype=int) if labels is None else np.asarray(labels)
    made = two_class(labels, probability)
    rows = np.asarray(rows)
    return replace(made, row=rows, start_us=rows * 10, end_us=rows * 10 + 5, window_id=[str(row) for row in rows])


def test_average_is_of_logits():
    mean = average([table([0.9], [0]), table([0.5], [0])]).class_prob[0, 1]
    logit = np.mean([np.log(0.9 / 0.1), 0.0])
    assert np.isclose(mean, 1 / (1 + np.exp(-logit)))


def test_average_of_curves_is_decoded_anew():
    curves = np.zeros((2, 1, 4, 2))
    curves[0, 0, 1, :] = 1.0
    curves[1, 0, 2, :] = 1.0
    curves[:, 0, 2, :] += 0.1
    mean = average([replace(table([0.5], [0]), curves=one) for one in curves])
    assert mean.predicted_bar.tolist() == [[2, 2]]


def test_pool_is_in_time_order_with_every_window_once():
    pooled, block = pool([table([0.1, 0.2], [5, 3]), table([0.3], [1])])
    assert pooled.row.tolist() == [1, 3, 5]
    assert block.tolist() == [1, 0, 0]
    assert np.allclose(pooled.class_prob[:, 1], [0.3, 0.2, 0.1])


def test_a_window_of_two_folds_is_averaged():
    pooled, block = pool([table([0.9], [2]), table([0.5, 0.4], [2, 7])])
    assert pooled.row.tolist() == [2, 7]
    assert block.tolist() == [0, 1]
    assert np.isclose(pooled.class_prob[0, 1], average([table([0.9], [2]), table([0.5], [2])]).class_prob[0, 1])


def test_no_window_has_a_part_in_its_own_calibration():
    n = 60
    block = np.repeat([0, 1, 2], n // 3)
    probability = RNG.uniform(0.01, 0.99, n)
    labels = (RNG.random(n) < probability).astype(int)
    before, _ = calibrate_out_of_fold(table(probability, range(n), labels), block)
    flipped = np.where(block == 1, 1 - labels, labels)
    after, _ = calibrate_out_of_fold(table(probability, range(n), flipped), block)
    assert np.array_equal(before.class_prob[block == 1], after.class_prob[block == 1])
    assert not np.array_equal(before.class_prob[block != 1], after.class_prob[block != 1])


def test_overconfident_probabilities_are_cooled():
    n = 400
    true = RNG.uniform(0.05, 0.95, n)
    labels = (RNG.random(n) < true).astype(int)
    logit = 3 * np.log(true / (1 - true))
    _, calibrators = calibrate_out_of_fold(table(1 / (1 + np.exp(-logit)), range(n), labels), np.arange(n) % 4)
    assert all(2.0 < calibrator.parameters[0] < 4.5 for calibrator in calibrators)


def test_a_neighbour_that_shares_a_bar_has_no_part_in_the_calibration_either():
    n, block = 60, np.repeat([0, 1, 2], 20)
    probability = RNG.uniform(0.01, 0.99, n)
    labels = (RNG.random(n) < probability).astype(int)

    def calibrated(labels, length):
        made = table(probability, range(n), labels)
        return calibrate_out_of_fold(replace(made, end_us=made.start_us + length), block)[0].class_prob[block == 1]

    # Windows start 10 apart: of length 15, window 19 runs into block 1, and window 39 into block 2.
    flipped = labels.copy()
    flipped[[19, 40]] = 1 - flipped[[19, 40]]
    assert np.array_equal(calibrated(labels, 15), calibrated(flipped, 15))
    assert not np.array_equal(calibrated(labels, 5), calibrated(flipped, 5))


def test_a_path_judges_every_window_once_each_by_another_fold():
    folds = [table([0.1, 0.2], [0, 1]), table([0.3, 0.4], [0, 2]), table([0.5, 0.6], [1, 2])]
    first, second = paths(folds)
    assert first.row.tolist() == second.row.tolist() == [0, 1, 2]
    assert np.allclose(first.class_prob[:, 1], [0.1, 0.2, 0.4])
    assert np.allclose(second.class_prob[:, 1], [0.3, 0.5, 0.6])
