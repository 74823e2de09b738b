"""Figures of evaluation: reliability, comparisons, label curves."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

from matplotlib import pyplot as plt

from moola.evaluation.figures import Evaluation
from moola.files import write_atomic

INK, MODEL, BAND = "#444444", "#1f6f8b", "#d9e4ea"


def save_figure(path: Path, figure: Any) -> None:
    """Write a figure as PNG, atomically, same bytes each time."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120, metadata={"Software": None})
    plt.close(figure)
    write_atomic(path, buffer.getvalue())


def reliability_plot(path: Path, evaluation: Evaluation, title: str, note: str) -> None:
    """Draw accuracy against confidence, with counts, diagonal and the band of a perfect model."""
    bins = evaluation.reliability
    figure, (top, below) = plt.subplots(
        2, 1, figsize=(5.6, 6.6), height_ratios=(3, 1), sharex=True, layout="constrained"
    )
    centres = [(row["bin"] + 0.5) / 10 for row in bins]
    low = [row["perfect_low"] for row in bins]
    high = [row["perfect_high"] for row in bins]
    spans = [top_ - bottom for top_, bottom in zip(high, low, strict=True)]
    top.bar(centres, spans, bottom=low, width=0.1, color=BAND, edgecolor="white", label="95 % of a perfect model")
    top.plot([0, 1], [0, 1], color=INK, linewidth=1, linestyle="--", label="perfect calibration")
    confidence = [row["confidence"] for row in bins]
    accuracy = [row["accuracy"] for row in bins]
    top.plot(confidence, accuracy, color=MODEL, marker="o", linewidth=1.5, label="this run")
    top.set(ylabel="share of windows predicted right", ylim=(0, 1.02), title=title)
    top.legend(loc="upper left", frameon=False, fontsize=9)
    counts = [row["n"] for row in bins]
    bars = below.bar(centres, counts, width=0.09, color=MODEL)
    below.bar_label(bars, fontsize=8)
    below.set(xlabel="confidence of the predicted class", ylabel="windows", xlim=(0, 1))
    below.margins(y=0.25)
    figure.supxlabel(note, fontsize=8, color=INK)
    for axis in (top, below):
        axis.spines[["top", "right"]].set_visible(False)
    save_figure(path, figure)


def comparison_plot(path: Path, result: dict[str, Any]) -> None:
    """Draw each contestant's paired difference from the baseline with its 95 % interval, a panel a metric."""
    rows = [row for row in result["rows"] if row["difference"] is not None]
    metrics = list(dict.fromkeys(row["metric"] for row in rows))
    names = list(dict.fromkeys(row["name"] for row in rows))
    height = 1.2 + 0.4 * len(names)
    figure, axes = plt.subplots(
        1, len(metrics), figsize=(3.0 * len(metrics), height), sharey=True, layout="constrained"
    )
    for axis, metric in zip(axes if len(metrics) > 1 else [axes], metrics, strict=True):
        for place, name in enumerate(names):
            row = next((one for one in rows if one["name"] == name and one["metric"] == metric), None)
            if row is not None:
                axis.plot([row["low"], row["high"]], [place, place], color=MODEL, linewidth=2)
                axis.plot([row["difference"]], [place], color=MODEL, marker="o")
        axis.axvline(0, color=INK, linewidth=1, linestyle="--")
        axis.set(title=metric, yticks=range(len(names)), yticklabels=names)
        axis.spines[["top", "right"]].set_visible(False)
    figure.suptitle(f"Difference from {result['baseline']}, {result['n_windows']} windows", fontsize=9)
    save_figure(path, figure)


def label_curve_plot(path: Path, result: dict[str, Any]) -> None:
    """Draw PR-AUC and Brier over the number of training windows, with the spread of seeds and the references."""
    rows = result["label_efficiency"]
    figure, axes = plt.subplots(1, 2, figsize=(8.4, 3.6), layout="constrained")
    for axis, name in zip(axes, ("pr_auc", "brier"), strict=True):
        n_windows = [row["n_train_windows"] for row in rows]
        spread = [row[f"{name}_seed_std"] or 0.0 for row in rows]
        axis.errorbar(n_windows, [row[name] for row in rows], yerr=spread, color=MODEL, marker="o", capsize=3)
        for reference, style in zip(result["references"], (":", "--", "-."), strict=False):
            value = result["references"][reference][name]
            if value is not None:
                axis.axhline(value, color=INK, linewidth=1, linestyle=style, label=f"{reference}, all labels")
        axis.set(xlabel="training windows a fold (mean)", title=name)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].legend(frameon=False, fontsize=8)
    by = ", ".join(result["labelled_by"]) or "not said"
    figure.supxlabel(
        f"{result['n_pooled']} windows out of fold; bars: standard deviation of seeds; labels by {by}", fontsize=8
    )
    save_figure(path, figure)
