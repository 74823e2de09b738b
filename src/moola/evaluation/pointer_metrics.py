"""Metrics of pointers: how near the predicted first and last bar are (specification 6).

Same signature as the class metrics: predictions and `(resamples, windows)` weights. Several expansions of one window
are several rows that repeat one prediction: each row is compared with all expansions of its window, and the rows share
the window's weight.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from moola.core.expansions import ENDS
from moola.evaluation.class_metrics import Metric, Values, Weights, weighted_quantile, weighted_share
from moola.evaluation.event_detection import WindowRows, window_rows
from moola.tables.prediction_table import Predictions

TOLERANCES = (1, 2, 3, 5)
HIT_BARS = 3
# Above every bar; a distance and a bar together still fit 64 bits.
FAR = 1 << 31


def _nearest(distance: Int[np.ndarray, " pairs"], pairs: WindowRows) -> Int[np.ndarray, " windows"]:
    """Return, for each row, the row of its window with the smallest distance; of equals the first in the table."""
    smallest = pairs.over_window(np.minimum, distance)
    first = np.where(distance == smallest[pairs.row], pairs.other, FAR)
    return np.asarray(pairs.over_window(np.minimum, first))


def _distances(predictions: Predictions, pairs: WindowRows) -> Int[np.ndarray, "pairs 2"]:
    """Bars between the pointers predicted in a row and those of each expansion of its window; `FAR` where one lacks."""
    true, said = predictions.true_bar[pairs.other], predictions.predicted_bar[pairs.row]
    whole = (true >= 0).all(axis=1, keepdims=True)
    return np.where(whole & (said >= 0), np.abs(said - true), FAR)


def nearest_pointers(predictions: Predictions) -> Int[np.ndarray, "windows 2"]:
    """Return, for each row, the true start and the true end of its window that the predicted ones are nearest to.

    Each by itself, so perhaps of two expansions; of two equally near, the one in the earlier row. -1 where the window
    has no expansion; some true one where nothing was predicted.
    """
    pairs = window_rows(predictions)
    distance = _distances(predictions, pairs)
    bars = [predictions.true_bar[_nearest(distance[:, end], pairs), end] for end in range(len(ENDS))]
    return np.stack(bars, axis=1)


def nearest_expansions(predictions: Predictions) -> Int[np.ndarray, "windows 2"]:
    """Return, for each row, the true expansion of its window that the predicted one is nearest to.

    Nearest by the worse of both ends, then by the sum of both, then by the order of rows. The row's own expansion where
    nothing was predicted; -1 where the window has none.
    """
    pairs = window_rows(predictions)
    distance = _distances(predictions, pairs)
    nearest = _nearest(distance.max(axis=1) * (2 * FAR) + distance.sum(axis=1), pairs)
    unknown = (predictions.predicted_bar < 0).any(axis=1) & (predictions.true_bar >= 0).all(axis=1)
    return np.asarray(predictions.true_bar[np.where(unknown, np.arange(len(nearest)), nearest)])


def hit_at(tolerance_bars: int, which: str) -> Metric:
    """Share of windows with an expansion whose `start`, `end` or `both` are within the tolerance of a true one.

    `both` asks for both pointers of one expansion.
    """

    def metric(predictions: Predictions, weights: Weights) -> Values:
        pairs = window_rows(predictions)
        distance = _distances(predictions, pairs)
        off = distance.max(axis=1) if which == "both" else distance[:, ENDS.index(which)]
        hit = pairs.over_window(np.minimum, off) <= tolerance_bars
        true = pairs.over_window(np.logical_or, (predictions.true_bar[pairs.other] >= 0).all(axis=1))
        weights = weights / pairs.n_rows
        return weighted_share(weights @ (hit & true).astype(np.float64), weights @ true.astype(np.float64))

    return metric


def lead_lag(which: str, quantile: float) -> Metric:
    """Quantile of signed bars early (-) or late (+) of `start` or `end`, from the nearest true one of the window.

    The smallest observed error with at least this share of windows at or below it, so a whole bar. Of two true pointers
    equally near, the one in the earlier row counts.
    """

    def metric(predictions: Predictions, weights: Weights) -> Values:
        pairs = window_rows(predictions)
        distance = _distances(predictions, pairs).max(axis=1)
        known = pairs.over_window(np.minimum, distance) < FAR
        late = (predictions.predicted_bar - nearest_pointers(predictions))[:, ENDS.index(which)].astype(np.float64)
        return weighted_quantile(late[known], (weights / pairs.n_rows)[:, known], quantile)

    return metric


@dataclass(frozen=True)
class _Pointers:
    """Starts and ends of a table, each true or predicted bar of a window counted once.

    Attributes
    ----------
    said, true
        Share of a pointer that a row counts for: 1, or 1/k where k rows of a window repeat it, 0 where there is none.
    prob
        Probability of the predicted pointer, the largest of equal ones.
    near
        Whether the predicted pointer is within 3 bars of a true one of its window.
    found_prob
        The largest probability of a predicted pointer within 3 bars of the true one, -1 without any.
    """

    said: Float[np.ndarray, "windows 2"]
    true: Float[np.ndarray, "windows 2"]
    prob: Float[np.ndarray, "windows 2"]
    near: Bool[np.ndarray, "windows 2"]
    found_prob: Float[np.ndarray, "windows 2"]

    def counts(self, weights: Weights, threshold: float) -> tuple[Values, Values, Values, Values]:
        """Return right and all pointers predicted above the threshold, and found and all true ones."""
        told = self.said * (self.prob >= threshold)
        columns = (told * self.near, told, self.true * (self.found_prob >= threshold), self.true)
        right, predicted, found, there = (weights @ column.sum(axis=1) for column in columns)
        return right, predicted, found, there


def _pointers(predictions: Predictions) -> _Pointers:
    pairs = window_rows(predictions)
    true, said, prob = predictions.true_bar, predictions.predicted_bar, predictions.pointer_prob
    same_true, same_said = (bars[pairs.row] == bars[pairs.other] for bars in (true, said))
    prob = pairs.over_window(np.maximum, np.where(same_said, prob[pairs.other], -1.0))

    def hits(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return (a >= 0) & (b >= 0) & (np.abs(a - b) <= HIT_BARS)

    found = hits(true[pairs.row], said[pairs.other])
    return _Pointers(
        np.where(said >= 0, 1 / pairs.over_window(np.add, same_said.astype(np.float64)), 0.0),
        np.where(true >= 0, 1 / pairs.over_window(np.add, same_true.astype(np.float64)), 0.0),
        prob,
        pairs.over_window(np.logical_or, hits(said[pairs.row], true[pairs.other])),
        pairs.over_window(np.maximum, np.where(found, prob[pairs.other], -1.0)),
    )


def pointer_precision(threshold: float) -> Metric:
    """Share of pointers predicted above the threshold that are within 3 bars of a true one of their window."""

    def metric(predictions: Predictions, weights: Weights) -> Values:
        right, predicted, _, _ = _pointers(predictions).counts(weights, threshold)
        return weighted_share(right, predicted)

    return metric


def pointer_recall(threshold: float) -> Metric:
    """Share of true pointers that a pointer predicted above the threshold is within 3 bars of."""

    def metric(predictions: Predictions, weights: Weights) -> Values:
        _, _, found, there = _pointers(predictions).counts(weights, threshold)
        return weighted_share(found, there)

    return metric


def pointer_f1(threshold: float) -> Metric:
    """F1 of pointers above the threshold; one predicted in a window without expansion is a false alarm.

    The harmonic mean of precision and recall; 0 where nothing is found, NaN where nothing is true or predicted.
    """

    def metric(predictions: Predictions, weights: Weights) -> Values:
        return _f1(*_pointers(predictions).counts(weights, threshold))

    return metric


def _f1(right: Values, predicted: Values, found: Values, there: Values) -> Values:
    # A pointer may find two true ones of its window: predicted pointers are counted in the unit of found ones.
    found_per_right = np.divide(found, right, out=np.ones_like(found), where=right > 0)
    return weighted_share(2 * found, predicted * found_per_right + there)


def choose_pointer_threshold(predictions: Predictions) -> float:
    """Return the threshold with the best pointer F1 on these (validation) windows; ties go to the lowest."""
    candidates = np.concatenate([[0.0], np.unique(predictions.pointer_prob[predictions.predicted_bar >= 0])])
    ones, pointers = np.ones((1, len(predictions))), _pointers(predictions)
    counts = np.array([pointers.counts(ones, threshold) for threshold in candidates])[..., 0]
    return float(candidates[int(np.argmax(np.nan_to_num(_f1(*counts.T))))])
