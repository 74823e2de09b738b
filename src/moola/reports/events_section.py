"""Events on a page: figures, curves, what changes with the threshold, and charts of found, missed and false ones."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from moola.core.bars import Bars, minute_text, utc_text
from moola.evaluation.class_metrics import PrecisionRecall
from moola.evaluation.event_figures import Example, chosen_examples
from moola.evaluation.span_metrics import JudgedEvents, event_curve
from moola.reports import svg_charts
from moola.reports.chart_axes import INK, MODEL, draw_bars
from moola.reports.contents import EventsShown, ShownTable
from moola.reports.figure_rows import figure_interval, shown
from moola.reports.gallery import Card, Group
from moola.reports.png_charts import new_figure, save_figure
from moola.reports.svg_charts import Key, Picture

N_EACH, CONTEXT_BARS = 6, 30
REASONS = {
    "Found": "The most probable events that are right.",
    "Missed": "Spans without an event, spread over the time.",
    "False": "Events that no span answers, of the middle probability.",
    "Most probable false": "Events that no span answers and that the model is surest of: mistakes, or spans that were "
    "not marked.",
}


@dataclass(frozen=True)
class EventsSection:
    """What the template shows of events."""

    summary: str
    notes: list[str]
    pictures: list[Picture]
    tables: list[ShownTable]
    groups: list[Group]


def events_section(shown: EventsShown) -> EventsSection:
    """Lay out the events of a scan beside the spans of a person."""
    result = shown.result
    summary = (
        f"{result['n_events']} events against {result['n_spans']} spans on {result['n_bars']:,} bars, "
        f"{result['stretches_from'][:10]} to {result['stretches_to'][:10]}. An event is right where it overlaps a span "
        "by half of the bars in either (IoU .5); each span is found once, the most probable event first."
    )
    notes = [] if not result["stretches_assumed"] else ["Assumed: a person looked at all bars between first and last."]
    examples = chosen_examples(shown.judged, N_EACH)
    groups = [
        Group(title, REASONS[title], [_card(example, shown) for example in of_group])
        for title, of_group in examples.items()
        if of_group
    ]
    return EventsSection(summary, notes, _pictures(shown), [_figures(result), _thresholds(result)], groups)


def _pictures(shown: EventsShown) -> list[Picture]:
    result, pictures = shown.result, []
    curves, keys = {}, []
    for number, (name, with_class) in enumerate((("with class", True), ("without class", False))):
        curve = event_curve(shown.judged, with_class)
        if len(curve.recall):
            curves[name] = PrecisionRecall(curve.recall, curve.precision, 0.0)
            keys.append(Key(f"c{number}", f"{name}: average precision {curves[name].area:.3f}"))
    if curves:
        caption = "Precision and recall of events as the threshold falls; missed spans keep recall below 1."
        pictures.append(
            Picture("Events: precision and recall", svg_charts.precision_recall_chart(curves), caption, keys)
        )
    if result["reliability"]:
        chart = svg_charts.reliability_chart(
            result["reliability"], ("share of events that are right", "event_prob", "events")
        )
        keys = [Key("model", "events"), Key("reference", "perfect calibration"), Key("band", "95 % if perfect")]
        caption = "Whatever the class. Each dot is a bin of events."
        if result["perfect_ece"]:
            low, high = result["perfect_ece"]
            ece = result["figures"]["event_ece"]["value"]
            caption += f" ECE {ece:.3f}; perfectly calibrated, it would be {low:.3f} to {high:.3f} here."
        pictures.append(Picture("Events: reliability", chart, caption, keys))
    return pictures


def _figures(result: dict[str, Any]) -> ShownTable:
    rows = []
    for name, figure in result["figures"].items():
        value, random, moves = (shown(name, figure[key]) for key in ("value", "random", "moves"))
        rows.append([name, figure["reason"] or value, figure_interval(name, figure), random, moves])
    note = (
        "Random: events of the same lengths at random places. Strongest moves: of the spans' lengths, ranked. "
        f"Precision, recall and false alarms are at event_prob {result['min_prob']:g} or more."
    )
    header = ("figure", "value", "95 % interval", "random", "strongest moves")
    return ShownTable("Events against spans", header, rows, note)


def _thresholds(result: dict[str, Any]) -> ShownTable:
    rows = [
        [f"{row['threshold']:.1f}", str(row["n_events"])]
        + [shown(name, row[name]) for name in ("precision", "recall", "alarms_per_1000")]
        for row in result["by_threshold"]
    ]
    header = ("least event_prob", "events", "precision", "recall", "false per 1,000 bars")
    return ShownTable("What changes with the threshold", header, rows)


def _card(example: Example, shown: EventsShown) -> Card:
    judged, bars = shown.judged, shown.bars
    first, last = example.bar
    low, high = _around(bars, example)
    span = (-1, -1) if example.span is None else _local(judged.spans.bar[example.span], low)
    event = (-1, -1) if example.event is None else _local(judged.events.bar[example.event], low)
    ohlc = bars.ohlc[low : high + 1] if shown.has_prices else None
    picture = svg_charts.WindowPicture(ohlc, None, span, event, high - low + 1, has_zones=False)
    lines = []
    if example.event is not None:
        predicted = shown.class_names[judged.events.label[example.event]]
        lines.append(f"event: {predicted}, event_prob {judged.events.prob[example.event]:.2f}")
    if example.span is not None:
        lines.append(f"span: {shown.class_names[judged.spans.label[example.span]]}")
    name = f"{bars.symbol[first]} " if bars.symbol[first] else ""
    when = f"{minute_text(int(bars.start_us[first]))} to {minute_text(int(bars.start_us[last]))} UTC"
    label = f"Bars around {name}{when}: {'; '.join(lines)}."
    return Card(f"{name}bars {first} to {last}", when, svg_charts.window_chart(picture, label), lines, None)


def _around(bars: Bars, example: Example) -> tuple[int, int]:
    """Return the first and the last bar to draw of an example's symbol."""
    first, last = example.bar
    mine = np.flatnonzero(bars.symbol == bars.symbol[first])
    return max(first - CONTEXT_BARS, int(mine[0])), min(last + CONTEXT_BARS, int(mine[-1]))


def _local(bar: np.ndarray, low: int) -> tuple[int, int]:
    return int(bar[0]) - low, int(bar[1]) - low


N_PICTURES = 3
SPAN = "#7a4fb5"


def event_gallery(path: Path, judged: JudgedEvents, bars: Bars, class_names: list[str]) -> None:
    """Draw a row a group, each panel the bars around one event or span; spans are shaded, events framed."""
    groups = [(title, rows) for title, rows in chosen_examples(judged, N_PICTURES).items() if rows]
    size = (4.6 * N_PICTURES, 2.7 * max(len(groups), 1))
    figure, axes = new_figure(max(len(groups), 1), N_PICTURES, figsize=size, squeeze=False)
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
    low, high = _around(bars, example)
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
    predicted = class_names[judged.events.label[example.event]]
    prob = judged.events.prob[example.event]
    true = "" if example.span is None else f", marked {class_names[judged.spans.label[example.span]]}"
    return f"{predicted} at {prob:.2f}{true}"
