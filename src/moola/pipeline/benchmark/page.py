"""A benchmark's result as tables: rows of text for a terminal, and a markdown page."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from moola.pipeline.benchmark.figures import FIGURES

HEADS = {
    "pr_auc": "PR-AUC",
    "brier": "Brier",
    "ece": "ECE",
    "accuracy": "accuracy",
    "log_loss": "log-loss",
    "hit_at_pm3_start": "hit@3 start",
    "hit_at_pm3_end": "hit@3 end",
    "hit_at_pm3_both": "hit@3 both",
}
LEADING_ZERO = re.compile(r"^([+-]?)0\.")
Rows = tuple[list[str], list[list[str]]]


def pr_auc_head(result: Mapping[str, Any]) -> str:
    """Name the class that PR-AUC is of."""
    return f"PR-AUC of {result['positive']}" if result["positive"] else "PR-AUC, mean of classes"


def standing_rows(result: Mapping[str, Any]) -> Rows:
    """Return header and rows of the models: mean +- standard deviation over draws, mean seconds."""
    header = ["model", *(HEADS[name] for name in FIGURES), "fit s", "predict s"]
    rows = [
        [
            row["name"],
            *(_spread(row["figures"][name]) for name in FIGURES),
            *(_seconds(row[key]["mean"]) for key in ("fit_s", "predict_s")),
        ]
        for row in result["models"]
    ]
    return header, rows


def difference_rows(result: Mapping[str, Any]) -> Rows:
    """Return header and rows of the paired differences: mean +- standard deviation, better in how many draws."""
    header = ["model less", *(HEADS[name] for name in FIGURES)]
    rows = []
    for row in result["differences"]:
        cells = [_difference(row["figures"][name]) for name in FIGURES]
        rows.append([f"{row['name']} - {row['against']}", *cells])
    return header, rows


def _number(value: float | None, sign: str = "") -> str:
    return "-" if value is None else LEADING_ZERO.sub(r"\1.", f"{value:{sign}.3f}")


def _spread(cell: Mapping[str, float | None], sign: str = "") -> str:
    if cell["mean"] is None:
        return "-"
    return _number(cell["mean"], sign) + ("" if cell["std"] is None else f" +- {_number(cell['std'])}")


def _difference(cell: Mapping[str, Any]) -> str:
    return "-" if cell["mean"] is None else f"{_spread(cell, '+')} ({cell['better']}/{cell['n_draws']})"


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def introduction(result: Mapping[str, Any]) -> str:
    """Say what was learned from and judged on."""
    draws = result["draws"]
    n_train, n_judged = (_range([draw[key] for draw in draws]) for key in ("n_train", "n_judged"))
    whose = "test windows" if result["judge"] == "test" else "windows of the other draws"
    seeds = result["seeds"]
    many = f"{len(draws)} draw{'s' if len(draws) > 1 else ''} of {n_train} labels"
    return f"{many}, judged on {n_judged} {whose}, seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}"


def _range(counts: list[int]) -> str:
    low, high = min(counts), max(counts)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def notes(result: Mapping[str, Any]) -> list[str]:
    """Say what a reader must know of these figures."""
    said = [f"Mean +- standard deviation over draws of the mean over seeds; {pr_auc_head(result)}."]
    if result["labelled_by"]:
        said.append(f"Labels by {', '.join(result['labelled_by'])}.")
    if result["bars_before"]:
        said.append(
            f"Encoders saw bars before {result['bars_before']} and none after; among them those of the draws' own "
            "windows, without their labels."
        )
    pretrained = {row["model"]: row["pretrain_s"] for row in result["models"] if row["pretrain_s"] is not None}
    if pretrained:
        said.append(
            "Seconds an encoder: " + ", ".join(f"{name} {value:.0f}" for name, value in pretrained.items()) + "."
        )
    return said + [f"NOT LEAK-PROOF: {leak}." for leak in result["leaks"]]


def markdown(result: Mapping[str, Any], title: str = "# Benchmark") -> str:
    """Return the page: what was done, the models, the differences."""
    parts = [title, "", f"{introduction(result)}.", "", *_table(*standing_rows(result))]
    if result["differences"]:
        parts += ["", "Paired differences, and in how many draws the model is better:", ""]
        parts += _table(*difference_rows(result))
    return "\n".join([*parts, "", *notes(result), ""])


def _table(header: list[str], rows: list[list[str]]) -> list[str]:
    lines = [header, ["---"] * len(header), *rows]
    return [f"| {' | '.join(line)} |" for line in lines]
