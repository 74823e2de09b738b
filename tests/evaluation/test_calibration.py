"""Calibration: temperatures that are recovered, and what a perfectly calibrated model would show."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import softmax
from scipy.stats import binom

from moola.core.seeds import generator
from moola.evaluation.calibration import calibrated, fit_temperature, perfect_ece_range, reliability_bins
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
