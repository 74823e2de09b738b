"""Slow twins of the metrics: naive loops over plain lists, written for reading, one window after the other.

They take no weights: a resample is the same windows written down as often as they count. NaN stands
for a metric that does not exist.
"""

from __future__ import annotations

import math
from fractions import Fraction

from moola.tables.prediction_table import Predictions

NAN = math.nan


def slow_average_precision(scores: list[float], positives: list[bool]) -> float:
    """Walk down the distinct scores; each gain in recall counts with the precision at that score."""
    n_positive = sum(positives)
    if n_positive in (0, len(positives)):
        return NAN
    area, recall_before = 0.0, 0.0
    for threshold in sorted(set(scores), reverse=True):
        flagged = [positive for score, positive in zip(scores, positives, strict=True) if score >= threshold]
        recall = sum(flagged) / n_positive
        area += (recall - recall_before) * sum(flagged) / len(flagged)
        recall_before = recall
    return area


def slow_pr_auc_of(predictions: Predictions, k: int) -> float:
    scores = [float(prob[k]) for prob in predictions.class_prob]
    return slow_average_precision(scores, [int(index) == k for index in predictions.class_index])


def slow_pr_auc(predictions: Predictions) -> float:
    by_class = [slow_pr_auc_of(predictions, k) for k in range(len(predictions.class_names))]
    return sum(by_class) / len(by_class)


def slow_brier(predictions: Predictions) -> float:
    total = 0.0
    for prob, true in zip(predictions.class_prob, predictions.class_index, strict=True):
        total += sum((float(p) - (1.0 if k == true else 0.0)) ** 2 for k, p in enumerate(prob)) / 2
    return total / len(predictions)


def said_class(prob: list[float]) -> int:
    """The most probable class; the first of equals."""
    return max(range(len(prob)), key=lambda k: (prob[k], -k))


def confidences(predictions: Predictions) -> tuple[list[float], list[bool]]:
    sure, correct = [], []
    for row, true in zip(predictions.class_prob.tolist(), predictions.class_index, strict=True):
        sure.append(max(row))
        correct.append(said_class(row) == true)
    return sure, correct


def slow_accuracy(predictions: Predictions) -> float:
    correct = confidences(predictions)[1]
    return sum(correct) / len(correct)


def slow_mcc(predictions: Predictions) -> float:
    """Covariances of class indicators, summed over classes."""
    said = [said_class(row) for row in predictions.class_prob.tolist()]
    true = predictions.class_index.tolist()

    def covariance(one: list[int], other: list[int]) -> float:
        total = 0.0
        for k in range(len(predictions.class_names)):
            mean_one, mean_other = sum(x == k for x in one) / len(one), sum(x == k for x in other) / len(other)
            total += sum(((x == k) - mean_one) * ((y == k) - mean_other) for x, y in zip(one, other, strict=True))
        return total

    if len(set(true)) == 1:
        return NAN
    if len(set(said)) == 1:
        return 0.0
    return covariance(said, true) / math.sqrt(covariance(said, said) * covariance(true, true))


def width_bin_of(confidence: float) -> int:
    """The bin (k/10, (k+1)/10] that holds a confidence."""
    return next(k for k in range(10) if confidence <= (k + 1) / 10)


def mass_bins_of(sure: list[float]) -> list[int]:
    """Bins between the fifths of all confidences; one that lies on an edge falls below it."""
    ordered = sorted(sure)
    edges = []
    for fifth in range(1, 5):
        position = Fraction(fifth, 5) * (len(sure) - 1)
        below, share = math.floor(position), float(position - math.floor(position))
        above = min(below + 1, len(sure) - 1)
        gap = ordered[above] - ordered[below]
        edges.append(ordered[below] + gap * share if share < 0.5 else ordered[above] - gap * (1 - share))
    return [sum(edge < confidence for edge in edges) for confidence in sure]


def slow_ece_in_bins(sure: list[float], correct: list[bool], bins: list[int]) -> float:
    total = 0.0
    for number in set(bins):
        rows = [i for i in range(len(sure)) if bins[i] == number]
        accuracy = sum(correct[i] for i in rows) / len(rows)
        mean = sum(sure[i] for i in rows) / len(rows)
        total += len(rows) / len(sure) * abs(accuracy - mean)
    return total


def slow_ece(predictions: Predictions) -> float:
    sure, correct = confidences(predictions)
    return slow_ece_in_bins(sure, correct, [width_bin_of(confidence) for confidence in sure])


def slow_ece_equal_mass(predictions: Predictions) -> float:
    sure, correct = confidences(predictions)
    return slow_ece_in_bins(sure, correct, mass_bins_of(sure))


def slow_f1_of(predictions: Predictions, k: int) -> float:
    hits = false_alarms = misses = 0
    for row, true in zip(predictions.class_prob.tolist(), predictions.class_index, strict=True):
        said = said_class(row)
        hits += said == k and true == k
        false_alarms += said == k and true != k
        misses += said != k and true == k
    if hits + false_alarms + misses == 0:
        return NAN
    return 2 * hits / (2 * hits + false_alarms + misses)


def slow_f1_macro(predictions: Predictions) -> float:
    by_class = [slow_f1_of(predictions, k) for k in range(len(predictions.class_names))]
    known = [value for value in by_class if not math.isnan(value)]
    return sum(known) / len(known)


def rows_of_windows(predictions: Predictions) -> list[list[int]]:
    """Rows of one window: the same times, and the same id before `_exp_<number>`; a repeated row is of a copy."""
    found: dict[tuple[str, int, int, int], list[int]] = {}
    written: list[tuple[str, list[int]]] = []
    for row, name in enumerate(predictions.window_id):
        line = (name, predictions.true_bar[row].tolist())
        times = int(predictions.start_us[row]), int(predictions.end_us[row])
        found.setdefault((name.rsplit("_exp_", 1)[0], *times, written.count(line)), []).append(row)
        written.append(line)
    return list(found.values())


def expansions_of(predictions: Predictions, rows: list[int]) -> list[list[int]]:
    return [true for true in predictions.true_bar[rows].tolist() if min(true) >= 0]


def slow_hit_at(predictions: Predictions, tolerance: int, which: str) -> float:
    """A window of several rows counts once: the share of its rows that hit one of its expansions."""
    hits, n = Fraction(0), 0
    for rows in rows_of_windows(predictions):
        expansions = expansions_of(predictions, rows)
        if not expansions:
            continue
        n += 1
        for row in rows:
            start, end = predictions.predicted_bar[row].tolist()
            found = []
            for true in expansions:
                near_start = start >= 0 and abs(start - true[0]) <= tolerance
                near_end = end >= 0 and abs(end - true[1]) <= tolerance
                found.append({"start": near_start, "end": near_end, "both": near_start and near_end}[which])
            hits += Fraction(any(found), len(rows))
    return float(hits / n) if n else NAN


def slow_lead_lag(predictions: Predictions, which: str, quantile: Fraction) -> float:
    """The smallest error with at least this share of all windows at or below it."""
    i = ("start", "end").index(which)
    errors = []
    for rows in rows_of_windows(predictions):
        expansions = expansions_of(predictions, rows)
        for row in rows:
            said = predictions.predicted_bar[row].tolist()
            if expansions and min(said) >= 0:
                nearest = min(expansions, key=lambda true: abs(said[i] - true[i]))
                errors.append((said[i] - nearest[i], Fraction(1, len(rows))))
    total, below = sum(share for _, share in errors), Fraction(0)
    for error, share in sorted(errors):
        below += share
        if below >= quantile * total:
            return float(error)
    return NAN


def slow_pointer_scores(predictions: Predictions, threshold: float) -> tuple[float, float, float]:
    """Precision, recall and F1 of pointers above a threshold, starts and ends in one count."""
    right = predicted = found = there = 0
    for rows in rows_of_windows(predictions):
        for i in (0, 1):
            true = {int(predictions.true_bar[row, i]) for row in rows} - {-1}
            said = {
                int(predictions.predicted_bar[row, i])
                for row in rows
                if predictions.predicted_bar[row, i] >= 0 and predictions.pointer_prob[row, i] >= threshold
            }
            right += sum(any(abs(bar - one) <= 3 for one in true) for bar in said)
            found += sum(any(abs(bar - one) <= 3 for bar in said) for one in true)
            predicted += len(said)
            there += len(true)
    precision = right / predicted if predicted else NAN
    recall = found / there if there else NAN
    if not predicted + there:
        return precision, recall, NAN
    return precision, recall, 2 * precision * recall / (precision + recall) if found else 0.0


def slow_block_length(starts: list[int], ends: list[int]) -> int:
    """One more than the most later windows that a window overlaps."""
    most = 0
    for i, end in enumerate(ends):
        most = max(most, sum(starts[j] <= end for j in range(i + 1, len(starts))))
    return most + 1
