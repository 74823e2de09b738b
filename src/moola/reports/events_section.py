"""The part of a page about events on a chart: figures, curves, what changes with the threshold, and pieces of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from moola.core.utc_times import minute_text
from moola.evaluation.class_metrics import PrecisionRecall
from moola.evaluation.event_figures import Example, chosen_examples
from moola.evaluation.span_metrics import event_curve
from moola.reports import svg_charts
from moola.reports.contents import EventsShown, ShownTable
from moola.reports.gallery import Card, Group
from moola.reports.pictures import Key, Picture

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
        interval = "–" if figure["low"] is None else f"{_number(figure['low'])} to {_number(figure['high'])}"
        value = figure["reason"] if figure["value"] is None else _number(figure["value"])
        rows.append([name, value, interval, _number(figure["random"]), _number(figure["moves"])])
    note = (
        "Random: events of the same lengths at random places. Strongest moves: of the spans' lengths, ranked. "
        f"Precision, recall and false alarms are at event_prob {result['min_prob']:g} or more."
    )
    header = ("figure", "value", "95 % interval", "random", "strongest moves")
    return ShownTable("Events against spans", header, rows, note)


def _thresholds(result: dict[str, Any]) -> ShownTable:
    rows = [
        [f"{row['threshold']:.1f}", str(row["n_events"])]
        + [_number(row[name]) for name in ("precision", "recall", "alarms_per_1000")]
        for row in result["by_threshold"]
    ]
    header = ("least event_prob", "events", "precision", "recall", "false per 1,000 bars")
    return ShownTable("What changes with the threshold", header, rows)


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _card(example: Example, shown: EventsShown) -> Card:
    judged, bars = shown.judged, shown.bars
    first, last = example.bar
    mine = np.flatnonzero(bars.symbol == bars.symbol[first])
    low, high = max(first - CONTEXT_BARS, int(mine[0])), min(last + CONTEXT_BARS, int(mine[-1]))
    span = (-1, -1) if example.span is None else _local(judged.spans.bar[example.span], low)
    event = (-1, -1) if example.event is None else _local(judged.events.bar[example.event], low)
    ohlc = bars.ohlc[low : high + 1] if shown.has_prices else None
    picture = svg_charts.WindowPicture(ohlc, None, span, event, high - low + 1, has_zones=False)
    lines = []
    if example.event is not None:
        said = shown.class_names[judged.events.label[example.event]]
        lines.append(f"event: {said}, event_prob {judged.events.prob[example.event]:.2f}")
    if example.span is not None:
        lines.append(f"span: {shown.class_names[judged.spans.label[example.span]]}")
    name = f"{bars.symbol[first]} " if bars.symbol[first] else ""
    when = f"{minute_text(int(bars.start_us[first]))} to {minute_text(int(bars.start_us[last]))} UTC"
    label = f"Bars around {name}{when}: {'; '.join(lines)}."
    return Card(f"{name}bars {first} to {last}", when, svg_charts.window_chart(picture, label), lines, None)


def _local(bar: np.ndarray, low: int) -> tuple[int, int]:
    return int(bar[0]) - low, int(bar[1]) - low
