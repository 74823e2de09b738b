"""Metrics of class probabilities (SPEC.md 6).

Every metric takes predictions and `weights` of shape `(resamples, windows)`: how often each window
counts. One row of ones is the figure itself, rows of bootstrap counts are its resamples, and both
run through the same code. NaN marks a resample in which the metric does not exist.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Float, Int

from moola.data.contracts.prediction_table import Predictions

Weights = Float[np.ndarray, "resamples windows"]
Values = Float[np.ndarray, " resamples"]
Metric = Callable[[Predictions, Weights], Values]
N_WIDTH_BINS = 10
N_MASS_BINS = 5


def weighted_share(numerator: Values, denominator: Values) -> Values:
    """Divide, NaN where there is nothing to divide by."""
    return np.divide(numerator, denominator, out=np.full_like(numerator, np.nan), where=denominator > 0)


def average_precision(score: Float[np.ndarray, " windows"], positive: np.ndarray, weights: Weights) -> Values:
    """Average precision: the sum of precision times the gain in recall at each distinct score.

    AP = sum_k (R_k - R_{k-1}) P_k over descending distinct scores, without interpolation; windows with
    equal scores enter together, so their order does not matter. NaN without positives or negatives.
    """
    order = np.argsort(-score, kind="stable")
    ranked = score[order]
    group_end = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))
    counts = weights[:, order]
    hits = np.cumsum(counts * positive[order], axis=1)[:, group_end]
    seen = np.cumsum(counts, axis=1)[:, group_end]
    total = hits[:, -1]
    gain = np.diff(hits, axis=1, prepend=0.0)
    precision = np.divide(hits, seen, out=np.zeros_like(hits), where=seen > 0)
    area = weighted_share((gain * precision).sum(axis=1), total)
    area[seen[:, -1] == total] = np.nan
    return area


def pr_auc(predictions: Predictions, weights: Weights) -> Values:
    """Average precision of each class against the rest, averaged over classes; NaN if one is absent."""
    by_class = [
        average_precision(predictions.class_prob[:, k], predictions.class_index == k, weights)
        for k in range(len(predictions.class_names))
    ]
    return np.mean(by_class, axis=0)


def pr_auc_of(class_name: str) -> Metric:
    """Average precision of one class against the rest."""

    def metric(predictions: Predictions, weights: Weights) -> Values:
        k = predictions.class_names.index(class_name)
        return average_precision(predictions.class_prob[:, k], predictions.class_index == k, weights)

    return metric


def brier_by_window(predictions: Predictions) -> Float[np.ndarray, " windows"]:
    """Squared distance of the probabilities to the one-hot class, divided by 2, in [0, 1]."""
    one_hot = np.eye(len(predictions.class_names))[predictions.class_index]
    return ((predictions.class_prob - one_hot) ** 2).sum(axis=1) / 2


def brier(predictions: Predictions, weights: Weights) -> Values:
    """Mean squared distance to the one-hot class over 2 (Brier 1950; binary form for two classes)."""
    return weighted_share(weights @ brier_by_window(predictions), weights.sum(axis=1))


def confidence(predictions: Predictions) -> tuple[Float[np.ndarray, " windows"], np.ndarray]:
    """Return the largest probability of each window and whether its class is the true one."""
    predicted = predictions.class_prob.argmax(axis=1)
    return predictions.class_prob.max(axis=1), predicted == predictions.class_index


def width_bin(confidence_: Float[np.ndarray, " windows"]) -> Int[np.ndarray, " windows"]:
    """Number of the equal-width bin `(k/10, (k+1)/10]` of each confidence."""
    return np.clip(np.ceil(confidence_ * N_WIDTH_BINS).astype(np.int64) - 1, 0, N_WIDTH_BINS - 1)


def mass_bin(confidence_: Float[np.ndarray, " windows"]) -> Int[np.ndarray, " windows"]:
    """Number of the equal-mass bin of each confidence; equal confidences share a bin."""
    edges = np.quantile(confidence_, np.linspace(0, 1, N_MASS_BINS + 1)[1:-1])
    return np.searchsorted(edges, confidence_, side="left").astype(np.int64)


def membership(bin_: Int[np.ndarray, " windows"]) -> Float[np.ndarray, "windows bins"]:
    """1 where a window is in a bin, 0 elsewhere."""
    return (bin_[:, None] == np.arange(bin_.max() + 1)[None, :]).astype(np.float64)


def expected_calibration_error(
    confidence_: Float[np.ndarray, " windows"],
    correct: np.ndarray,
    bin_: Int[np.ndarray, " windows"],
    weights: Weights,
) -> Values:
    """Mean over windows of |accuracy - mean confidence| of their bin (Naeini et al., AAAI 2015)."""
    gap = np.abs(weights @ (membership(bin_) * (correct - confidence_)[:, None])).sum(axis=1)
    return weighted_share(gap, weights.sum(axis=1))


def ece(predictions: Predictions, weights: Weights) -> Values:
    """Expected calibration error of the predicted class in 10 equal-width bins."""
    sure, correct = confidence(predictions)
    return expected_calibration_error(sure, correct, width_bin(sure), weights)


def ece_equal_mass(predictions: Predictions, weights: Weights) -> Values:
    """Expected calibration error of the predicted class in 5 bins of equal mass."""
    sure, correct = confidence(predictions)
    return expected_calibration_error(sure, correct, mass_bin(sure), weights)


def accuracy(predictions: Predictions, weights: Weights) -> Values:
    """Share of windows whose most probable class is the true one."""
    return weighted_share(weights @ confidence(predictions)[1].astype(np.float64), weights.sum(axis=1))


def mcc(predictions: Predictions, weights: Weights) -> Values:
    """Matthews correlation of the predicted with the true class, in [-1, 1]; 0 tells nothing apart.

    (c s - sum_k p_k t_k) / sqrt((s^2 - sum_k p_k^2) (s^2 - sum_k t_k^2)) with s windows, c of them right, t_k of
    class k and p_k said to be (Gorodkin 2004). 0 where one class alone is predicted, NaN where one alone is there.
    """
    classes = np.arange(len(predictions.class_names))
    said = predictions.class_prob.argmax(axis=1)
    n, right = weights.sum(axis=1), weights @ (said == predictions.class_index).astype(np.float64)
    n_said = weights @ (said[:, None] == classes).astype(np.float64)
    n_true = weights @ (predictions.class_index[:, None] == classes).astype(np.float64)
    spread_said, spread_true = n**2 - (n_said**2).sum(axis=1), n**2 - (n_true**2).sum(axis=1)
    together = right * n - (n_said * n_true).sum(axis=1)
    correlation = np.divide(
        together, np.sqrt(spread_said * spread_true), out=np.zeros_like(together), where=(spread_said * spread_true) > 0
    )
    return np.where(spread_true > 0, correlation, np.nan)


def f1_of(class_name: str) -> Metric:
    """F1 of one class; 0 where it is neither predicted nor right, NaN where it is neither there nor predicted."""

    def metric(predictions: Predictions, weights: Weights) -> Values:
        k = predictions.class_names.index(class_name)
        said = predictions.class_prob.argmax(axis=1) == k
        true = predictions.class_index == k
        both = weights @ (said & true).astype(np.float64)
        return weighted_share(2 * both, weights @ said.astype(np.float64) + weights @ true.astype(np.float64))

    return metric


def f1_macro(predictions: Predictions, weights: Weights) -> Values:
    """Mean F1 over the classes that are there or predicted."""
    by_class = np.stack([f1_of(name)(predictions, weights) for name in predictions.class_names])
    known = ~np.isnan(by_class)
    return weighted_share(np.where(known, by_class, 0.0).sum(axis=0), known.sum(axis=0).astype(np.float64))
