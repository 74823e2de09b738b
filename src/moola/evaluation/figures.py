"""Every metric by name, with its interval and beside the same figure of the uninformed baselines."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any, get_args

import numpy as np

from moola.core.expansions import ENDS
from moola.evaluation import class_metrics, pointer_metrics
from moola.evaluation.calibration import perfect_ece_range, reliability_bins
from moola.evaluation.class_metrics import Metric
from moola.evaluation.comparisons import (
    N_RESAMPLES,
    block_length,
    block_weights,
    percentile_interval,
    without_resampling_bias,
)
from moola.evaluation.pointer_metrics import HIT_BARS, TOLERANCES
from moola.options.judging_options import ClassMetric, EventMetric
from moola.tables.prediction_table import Predictions

# Names that a user asks for, expanded to one metric a figure.


CLASS_METRICS: tuple[str, ...] = get_args(ClassMetric)
EVENT_METRICS: tuple[str, ...] = get_args(EventMetric)
QUARTILES = (("q25", 0.25), ("median", 0.5), ("q75", 0.75))
Expansion = Callable[[list[str], str, dict[str, int]], dict[str, Metric]]


def _pr_auc(class_names: list[str], rarer_class: str, _counts: dict[str, int]) -> dict[str, Metric]:
    table: dict[str, Metric] = {"pr_auc": class_metrics.pr_auc}
    if len(class_names) == 2:
        table[f"pr_auc_{rarer_class}"] = class_metrics.pr_auc_of(rarer_class)
    return table


def _brier_parts(class_names: list[str], rarer_class: str, _counts: dict[str, int]) -> dict[str, Metric]:
    positive = rarer_class if len(class_names) == 2 else None

    def part(name: str) -> Metric:
        return lambda predictions, weights: getattr(
            class_metrics.brier_decomposition(predictions, weights, positive), name
        )

    return {f"brier_{name}": part(name) for name in class_metrics.BrierParts._fields}


def _calibration(class_names: list[str], rarer_class: str, _counts: dict[str, int]) -> dict[str, Metric]:
    if len(class_names) != 2:
        return {}
    return {
        "calibration_slope": class_metrics.calibration_slope(rarer_class),
        "calibration_intercept": class_metrics.calibration_intercept(rarer_class),
    }


# Of every other name the metric is the function of that name in `class_metrics`.
EXPANSIONS: dict[str, Expansion] = {
    "pr_auc": _pr_auc,
    "ece": lambda *_: {
        "ece": class_metrics.ece,
        "ece_equal_mass": class_metrics.ece_equal_mass,
        "ece_debiased": class_metrics.ece_debiased,
    },
    "f1_per_class": lambda names, *_: {f"f1_{label}": class_metrics.f1_of(label) for label in names},
    "brier_skill": lambda _names, _rarer, counts: {"brier_skill": class_metrics.brier_skill(dict(counts))},
    "brier_parts": _brier_parts,
    "calibration": _calibration,
}


def class_metric_table(
    names: tuple[str, ...], class_names: list[str], rarer_class: str, class_counts: dict[str, int] | None = None
) -> dict[str, Metric]:
    """Expand the requested class metrics; `class_counts` of training (equal where not given) anchor the skill."""
    counts = class_counts or dict.fromkeys(class_names, 1)
    table: dict[str, Metric] = {}
    for name in names:
        expand = EXPANSIONS.get(name)
        table |= expand(class_names, rarer_class, counts) if expand else {name: getattr(class_metrics, name)}
    return table


def event_metric_table(names: tuple[str, ...], threshold: float) -> dict[str, Metric]:
    """Expand the requested event metrics; `threshold` is of the pointer probability."""
    table: dict[str, Metric] = {}
    if "hit_at_pm3" in names:
        for tolerance in sorted(TOLERANCES, key=lambda bars: bars != HIT_BARS):
            for which in (*ENDS, "both"):
                table[f"hit_at_pm{tolerance}_{which}"] = pointer_metrics.hit_at(tolerance, which)
    if "lead_lag" in names:
        for which in ENDS:
            for label, quantile in QUARTILES:
                table[f"lead_lag_{which}_{label}"] = pointer_metrics.lead_lag(which, quantile)
    if "pointer_f1" in names:
        table["pointer_f1"] = pointer_metrics.pointer_f1(threshold)
        table["pointer_precision"] = pointer_metrics.pointer_precision(threshold)
        table["pointer_recall"] = pointer_metrics.pointer_recall(threshold)
    if "event_map" in names:
        table["event_map"] = pointer_metrics.mean_average_precision
        for tolerance in pointer_metrics.MAP_TOLERANCES:
            table[f"event_ap_pm{tolerance}"] = pointer_metrics.average_precision_at(tolerance)
    if "expansion_iou" in names:
        table["expansion_iou"] = pointer_metrics.expansion_iou
    return table


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
    """What the uninformed baselines know: class shares and most common pointers of the training rows."""

    class_counts: dict[str, int]
    common_start: int | None
    common_end: int | None
    pointer_threshold: float | None

    @property
    def rarer_class(self) -> str:
        """The class with fewest training rows; ties go to the later name."""
        return min(sorted(self.class_counts, reverse=True), key=lambda name: self.class_counts[name])


@dataclass(frozen=True)
class Figure:
    """One metric: its value (None with a reason), 95 % interval, and the uninformed baseline's value."""

    name: str
    value: float | None
    low: float | None
    high: float | None
    trivial: float | None
    reason: str = ""


# Counted in whole bars, with a sign; everything else is a share or an error.
OF_BARS = ("lead_lag", "late_bars")


def value_text(name: str, value: float | None, missing: str = "-") -> str:
    """Write a figure: whole bars with a sign, three decimals for everything else."""
    if value is None:
        return missing
    # Rounded first: a mean of -0.3 bars is no -0.
    return f"{round(value):+d}" if name.startswith(OF_BARS) else f"{value:.3f}"


def interval_text(name: str, low: float | None, high: float | None, between: str = " to ", missing: str = "-") -> str:
    """Write the interval of a figure."""
    if low is None or high is None:
        return missing
    return f"{value_text(name, low)}{between}{value_text(name, high)}"


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
        content["figures"] = {figure.name: asdict(figure) for figure in self.figures}
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
    """Evaluate one part's predictions, in time order.

    `trivial` replaces the predictions of the uninformed baseline, row by row: in cross-validation every fold
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
    reason = "" if len(labelled) else "no evaluated window has a label"
    figures += _figures(class_table, labelled, trivial.take(known), seed if intervals else None, reason)
    reason = "" if predictions.predicts_pointers else "the model predicts no pointers"
    event_table = event_metric_table(event_metrics_, facts.pointer_threshold or 0.0)
    figures += _figures(event_table, predictions, trivial, seed if intervals else None, reason)
    block = block_length(predictions.start_us, predictions.end_us)
    if not len(labelled) or not intervals:
        return Evaluation(part, len(predictions), block, figures, [], {})
    perfect = {bins: perfect_ece_range(labelled, bins, seed) for bins in ("width", "mass")}
    return Evaluation(part, len(predictions), block, figures, reliability_bins(labelled, seed), perfect)


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
        return "no evaluated window has pointers"
    if name.startswith("calibration"):
        return "needs both classes, and probabilities that do not separate them perfectly"
    if name == "ece_debiased":
        return "needs a bin of confidences with two windows"
    present = {predictions.class_names[i] for i in predictions.class_index if i >= 0}
    return f"needs every class among the evaluated windows, and there is only {', '.join(sorted(present))}"
