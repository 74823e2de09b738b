"""Pooling: seeds averaged in logits, folds laid out in time, calibration and coverage from other folds alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from moola.core.expansions import length_weights
from moola.evaluation.coverage import error_bars
from moola.fit.predicting import decode
from moola.stages.cv_pooling import average, calibrate_out_of_fold, paths, pool, uncertainty
from tests.predictions_made import two_class

RNG = np.random.default_rng(0)


def table(probability, rows, labels=None):
    probability = np.asarray(probability, dtype=float)
    labels = np.zeros(len(rows), dtype=int) if labels is None else np.asarray(labels)
    made = two_class(labels, probability)
    rows = np.asarray(rows)
    return replace(made, row=rows, start_us=rows * 10, end_us=rows * 10 + 5, window_id=[str(row) for row in rows])


def test_average_is_of_logits_and_of_curves_which_are_decoded_anew():
    mean = average([table([0.9], [0]), table([0.5], [0])]).class_prob[0, 1]
    assert np.isclose(mean, 1 / (1 + np.exp(-np.log(0.9 / 0.1) / 2)))
    curves = np.zeros((2, 1, 4, 2))
    curves[0, 0, 1, :] = 1.0
    curves[1, 0, 2, :] = 1.0
    curves[:, 0, 2, :] += 0.1
    mean = average([replace(table([0.5], [0]), curves=one) for one in curves])
    assert mean.predicted_bar.tolist() == [[2, 2]]


def pointing(seed, n=12, n_bars=20):
    """Predictions with broad curves, decoded as a model does whose expansions last 4 or 5 bars."""
    curves = np.random.default_rng(seed).dirichlet(np.ones(n_bars), size=(n, 2)).transpose(0, 2, 1)
    made = replace(table(np.full(n, 0.37), range(n)), curves=curves)
    weight = length_weights(np.array([4, 4, 5]) + 6 * seed, n_bars, power=3.0)
    predicted, prob = decode(curves, n, weight)
    return replace(made, predicted_bar=predicted, pointer_prob=prob).decoded_with(weight)


def test_predictions_of_one_fit_come_out_of_the_pool_as_they_are():
    one = pointing(1)
    # Without the weights of lengths their curves say something else.
    assert not np.array_equal(decode(one.curves, len(one))[0], one.predicted_bar)
    for out in (average([one]), pool([one])[0], pool([one.take(np.arange(5, 12)), one.take(np.arange(5))])[0]):
        for name in ("class_prob", "predicted_bar", "pointer_prob", "curves", "length_weight"):
            np.testing.assert_array_equal(getattr(out, name), getattr(one, name), err_msg=name)
    np.testing.assert_array_equal(average([one, one, one]).predicted_bar, one.predicted_bar)


def test_a_mean_is_decoded_by_the_mean_weight_of_each_length():
    one, two = pointing(0), pointing(1)
    mean = average([one, two])
    weight = (one.length_weight[0] + two.length_weight[0]) / 2
    predicted, prob = decode((one.curves + two.curves) / 2, len(one), weight)
    np.testing.assert_array_equal(mean.predicted_bar, predicted)
    np.testing.assert_allclose(mean.pointer_prob, prob)
    # Those that count all lengths alike differ too, and folds differ in their weights.
    alike = average([one, replace(one, length_weight=None)])
    np.testing.assert_array_equal(alike.length_weight, (1 + one.length_weight) / 2)
    both = pool([one, replace(two, row=two.row + 12, start_us=two.start_us + 1000)])[0]
    np.testing.assert_array_equal(both.predicted_bar, np.concatenate([one.predicted_bar, two.predicted_bar]))


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


def sixty():
    """Sixty windows in three blocks: how many, the block of each, a probability and a label."""
    probability = RNG.uniform(0.01, 0.99, 60)
    return 60, np.repeat([0, 1, 2], 20), probability, (RNG.random(60) < probability).astype(int)


def test_no_window_has_a_part_in_its_own_calibration():
    n, block, probability, labels = sixty()
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
    n, block, probability, labels = sixty()

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


# What is said of single windows holds as often as asked on exchangeable ones.

N = 600


def many(with_pointers: bool):
    probability = RNG.uniform(0.05, 0.95, N)
    table = two_class((RNG.random(N) < probability).astype(int), probability)
    if not with_pointers:
        return table
    true = RNG.integers(30, 60, (N, 2))
    return replace(table, true_bar=true, predicted_bar=true + RNG.integers(-4, 5, (N, 2)), pointer_prob=np.ones((N, 2)))


def test_sets_and_pointer_ranges_cover_what_was_asked():
    found = uncertainty(many(True), np.arange(N) // 120, 0.1)
    assert abs(found["class_coverage"] - 0.9) < 0.04
    assert 1 <= found["mean_set_size"] <= 2
    assert sum(found["answers"].values()) == N
    assert set(found["answers"]) <= {"unknown", *many(False).class_names}
    for which in ("start", "end"):
        assert found["pointers"][which]["within_bars"] == 4
        assert found["pointers"][which]["coverage"] >= 0.9
        assert [row["fold"] for row in found["pointers"][which]["coverage_by_fold"]] == [2, 3, 4, 5]
    assert found["class_coverage_low"] < found["class_coverage"] < found["class_coverage_high"]
    assert 0 < found["venn_abers_width"] < 0.3


def test_without_pointers_there_are_no_ranges_and_too_few_windows_promise_nothing():
    assert uncertainty(many(False), np.arange(N) // 120, 0.1)["pointers"] == {"start": None, "end": None}
    table = many(True).take(np.arange(10))
    found = uncertainty(table, np.arange(10) // 2, 0.05)
    assert found["pointers"]["start"]["within_bars"] is None
    assert found["answers"] == {"unknown": 10}
    assert found["class_coverage"] is None
    assert found["class_n_judged"] == 0


def test_the_coverage_of_a_model_that_wears_off_is_about_what_comes_next():
    """Its errors grow from fold to fold: calibrated on all other folds it would seem to cover what was asked."""
    rng = np.random.default_rng(7)
    n, ahead = 175, 35
    reported, following = [], []
    for _ in range(20):
        error = np.abs(rng.normal(0, 2 + 4 * np.arange(n + ahead) / n, n + ahead)).round().astype(int)
        table = two_class(np.zeros(n, dtype=int), np.full(n, 0.5))
        true = np.full((n, 2), 50)
        judged = replace(table, true_bar=true, predicted_bar=true + error[:n, None], pointer_prob=np.ones((n, 2)))
        row = uncertainty(judged, np.arange(n) // 35, 0.1)["pointers"]["start"]
        assert row is not None
        reported.append(row["coverage"])
        following.append(np.mean(error[n:] <= error_bars(error[:n].astype(float), 0.1)))
    assert np.mean(reported) < 0.86
    assert abs(np.mean(reported) - np.mean(following)) < 0.06


def test_windows_that_share_a_bar_with_the_judged_fold_do_not_calibrate():
    table = many(True)
    hour = 3_600_000_000
    start = np.arange(N) * 26 * hour
    timed = replace(table, start_us=start, end_us=start + 104 * hour)
    plain = uncertainty(table, np.arange(N) // 120, 0.1)["class_coverage_by_fold"]
    found = uncertainty(timed, np.arange(N) // 120, 0.1)["class_coverage_by_fold"]
    # A window of 105 bars at a stride of 26 runs into the four that follow.
    assert [one["n_calibration"] - other["n_calibration"] for one, other in zip(plain, found, strict=True)] == [4] * 4


def test_calibration_over_earlier_folds_knows_nothing_of_later_ones():
    table = many(False)
    block = np.arange(N) // 120
    other = replace(table, class_index=np.where(block < 3, table.class_index, 1 - table.class_index))
    for forward, same in ((True, True), (False, False)):
        before, after = (calibrate_out_of_fold(one, block, earlier_only=forward)[0] for one in (table, other))
        assert (before.class_prob[block < 3] == after.class_prob[block < 3]).all() == same
    first = calibrate_out_of_fold(table, block, earlier_only=True)[0].class_prob[block == 0]
    np.testing.assert_allclose(first, table.class_prob[block == 0], rtol=1e-9)
