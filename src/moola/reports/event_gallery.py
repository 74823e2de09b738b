"""A picture of events beside the spans of a person: found, missed, false, and the most probable false ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib import pyplot as plt

from moola.core.bars import Bars
from moola.core.utc_times import utc_text
from moola.evaluation.event_figures import Example, chosen_examples
from moola.evaluation.span_metrics import JudgedEvents
from moola.reports.chart_axes import INK, MODEL, draw_bars
from moola.reports.png_charts import save_figure

matplotlib.use("Agg")
N_EACH, CONTEXT_BARS = 3, 30
SPAN = "#7a4fb5"


def event_gallery(path: Path, judged: JudgedEvents, bars: Bars, class_names: list[str]) -> None:
    """Draw a row a group, each panel the bars around one event or span; spans are shaded, events framed."""
    groups = [(title, rows) for title, rows in chosen_examples(judged, N_EACH).items() if rows]
    size = (4.6 * N_EACH, 2.7 * max(len(groups), 1))
    figure, axes = plt.subplots(max(len(groups), 1), N_EACH, figsize=size, squeeze=False, layout="constrained")
    for axis in axes.ravel():
        axis.set_axis_off()
    for row, (title, examples) in zip(axes, groups, strict=False):
        for axis, example in zip(row, examples, strict=False):
            _panel(axis, example, judged, bars)
            axis.set_title(f"{title}: {_words(example, judged, class_names)}", loc="left", fontsize=8)
    figure.supxlabel(
        "Shaded: a span that a person marked. Framed: an event. Right at IoU .5, whatever the class.", fontsize=8
    )
    save_figure(path, figure)


def _panel(axis: Any, example: Example, judged: JudgedEvents, bars: Bars) -> None:
    first, last = example.bar
    mine = np.flatnonzero(bars.symbol == bars.symbol[first])
    low, high = max(first - CONTEXT_BARS, int(mine[0])), min(last + CONTEXT_BARS, int(mine[-1]))
    axis.set_axis_on()
    draw_bars(axis, bars.ohlc[low : high + 1])
    for pieces, is_event in ((judged.spans, False), (judged.events, True)):
        near = np.flatnonzero((pieces.bar[:, 1] >= low) & (pieces.bar[:, 0] <= high))
        # Of the events around only the one that the panel is of, and what was found of a missed span, if anything.
        for row in near if not is_event else near[near == example.event]:
            edges = pieces.bar[row] - low + np.array([-0.5, 0.5])
            if is_event:
                axis.axvspan(*edges, fill=False, edgecolor=MODEL, linewidth=1.5)
            else:
                axis.axvspan(*edges, color=SPAN, alpha=0.2, linewidth=0, zorder=0)
    axis.set(xlim=(-0.5, high - low + 0.5), xticks=[0])
    axis.set_xticklabels([utc_text(int(bars.start_us[low]))[:16].replace("T", " ")], ha="left")
    axis.tick_params(labelsize=7, colors=INK)
    axis.spines[["top", "right"]].set_visible(False)


def _words(example: Example, judged: JudgedEvents, class_names: list[str]) -> str:
    if example.event is None:
        return class_names[judged.spans.label[example.span]]
    said = class_names[judged.events.label[example.event]]
    prob = judged.events.prob[example.event]
    true = "" if example.span is None else f", marked {class_names[judged.spans.label[example.span]]}"
    return f"{said} at {prob:.2f}{true}"
