"""Stage `compare`: several runs or cvs on the same windows, in one table of paired differences."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from moola.errors import InvalidData, WrongUsage
from moola.evaluation.class_metrics import Metric, accuracy, brier, ece, pr_auc
from moola.evaluation.comparisons import (
    block_length,
    block_weights,
    correct_together,
    paired_differences,
    tested_difference,
)
from moola.evaluation.pointer_metrics import hit_at
from moola.options.option_fields import RUNS_ROOT
from moola.options.study_options import CompareOptions
from moola.runs import run_store
from moola.stages.cv_gate import find_cv, is_cv
from moola.stages.evaluate import judged_predictions
from moola.tables.frames import write_frame
from moola.tables.prediction_table import Predictions, read_predictions

METRICS: dict[str, Metric] = {
    "pr_auc": pr_auc,
    "brier": brier,
    "ece": ece,
    "accuracy": accuracy,
    "hit_at_pm3_both": hit_at(3, "both"),
}
# Holm's correction is over challengers, on the metric that the gate is sure about.
TESTED = "brier"


@dataclass(frozen=True)
class Contestant:
    """A run or cv by name, with its predictions of the evaluated windows in time order."""

    name: str
    predictions: Predictions
    leaks: list[str]
    labelled_by: list[str]


def find_contestant(name: str) -> Contestant:
    """Find a run or cv by id or folder, and read its evaluated predictions."""
    if is_cv(name):
        run = find_cv(name)
        predictions = read_predictions(run.path(run_store.PREDICTIONS)).of_part("test")
        return _contestant(run, predictions)
    run = run_store.find_run(RUNS_ROOT, name)
    return _contestant(run, judged_predictions(run))


def _contestant(run: run_store.Run, predictions: Predictions) -> Contestant:
    manifest = run.record
    return Contestant(run.run_id, predictions, manifest.get("leaks") or [], manifest.get("labelled_by") or [])


def compare(names: list[str], options: CompareOptions) -> dict[str, Any]:
    """Compare every other contestant with the baseline by a paired block bootstrap.

    Raises
    ------
    WrongUsage
        Fewer than two names, or a baseline that is none of them.
    InvalidData
        They did not evaluate the same windows.
    """
    wanted = list(dict.fromkeys([*([options.baseline] if options.baseline else []), *names]))
    if len(wanted) < 2:
        raise WrongUsage(f"compare must have at least two runs or cvs, but {len(wanted)} is named. Name another.")
    baseline, *others = [find_contestant(name) for name in wanted]
    for other in others:
        _same_windows(baseline, other)
    labelled = np.flatnonzero(baseline.predictions.class_index >= 0)
    base = baseline.predictions.take(labelled)
    block = block_length(base.start_us, base.end_us)
    weights = block_weights(len(labelled), block, options.seed)
    rows = [_row(baseline.name, name, METRICS[name], base, None, weights) for name in METRICS]
    for other in others:
        mine = other.predictions.take(labelled)
        rows += [_row(other.name, name, METRICS[name], mine, base, weights) for name in METRICS]
    correct_together(rows, TESTED)
    if options.output is not None:
        write_frame(options.output, pl.DataFrame(rows))
    return {
        "baseline": baseline.name,
        "part": str(base.part[0]),
        "n_windows": len(labelled),
        "labelled_by": baseline.labelled_by,
        "leaks": {one.name: one.leaks for one in (baseline, *others) if one.leaks},
        "block_windows": block,
        "best": min(others, key=lambda one: _brier_of(rows, one.name)).name,
        "rows": rows,
    }


def _same_windows(one: Contestant, other: Contestant) -> None:
    if not one.predictions.is_of_windows_of(other.predictions):
        raise InvalidData(
            f"what is compared must be evaluated on the same windows, labels and classes, but {one.name} and "
            f"{other.name} are not ({len(one.predictions)} and {len(other.predictions)} windows). "
            "Train both on the same data and split."
        )


def _row(
    name: str, metric_name: str, metric: Metric, mine: Predictions, base: Predictions | None, weights: np.ndarray
) -> dict[str, Any]:
    """One metric of one contestant; nothing is compared where it does not exist, or its differences do not."""
    value = metric(mine, np.ones((1, len(mine))))[0]
    row: dict[str, Any] = {"name": name, "metric": metric_name, "value": None if np.isnan(value) else float(value)}
    row |= dict.fromkeys(("difference", "low", "high", "detectable", "p", "p_holm"))
    if base is None or np.isnan(value):
        return row
    theirs = metric(base, np.ones((1, len(base))))[0]
    tested = tested_difference(float(value - theirs), paired_differences(mine, base, metric, weights))
    return row if np.isnan(theirs) or tested["p"] is None else row | tested


def _brier_of(rows: list[dict[str, Any]], name: str) -> float:
    value = next(row["value"] for row in rows if row["name"] == name and row["metric"] == TESTED)
    return float("inf") if value is None else float(value)
