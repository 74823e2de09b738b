"""Charts as PNG: figures of evaluation, synthetic windows beside their parents, events of a scan."""

from __future__ import annotations

import io
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from moola.augment import Window
from moola.core.expansions import ENDS, class_text
from moola.files import write_atomic
from moola.reports.chart_axes import (
    DOWN,
    EXPANSION,
    INK,
    MODEL,
    draw_bars,
    draw_reliability,
    frame_times,
    frame_window,
    plain_frame,
    price_labels,
    shade,
)
from moola.scan.scanning import EventPicture


def new_figure(n_rows: int, n_columns: int, figsize: tuple[float, float], **how: Any) -> tuple[Figure, Any]:
    """Return a figure in inches and its axes as `Figure.subplots` lays them out.

    What draws is chosen by nobody here: that choice is one for the whole process, a notebook too.
    """
    figure = Figure(figsize=figsize, layout="constrained")
    return figure, figure.subplots(n_rows, n_columns, **how)


def save_figure(path: Path, figure: Figure) -> None:
    """Write a figure as PNG, atomically, same bytes each time."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120, metadata={"Software": None})
    write_atomic(path, buffer.getvalue())


def reliability_plot(
    path: Path,
    bins: list[dict[str, float | int]],
    title: str,
    note: str,
    words: tuple[str, str, str] = ("windows predicted right", "confidence of the predicted class", "windows"),
) -> None:
    """Draw accuracy against confidence, with counts, diagonal and the band of a perfect model.

    `words` name what is right, the confidence, and what is counted.
    """
    figure, (top, below) = new_figure(2, 1, figsize=(5.6, 6.6), height_ratios=(3, 1), sharex=True)
    draw_reliability(top, bins)
    top.set(ylabel=f"share of {words[0]}", title=title)
    centres = [(row["bin"] + 0.5) / 10 for row in bins]
    counts = [row["n"] for row in bins]
    bars = below.bar(centres, counts, width=0.09, color=MODEL)
    below.bar_label(bars, fontsize=8)
    below.set(xlabel=words[1], ylabel=words[2], xlim=(0, 1))
    below.margins(y=0.25)
    figure.supxlabel(note, fontsize=8, color=INK)
    plain_frame(top, below)
    save_figure(path, figure)


def event_curve_plot(path: Path, result: dict[str, Any]) -> None:
    """Draw precision by recall and false alarms by recall of events, with and without their class."""
    figure, (left, right) = new_figure(1, 2, figsize=(9.0, 3.9))
    for name, style in (("with_class", "-"), ("without_class", ":")):
        curve = result["curve"][name]
        label = name.replace("_", " ")
        left.plot(curve["recall"], curve["precision"], color=MODEL, linestyle=style, label=label)
        right.plot(curve["recall"], curve["alarms"], color=MODEL, linestyle=style, label=label)
    right.axhline(1, color=INK, linewidth=1, linestyle="--", label="1 false alarm")
    left.set(xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1.02))
    right.set(xlabel="recall", ylabel="false alarms per 1,000 bars", xlim=(0, 1), ylim=(0, None))
    for axis in (left, right):
        axis.spines[["top", "right"]].set_visible(False)
        axis.legend(frameon=False, fontsize=8)
    figure.supxlabel(
        f"{result['n_events']} events, {result['n_spans']} spans, {result['n_bars']:,} bars; right at IoU .5",
        fontsize=8,
    )
    save_figure(path, figure)


def comparison_plot(path: Path, result: dict[str, Any], judged_on: str) -> None:
    """Draw each contestant's paired difference from the baseline with its 95 % interval, a panel a metric."""
    rows = [row for row in result["rows"] if row["difference"] is not None]
    metrics = list(dict.fromkeys(row["metric"] for row in rows))
    names = list(dict.fromkeys(row["name"] for row in rows))
    height = 1.2 + 0.4 * len(names)
    figure, axes = new_figure(1, len(metrics), figsize=(3.0 * len(metrics), height), sharey=True)
    for axis, metric in zip(axes if len(metrics) > 1 else [axes], metrics, strict=True):
        for place, name in enumerate(names):
            row = next((one for one in rows if one["name"] == name and one["metric"] == metric), None)
            if row is not None:
                axis.plot([row["low"], row["high"]], [place, place], color=MODEL, linewidth=2)
                axis.plot([row["difference"]], [place], color=MODEL, marker="o")
        axis.axvline(0, color=INK, linewidth=1, linestyle="--")
        axis.set(title=metric, yticks=range(len(names)), yticklabels=names)
        plain_frame(axis)
    figure.suptitle(f"Difference from {result['baseline']}, {judged_on}", fontsize=9)
    save_figure(path, figure)


def label_curve_plot(path: Path, result: dict[str, Any]) -> None:
    """Draw PR-AUC and Brier over the number of training windows, with the spread of seeds and the references."""
    rows = result["label_efficiency"]
    figure, axes = new_figure(1, 2, figsize=(8.4, 3.6))
    for axis, name in zip(axes, ("pr_auc", "brier"), strict=True):
        n_windows = [row["n_train_windows"] for row in rows]
        spread = [row[f"{name}_seed_std"] or 0.0 for row in rows]
        axis.errorbar(n_windows, [row[name] for row in rows], yerr=spread, color=MODEL, marker="o", capsize=3)
        for reference, style in zip(result["references"], (":", "--", "-."), strict=False):
            value = result["references"][reference][name]
            if value is not None:
                axis.axhline(value, color=INK, linewidth=1, linestyle=style, label=f"{reference}, all labels")
        axis.set(xlabel="training windows per fold (mean)", title=name)
        plain_frame(axis)
    axes[0].legend(frameon=False, fontsize=8)
    by = ", ".join(result["labelled_by"]) or "unknown"
    figure.supxlabel(
        f"{result['n_pooled']} windows out of fold; bars: standard deviation of seeds; labels by {by}", fontsize=8
    )
    save_figure(path, figure)


# Synthetic windows as bars: made windows beside their parents.


PANEL_INCHES = (8.0, 2.7)


def made_windows_plot(path: Path, pairs: list[tuple[Window, Window]], title: str) -> None:
    """Draw each parent on the left and what was made of it on the right, a row per pair.

    The expansion is shaded and named with its bars; on the right, dashed lines are where the parent's
    began and ended, and a line above marks a context that came from another window. Both panels of a row
    have bars of the same height for the same return.
    """
    width, height = PANEL_INCHES
    size = (2 * width, height * len(pairs) + 0.7)
    figure, axes = new_figure(len(pairs), 2, figsize=size, squeeze=False)
    for row, (parent, made) in zip(axes, pairs, strict=True):
        percent = _half_range(parent), _half_range(made)
        for axis, window, origin in zip(row, (parent, made), (None, parent), strict=True):
            draw_bars(axis, window.ohlc)
            _pointers(axis, window, origin)
            _scale(axis, window, max(percent))
        if "transplant" in _chain_of(parent, made):
            _foreign(row[1], made)
        row[0].set_title(f"parent {parent.window_id}: {_window_title(parent)}", loc="left", fontsize=10)
        row[1].set_title(
            f"{_chain_of(parent, made)}: {_window_title(made)}", loc="left", fontsize=10, fontweight="bold"
        )
    for axis in axes[-1]:
        axis.set_xlabel("bar of the window")
    figure.suptitle(title, x=0.01, ha="left", fontsize=12)
    save_figure(path, figure)


def _pointers(axis: Any, window: Window, origin: Window | None) -> None:
    frame_window(axis, len(window))
    if window.has_pointers:
        shade(axis, window.start_bar, window.end_bar, 0.25)
    if origin is not None and origin.has_pointers:
        for place in (origin.start_bar - 0.5, origin.end_bar + 0.5):
            axis.axvline(place, color=EXPANSION, linewidth=1, linestyle=(0, (4, 3)))


def _foreign(axis: Any, made: Window) -> None:
    """Mark the bars before the prior state, which a transplant took from elsewhere."""
    join = made.start_bar - made.prior_bars
    axis.plot([-0.5, join - 0.5], [0.97, 0.97], color=INK, linewidth=3, transform=axis.get_xaxis_transform())
    axis.text(
        join + 0.5,
        0.97,
        "from another window",
        fontsize=8,
        color=INK,
        va="center",
        transform=axis.get_xaxis_transform(),
    )


def _half_range(window: Window) -> float:
    """Half of the window's price range, as a log return."""
    return float(np.log(window.ohlc[:, 1].max() / window.ohlc[:, 2].min())) / 2


def _scale(axis: Any, window: Window, half_range: float) -> None:
    """Show the same returns in the same height, with the prices of the window itself at the side."""
    middle = float(np.sqrt(window.ohlc[:, 1].max() * window.ohlc[:, 2].min()))
    room = max(half_range, 1e-9) * 1.06
    axis.set(yscale="log", ylim=(middle * np.exp(-room), middle * np.exp(room)))
    axis.yaxis.set_major_locator(MaxNLocator(nbins=4))
    axis.yaxis.set_minor_locator(MaxNLocator(nbins=1))
    axis.yaxis.set_major_formatter(FuncFormatter(lambda price, _place: f"{price:.5g}"))
    axis.yaxis.set_minor_formatter(FuncFormatter(lambda _price, _place: ""))
    axis.tick_params(labelsize=8, colors=INK)
    plain_frame(axis)


def _window_title(window: Window) -> str:
    if not window.has_pointers:
        return window.label
    move = np.log(window.ohlc[window.end_bar, 3] / window.ohlc[max(window.start_bar - 1, 0), 3])
    return (
        f"{class_text(window.label)}, bars {window.start_bar} to {window.end_bar} ({window.n_expansion_bars}), "
        f"move {100 * np.expm1(move):+.2f} %"
    )


def _chain_of(parent: Window, made: Window) -> str:
    chain = made.window_id.removeprefix(f"{parent.window_id}~").partition(".")[0]
    return chain.replace("+", ", then ")


# Events of a scan: bars with the event and its intervals, the merged curves below.


END_COLOURS = dict(zip(ENDS, (MODEL, DOWN), strict=True))


def event_plot(folder: Path, picture: EventPicture) -> Path:
    """Draw one event into `<folder>/<rank>_<symbol>_<time>.png` and return the path.

    The event is shaded; the brackets above the curves are the 80 % intervals of its pointers. Times are UTC.
    """
    figure, (top, below) = new_figure(2, 1, figsize=(9.0, 5.4), height_ratios=(3, 1), sharex=True)
    start, end = (int(bar) for bar in picture.bar)
    draw_bars(top, picture.ohlc)
    for axis in (top, below):
        shade(axis, start, end)
        axis.tick_params(labelsize=8, colors=INK)
    plain_frame(top, below)
    _curves(below, picture)
    top.set_title(_event_title(picture), loc="left", fontsize=10)
    top.set(ylabel="price")
    price_labels(top)
    frame_times(below, picture.start_us)
    path = folder / f"{picture.rank:04d}_{_plain(picture.symbol)}{_time(picture, start):%Y%m%dT%H%M}.png"
    save_figure(path, figure)
    return path


def _curves(axis: Any, picture: EventPicture) -> None:
    bars = np.arange(len(picture.curves))
    height = float(picture.curves.max()) * 1.25 or 1.0
    for i, (name, colour) in enumerate(END_COLOURS.items()):
        axis.plot(bars, picture.curves[:, i], color=colour, linewidth=1.4, label=name)
        place = height * (0.97 - 0.07 * i)
        axis.plot([picture.low[i] - 0.5, picture.high[i] + 0.5], [place, place], color=colour, linewidth=3)
    axis.set(ylim=(0, height), ylabel="share per bar", xlabel="bar's start, UTC")
    axis.legend(frameon=False, fontsize=8, loc="upper left")


def _event_title(picture: EventPicture) -> str:
    start, end = (_time(picture, int(bar)) for bar in picture.bar)
    name = f"{picture.symbol} " if picture.symbol else ""
    return (
        f"{name}{start:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M} UTC: {class_text(picture.predicted_label)} "
        f"{picture.class_prob:.2f}\n{picture.meaning} {picture.event_prob:.2f}, {picture.n_agree} of "
        f"{picture.n_saw} windows agree{', cut' if picture.cut else ''}"
    )


def _time(picture: EventPicture, bar: int) -> datetime:
    return datetime.fromtimestamp(int(picture.start_us[bar]) / 1e6, UTC)


def _plain(symbol: str) -> str:
    """Return a symbol as a part of a file name: a symbol may hold anything, a slash included."""
    plain = re.sub(r"[^A-Za-z0-9.-]", "-", symbol)[:40]
    return f"{plain}_" if plain else ""
