"""Proper scores beyond Brier, what Brier is made of, and calibration without its small-sample bias.

Same signature as the class metrics: predictions and `(resamples, windows)` weights.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.special import expit, logit

from moola.data.contracts.prediction_table import Predictions
from moola.evaluation.class_metrics import (
    N_WIDTH_BINS,
    Metric,
    Values,
    Weights,
    brier,
    confidence,
    weighted_share,
    width_bin,
)

# Probabilities stay this far from 0 and 1 where a logarithm is taken: scikit-learn's convention for float64.
SMALLEST_PROB = float(np.finfo(np.float64).eps)
MAX_STEPS = 100


class BrierParts(NamedTuple):
    """Parts of Brier, one figure a resample: reliability - resolution + uncertainty + within_bin."""

    reliability: Values
    resolution: Values
    uncertainty: Values
    within_bin: Values


def log_loss(predictions: Predictions, weights: Weights) -> Values:
    """Mean of -ln(probability of the true class), in nats (Good 1952); from 0 to 36.04.

    A probability below 2^-52 counts as that, so that one sure and wrong window does not make all else
    meaningless. NaN without windows.
    """
    prob = predictions.class_prob[np.arange(len(predictions)), predictions.class_index]
    by_window = -np.log(np.clip(prob, SMALLEST_PROB, 1.0))
    return weighted_share(weights @ by_window, weights.sum(axis=1))


def brier_skill(class_shares: dict[str, float]) -> Metric:
    """Build 1 - Brier / Brier of the class shares: 1 is perfect, 0 no better than the shares, below 0 worse.

    Parameters
    ----------
    class_shares
        Share or count of each class in training (`TrainingFacts.class_counts`); a class not named has
        none. Shares of the judged windows themselves would know what the model can't.

    Returns
    -------
    Metric
        NaN where the shares themselves make no error (all windows of a class with share 1).

    Raises
    ------
    ValueError
        A share is negative or not finite, or all are 0.
    """
    given = np.array(list(class_shares.values()), dtype=np.float64)
    if not np.isfinite(given).all() or (given < 0).any() or given.sum() <= 0:
        raise ValueError(f"class shares must be 0 or above with a sum above 0, but they are {class_shares}")

    def metric(predictions: Predictions, weights: Weights) -> Values:
        share = np.array([class_shares.get(name, 0.0) for name in predictions.class_names]) / given.sum()
        one_hot = np.eye(len(share))[predictions.class_index]
        reference = weighted_share(weights @ (((share - one_hot) ** 2).sum(axis=1) / 2), weights.sum(axis=1))
        return 1 - weighted_share(brier(predictions, weights), reference)

    return metric


def brier_decomposition(predictions: Predictions, weights: Weights, positive: str | None = None) -> BrierParts:
    """Split Brier into parts that sum to it exactly: reliability - resolution + uncertainty + within_bin.

    With bins k of n_k windows, mean probability f_k and share of positives o_k, and o over all:
    reliability = sum n_k (f_k - o_k)^2 / n, resolution = sum n_k (o_k - o)^2 / n, uncertainty = o (1 - o)
    (Murphy, Journal of Applied Meteorology 12, 1973), and what binning leaves: within_bin = mean of
    (f - f_k)^2 less twice the mean of (f - f_k)(y - o_k) (Stephenson, Coelho and Jolliffe, Weather and
    Forecasting 23, 2008). 10 equal-width bins `(k/10, (k+1)/10]`. within_bin may be negative, the others not.

    Parameters
    ----------
    positive
        Of two classes, the one whose probability is binned; by default the rarer one among these windows
        (ties go to the later name). Of more classes every one is taken against the rest, and the parts
        are half their sum, as Brier is.

    Returns
    -------
    BrierParts
        All NaN for a resample without windows.
    """
    names = predictions.class_names
    if len(names) != 2:
        of_each = [_parts_of(predictions, weights, k) for k in range(len(names))]
        return BrierParts(*(np.sum(part, axis=0) / 2 for part in zip(*of_each, strict=True)))
    n_second = int((predictions.class_index == 1).sum())
    rarer = names[1] if 2 * n_second <= len(predictions) else names[0]
    return _parts_of(predictions, weights, names.index(positive or rarer))


def _parts_of(predictions: Predictions, weights: Weights, k: int) -> BrierParts:
    prob, true = predictions.class_prob[:, k], (predictions.class_index == k).astype(np.float64)
    member = (width_bin(prob)[:, None] == np.arange(N_WIDTH_BINS)).astype(np.float64)
    n_bin, prob_sum, true_sum = (weights @ (member * column[:, None]) for column in (np.ones_like(prob), prob, true))
    n = weights.sum(axis=1)
    some = np.maximum(n_bin, 1e-300)
    prob_mean, true_mean = prob_sum / some, true_sum / some
    share = weighted_share(weights @ true, n)
    reliability = weighted_share((n_bin * (prob_mean - true_mean) ** 2).sum(axis=1), n)
    resolution = weighted_share((n_bin * (true_mean - share[:, None]) ** 2).sum(axis=1), n)
    # Sums of squares and products about the bins' means.
    spread = weights @ prob**2 - (n_bin * prob_mean**2).sum(axis=1)
    together = weights @ (prob * true) - (n_bin * prob_mean * true_mean).sum(axis=1)
    return BrierParts(reliability, resolution, share * (1 - share), weighted_share(spread - 2 * together, n))


def calibration_slope_intercept(predictions: Predictions, weights: Weights, class_name: str) -> tuple[Values, Values]:
    """Fit logit P(class) = intercept + slope * logit(predicted probability of the class), by maximum likelihood.

    Cox (Biometrika 45, 1958): slope 1 and intercept 0 are calibrated; a slope below 1 is a model too sure, an
    intercept above 0 one that gives the class too little. For two classes the other class has the same
    slope and the intercept with the other sign. Probabilities are kept 2^-52 away from 0 and 1.

    Returns
    -------
    tuple
        Slope and intercept a resample. Both NaN where no finite maximum exists (Albert and Anderson, Biometrika
        71, 1984): only one class, one probability for all, or a probability that separates the classes.
    """
    k = predictions.class_names.index(class_name)
    x = logit(np.clip(predictions.class_prob[:, k], SMALLEST_PROB, 1 - SMALLEST_PROB))
    true = predictions.class_index == k
    slope, intercept = np.full(len(weights), np.nan), np.full(len(weights), np.nan)
    rows = np.flatnonzero(_overlap(x, true, weights))
    if len(rows):
        centre, scale = x.mean(), x.std()
        beta = _newton((x - centre) / scale, true.astype(np.float64), weights[rows])
        slope[rows] = beta[:, 1] / scale
        intercept[rows] = beta[:, 0] - beta[:, 1] * centre / scale
    return slope, intercept


def _overlap(x: Float[np.ndarray, " windows"], true: np.ndarray, weights: Weights) -> np.ndarray:
    """Tell in which resamples each class reaches beyond the other's nearest value."""
    if not len(x):
        return np.zeros(len(weights), dtype=np.bool_)
    counted = weights > 0
    highest = [np.where(counted & side, x, -np.inf).max(axis=1) for side in (true, ~true)]
    lowest = [np.where(counted & side, x, np.inf).min(axis=1) for side in (true, ~true)]
    return np.asarray((highest[0] > lowest[1]) & (highest[1] > lowest[0]))


def _newton(
    x: Float[np.ndarray, " windows"], true: Float[np.ndarray, " windows"], weights: Weights
) -> Float[np.ndarray, "resamples 2"]:
    """Newton's method for every resample at once; a step that does not lower the loss is halved."""
    beta, trial = np.zeros((len(weights), 2)), np.zeros((len(weights), 2))
    loss = np.full(len(weights), np.inf)
    step, size = np.zeros_like(beta), np.ones(len(weights))
    design = np.stack([np.ones_like(x), x], axis=1)
    n = weights.sum(axis=1)
    for _ in range(MAX_STEPS):
        line = trial @ design.T
        trial_loss = (weights * (np.logaddexp(0, line) - true * line)).sum(axis=1)
        better = trial_loss <= loss + 1e-12 * n
        size = np.where(better, 1.0, size / 2)
        prob = expit(line)
        gradient = (weights * (prob - true)) @ design
        curve = weights * prob * (1 - prob)
        a, b, c = curve.sum(axis=1), curve @ x, curve @ x**2
        flat = np.maximum(a * c - b**2, 1e-300)
        ahead = np.stack([c * gradient[:, 0] - b * gradient[:, 1], a * gradient[:, 1] - b * gradient[:, 0]], axis=1)
        beta = np.where(better[:, None], trial, beta)
        loss = np.where(better, trial_loss, loss)
        step = np.where(better[:, None], ahead / flat[:, None], step)
        if (np.abs(size[:, None] * step) < 1e-9 * (1 + np.abs(beta))).all():
            return beta
        trial = beta - size[:, None] * step
    unsettled = np.abs(size[:, None] * step).max(axis=1) > 1e-6 * (1 + np.abs(beta).max(axis=1))
    beta[unsettled] = np.nan
    return beta


def calibration_slope(class_name: str) -> Metric:
    """Slope of `calibration_slope_intercept` as a metric."""
    return lambda predictions, weights: calibration_slope_intercept(predictions, weights, class_name)[0]


def calibration_intercept(class_name: str) -> Metric:
    """Intercept of `calibration_slope_intercept` as a metric."""
    return lambda predictions, weights: calibration_slope_intercept(predictions, weights, class_name)[1]


def ece_debiased(predictions: Predictions, weights: Weights) -> Values:
    """Root mean squared calibration error of the predicted class, less what chance alone gives; in [0, 1].

    In each of 10 equal-width bins the squared gap (accuracy - mean confidence)^2 is estimated without bias from
    pairs of different windows: sum over i != j of d_i d_j w_i w_j / sum over i != j of w_i w_j with
    d = correct - confidence. At weights of one this is gap^2 - s^2 / n with s^2 the variance of d, the
    debiased estimator of Kumar, Liang and Ma (NeurIPS 2019, section 4.1) where a bin has one confidence.
    The mean over windows of these, 0 where it is negative, and its root. Plain ECE is above 0 for
    a perfect model, and the more so the fewer windows there are.

    Repeats of one window in a resample make no pair, so that resamples have no bias of their own. A bin with
    one window has no pair and is left out. NaN without any pair. Windows that overlap go together, which leaves
    some of the bias in. A root mean square is never below the mean gap that plain ECE estimates.
    """
    sure, correct = confidence(predictions)
    gap = correct - sure
    member = (width_bin(sure)[:, None] == np.arange(N_WIDTH_BINS)).astype(np.float64)
    n_bin = weights @ member
    n_pairs = n_bin**2 - weights**2 @ member
    products = (weights @ (member * gap[:, None])) ** 2 - weights**2 @ (member * gap[:, None] ** 2)
    paired = n_pairs > 0
    squared = np.divide(products, n_pairs, out=np.zeros_like(products), where=paired)
    mean = weighted_share((n_bin * squared).sum(axis=1), (n_bin * paired).sum(axis=1))
    return np.sqrt(np.maximum(mean, 0.0))
