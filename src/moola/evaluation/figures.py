"""Figures: every metric with its interval and beside the same figure of the trivial predictors."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from moola.data.contracts.prediction_table import Predictions
from moola.evaluation.calibration import perfect_ece_range, reliability_bins
from moola.evaluation.class_metrics import Metric
from moola.evaluation.intervals import (
    N_RESAMPLES,
    block_length,
    block_weights,
    percentile_interval,
    without_resampling_bias,
)
from moola.evaluation.metric_tables import CLASS_METRICS, EVENT_METRICS, class_metric_table, event_metric_table

__all__ = [
    "CLASS_METRICS",
    "EVENT_METRICS",
    "Evaluation",
    "Figure",
    "TrainingFacts",
    "class_metric_table",
    "evaluate",
    "event_metric_table",
    "trivial_predictions",
]
# Figures that can only grow when windows repeat; the debiased one leaves repeats out by itself.
BIASED_BY_REPEATS = ("ece", "ece_equal_mass", "brier_reliability")
EVENT_FIGURES = ("hit", "lead", "pointer", "event", "expansion")


@dataclass(frozen=True)
class TrainingFacts:
    """What the trivial predictors know: class shares and most common pointers of the training rows."""

    class_counts: dict[str, int]
    common_start: int | None
    common_end: int | None
    pointer_threshold: float | None

    @property
    def rarer_class(self) -> str:
        """The class with fewest training rows; ties go to the later name."""
        return min(sorted(self.class_counts, reverse=True), key=lambda name: self.class_counts[name])

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for a file."""
        return asdict(self)


@dataclass(frozen=True)
class Figure:
    """One metric: its value (None with a reason), 95 % interval, and the trivial predictor's value."""

    name: str
    value: float | None
    low: float | None
    high: float | None
    trivial: float | None
    reason: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for a file."""
        return asdict(self)


@dataclass(frozen=True)
class Evaluation:
    """All figures of one part of one run, with how they were made."""

    part: str
    n_windows: int
    block_windows: int
    figures: list[Figure]
    reliability: list[dict[str, float | int]]
    perfect_ece: dict[str, tuple[float, float]]

    def figure(self, name: str) -> Figure:
        """Return one figure by name."""
        return next(figure for figure in self.figures if figure.name == name)

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for a file; figures by name."""
        content = asdict(self)
        content["figures"] = {figure.name: figure.as_dict() for figure in self.figures}
        content["n_resamples"] = N_RESAMPLES
        content["perfect_ece"] = {bins: list(span) for bins, span in self.perfect_ece.items()}
        return content


def trivial_predictions(predictions: Predictions, facts: TrainingFacts) -> Predictions:
    """Return the same windows predicted by class share and by the most common pointers of training."""
    counts = np.array([facts.class_counts.get(name, 0) for name in predictions.class_names], dtype=np.float64)
    n = len(predictions)
    bars = [-1 if bar is None else bar for bar in (facts.common_start, facts.common_end)]
    return replace(
        predictions,
        class_prob=np.tile(counts / counts.sum(), (n, 1)),
        predicted_bar=np.tile(np.array(bars), (n, 1)),
        pointer_prob=np.ones((n, 2)),
        curves=None,
    )


def evaluate(
    predictions: Predictions,
    facts: TrainingFacts,
    metrics: tuple[str, ...] = CLASS_METRICS,
    event_metrics_: tuple[str, ...] = EVENT_METRICS,
    seed: int = 0,
    trivial: Predictions | None = None,
    intervals: bool = True,
) -> Evaluation:
    """Judge one part's predictions, in time order.

    `trivial` replaces the predictions of the trivial predictor, row by row: in cross-validation every fold
    has class shares of its own. Without `intervals` there are only the figures, at once. Windows without a
    label count for no class metric, windows without pointers for no pointer metric but the false alarms of
    `pointer_f1`.
    """
    part = str(predictions.part[0]) if len(predictions) else ""
    known = np.flatnonzero(predictions.class_index >= 0)
    labelled = predictions.take(known)
    trivial = trivial if trivial is not None else trivial_predictions(predictions, facts)
    figures = []
    class_table = class_metric_table(metrics, predictions.class_names, facts.rarer_class, facts.class_counts)
    figures += _figures(
        class_table, labelled, trivial.take(known), seed if intervals else None, _class_reason(labelled)
    )
    reason = "" if predictions.predicts_pointers else "the model predicts no pointers"
    event_table = event_metric_table(event_metrics_, facts.pointer_threshold or 0.0)
    figures += _figures(event_table, predictions, trivial, seed if intervals else None, reason)
    block = block_length(predictions.start_us, predictions.end_us)
    if not len(labelled) or not intervals:
        return Evaluation(part, len(predictions), block, figures, [], {})
    perfect = {bins: perfect_ece_range(labelled, bins, seed) for bins in ("width", "mass")}
    return Evaluation(part, len(predictions), block, figures, reliability_bins(labelled, seed), perfect)


def _class_reason(labelled: Predictions) -> str:
    return "" if len(labelled) else "no judged window has a label"


def _figures(
    table: dict[str, Metric], predictions: Predictions, trivial: Predictions, seed: int | None, reason: str
) -> list[Figure]:
    if reason:
        return [Figure(name, None, None, None, None, reason) for name in table]
    ones = np.ones((1, len(predictions)))
    block = block_length(predictions.start_us, predictions.end_us)
    weights = ones if seed is None else block_weights(len(predictions), block, seed)
    figures = []
    for name, metric in table.items():
        value = metric(predictions, ones)[0]
        baseline = metric(trivial, ones)[0]
        if np.isnan(value):
            figures.append(Figure(name, None, None, None, None, _undefined(name, predictions)))
            continue
        if seed is None:
            figures.append(Figure(name, float(value), None, None, None if np.isnan(baseline) else float(baseline)))
            continue
        resampled = metric(predictions, weights)
        if name in BIASED_BY_REPEATS:
            resampled = without_resampling_bias(resampled, float(value))
        low, high = percentile_interval(resampled) or (None, None)
        known = None if np.isnan(baseline) else float(baseline)
        figures.append(Figure(name, float(value), low, high, known))
    return figures


def _undefined(name: str, predictions: Predictions) -> str:
    if name.startswith(EVENT_FIGURES):
        return "no judged window has pointers"
    if name.startswith("calibration"):
        return "needs both classes, and probabilities that do not tell them apart without error"
    if name == "ece_debiased":
        return "needs a bin of confidences with two windows"
    present = {predictions.class_names[i] for i in predictions.class_index if i >= 0}
    return f"needs every class among the judged windows, and there is only {', '.join(sorted(present))}"
