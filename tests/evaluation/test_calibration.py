"""Calibration: temperatures that are recovered, and what a perfectly calibrated model would show."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit, softmax
from scipy.stats import binom
from sklearn.linear_model import LogisticRegression

from moola.core.seeds import generator
from moola.errors import WrongUsage
from moola.evaluation.calibration import (
    CALIBRATORS,
    DRIFT_HEADER,
    LOWEST_PROB,
    Calibrator,
    calibrated,
    calibration_by_time,
    drift_rows,
    fit_calibrator,
    fit_platt,
    fit_temperature,
    logits_of,
    perfect_ece_range,
    platt_calibrator,
    reliability_bins,
)
from moola.evaluation.class_metrics import (
    Metric,
    brier,
    confidence,
    ece,
    ece_equal_mass,
    expected_calibration_error,
    mass_bin,
    width_bin,
)
from moola.tables.prediction_table import Predictions
from tests.predictions_made import THREE, ones, random_table, table_of, two_class
from tests.slow_events import slow_platt_loss


def drawn_logits(temperature: float, n: int, n_classes: int = 2, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Logits whose softmax at a temperature is the very probability that their classes were drawn with."""
    rng = np.random.default_rng(seed)
    logits = 2 * temperature * rng.normal(size=(n, n_classes))
    prob = softmax(logits / temperature, axis=1)
    return logits, (rng.random((n, 1)) > prob.cumsum(axis=1)).sum(axis=1).clip(max=n_classes - 1)


def perfect_table(seed: int, n: int) -> Predictions:
    """A model that is right exactly as often as it says."""
    rng = np.random.default_rng(seed)
    prob = rng.uniform(0.05, 0.95, size=n)
    return two_class((rng.random(n) < prob).astype(np.int64), prob)


@pytest.mark.parametrize(("n", "margin", "right", "width"), [(25, 1.0, 0.84, 0.15), (4900, 0.05, 0.52, 1.0)])
def test_prior_and_windows_pull_equally_at_the_temperature(n: int, margin: float, right: float, width: float) -> None:
    class_index = (np.arange(n) >= right * n).astype(np.int64)
    temperature = fit_temperature(np.tile([margin, 0.0], (n, 1)), class_index)
    # The slope of the log-loss in ln(temperature), by hand, against that of a normal prior of this width.
    pull = n * margin / temperature * (right - 1 / (1 + np.exp(-margin / temperature)))
    assert -np.log(temperature) / width**2 == pytest.approx(pull, rel=1e-3)


def test_a_temperature_ends_at_the_range() -> None:
    logits = np.tile([1e4, 0.0], (4000, 1))
    assert fit_temperature(logits, np.arange(4000) % 2) == pytest.approx(np.exp(3), rel=1e-3)


@pytest.mark.parametrize("temperature", [0.3, 1.0, 2.5, 6.0])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_a_known_temperature_is_recovered_from_many_windows(temperature: float, n_classes: int) -> None:
    logits, class_index = drawn_logits(temperature, 20_000, n_classes)
    assert fit_temperature(logits, class_index) == pytest.approx(temperature, rel=0.06)


def test_few_windows_hardly_move_it_from_one() -> None:
    # All right: without a prior the temperature would go to nought and the model be certain.
    logits, class_index = np.array([[2.0, 0.0], [0.0, 2.0], [1.5, 0.0]]), np.array([0, 1, 0])
    assert 0.5 < fit_temperature(logits, class_index) < 1.0
    assert 1.0 < fit_temperature(logits, 1 - class_index) < 5.0
    many = fit_temperature(np.tile(logits, (5000, 1)), np.tile(class_index, 5000))
    assert many < 0.25


def test_as_few_windows_as_a_day_of_labelling_gives_leave_it_within_a_third_of_one() -> None:
    logits, class_index = drawn_logits(1.0, 26)
    for flipped in (class_index, 1 - class_index):
        assert 2 / 3 < fit_temperature(logits, flipped) < 3 / 2


def test_without_windows_the_temperature_is_one() -> None:
    assert fit_temperature(np.zeros((0, 2)), np.zeros(0, dtype=np.int64)) == 1.0


def test_logits_that_say_nothing_leave_the_temperature_at_one() -> None:
    assert fit_temperature(np.zeros((50, 2)), np.arange(50) % 2) == pytest.approx(1.0, abs=1e-3)


def test_fitting_on_a_half_makes_the_other_half_better_calibrated() -> None:
    logits, class_index = drawn_logits(3.0, 2000)
    temperature = fit_temperature(logits[:1000], class_index[:1000])
    before, after = (table_of(class_index[1000:], calibrated(logits[1000:], chosen)) for chosen in (1.0, temperature))
    assert ece(after, ones(after))[0] < 0.5 * ece(before, ones(before))[0]
    assert brier(after, ones(after))[0] < brier(before, ones(before))[0]


@given(st.integers(0, 1000), st.floats(0.05, 20.0))
def test_calibrated_probabilities_sum_to_one_and_keep_the_order(seed: int, temperature: float) -> None:
    logits = np.random.default_rng(seed).normal(size=(6, 3))
    prob = calibrated(logits, temperature)
    np.testing.assert_allclose(prob.sum(axis=1), 1.0)
    np.testing.assert_array_equal(prob.argsort(axis=1), logits.argsort(axis=1))
    np.testing.assert_allclose(calibrated(logits, 1.0), softmax(logits, axis=1))
    np.testing.assert_allclose(prob, softmax(logits / temperature, axis=1))


@pytest.mark.parametrize(("bins", "measure"), [("width", ece), ("mass", ece_equal_mass)])
def test_the_range_holds_a_perfect_model_nineteen_times_in_twenty(bins: str, measure: Metric) -> None:
    inside = 0
    for seed in range(120):
        table = perfect_table(seed, 80)
        low, high = perfect_ece_range(table, bins, 0, 250)
        inside += low <= measure(table, ones(table))[0] <= high
    assert 107 <= inside <= 119


@pytest.mark.parametrize("bins", ["width", "mass"])
def test_the_range_refuses_a_model_that_is_too_sure(bins: str) -> None:
    rng = np.random.default_rng(0)
    table = two_class(rng.integers(0, 2, size=100), rng.choice([0.05, 0.95], size=100))
    low, high = perfect_ece_range(table, bins, 0, 300)
    assert 0 <= low < high < 0.2 < ece(table, ones(table))[0]


def test_the_range_narrows_with_windows_and_follows_the_seed() -> None:
    few, many = (
        perfect_ece_range(perfect_table(0, 40), "width", 0),
        perfect_ece_range(perfect_table(0, 1000), "width", 0),
    )
    assert many[1] < 0.5 * few[1]
    assert perfect_ece_range(perfect_table(0, 40), "width", 0) == few
    assert perfect_ece_range(perfect_table(0, 40), "width", 1) != few


@pytest.mark.parametrize(("bins", "number"), [("width", width_bin), ("mass", mass_bin)])
def test_the_range_is_that_of_draws_judged_one_by_one(bins: str, number: Callable[[np.ndarray], np.ndarray]) -> None:
    table = perfect_table(1, 60)
    sure, _ = confidence(table)
    drawn = generator(5, "perfect ece", bins).random((200, 60)) < sure
    one = np.ones((1, 60))
    values = [expected_calibration_error(sure, correct, number(sure), one)[0] for correct in drawn]
    np.testing.assert_allclose(perfect_ece_range(table, bins, 5, 200), np.quantile(values, [0.025, 0.975]))


def test_ranges_and_bands_are_of_two_thousand_draws() -> None:
    table = perfect_table(0, 1000)
    assert perfect_ece_range(table, "width", 3) == perfect_ece_range(table, "width", 3, 2000)
    sure, rng = confidence(table)[0], generator(3, "reliability band")
    for row in reliability_bins(table, 3):
        member = sure[width_bin(sure) == row["bin"]]
        shares = (rng.random((2000, len(member))) < member).mean(axis=1)
        assert (row["perfect_low"], row["perfect_high"]) == tuple(np.quantile(shares, [0.025, 0.975]))


def test_a_perfect_model_of_174_windows_shows_more_ece_than_five_hundredths() -> None:
    low, high = perfect_ece_range(perfect_table(0, 174), "width", 0)
    assert low < 0.05 < high


@given(st.integers(0, 1000), st.integers(1, 60))
def test_reliability_bins_are_those_of_a_loop(seed: int, n: int) -> None:
    table = random_table(seed, n, THREE)
    sure, correct = confidence(table)
    bins = reliability_bins(table, 0)
    assert [row["bin"] for row in bins] == sorted(set(width_bin(sure).tolist()))
    assert sum(row["n"] for row in bins) == n
    for row in bins:
        members = [i for i in range(n) if row["bin"] / 10 < sure[i] <= (row["bin"] + 1) / 10]
        assert row["n"] == len(members)
        assert row["confidence"] == pytest.approx(sum(sure[i] for i in members) / len(members))
        assert row["accuracy"] == pytest.approx(sum(correct[i] for i in members) / len(members))
        assert 0 <= row["perfect_low"] <= row["perfect_high"] <= 1
    gap = sum(row["n"] * abs(row["accuracy"] - row["confidence"]) for row in bins) / n
    assert gap == pytest.approx(ece(table, ones(table))[0])


def test_the_band_of_a_bin_is_that_of_a_binomial_share() -> None:
    (row,) = reliability_bins(two_class(np.zeros(100, dtype=np.int64), np.full(100, 0.2)), 0)
    assert row["bin"] == 7
    assert row["accuracy"] == 1.0
    low, high = binom.ppf([0.025, 0.975], 100, 0.8) / 100
    assert row["perfect_low"] == pytest.approx(low, abs=0.011)
    assert row["perfect_high"] == pytest.approx(high, abs=0.011)


def drifting(n: int = 400, seed: int = 0):
    """Windows whose probabilities are right in the first half of the time, and .3 too high in the second."""
    rng = np.random.default_rng(seed)
    prob = rng.uniform(0.3, 0.9, size=n)
    true = (rng.random(n) < prob - 0.3 * (np.arange(n) >= n // 2)).astype(int)
    return table_of(true, np.stack([1 - prob, prob], axis=1))


def test_drift_shows_in_the_blocks_where_it_is() -> None:
    found = calibration_by_time(drifting(), seed=1)
    assert [block["n_windows"] for block in found] == [100] * 4
    assert [block["classes"][1]["off"] for block in found] == [False, False, True, True]
    for block in found[2:]:
        second = block["classes"][1]
        assert second["low"] > 0.1
        assert second["difference"] == pytest.approx(second["mean_prob"] - second["share"])
        assert block["ece_low"] <= block["ece"] <= block["ece_high"]


def test_each_block_is_what_its_windows_alone_give_whatever_the_order_of_the_rows() -> None:
    table = random_table(3, 90, ["a", "b", "c"])
    found = calibration_by_time(table, seed=1)
    assert len(found) == 4
    for rows, block in zip(np.array_split(np.arange(90), 4), found, strict=True):
        own = table.take(rows)
        assert block["ece"] == pytest.approx(float(ece(own, ones(own))[0]))
        for number, one in enumerate(block["classes"]):
            assert one["share"] == pytest.approx((own.class_index == number).mean())
    shuffled = table.take(np.random.default_rng(0).permutation(90))
    assert [row["ece"] for row in calibration_by_time(shuffled, seed=1)] == pytest.approx([row["ece"] for row in found])


def test_few_windows_have_fewer_blocks_or_none_and_without_times_their_order_stands() -> None:
    assert len(calibration_by_time(drifting(59), seed=1)) == 2
    assert calibration_by_time(drifting(39), seed=1) == []
    untimed = replace(drifting(), start_us=None, end_us=None)
    assert {block["first"] for block in calibration_by_time(untimed, seed=1)} == {None}


def test_rows_name_the_second_of_two_classes_and_every_one_of_more() -> None:
    two = drift_rows(calibration_by_time(drifting(), seed=1))
    assert [row[4] for row in two] == ["retracement"] * 4
    assert [row[-1].endswith("*") for row in two] == [False, False, True, True]
    assert {len(row) for row in two} == {len(DRIFT_HEADER)}
    three = drift_rows(calibration_by_time(random_table(3, 90, ["a", "b", "c"]), seed=1))
    assert [row[4] for row in three] == ["a", "b", "c"] * 4
    assert [row[0] != "" for row in three] == [True, False, False] * 4


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
