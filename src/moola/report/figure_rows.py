"""Figures as rows that a person reads: a name in words, value, interval, and what others reach."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from moola.report.charts import interval_strip

NAMES = {
    "pr_auc": "PR-AUC, mean of classes",
    "brier": "Brier",
    "ece": "ECE, 10 equal-width bins",
    "ece_equal_mass": "ECE, 5 equal-mass bins",
    "accuracy": "Accuracy",
    "f1_macro": "F1, mean of classes",
    "pointer_f1": "Pointer F1",
    "pointer_precision": "Pointer precision",
    "pointer_recall": "Pointer recall",
}
LOWER_IS_BETTER = ("brier", "ece")
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
    """Lay out every figure, with a column for the trivial predictor and one for each further reference."""
    return [_row(code, figure, references) for code, figure in figures.items()]


def _row(code: str, figure: Mapping[str, Any], references: Mapping[str, Mapping[str, float | None]]) -> FigureRow:
    known = [figure.get("trivial"), *(column.get(code) for column in references.values())]
    others = [shown(code, value) for value in known]
    name, better, value = figure_name(code), better_when(code), figure.get("value")
    if value is None:
        return FigureRow(name, code, better, "–", "", others, str(figure.get("reason") or "not known"), Markup())
    strip = Markup()
    if not code.startswith("lead_lag"):
        strip = interval_strip(value, figure.get("low"), figure.get("high"), [v for v in known if v is not None])
    return FigureRow(name, code, better, shown(code, value), interval_text(code, figure), others, "", strip)


def headlines(figures: Mapping[str, Mapping[str, Any]]) -> list[Headline]:
    """Pick the figures for the top of the page, those that exist."""
    found = []
    for code, name in HEADLINES.items():
        figure = figures.get(code)
        if figure is not None and figure.get("value") is not None:
            texts = shown(code, figure["value"]), interval_text(code, figure), shown(code, figure.get("trivial"))
            found.append(Headline(name, better_when(code), *texts))
    return found


def better_when(code: str) -> str:
    """Say whether `higher` or `lower` is better; empty for lead and lag, which are best near 0."""
    if code.startswith("lead_lag"):
        return ""
    return "lower" if code.startswith(LOWER_IS_BETTER) else "higher"


def shown(code: str, value: float | None) -> str:
    """Write a figure: whole bars with a sign for lead and lag, three decimals for everything else."""
    if value is None:
        return "–"
    return f"{value:+.0f}" if code.startswith("lead_lag") else f"{value:.3f}"


def interval_text(code: str, figure: Mapping[str, Any]) -> str:
    """Write a 95 % interval, or a dash where there is none."""
    low, high = figure.get("low"), figure.get("high")
    return "–" if low is None or high is None else f"{shown(code, low)} to {shown(code, high)}"


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
    for prefix, name in (("pr_auc_", "PR-AUC of"), ("f1_", "F1 of")):
        if code.startswith(prefix):
            return f"{name} {code.removeprefix(prefix)}"
    return code
