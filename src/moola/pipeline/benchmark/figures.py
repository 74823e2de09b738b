"""Figures of a benchmark: of one fit, their mean and spread over draws, and paired differences draw by draw."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from moola.data.contracts.prediction_table import Predictions
from moola.evaluation import class_metrics, event_metrics, proper_scores
from moola.evaluation.class_metrics import Metric
from moola.evaluation.event_metrics import ENDS, HIT_BARS

CLASS_FIGURES: dict[str, Metric] = {
    "pr_auc": class_metrics.pr_auc,
    "brier": class_metrics.brier,
    "ece": class_metrics.ece,
    "accuracy": class_metrics.accuracy,
    "log_loss": proper_scores.log_loss,
}
POINTER_FIGURES: dict[str, Metric] = {
    f"hit_at_pm{HIT_BARS}_{which}": event_metrics.hit_at(HIT_BARS, which) for which in (*ENDS, "both")
}
FIGURES = (*CLASS_FIGURES, *POINTER_FIGURES)
LOWER_IS_BETTER = ("brier", "ece", "log_loss")


def figures_of(predictions: Predictions) -> dict[str, Any]:
    """Return every figure of judged windows, None where it does not exist, and PR-AUC of each class.

    Windows without a label count for no class figure, windows without pointers for no pointer figure; a model that
    points nowhere has no pointer figures.
    """
    labelled = predictions.take(np.flatnonzero(predictions.class_index >= 0))
    figures: dict[str, Any] = {name: _value(metric, labelled) for name, metric in CLASS_FIGURES.items()}
    points = predictions.predicts_pointers
    figures |= {name: _value(metric, predictions) if points else None for name, metric in POINTER_FIGURES.items()}
    by_class = {name: _value(class_metrics.pr_auc_of(name), labelled) for name in predictions.class_names}
    return figures | {"pr_auc_by_class": by_class}


def _value(metric: Metric, predictions: Predictions) -> float | None:
    if not len(predictions):
        return None
    value = float(metric(predictions, np.ones((1, len(predictions))))[0])
    return None if np.isnan(value) else value


def of_class(figures: Mapping[str, Any], positive: str | None) -> dict[str, float | None]:
    """Return the figures with PR-AUC of one class; of the mean over classes without one."""
    chosen = figures["pr_auc"] if positive is None else figures["pr_auc_by_class"].get(positive)
    return {name: chosen if name == "pr_auc" else figures[name] for name in FIGURES}


def mean_over_seeds(rows: Sequence[Mapping[str, float | None]]) -> dict[str, float | None]:
    """Return the mean of each figure over fits of one draw; None where no fit has it."""
    return {name: _mean([row[name] for row in rows]) for name in FIGURES}


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def spread(values: Sequence[float | None]) -> dict[str, float | None]:
    """Return the mean over draws and the standard deviation of a sample (n - 1); None where there are too few."""
    known = [value for value in values if value is not None]
    return {"mean": _mean(values), "std": float(np.std(known, ddof=1)) if len(known) > 1 else None}


def paired(
    one: Mapping[int, Mapping[str, float | None]], other: Mapping[int, Mapping[str, float | None]]
) -> dict[str, dict[str, Any]]:
    """Compare two models draw by draw: figures of each by draw in, `one` less `other` out.

    Returns
    -------
    dict
        For each figure the mean difference and its standard deviation over draws, the difference by draw, and in how
        many of how many draws `one` is better (lower in Brier, ECE and log-loss; equal is not better).
    """
    found = {}
    for name in FIGURES:
        by_draw = {
            number: mine - theirs
            for number in sorted(set(one) & set(other))
            if (mine := one[number][name]) is not None and (theirs := other[number][name]) is not None
        }
        sign = -1 if name in LOWER_IS_BETTER else 1
        found[name] = {
            **spread(list(by_draw.values())),
            "better": sum(sign * value > 0 for value in by_draw.values()),
            "n_draws": len(by_draw),
            "by_draw": {str(number): value for number, value in by_draw.items()},
        }
    return found
