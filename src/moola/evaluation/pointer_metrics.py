"""Metrics of pointers (specification 6): how near the predicted bars are, and expansions evaluated as detected
events."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from moola.core.expansions import ENDS
from moola.evaluation.class_metrics import Metric, Values, Weights, weighted_quantile, weighted_share
from moola.tables.prediction_table import Predictions

MAP_TOLERANCES = (1, 2, 3, 5, 8)
EXPANSION_NUMBER = re.compile(r"_exp_\d+$")
Pair = tuple[int, int]


@dataclass(frozen=True)
class Matched:
    """All detections of a table, matched with its true expansions.

    Attributes
    ----------
    window
        Number of the window of each detection.
    confidence
        In [0, 1].
    hit
        Whether a detection found an expansion, `(tolerances, detections)`.
    n_true
        True expansions of each window.
    """

    window: Int[np.ndarray, " detections"]
    confidence: Float[np.ndarray, " detections"]
    hit: Bool[np.ndarray, "tolerances detections"]
    n_true: Int[np.ndarray, " events"]


def event_windows(predictions: Predictions) -> Int[np.ndarray, " windows"]:
    """Number the windows that rows belong to: 0, 1, ... by first appearance.

    Rows are of one window when they have the same times and either the same bars, if the table has them, or the same
    `window_id` up to `_exp_<number>` (specification 2). Times alone would join windows of two symbols. A row that
    is there twice, with the same id and the same pointers, is a window drawn twice, as in a resample: its copies stay
    apart.
    """
    number: dict[tuple[int, int, str, int], int] = {}
    copies: dict[tuple[int, int, str, int, int], int] = defaultdict(int)
    rows, bars = [], predictions.true_bar.tolist()
    for row, window_id in enumerate(predictions.window_id):
        start = 0 if predictions.start_us is None else int(predictions.start_us[row])
        end = 0 if predictions.end_us is None else int(predictions.end_us[row])
        drawn = (start, end, window_id, bars[row][0], bars[row][1])
        shared = predictions.shared_bars[row]
        name = f"bars {shared}" if shared else f"id {EXPANSION_NUMBER.sub('', window_id)}"
        rows.append(number.setdefault((start, end, name, copies[drawn]), len(number)))
        copies[drawn] += 1
    return np.array(rows, dtype=np.int64)


def first_rows(predictions: Predictions) -> Int[np.ndarray, " events"]:
    """Return the first row of each window (`event_windows`), in order."""
    return np.unique(event_windows(predictions), return_index=True)[1]


@dataclass(frozen=True)
class WindowRows:
    """Rows beside the rows of their window: what was predicted in one is compared with what is true in any of them.

    Attributes
    ----------
    row, other
        Every pair of rows of one window, a row with itself among them, sorted by `row`.
    n_rows
        Rows of each row's window, at least 1.
    """

    row: Int[np.ndarray, " pairs"]
    other: Int[np.ndarray, " pairs"]
    n_rows: Int[np.ndarray, " windows"]

    def over_window(self, reduce: np.ufunc, values: np.ndarray) -> np.ndarray:
        """Reduce a value per pair to a value per row, over all rows of the row's window."""
        if not len(self.row):
            return values
        return np.asarray(reduce.reduceat(values, np.cumsum(self.n_rows) - self.n_rows, axis=0))


def window_rows(predictions: Predictions) -> WindowRows:
    """Pair the rows of each window (`event_windows`)."""
    window = event_windows(predictions)
    order = np.argsort(window, kind="stable")
    counts = np.bincount(window)
    n_rows = counts[window]
    row = np.repeat(np.arange(len(window)), n_rows)
    place = np.arange(len(row)) - np.repeat(np.cumsum(n_rows) - n_rows, n_rows)
    return WindowRows(row, order[(np.cumsum(counts) - counts)[window[row]] + place], n_rows)


def matched_detections(predictions: Predictions, tolerances: Sequence[int], window: np.ndarray) -> Matched:
    """Match detections with true expansions, window by window.

    In order of confidence, each detection takes the nearest expansion (by its worse end, then by the
    sum of both) that no other has taken and of which both ends are within the tolerance. Equal pairs of
    one window are one detection, with the larger confidence, or one expansion: rows repeat what the
    model predicted for the window's bars.
    """
    predicted: dict[int, dict[Pair, float]] = defaultdict(dict)
    true: dict[int, set[Pair]] = defaultdict(set)
    confidence = predictions.pointer_prob.prod(axis=1)
    bars = np.concatenate([predictions.predicted_bar, predictions.true_bar], axis=1).tolist()
    for row, (start, end, true_start, true_end) in enumerate(bars):
        of_window = int(window[row])
        if min(start, end) >= 0:
            before = predicted[of_window].get((start, end), 0.0)
            predicted[of_window][start, end] = max(before, float(confidence[row]))
        if min(true_start, true_end) >= 0:
            true[of_window].add((true_start, true_end))
    windows, sure, hits = [], [], []
    for of_window, detections in predicted.items():
        ranked = sorted(detections, key=lambda pair: (-detections[pair], pair))
        windows += [of_window] * len(ranked)
        sure += [detections[pair] for pair in ranked]
        hits.append([_hits(ranked, true[of_window], tolerance) for tolerance in tolerances])
    n_true = np.zeros(int(window.max(initial=-1)) + 1, dtype=np.int64)
    for of_window, events in true.items():
        n_true[of_window] = len(events)
    hit = np.concatenate(hits, axis=1) if hits else np.zeros((len(tolerances), 0))
    return Matched(np.array(windows, dtype=np.int64), np.array(sure, dtype=np.float64), hit.astype(bool), n_true)


def _hits(ranked: list[Pair], events: set[Pair], tolerance: int) -> list[bool]:
    left = set(events)
    hits = []
    for start, end in ranked:
        near = [
            (max(abs(start - a), abs(end - b)), abs(start - a) + abs(end - b), (a, b))
            for a, b in left
            if max(abs(start - a), abs(end - b)) <= tolerance
        ]
        hits.append(bool(near))
        if near:
            left.remove(min(near)[2])
    return hits


def _window_weights(weights: Weights, window: np.ndarray) -> Float[np.ndarray, "resamples events"]:
    """Mean weight of each window's rows; block resamples nearly always keep them together."""
    order = np.argsort(window, kind="stable")
    first = np.flatnonzero(np.diff(window[order], prepend=-1))
    counts = np.diff(np.append(first, len(window)))
    return np.asarray(np.add.reduceat(weights[:, order], first, axis=1) / counts)


def _average_precisions(
    predictions: Predictions, weights: Weights, tolerances: Sequence[int], window: np.ndarray | None
) -> Float[np.ndarray, "tolerances resamples"]:
    """Average precision at each tolerance, all resamples at once."""
    if not len(predictions):
        return np.full((len(tolerances), len(weights)), np.nan)
    window = event_windows(predictions) if window is None else np.unique(window, return_inverse=True)[1]
    matched = matched_detections(predictions, tolerances, window)
    by_window = _window_weights(weights, window)
    n_true = by_window @ matched.n_true.astype(np.float64)
    counts = by_window[:, matched.window]
    areas = [precision_area(matched.confidence, hit, counts, n_true) for hit in matched.hit]
    return np.stack(areas)


def precision_area(
    confidence: Float[np.ndarray, " detections"],
    hit: Bool[np.ndarray, " detections"],
    counts: Float[np.ndarray, "resamples detections"],
    n_true: Values,
) -> Values:
    """Average precision of ranked detections, sum_k (R_k - R_{k-1}) P_k over descending distinct confidences.

    `counts` is how often each detection counts in a resample, `n_true` how many true ones there are. Equal confidences
    enter together. NaN where nothing is true, 0 where something is and nothing was detected.
    """
    order = np.argsort(-confidence, kind="stable")
    ranked = confidence[order]
    group_end = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], np.ones(min(len(ranked), 1), dtype=bool)))
    counts = counts[:, order]
    seen = np.cumsum(counts, axis=1)[:, group_end]
    hits = np.cumsum(counts * hit[order], axis=1)[:, group_end]
    precision = np.divide(hits, seen, out=np.zeros_like(hits), where=seen > 0)
    return weighted_share((np.diff(hits, axis=1, prepend=0.0) * precision).sum(axis=1), n_true)


def average_precision_at(tolerance_bars: int, window: np.ndarray | None = None) -> Metric:
    """Average precision of detections that count as hits within one tolerance (`mean_average_precision`)."""

    def metric(predictions: Predictions, weights: Weights) -> Values:
        return np.asarray(_average_precisions(predictions, weights, (tolerance_bars,), window)[0])

    return metric


def mean_average_precision(
    predictions: Predictions,
    weights: Weights,
    tolerances: Sequence[int] = MAP_TOLERANCES,
    window: np.ndarray | None = None,
) -> Values:
    """Mean over tolerances of the average precision of detected expansions, in [0, 1].

    The event-detection average precision of the Child Mind Institute's "Detect Sleep States" (Kaggle
    2023), which follows mAP over overlaps in temporal action detection (Caba Heilbron et al., CVPR 2015),
    with a tolerance for both ends together: AP = sum_k (R_k - R_{k-1}) P_k over descending distinct
    confidences, without interpolation. R is the share of true expansions found; an expansion without a
    detection is never found, and a detection in a window without expansion is a false alarm.

    Parameters
    ----------
    tolerances
        Bars that both ends may be off, each its own average precision.
    window
        Which rows are of the same bars, where known better than by `event_windows`.

    Returns
    -------
    Values
        NaN in a resample without any true expansion, 0 where there are expansions and no detection.
        Equal confidences enter together, so the order of rows does not matter.
    """
    return np.asarray(_average_precisions(predictions, weights, tolerances, window).mean(axis=0))


def iou_by_window(predictions: Predictions) -> Float[np.ndarray, " windows"]:
    """Bars in both the predicted and the true expansion over bars in either, both ends inclusive, in [0, 1].

    A row is compared with the expansion of its window that it overlaps most. 0 where there is an expansion and no
    predicted pair, or one whose end is before its start; NaN where there is no expansion.
    """
    pairs = window_rows(predictions)
    true, predicted = predictions.true_bar[pairs.other], predictions.predicted_bar[pairs.row]
    shared = np.minimum(true[:, 1], predicted[:, 1]) - np.maximum(true[:, 0], predicted[:, 0]) + 1
    # A pair whose end is before its start shares nothing, however its length comes out.
    shared = np.where((predicted >= 0).all(axis=1), np.maximum(shared, 0), 0).astype(np.float64)
    lengths = true[:, 1] - true[:, 0] + predicted[:, 1] - predicted[:, 0] + 2
    either = np.maximum(lengths - shared, 1)
    iou = np.where((true >= 0).all(axis=1), shared / either, np.nan)
    return np.asarray(pairs.over_window(np.fmax, iou))


def expansion_iou(predictions: Predictions, weights: Weights) -> Values:
    """Mean over windows of the overlap of predicted and true expansions (`iou_by_window`); NaN without any expansion.

    Rows of one window share its weight.
    """
    iou = iou_by_window(predictions)
    known = ~np.isnan(iou)
    weights = weights / window_rows(predictions).n_rows
    return weighted_share(weights @ np.where(known, iou, 0.0), weights @ known.astype(np.float64))


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
    true, predicted = predictions.true_bar[pairs.other], predictions.predicted_bar[pairs.row]
    whole = (true >= 0).all(axis=1, keepdims=True)
    return np.where(whole & (predicted >= 0), np.abs(predicted - true), FAR)


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
    predicted, true
        Share of a pointer that a row counts for: 1, or 1/k where k rows of a window repeat it, 0 where there is none.
    prob
        Probability of the predicted pointer, the largest of equal ones.
    near
        Whether the predicted pointer is within 3 bars of a true one of its window.
    found_prob
        The largest probability of a predicted pointer within 3 bars of the true one, -1 without any.
    """

    predicted: Float[np.ndarray, "windows 2"]
    true: Float[np.ndarray, "windows 2"]
    prob: Float[np.ndarray, "windows 2"]
    near: Bool[np.ndarray, "windows 2"]
    found_prob: Float[np.ndarray, "windows 2"]

    def counts(self, weights: Weights, threshold: float) -> tuple[Values, Values, Values, Values]:
        """Return right and all pointers predicted above the threshold, and found and all true ones."""
        counted = self.predicted * (self.prob >= threshold)
        columns = (counted * self.near, counted, self.true * (self.found_prob >= threshold), self.true)
        right, predicted, found, there = (weights @ column.sum(axis=1) for column in columns)
        return right, predicted, found, there


def _pointers(predictions: Predictions) -> _Pointers:
    pairs = window_rows(predictions)
    true, predicted, prob = predictions.true_bar, predictions.predicted_bar, predictions.pointer_prob
    same_true, same_predicted = (bars[pairs.row] == bars[pairs.other] for bars in (true, predicted))
    prob = pairs.over_window(np.maximum, np.where(same_predicted, prob[pairs.other], -1.0))

    def hits(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return (a >= 0) & (b >= 0) & (np.abs(a - b) <= HIT_BARS)

    found = hits(true[pairs.row], predicted[pairs.other])
    return _Pointers(
        np.where(predicted >= 0, 1 / pairs.over_window(np.add, same_predicted.astype(np.float64)), 0.0),
        np.where(true >= 0, 1 / pairs.over_window(np.add, same_true.astype(np.float64)), 0.0),
        prob,
        pairs.over_window(np.logical_or, hits(predicted[pairs.row], true[pairs.other])),
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
