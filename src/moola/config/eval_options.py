"""Options of `eval`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from moola.config.options import DEFAULT_SEED

ClassMetric = Literal[
    "pr_auc",
    "brier",
    "ece",
    "accuracy",
    "mcc",
    "f1_macro",
    "f1_per_class",
    "log_loss",
    "brier_skill",
    "brier_parts",
    "calibration",
]
EventMetric = Literal["hit_at_pm3", "lead_lag", "pointer_f1", "event_map", "expansion_iou"]


@dataclass(frozen=True, kw_only=True)
class EvalOptions:
    """Options of `eval`.

    Parameters
    ----------
    run
        Run id, or its folder under artifacts/runs.
    metrics
        Class metrics to show.
    event_metrics
        Pointer metrics to show.
    save_metrics
        JSON file for the figures; artifacts/metrics/<RUN_ID>.json when left out.
    save_reliability_plot
        PNG file for the reliability diagram.
    seed
        Seed of the bootstrap.
    """

    run: Path
    metrics: tuple[ClassMetric, ...] = get_args(ClassMetric)
    event_metrics: tuple[EventMetric, ...] = get_args(EventMetric)
    save_metrics: Path | None = None
    save_reliability_plot: Path | None = None
    seed: int = DEFAULT_SEED
