"""Figures as rows that a person reads: a name in words, value, interval, and what others reach."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from moola.evaluation.figures import interval_text, value_text
from moola.reports.svg_charts import interval_strip

NAMES = {
    "pr_auc": "PR-AUC, mean of classes",
    "ece": "ECE, 10 equal-width bins",
    "ece_equal_mass": "ECE, 5 equal-mass bins",
    "mcc": "Matthews correlation",
    "f1_macro": "F1, mean of classes",
    "pointer_f1": "Pointer F1",
    "pointer_precision": "Pointer precision",
    "pointer_recall": "Pointer recall",
    "ece_debiased": "Calibration error, debiased (root mean square)",
    "log_loss": "Log-loss",
    "brier_skill": "Brier skill over the class share",
    "brier_reliability": "Brier: reliability",
    "brier_resolution": "Brier: resolution",
    "brier_uncertainty": "Brier: uncertainty of the labels",
    "brier_within_bin": "Brier: within bins",
    "calibration_slope": "Calibration slope (best 1)",
    "calibration_intercept": "Calibration intercept (best 0)",
    "event_map": "Events: mean average precision",
    "expansion_iou": "Overlap of true and predicted expansion (IoU)",
}
LOWER_IS_BETTER = ("brier", "ece", "ece_equal_mass", "ece_debiased", "log_loss", "brier_reliability")
# Neither way is better: quantities that are best near a value, or that the labels alone decide.
NO_DIRECTION = ("lead_lag", "calibration", "brier_uncertainty", "brier_within_bin")
HEADLINES = {"pr_auc": "PR-AUC", "brier": "Brier", "ece": "ECE", "hit_at_pm3_both": "Both pointers within ±3 bars"}
QUANTILES = {"q25": "lower quartile", "median": "median", "q75": "upper quartile"}


@dataclass(frozen=True)
class FigureRow:
    """One figure as text; a figure that does not exist has a reason in place of its values."""

    name: str
    code: str
    better: str
    value: str
    interval: str
    others: list[str]
    reason: str
    strip: Markup


@dataclass(frozen=True)
class Headline:
    """One of the few figures on top."""

    name: str
    better: str
    value: str
    interval: str
    trivial: str


def figure_rows(
    figures: Mapping[str, Mapping[str, Any]], references: Mapping[str, Mapping[str, float | None]]
) -> list[FigureRow]:
    """Lay out every figure, with a column for the uninformed baseline and one for each further reference."""
    return [_row(code, figure, references) for code, figure in figures.items()]


def _row(code: str, figure: Mapping[str, Any], references: Mapping[str, Mapping[str, float | None]]) -> FigureRow:
    known = [figure.get("trivial"), *(column.get(code) for column in references.values())]
    others = [shown(code, value) for value in known]
    name, better, value = figure_name(code), better_when(code), figure.get("value")
    if value is None:
        return FigureRow(name, code, better, "–", "", others, str(figure.get("reason") or "not known"), Markup())
    strip = Markup()
    # A strip runs from 0 to 1: only shares and errors of that range are on one scale.
    if better and code not in ("log_loss", "brier_skill"):
        strip = interval_strip(value, figure.get("low"), figure.get("high"), [v for v in known if v is not None])
    return FigureRow(name, code, better, shown(code, value), figure_interval(code, figure), others, "", strip)


def headlines(figures: Mapping[str, Mapping[str, Any]]) -> list[Headline]:
    """Pick the figures for the top of the page, those that exist."""
    found = []
    for code, name in HEADLINES.items():
        figure = figures.get(code)
        if figure is not None and figure.get("value") is not None:
            texts = shown(code, figure["value"]), figure_interval(code, figure), shown(code, figure.get("trivial"))
            found.append(Headline(name, better_when(code), *texts))
    return found


def better_when(code: str) -> str:
    """Return whether `higher` or `lower` is better; empty for what has no better direction."""
    if code.startswith(NO_DIRECTION):
        return ""
    return "lower" if code in LOWER_IS_BETTER else "higher"


def shown(code: str, value: float | None) -> str:
    """Write a figure, with a long dash where there is none."""
    return value_text(code, value, "–")


def figure_interval(code: str, figure: Mapping[str, Any]) -> str:
    """Write a figure's 95 % interval, with a long dash where there is none."""
    return interval_text(code, figure.get("low"), figure.get("high"), missing="–")


def figure_name(code: str) -> str:
    """Name a figure in words."""
    if code in NAMES:
        return NAMES[code]
    if code.startswith("hit_at_pm"):
        bars, which = code.removeprefix("hit_at_pm").split("_", 1)
        return f"{which.capitalize()} within ±{bars} bar{'s' if bars != '1' else ''}"
    if code.startswith("lead_lag_"):
        end, quantile = code.removeprefix("lead_lag_").rsplit("_", 1)
        return f"{end.capitalize()}, {QUANTILES.get(quantile, quantile)} of bars early (−) or late (+)"
    if code.startswith("event_ap_pm"):
        return f"Events: average precision within ±{code.removeprefix('event_ap_pm')} bars"
    for prefix, name in (("pr_auc_", "PR-AUC of"), ("f1_", "F1 of")):
        if code.startswith(prefix):
            return f"{name} {code.removeprefix(prefix)}"
    return code.replace("_", " ").capitalize()
