"""`eval`, `gate` and `compare` of events: what a scan found beside the spans that a person marked on the same bars."""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from moola.core.bars import Bars, utc_text
from moola.core.spans import ACCEPTED, CORRECTED, PlacedSpans, Spans, place_spans
from moola.errors import InvalidData, Problem, WrongUsage
from moola.evaluation.comparisons import correct_together, tested_difference
from moola.evaluation.event_figures import (
    AP_CLASS,
    curve_points,
    event_figures,
    event_metric_table,
    reliability,
    resampling_weights,
    threshold_rows,
)
from moola.evaluation.event_gate import judge_events
from moola.evaluation.span_metrics import (
    Chart,
    JudgedEvents,
    Pieces,
    by_person,
    judged_events,
    make_chart,
    span_agreement,
)
from moola.files import json_bytes, write_atomic
from moola.labels.label_positions import read_named_bars
from moola.labels.span_labels import requested_stretches
from moola.options.judging_options import EvalOptions, EventTruthOptions, GateOptions
from moola.options.study_options import CompareOptions
from moola.tables.event_table import HINDSIGHT, read_events
from moola.tables.frames import in_file, write_frame
from moola.tables.span_file import (
    DROPPING,
    SOURCE,
    SOURCES,
    Stretches,
    bars_looked_at,
    bars_of,
    read_spans,
    tell_moved,
)

log = logging.getLogger(__name__)
# Moments of a chart whose bars are not given; more of them mean that the times have no common distance.
MAX_MOMENTS = 20_000_000


@dataclass(frozen=True)
class TimedEvents:
    """Events of a table by time: `time_us` (events, 2) first and last bar's start, with class and probability."""

    symbol: np.ndarray
    time_us: np.ndarray
    label: np.ndarray
    prob: np.ndarray
    known_after: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.symbol)


def read_timed_events(path: Path) -> TimedEvents:
    """Read what is judged of the events of a scan.

    Raises
    ------
    InvalidData
        The table is not one of a scan, or a probability is not in [0, 1].
    """
    events = read_events(path)
    names = np.array([*events.class_names, ""], dtype=object)
    label = names[events.class_prob.argmax(axis=1)] if events.class_names else np.full(len(events), "", dtype=object)
    wrong = ~((events.event_prob >= 0) & (events.event_prob <= 1))
    if wrong.any():
        problem = Problem("event_prob must be in [0, 1]", int(wrong.sum()), int(wrong.argmax()))
        raise InvalidData.from_problems(path, in_file([problem], path), "Write it again with `moola scan`.")
    symbol = np.array(events.symbol, dtype=object)
    is_live = len(events) > 0 and bool((events.n_after != HINDSIGHT).all())
    known_after = events.n_after if is_live else None
    return TimedEvents(symbol, events.time_us.reshape(-1, 2), label, events.event_prob, known_after)


@dataclass(frozen=True)
class Truth:
    """Spans on their bars, and which bars were looked at, by anybody and by each person."""

    bars: Bars
    spans: Pieces
    inside: np.ndarray
    class_names: list[str]
    has_prices: bool
    record: dict[str, Any]
    annotator: np.ndarray
    looked: dict[str, np.ndarray]

    @property
    def people(self) -> dict[str, Pieces]:
        """Spans of each annotator whom the file names."""
        names = sorted({name for name in self.annotator.tolist() if name})
        return {name: self.spans.take(np.flatnonzero(self.annotator == name)) for name in names}


def read_truth(options: EventTruthOptions, tables: list[TimedEvents]) -> Truth:
    """Read spans, stretches and bars; events say which further classes there are, and where bars are when not given.

    Raises
    ------
    InvalidData
        A file breaks its contract, no bar lies in a stretch, or a span between the first and the last bar meets none.
    """
    path = options.truth_named()
    bars = _bars_without_gaps(tables) if options.bars is None else read_named_bars(options.bars, options.symbol)
    spans = read_spans(path, options, bars)
    if options.bars is None:
        bars = _bars_without_gaps(tables, spans)
    bars = bars_of(spans, bars)
    stretches, is_assumed = _stretches(options, spans, bars)
    inside = bars_looked_at(stretches, bars)
    placed = place_spans(spans, bars)
    proposed = _proposed(spans, placed, path) if options.without_proposals else np.zeros(0, dtype=np.int64)
    for row in proposed:
        inside[placed.first[row] : placed.last[row] + 1] = False
    if not inside.any():
        raise InvalidData(
            f"a stretch must hold bars, but none of {options.bars} lies between the first and the last span of {path}. "
            "Give the bars that were scanned."
        )
    _refuse_lost(spans, placed, path, options.drop_outside)
    met = np.flatnonzero(placed.met)
    if options.bars is not None:
        tell_moved(placed.take(met), bars)
    names = sorted({*spans.label.tolist(), *(name for table in tables for name in table.label.tolist())})
    bar = np.stack([placed.first[met], placed.last[met]], axis=1)
    record = {
        "truth": str(path),
        "stretches_assumed": is_assumed,
        "bars": None if options.bars is None else str(options.bars),
        "n_stretches": len(stretches),
        "stretches_from": utc_text(int(bars.start_us[inside].min())),
        "stretches_to": utc_text(int(bars.start_us[inside].max())),
        "truth_class_names": sorted(set(spans.label.tolist())),
        "annotators": [name for name in spans.annotators if name],
        "n_spans_given": len(spans),
        "n_proposals_left_out": len(proposed),
    }
    marked = Pieces(bar, _numbers(spans.label[met], names), np.ones(len(met)))
    looked = {name: bars_looked_at(stretches, bars, name) for name in spans.annotators if name}
    return Truth(bars, marked, inside, names, options.bars is not None, record, spans.annotator[met], looked)


def _proposed(spans: Spans, placed: PlacedSpans, path: Path) -> np.ndarray:
    """Return the rows of spans that a model proposed; the bars of each then count as not looked at."""
    if spans.source is None:
        raise InvalidData(
            f"--without-proposals must be told who proposed a span, but {path} has no column {SOURCE!r} of "
            f"{', '.join(SOURCES)}. Write the spans with `moola labels export --as spans`, or leave it out."
        )
    return np.flatnonzero(placed.met & np.isin(spans.source, [ACCEPTED, CORRECTED]))


def _numbers(labels: np.ndarray, names: list[str]) -> np.ndarray:
    known = {name: number for number, name in enumerate(names)}
    return np.array([known[label] for label in labels.tolist()], dtype=np.int64)


def _stretches(options: EventTruthOptions, spans: Spans, bars: Bars) -> tuple[Stretches, bool]:
    """Return the stretches that are named, else one a symbol from its first span to its last, which is assumed."""
    if options.stretches is not None or options.annotated:
        return requested_stretches(options.stretches, options.annotated, options, bars), False
    symbols = spans.symbols
    first = np.array([spans.start_us[spans.symbol == name].min() for name in symbols], dtype=np.int64)
    last = np.array([spans.end_us[spans.symbol == name].max() for name in symbols], dtype=np.int64)
    texts = [np.array(column, dtype=object) for column in (symbols, [""] * len(symbols))]
    return Stretches(first, last, *texts), True


def _refuse_lost(spans: Spans, placed: PlacedSpans, path: Path, drop_outside: bool) -> None:
    """Refuse spans that lie where the bars rest: any model would miss them. Those beyond the bars are reported."""
    lost = spans.problem("a span must meet a bar", ~placed.met & ~placed.outside)
    if lost and not drop_outside:
        raise InvalidData.from_problems(path, lost, f"Check --bars and --timezone; {DROPPING}")


def _bars_without_gaps(tables: list[TimedEvents], spans: Spans | None = None) -> Bars:
    """Return moments at the distance that all events share, as far as events and spans go; prices are none."""
    times = np.unique(np.concatenate([table.time_us.ravel() for table in tables]))
    step = int(np.gcd.reduce(np.diff(times))) if len(times) > 1 else 0
    first, last = (int(times[0]), int(times[-1])) if step else (0, 0)
    if step and spans is not None:
        first -= max(-(-(first - int(spans.start_us.min())) // step), 0) * step
        last = max(last, int(spans.end_us.max()))
    if not step or (last - first) // step > MAX_MOMENTS:
        raise InvalidData(
            "without --bars events must be a whole number of bars apart, but their common distance is "
            f"{step / 1e6:g} s. Give --bars, the bars that were scanned."
        )
    moments = np.arange(first, last + 1, step)
    symbols = sorted({name for table in tables for name in table.symbol.tolist()})
    of_bar = np.repeat(np.array(symbols, dtype=object), len(moments))
    return Bars(np.tile(moments, len(symbols)), np.ones((len(of_bar), 4)), of_bar)


def place_events(path: Path, events: TimedEvents, truth: Truth, chart: Chart) -> JudgedEvents:
    """Put events on the bars of the truth, and leave out what does not count.

    Raises
    ------
    InvalidData
        An event begins or ends at a time at which no bar begins: it is of other bars.
    """
    symbol = events.symbol
    if len(truth.bars.symbols) == 1 and set(symbol.tolist()) == {""}:
        symbol = np.full(len(symbol), truth.bars.symbols[0], dtype=object)
    bar = np.full((len(events), 2), -1, dtype=np.int64)
    outside = np.zeros(len(events), dtype=bool)
    for name in truth.bars.symbols:
        rows, mine = np.flatnonzero(truth.bars.symbol == name), np.flatnonzero(symbol == name)
        times = truth.bars.start_us[rows]
        at = np.searchsorted(times, events.time_us[mine]).clip(max=len(times) - 1)
        bar[mine] = np.where(times[at] == events.time_us[mine], rows[at], -1)
        outside[mine] = (events.time_us[mine, 0] < times[0]) | (events.time_us[mine, 1] > times[-1])
    wrong = (bar < 0).any(axis=1) & ~outside
    if wrong.any():
        row = int(wrong.argmax())
        detail = " to ".join(utc_text(time) for time in events.time_us[row].tolist())
        detail = f"found {detail}{f' of {symbol[row]}' if symbol[row] else ''}"
        problem = Problem("an event must begin and end with bars of --bars", int(wrong.sum()), row, detail)
        raise InvalidData.from_problems(path, in_file([problem], path), "Give the bars that were scanned.")
    rows = np.flatnonzero(~outside)
    known_after = None if events.known_after is None else events.known_after[rows]
    pieces = Pieces(bar[rows], _numbers(events.label[rows], truth.class_names), events.prob[rows], known_after)
    return judged_events(pieces, truth.spans, chart)


def _tables(paths: list[Path], options: EventTruthOptions) -> tuple[Truth, list[JudgedEvents], list[TimedEvents]]:
    """Read tables of events and put all of them on one chart."""
    given = [read_timed_events(path) for path in paths]
    truth = read_truth(options, given)
    known = {name: number for number, name in enumerate(truth.bars.symbols)}
    symbol = np.array([known[name] for name in truth.bars.symbol.tolist()], dtype=np.int64)
    chart = make_chart(truth.bars.start_us, symbol, truth.inside, truth.spans)
    for path, one in zip(paths, given, strict=True):
        if strange := sorted(set(one.label.tolist()) - set(truth.record["truth_class_names"])):
            log.warning(
                "No span of %s has the class %s of %s: such events are false where the class counts.",
                truth.record["truth"], ", ".join(strange), path,
            )  # fmt: skip
    return truth, [place_events(path, one, truth, chart) for path, one in zip(paths, given, strict=True)], given


def _counts(judged: JudgedEvents, truth: Truth, given: TimedEvents) -> dict[str, Any]:
    return truth.record | {
        "n_events": len(judged.events),
        "n_events_outside": len(given) - len(judged.events),
        "n_spans": len(judged.spans),
        "n_spans_outside": truth.record["n_spans_given"] - len(judged.spans),
        "n_bars": judged.chart.n_bars,
        "n_blocks": len(judged.chart.bars_of_block),
    }


def evaluate_events(options: EvalOptions) -> tuple[dict[str, Any], JudgedEvents, Truth]:
    """Evaluate a table of events and write its figures beside it; what they are of comes with them, for pictures."""
    result, judged, truth = evaluated(options)
    path = options.events_named()
    target = options.save_metrics or path.with_name(f"{path.stem}.eval.json")
    write_atomic(target, json_bytes(result))
    return result | {"metrics_file": str(target)}, judged, truth


def evaluated(options: EvalOptions) -> tuple[dict[str, Any], JudgedEvents, Truth]:
    """Evaluate a table of events."""
    path = options.events_named()
    truth, (judged,), (given,) = _tables([path], options)
    ohlc = truth.bars.ohlc if truth.has_prices else None
    bins, perfect = reliability(judged, options.seed)
    symbols = truth.bars.symbols
    by_symbol = {}
    for number, name in enumerate(symbols if len(symbols) > 1 else []):
        of_symbol = judged.of_symbol(number)
        if of_symbol.chart.n_bars:
            figures = event_figures(of_symbol, options.min_prob, options.seed, ohlc)
            by_symbol[name] = {figure.name: asdict(figure) for figure in figures}
    figures = event_figures(judged, options.min_prob, options.seed, ohlc)
    result = {
        "events": str(path),
        "min_prob": options.min_prob,
        "least_event_prob": float(given.prob.min()) if len(given) else None,
        **_counts(judged, truth, given),
        "figures": {figure.name: asdict(figure) for figure in figures},
        "by_symbol": by_symbol,
        "by_threshold": threshold_rows(judged),
        "curve": {name: curve_points(judged, flag) for name, flag in (("with_class", True), ("without_class", False))},
        "reliability": bins,
        "perfect_ece": perfect,
        **_people(judged, truth),
    }
    return result, judged, truth


def _people(judged: JudgedEvents, truth: Truth) -> dict[str, Any]:
    """Compare several annotators with each other, and the events with each of them."""
    people = truth.people if len(truth.people) > 1 else {}
    return {
        "agreement": [asdict(pair) for pair in span_agreement(people, judged.chart, truth.looked)],
        "ap_by_annotator": by_person(judged.events, people, judged.chart, truth.looked),
    }


def judged_alone(options: EvalOptions) -> JudgedEvents:
    """Return the events of one table on the chart of their spans."""
    return _tables([options.events_named()], options)[1][0]


def gate_events(options: GateOptions) -> dict[str, Any]:
    """Compare two tables of events on the same spans; the verdict is in the result.

    Raises
    ------
    WrongUsage
        There is no table to beat.
    InvalidData
        No event of a table has a class of the spans.
    """
    path = options.events_named()
    if options.baseline_events is None or options.baseline is not None:
        raise WrongUsage(
            "events must be compared with --baseline-events, but "
            f"{'--baseline came' if options.baseline else 'it is not given'}. Name the event table to beat."
        )
    paths = [path, options.baseline_events]
    truth, (challenger, baseline), given = _tables(paths, options)
    for name, one in zip(paths, given, strict=True):
        classes = truth.record["truth_class_names"]
        # Any challenger beats what cannot be right.
        if len(one) and not set(one.label.tolist()) & set(classes):
            raise InvalidData(
                f"a gate must compare events of the spans' classes ({', '.join(classes)}), but every event of {name} "
                f"has another ({', '.join(sorted(set(one.label.tolist())))}). Give events of a model of these classes."
            )
    theirs = options.min_prob if options.baseline_min_prob is None else options.baseline_min_prob
    thresholds = (options.min_prob, theirs)
    verdict = judge_events(challenger, baseline, thresholds, options.seed, options.min_gain, ece_rule=options.ece_rule)
    return {
        "events": str(path),
        "baseline_events": str(options.baseline_events),
        "min_prob": options.min_prob,
        "baseline_min_prob": theirs,
        **_counts(challenger, truth, given[0]),
        **verdict.as_dict(),
    }


# Lower is better; of everything else higher is.
COMPARED = ("ap_iou30_class", AP_CLASS, "ap_iou70_class", "recall_at_1_per_1000_class", "alarms_per_1000", "event_ece")


def compare_events(names: list[str], options: CompareOptions) -> dict[str, Any]:
    """Compare tables of events with a baseline, the first one unless named, by a paired bootstrap over blocks of time.

    Raises
    ------
    WrongUsage
        Fewer than two tables.
    """
    wanted = list(dict.fromkeys([*([options.baseline] if options.baseline else []), *names]))
    if len(wanted) < 2:
        raise WrongUsage(f"compare must have at least two tables of events, but {len(wanted)} is named. Name another.")
    truth, judged, given = _tables([Path(name) for name in wanted], options)
    weights = resampling_weights(judged[0], options.seed)
    table = event_metric_table(options.min_prob)
    rows = [
        _row(name, metric, table[metric], one, None if one is judged[0] else judged[0], weights)
        for name, one in zip(wanted, judged, strict=True)
        for metric in COMPARED
    ]
    correct_together(rows, AP_CLASS)
    if options.output is not None:
        write_frame(options.output, pl.DataFrame(rows))
    of_ap = {row["name"]: row["value"] or 0.0 for row in rows if row["metric"] == AP_CLASS}
    return {
        **_counts(judged[0], truth, given[0]),
        "baseline": wanted[0],
        "best": max(wanted[1:], key=lambda name: of_ap[name]),
        "min_prob": options.min_prob,
        "rows": rows,
    }


def _row(
    name: str, metric_name: str, metric: Any, mine: JudgedEvents, base: JudgedEvents | None, weights: Any
) -> dict[str, Any]:
    """One metric of one table of events."""
    ones = np.ones((1, len(mine.chart.bars_of_block)))
    value = float(metric(mine, ones)[0])
    row: dict[str, Any] = {"name": name, "metric": metric_name, "value": None if np.isnan(value) else value}
    row |= dict.fromkeys(("difference", "low", "high", "detectable", "p", "p_holm"))
    if base is None or np.isnan(value) or np.isnan(theirs := float(metric(base, ones)[0])):
        return row
    return row | tested_difference(
        value - theirs, None if weights is None else metric(mine, weights) - metric(base, weights)
    )
