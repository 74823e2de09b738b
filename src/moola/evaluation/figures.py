"""Figures: every metric with its interval and beside the same figure of the trivial predictors."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from moola.data.contracts.prediction_table import Predictions
from moola.evaluation import class_metrics, event_metrics
from moola.evaluation.calibration import perfect_ece_range, reliability_bins
from moola.evaluation.class_metrics import Metric
from moola.evaluation.event_metrics import ENDS, HIT_BARS, TOLERANCES
from moola.evaluation.intervals import (
    N_RESAMPLES,
    block_length,
    block_weights,
    percentile_interval,
    without_resampling_bias,
)

CLASS_METRICS = ("pr_auc", "brier", "ece", "accuracy", "f1_macro", "f1_per_class")
EVENT_METRICS = ("hit_at_pm3", "lead_lag", "pointer_f1")


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


def class_metric_table(names: tuple[str, ...], class_names: list[str], rarer_class: str) -> dict[str, Metric]:
    """Expand the requested class metrics to one callable a figure."""
    table: dict[str, Metric] = {}
    for name in names:
        if name == "pr_auc":
            table["pr_auc"] = class_metrics.pr_auc
            if len(class_names) == 2:
                table[f"pr_auc_{rarer_class}"] = class_metrics.pr_auc_of(rarer_class)
        elif name == "ece":
            table |= {"ece": class_metrics.ece, "ece_equal_mass": class_metrics.ece_equal_mass}
        elif name == "f1_per_class":
            table |= {f"f1_{label}": class_metrics.f1_of(label) for label in class_names}
        else:
            table[name] = getattr(class_metrics, name)
    return table


def event_metric_table(names: tuple[str, ...], threshold: float) -> dict[str, Metric]:
    """Expand the requested event metrics to one callable a figure."""
    table: dict[str, Metric] = {}
    if "hit_at_pm3" in names:
        for tolerance in sorted(TOLERANCES, key=lambda bars: bars != HIT_BARS):
            for which in (*ENDS, "both"):
                table[f"hit_at_pm{tolerance}_{which}"] = event_metrics.hit_at(tolerance, which)
    if "lead_lag" in names:
        for which in ENDS:
            for label, quantile in (("q25", 0.25), ("median", 0.5), ("q75", 0.75)):
                table[f"lead_lag_{which}_{label}"] = event_metrics.lead_lag(which, quantile)
    if "pointer_f1" in names:
        table["pointer_f1"] = event_metrics.pointer_f1(threshold)
        table["pointer_precision"] = event_metrics.pointer_precision(threshold)
        table["pointer_recall"] = event_metrics.pointer_recall(threshold)
    return table


def evaluate(
    predictions: Predictions,
    facts: TrainingFacts,
    metrics: tuple[str, ...] = CLASS_METRICS,
    event_metrics_: tuple[str, ...] = EVENT_METRICS,
    seed: int = 0,
) -> Evaluation:
    """Judge one part's predictions, in time order.

    Windows without a label count for no class metric, windows without pointers for no pointer
    metric but the false alarms of `pointer_f1`.
    """
    part = str(predictions.part[0]) if len(predictions) else ""
    labelled = predictions.take(np.flatnonzero(predictions.class_index >= 0))
    figures = []
    class_table = class_metric_table(metrics, predictions.class_names, facts.rarer_class)
    figures += _figures(class_table, labelled, facts, seed, _class_reason(labelled))
    reason = "" if predictions.predicts_pointers else "the model predicts no pointers"
    event_table = event_metric_table(event_metrics_, facts.pointer_threshold or 0.0)
    figures += _figures(event_table, predictions, facts, seed, reason)
    block = block_length(predictions.start_us, predictions.end_us)
    if not len(labelled):
        return Evaluation(part, len(predictions), block, figures, [], {})
    perfect = {bins: perfect_ece_range(labelled, bins, seed) for bins in ("width", "mass")}
    return Evaluation(part, len(predictions), block, figures, reliability_bins(labelled, seed), perfect)


def _class_reason(labelled: Predictions) -> str:
    return "" if len(labelled) else "no judged window has a label"


def _figures(
    table: dict[str, Metric], predictions: Predictions, facts: TrainingFacts, seed: int, reason: str
) -> list[Figure]:
    if reason:
        return [Figure(name, None, None, None, None, reason) for name in table]
    ones = np.ones((1, len(predictions)))
    block = block_length(predictions.start_us, predictions.end_us)
    weights = block_weights(len(predictions), block, seed)
    trivial = trivial_predictions(predictions, facts)
    figures = []
    for name, metric in table.items():
        value = metric(predictions, ones)[0]
        baseline = metric(trivial, ones)[0]
        if np.isnan(value):
            figures.append(Figure(name, None, None, None, None, _undefined(name, predictions)))
            continue
        resampled = metric(predictions, weights)
        if name.startswith("ece"):
            resampled = without_resampling_bias(resampled, float(value))
        low, high = percentile_interval(resampled) or (None, None)
        known = None if np.isnan(baseline) else float(baseline)
        figures.append(Figure(name, float(value), low, high, known))
    return figures


def _undefined(name: str, predictions: Predictions) -> str:
    if name.startswith(("hit", "lead", "pointer")):
        return "no judged window has pointers"
    present = {predictions.class_names[i] for i in predictions.class_index if i >= 0}
    return f"needs every class among the judged windows, and there is only {', '.join(sorted(present))}"
