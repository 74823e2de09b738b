"""Names that a user asks for, expanded to one metric a figure."""

from __future__ import annotations

from collections.abc import Callable
from typing import get_args

from moola.config.eval_options import ClassMetric, EventMetric
from moola.evaluation import class_metrics, event_detection, event_metrics, proper_scores
from moola.evaluation.class_metrics import Metric
from moola.evaluation.event_metrics import ENDS, HIT_BARS, TOLERANCES

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
            proper_scores.brier_decomposition(predictions, weights, positive), name
        )

    return {f"brier_{name}": part(name) for name in proper_scores.BrierParts._fields}


def _calibration(class_names: list[str], rarer_class: str, _counts: dict[str, int]) -> dict[str, Metric]:
    if len(class_names) != 2:
        return {}
    return {
        "calibration_slope": proper_scores.calibration_slope(rarer_class),
        "calibration_intercept": proper_scores.calibration_intercept(rarer_class),
    }


EXPANSIONS: dict[str, Expansion] = {
    "pr_auc": _pr_auc,
    "brier": lambda *_: {"brier": class_metrics.brier},
    "ece": lambda *_: {
        "ece": class_metrics.ece,
        "ece_equal_mass": class_metrics.ece_equal_mass,
        "ece_debiased": proper_scores.ece_debiased,
    },
    "accuracy": lambda *_: {"accuracy": class_metrics.accuracy},
    "mcc": lambda *_: {"mcc": class_metrics.mcc},
    "f1_macro": lambda *_: {"f1_macro": class_metrics.f1_macro},
    "f1_per_class": lambda names, *_: {f"f1_{label}": class_metrics.f1_of(label) for label in names},
    "log_loss": lambda *_: {"log_loss": proper_scores.log_loss},
    "brier_skill": lambda _names, _rarer, counts: {"brier_skill": proper_scores.brier_skill(dict(counts))},
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
        table |= EXPANSIONS[name](class_names, rarer_class, counts)
    return table


def event_metric_table(names: tuple[str, ...], threshold: float) -> dict[str, Metric]:
    """Expand the requested event metrics; `threshold` is of the pointer probability."""
    table: dict[str, Metric] = {}
    if "hit_at_pm3" in names:
        for tolerance in sorted(TOLERANCES, key=lambda bars: bars != HIT_BARS):
            for which in (*ENDS, "both"):
                table[f"hit_at_pm{tolerance}_{which}"] = event_metrics.hit_at(tolerance, which)
    if "lead_lag" in names:
        for which in ENDS:
            for label, quantile in QUARTILES:
                table[f"lead_lag_{which}_{label}"] = event_metrics.lead_lag(which, quantile)
    if "pointer_f1" in names:
        table["pointer_f1"] = event_metrics.pointer_f1(threshold)
        table["pointer_precision"] = event_metrics.pointer_precision(threshold)
        table["pointer_recall"] = event_metrics.pointer_recall(threshold)
    if "event_map" in names:
        table["event_map"] = event_detection.mean_average_precision
        for tolerance in event_detection.MAP_TOLERANCES:
            table[f"event_ap_pm{tolerance}"] = event_detection.average_precision_at(tolerance)
    if "expansion_iou" in names:
        table["expansion_iou"] = event_detection.expansion_iou
    return table
