"""Slow twins of scores and comparisons: naive loops over plain lists, written for reading."""

from __future__ import annotations

import math

import numpy as np
from scipy.stats import norm

from moola.evaluation.comparisons import standard_error
from moola.tables.prediction_table import Predictions
from tests.slow_metrics import NAN, confidences, width_bin_of


def slow_log_loss(predictions: Predictions) -> float:
    total = 0.0
    for prob, true in zip(predictions.class_prob.tolist(), predictions.class_index.tolist(), strict=True):
        total -= math.log(max(prob[true], 2.0**-52))
    return total / len(predictions)


def slow_brier_of_shares(predictions: Predictions, shares: dict[str, float]) -> float:
    """Brier of a predictor that gives every window the class shares."""
    total = 0.0
    for true in predictions.class_index.tolist():
        for k, name in enumerate(predictions.class_names):
            share = shares.get(name, 0.0) / sum(shares.values())
            total += (share - (1.0 if k == true else 0.0)) ** 2 / 2
    return total / len(predictions)


def slow_brier_parts(probs: list[float], positives: list[bool]) -> tuple[float, float, float, float]:
    """Reliability, resolution, uncertainty, within-bin variance less within-bin covariance."""
    n = len(probs)
    base = sum(positives) / n
    reliability = resolution = variance = covariance = 0.0
    bins = [width_bin_of(prob) for prob in probs]
    for number in set(bins):
        rows = [i for i in range(n) if bins[i] == number]
        prob_mean = sum(probs[i] for i in rows) / len(rows)
        true_mean = sum(positives[i] for i in rows) / len(rows)
        reliability += len(rows) / n * (prob_mean - true_mean) ** 2
        resolution += len(rows) / n * (true_mean - base) ** 2
        for i in rows:
            variance += (probs[i] - prob_mean) ** 2 / n
            covariance += 2 * (positives[i] - true_mean) * (probs[i] - prob_mean) / n
    return reliability, resolution, base * (1 - base), variance - covariance


def slow_ece_debiased(predictions: Predictions, counts: list[float] | None = None) -> float:
    """Mean product of errors over pairs of different windows of a bin, one pair after the other."""
    sure, correct = confidences(predictions)
    weights = counts or [1.0] * len(sure)
    bins = [width_bin_of(confidence) for confidence in sure]
    total = n_counted = 0.0
    for number in set(bins):
        rows = [i for i in range(len(sure)) if bins[i] == number and weights[i] > 0]
        products = pairs = 0.0
        for i in rows:
            for j in rows:
                if i != j:
                    products += weights[i] * weights[j] * (correct[i] - sure[i]) * (correct[j] - sure[j])
                    pairs += weights[i] * weights[j]
        if pairs:
            in_bin = sum(weights[i] for i in rows)
            total += in_bin * products / pairs
            n_counted += in_bin
    return math.sqrt(max(total / n_counted, 0.0)) if n_counted else NAN


def slow_holm(p_values: list[float]) -> list[float]:
    """Each p-value's adjusted one: the least level at which the step-down procedure rejects it."""
    m = len(p_values)
    adjusted = []
    for p in p_values:
        # The test falls when all tests with p-values up to this one fall in their turn.
        before = sorted(other for other in p_values if other <= p)
        adjusted.append(max(min(1.0, (m - turn) * other) for turn, other in enumerate(before)))
    return adjusted


def slow_corrected_t(differences: list[float], n_train: int, n_test: int) -> float:
    k = len(differences)
    mean = sum(differences) / k
    variance = sum((difference - mean) ** 2 for difference in differences) / (k - 1)
    return mean / math.sqrt((1 / k + n_test / n_train) * variance)


def slow_resample_size(n: int, block: int) -> float:
    """Windows a resample before rounding and before Student's widening, from sums over the neighbours."""
    piece = block if block == 1 else max(block, min(3 * block, n // 20))
    shared = [1 - abs(k) / block for k in range(-block + 1, block)]
    seen = [(1 - abs(k) / block) * (1 - abs(k) / piece) for k in range(-block + 1, block)]
    return n * (1 - piece / n) * sum(seen) / sum(shared)


def slow_freedom(n: int, block: int) -> float:
    """Degrees of freedom: n over the summed squares of the weights of neighbours, less one for the mean."""
    piece = block if block == 1 else max(block, min(3 * block, n // 20))
    return n / sum((1 - abs(k) / piece) ** 2 for k in range(-piece + 1, piece)) - 1


def power_of(difference: float, resampled_differences: np.ndarray, level: float = 0.95) -> float:
    """Return the chance in [0, 1] that a one-sided test of this many windows shows a true difference.

    Phi(difference / standard error - z_level), the inverse of `detectable_difference`; the difference is
    positive where the challenger is better. 1 - level for a difference of 0. Without any spread, 1 for a
    positive difference and 0 otherwise. NaN without a standard error.
    """
    error = standard_error(resampled_differences)
    if error == 0:
        return float(difference > 0)
    return float(norm.cdf(difference / error - norm.ppf(level)))
