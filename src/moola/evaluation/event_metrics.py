"""Metrics of pointers: how near the predicted first and last bar are (SPEC.md 6).

Same signature as the class metrics: predictions and `(resamples, windows)` weights.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from moola.data.contracts.prediction_table import Predictions
from moola.evaluation.class_metrics import Metric, Values, Weights, weighted_share

TOLERANCES = (1, 2, 3, 5)
HIT_BARS = 3
ENDS = ("start", "end")


def _errors(predictions: Predictions) -> tuple[Float[np.ndarray, "windows 2"], np.ndarray]:
    """Signed bars late (+) or early (-), and which windows have true and predicted pointers."""
    known = np.asarray(((predictions.true_bar >= 0) & (predictions.predicted_bar >= 0)).all(axis=1))
    return (predictions.predicted_bar - predictions.true_bar).astype(np.float64), known


def hit_at(tolerance_bars: int, which: str) -> Metric:
    """Share of windows with an expansion whose `start`, `end` or `both` are within the tolerance."""

    def metric(predictions: Predictions, weights: Weights) -> Values:
        error, _ = _errors(predictions)
        true = (predictions.true_bar >= 0).all(axis=1)
        near = (np.abs(error) <= tolerance_bars) & (predictions.predicted_bar >= 0)
        hit = near.all(axis=1) if which == "both" else near[:, ENDS.index(which)]
        return weighted_share(weights @ (hit & true).astype(np.float64), weights @ true.astype(np.float64))

    return metric


def lead_lag(which: str, quantile: float) -> Metric:
    """Quantile of signed bars early (-) or late (+) of `start` or `end`.

    The smallest observed error with at least this share of windows at or below it, so a whole bar.
    """

    def metric(predictions: Predictions, weights: Weights) -> Values:
        error, known = _errors(predictions)
        late = error[:, ENDS.index(which)]
        order = np.argsort(late, kind="stable")
        order = order[known[order]]
        mass = np.cumsum(weights[:, order], axis=1)
        if not len(order):
            return np.full(len(weights), np.nan)
        position = np.argmax(mass >= quantile * mass[:, -1:] - 1e-9, axis=1)
        return np.where(mass[:, -1] > 0, late[order][position], np.nan)

    return metric


def _pointer_counts(predictions: Predictions, weights: Weights, threshold: float) -> tuple[Values, Values, Values]:
    """Return hits, predicted pointers and true pointers, starts and ends together."""
    true = predictions.true_bar >= 0
    said = (predictions.predicted_bar >= 0) & (predictions.pointer_prob >= threshold)
    near = np.abs(predictions.predicted_bar - predictions.true_bar) <= HIT_BARS
    counts = [(flags).sum(axis=1).astype(np.float64) for flags in (true & said & near, said, true)]
    hits, predicted, there = (weights @ count for count in counts)
    return hits, predicted, there


def pointer_precision(threshold: float) -> Metric:
    """Share of pointers predicted above the threshold that are within 3 bars of a true one."""

    def metric(predictions: Predictions, weights: Weights) -> Values:
        hits, predicted, _ = _pointer_counts(predictions, weights, threshold)
        return weighted_share(hits, predicted)

    return metric


def pointer_recall(threshold: float) -> Metric:
    """Share of true pointers that a pointer predicted above the threshold is within 3 bars of."""

    def metric(predictions: Predictions, weights: Weights) -> Values:
        hits, _, there = _pointer_counts(predictions, weights, threshold)
        return weighted_share(hits, there)

    return metric


def pointer_f1(threshold: float) -> Metric:
    """F1 of pointers above the threshold; one predicted in a window without expansion is a false alarm."""

    def metric(predictions: Predictions, weights: Weights) -> Values:
        return _f1(*_pointer_counts(predictions, weights, threshold))

    return metric


def _f1(hits: Values, predicted: Values, there: Values) -> Values:
    return weighted_share(2 * hits, predicted + there)


def choose_pointer_threshold(predictions: Predictions) -> float:
    """Return the threshold with the best pointer F1 on these (validation) windows; ties go to the lowest."""
    candidates = np.concatenate([[0.0], np.unique(predictions.pointer_prob[predictions.predicted_bar >= 0])])
    ones = np.ones((1, len(predictions)))
    counts = np.array([_pointer_counts(predictions, ones, threshold) for threshold in candidates])[..., 0]
    return float(candidates[int(np.argmax(np.nan_to_num(_f1(*counts.T))))])
