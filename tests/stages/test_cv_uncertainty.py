"""What is said of single windows, and that it holds as often as asked on exchangeable windows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from moola.evaluation.coverage import error_bars
from moola.stages.cv_pooling import calibrate_out_of_fold, uncertainty
from tests.predictions_made import two_class

RNG = np.random.default_rng(1)
N = 600


def made(with_pointers: bool):
    probability = RNG.uniform(0.05, 0.95, N)
    table = two_class((RNG.random(N) < probability).astype(int), probability)
    if not with_pointers:
        return table
    true = RNG.integers(30, 60, (N, 2))
    return replace(table, true_bar=true, predicted_bar=true + RNG.integers(-4, 5, (N, 2)), pointer_prob=np.ones((N, 2)))


def test_sets_and_pointer_ranges_cover_what_was_asked():
    found = uncertainty(made(True), np.arange(N) // 120, 0.1)
    assert abs(found["class_coverage"] - 0.9) < 0.04
    assert 1 <= found["mean_set_size"] <= 2
    assert sum(found["answers"].values()) == N
    assert set(found["answers"]) <= {"unknown", *made(False).class_names}
    for which in ("start", "end"):
        assert found["pointers"][which]["within_bars"] == 4
        assert found["pointers"][which]["coverage"] >= 0.9
        assert [row["fold"] for row in found["pointers"][which]["coverage_by_fold"]] == [2, 3, 4, 5]
    assert found["class_coverage_low"] < found["class_coverage"] < found["class_coverage_high"]
    assert 0 < found["venn_abers_width"] < 0.3


def test_without_pointers_there_are_no_ranges():
    assert uncertainty(made(False), np.arange(N) // 120, 0.1)["pointers"] == {"start": None, "end": None}


def test_too_few_windows_promise_nothing():
    table = made(True).take(np.arange(10))
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
    for _ in range(60):
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
    table = made(True)
    hour = 3_600_000_000
    start = np.arange(N) * 26 * hour
    timed = replace(table, start_us=start, end_us=start + 104 * hour)
    plain = uncertainty(table, np.arange(N) // 120, 0.1)["class_coverage_by_fold"]
    found = uncertainty(timed, np.arange(N) // 120, 0.1)["class_coverage_by_fold"]
    # A window of 105 bars at a stride of 26 runs into the four that follow.
    assert [one["n_calibration"] - other["n_calibration"] for one, other in zip(plain, found, strict=True)] == [4] * 4


def test_calibration_over_earlier_folds_knows_nothing_of_later_ones():
    table = made(False)
    block = np.arange(N) // 120
    other = replace(table, class_index=np.where(block < 3, table.class_index, 1 - table.class_index))
    for forward, same in ((True, True), (False, False)):
        before, after = (calibrate_out_of_fold(one, block, earlier_only=forward)[0] for one in (table, other))
        assert (before.class_prob[block < 3] == after.class_prob[block < 3]).all() == same
    first = calibrate_out_of_fold(table, block, earlier_only=True)[0].class_prob[block == 0]
    np.testing.assert_allclose(first, table.class_prob[block == 0], rtol=1e-9)
