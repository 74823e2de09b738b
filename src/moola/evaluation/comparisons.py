"""Comparing models over folds, seeds and sets: corrected tests, many tests at once, and power."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.stats import norm
from scipy.stats import t as student_t

from moola.data.contracts.prediction_table import Predictions
from moola.evaluation.class_metrics import Metric, Values, Weights

POWER = 0.8
LEVEL = 0.95


@dataclass(frozen=True)
class ResampledT:
    """A corrected resampled t-test: the statistic, its two-sided p-value, the mean and its interval."""

    t: float
    p_two_sided: float
    mean: float
    low: float
    high: float


def paired_differences(challenger: Predictions, baseline: Predictions, metric: Metric, weights: Weights) -> Values:
    """Return metric(challenger) - metric(baseline) on the same resamples of the same windows.

    Pairing keeps what both find hard out of the spread. NaN where either does not exist.

    Raises
    ------
    ValueError
        The tables are of other windows or labels: such differences would mean nothing.
    """
    if challenger.window_id != baseline.window_id or not np.array_equal(challenger.class_index, baseline.class_index):
        raise ValueError("paired differences need the same windows with the same labels in the same order")
    return metric(challenger, weights) - metric(baseline, weights)


def corrected_resampled_t(
    differences: Float[np.ndarray, " repeats"], n_train: int, n_test: int, level: float = LEVEL
) -> ResampledT:
    """Test the mean difference of k repeated splits, whose training rows are largely the same rows.

    t = mean / sqrt((1/k + n_test/n_train) s^2) with k - 1 degrees of freedom (Nadeau and Bengio, Machine
    Learning 52, 2003, section 3), s^2 the sample variance of the k differences. The plain 1/k takes
    repeats for independent and finds differences that are not there.

    Parameters
    ----------
    differences
        One difference a repeat (fold or random split), challenger minus baseline.
    n_train, n_test
        Windows in the training and in the test part of one repeat; both above 0.
    level
        Of the two-sided interval, between 0 and 1.

    Returns
    -------
    ResampledT
        All NaN but the mean for k < 2, and all NaN for k = 0. With no variance at all: t is 0 and p is 1
        for a mean of 0, else t is infinite with the mean's sign and p is 0; the interval is the mean alone.

    Raises
    ------
    ValueError
        n_train or n_test is not above 0, or a difference is not finite.
    """
    values = np.asarray(differences, dtype=np.float64)
    if n_train <= 0 or n_test <= 0:
        raise ValueError(f"n_train and n_test must be above 0, but they are {n_train} and {n_test}")
    if not np.isfinite(values).all():
        raise ValueError(f"differences must be finite, but {int((~np.isfinite(values)).sum())} are not")
    k = len(values)
    mean = float(values.mean()) if k else math.nan
    if k < 2:
        return ResampledT(math.nan, math.nan, mean, math.nan, math.nan)
    # Equal values may leave a variance of rounding errors, which is none.
    variance = 0.0 if values.min() == values.max() else float(values.var(ddof=1))
    if variance == 0:
        mean = float(values[0])
        t = math.copysign(math.inf, mean) if mean else 0.0
        return ResampledT(t, 0.0 if mean else 1.0, mean, mean, mean)
    error = math.sqrt((1 / k + n_test / n_train) * variance)
    half = float(student_t.ppf((1 + level) / 2, k - 1)) * error
    p = 2 * float(student_t.sf(abs(mean) / error, k - 1))
    return ResampledT(mean / error, p, mean, mean - half, mean + half)


def holm(p_values: dict[str, float]) -> dict[str, float]:
    """Return adjusted p-values of tests made together, names in the order given.

    Holm (Scandinavian Journal of Statistics 6, 1979): with p ascending, adjusted p_(i) is the largest of
    (m - j + 1) p_(j) over j <= i, and at most 1. Rejecting those below alpha keeps the chance of any false
    rejection below alpha, whatever the tests' dependence. Empty in, empty out; equal p-values stay equal.

    Raises
    ------
    ValueError
        A p-value is not in [0, 1] (NaN: leave out a test that does not exist).
    """
    wrong = [name for name, p in p_values.items() if not 0 <= p <= 1]
    if wrong:
        raise ValueError(f"p-values must be in [0, 1], but {len(wrong)} are not, first {wrong[0]}")
    ordered = sorted(p_values, key=lambda name: p_values[name])
    adjusted: dict[str, float] = {}
    largest = 0.0
    for i, name in enumerate(ordered):
        largest = max(largest, min((len(ordered) - i) * p_values[name], 1.0))
        adjusted[name] = largest
    return {name: adjusted[name] for name in p_values}


def standard_error(resampled_differences: Values) -> float:
    """Return the standard deviation of the resampled differences that exist; NaN when fewer than two do."""
    known = resampled_differences[~np.isnan(resampled_differences)]
    return float(known.std()) if len(known) > 1 else math.nan


def detectable_difference(resampled_differences: Values, power: float = POWER, level: float = LEVEL) -> float:
    """Return the smallest true difference that this many windows show, one-sided, with this power.

    (z_level + z_power) times the standard error (Cohen 1988, chapter 2; Bloom's minimum detectable effect,
    Evaluation Review 19, 1995), in the unit of the differences. Not negative; NaN without a standard error.
    """
    return max(float(norm.ppf(level) + norm.ppf(power)), 0.0) * standard_error(resampled_differences)


def windows_for_power(
    difference: float, resampled_differences: Values, n_windows: int, power: float = POWER, level: float = LEVEL
) -> int | None:
    """Return how many windows in all show a true difference with this power, one-sided.

    ceil(n ((z_level + z_power) standard error / difference)^2): the error falls with sqrt(n), windows that
    overlap as these do. At least 1. None where no number does (a difference of 0 or less) or where the
    standard error does not exist.
    """
    needed = detectable_difference(resampled_differences, power, level)
    if difference <= 0 or math.isnan(needed):
        return None
    return max(math.ceil(n_windows * (needed / difference) ** 2), 1)
