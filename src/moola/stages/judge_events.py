"""`eval`, `gate` and `compare` of events: what a scan found beside the spans that a person marked on the same bars."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from moola.core.bars import Bars, bar_lengths_us
from moola.core.utc_times import utc_text
from moola.errors import InvalidData, Problem, WrongUsage
from moola.evaluation.comparisons import detectable_difference, holm, percentile_interval
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
from moola.evaluation.span_metrics import JudgedEvents, Pieces, judged_events, make_chart
from moola.files import json_bytes, write_atomic
from moola.options.judging_options import EvalOptions, EventTruthOptions, GateOptions
from moola.options.study_options import CompareOptions
from moola.tables.bar_table import read_bars
from moola.tables.event_table import Events, read_events
from moola.tables.frames import in_file, read_frame, write_frame

ADVICE = "Times are in UTC, a row a span; correct the table."
# Moments of a chart whose bars are not given; more of them mean that the times have no common distance.
MAX_MOMENTS = 20_000_000


@dataclass(frozen=True)
class TimedPieces:
    """Rows of a table that have a beginning and an end, whether spans, stretches or events.

    Attributes
    ----------
    symbol
        Empty where the table names none.
    time_us
        First and last moment `(rows, 2)`, microseconds since 1970 in UTC.
    label
        Class; empty for stretches.
    prob
        Probability of events, 1 for anything else.
    """

    symbol: np.ndarray
    time_us: np.ndarray
    label: np.ndarray
    prob: np.ndarray

    def __len__(self) -> int:
        return len(self.symbol)

    def take(self, rows: np.ndarray) -> TimedPieces:
        """Return some rows."""
        return TimedPieces(self.symbol[rows], self.time_us[rows], self.label[rows], self.prob[rows])


def _read_pieces(path: Path, what: str, columns: tuple[str, ...]) -> TimedPieces:
    """Read spans (`start`, `end`, `label`) or stretches (`from`, `to`), with `symbol` where it is known."""
    frame = read_frame(path, what, ADVICE)
    missing = [name for name in columns if name not in frame.columns]
    if missing:
        raise InvalidData(
            f"{what} must have the columns {', '.join(columns)}, but {path} lacks {', '.join(missing)} (it has "
            f"{', '.join(frame.columns[:20])}). {ADVICE}"
        )
    problems: list[Problem] = [] if len(frame) else [Problem(f"{what} must have rows", 1)]
    times = np.stack([_times(frame[name], name, problems) for name in columns[:2]], axis=1)
    backward = times[:, 1] < times[:, 0]
    if backward.any() and not problems:
        rule = f"{columns[1]} must not be before {columns[0]}"
        problems.append(Problem(rule, int(backward.sum()), int(backward.argmax())))
    texts = {}
    for name in ("symbol", "label"):
        given = frame[name].cast(pl.String) if name in (*columns, *frame.columns) and name in frame.columns else None
        if given is not None and given.null_count():
            rule = f"{name} must be there where the file has the column"
            problems.append(Problem(rule, given.null_count(), int(given.is_null().arg_max() or 0)))
        texts[name] = np.full(len(frame), "") if given is None else given.fill_null("").to_numpy()
    if problems:
        raise InvalidData.from_problems(path, in_file(problems, path), ADVICE)
    return TimedPieces(texts["symbol"].astype(object), times, texts["label"].astype(object), np.ones(len(frame)))


def _times(column: pl.Series, name: str, problems: list[Problem]) -> np.ndarray:
    if column.dtype == pl.String:
        column = column.str.to_datetime(time_unit="us", time_zone="UTC", strict=False)
    if column.dtype == pl.Date:
        column = column.cast(pl.Datetime("us"))
    if not isinstance(column.dtype, pl.Datetime):
        problems.append(Problem(f"{name} must be a time in UTC", len(column), 0, f"found {column.dtype}"))
        return np.zeros(len(column), dtype=np.int64)
    if column.null_count():
        rule = f"{name} must be there and readable as UTC"
        problems.append(Problem(rule, column.null_count(), int(column.is_null().arg_max() or 0)))
    return column.dt.timestamp("us").fill_null(0).to_numpy()


def _of_events(events: Events) -> TimedPieces:
    names = np.array([*events.class_names, ""], dtype=object)
    label = names[events.class_prob.argmax(axis=1)] if events.class_names else np.full(len(events), "", dtype=object)
    return TimedPieces(np.array(events.symbol, dtype=object), events.time_us.reshape(-1, 2), label, events.event_prob)


def read_event_pieces(path: Path) -> TimedPieces:
    """Read what is judged of the events of a scan.

    Raises
    ------
    InvalidData
        The table is not one of a scan, or a probability is not in [0, 1].
    """
    pieces = _of_events(read_events(path))
    wrong = ~((pieces.prob >= 0) & (pieces.prob <= 1))
    if wrong.any():
        problem = Problem("event_prob must be in [0, 1]", int(wrong.sum()), int(wrong.argmax()))
        raise InvalidData.from_problems(path, in_file([problem], path), "Write it anew with `moola scan`.")
    return pieces


@dataclass(frozen=True)
class Truth:
    """Spans on their bars, and what of them counts."""

    bars: Bars
    spans: Pieces
    inside: np.ndarray
    class_names: list[str]
    record: dict[str, Any]
    symbol: np.ndarray
    has_prices: bool


def read_truth(options: EventTruthOptions, events: list[TimedPieces]) -> Truth:
    """Read spans, stretches and bars; `events` say which further classes there are, and where bars are when not given.

    Raises
    ------
    InvalidData
        A file breaks its contract, no bar lies in a stretch, or a span in a stretch meets no bar.
    """
    path = options.truth_named()
    spans = _read_pieces(path, "a table of spans", ("start", "end", "label"))
    stretches = None
    if options.stretches is not None:
        stretches = _read_pieces(options.stretches, "a table of stretches", ("from", "to"))
    bars = _bars_without_gaps([spans, *events], path) if options.bars is None else read_bars(options.bars)
    names = sorted({*spans.label.tolist(), *(name for table in events for name in table.label.tolist())})
    spans = _with_symbols(spans, bars, path)
    looked = _around(spans) if stretches is None else _with_symbols(stretches, bars, options.stretches)
    inside, n_stretches = _inside(bars, looked)
    if not inside.any():
        raise InvalidData(
            f"a stretch must hold bars, but none of {options.bars or path} lies in {options.stretches or path}. "
            "Give the bars that were scanned."
        )
    placed, is_there = _place(spans, bars)
    lost = ~is_there & _touches(spans, bars)
    if lost.any():
        row = int(lost.argmax())
        problem = Problem("a span must hold a bar", int(lost.sum()), row, f"found {utc_text(spans.time_us[row, 0])}")
        raise InvalidData.from_problems(path, in_file([problem], path), ADVICE)
    rows = np.flatnonzero(is_there)
    record = {
        "truth": str(path),
        "stretches": None if options.stretches is None else str(options.stretches),
        "bars": None if options.bars is None else str(options.bars),
        "n_stretches": n_stretches,
        "stretches_from": utc_text(int(bars.start_us[inside].min())),
        "stretches_to": utc_text(int(bars.start_us[inside].max())),
        "class_names": names,
        "truth_class_names": sorted(set(spans.label.tolist())),
    }
    known = {name: number for number, name in enumerate(bars.symbols)}
    return Truth(
        bars,
        Pieces(placed[rows], _numbers(spans.label[rows], names), np.ones(len(rows))),
        inside,
        names,
        record | {"n_spans_given": len(spans)},
        np.array([known[name] for name in bars.symbol.tolist()], dtype=np.int64),
        options.bars is not None,
    )


def _numbers(labels: np.ndarray, names: list[str]) -> np.ndarray:
    known = {name: number for number, name in enumerate(names)}
    return np.array([known[label] for label in labels.tolist()], dtype=np.int64)


def _with_symbols(pieces: TimedPieces, bars: Bars, path: Path | None) -> TimedPieces:
    """Give pieces the symbols of the bars where one of the two names none."""
    there, named = bars.symbols, sorted(set(pieces.symbol.tolist()))
    if len(there) == len(named) == 1 and "" in (*there, *named):
        return TimedPieces(np.full(len(pieces), there[0], dtype=object), pieces.time_us, pieces.label, pieces.prob)
    if named and not set(named) & set(there):
        raise InvalidData(
            f"{path} must name symbols of the bars, but it names {', '.join(map(repr, named[:5]))} and the bars "
            f"{', '.join(map(repr, there[:5]))}. Give the bars that were scanned, or name the symbol in both."
        )
    return pieces


def _around(spans: TimedPieces) -> TimedPieces:
    """Return one stretch a symbol, from the first span's start to the last span's end."""
    names = sorted(set(spans.symbol.tolist()))
    times = [spans.time_us[spans.symbol == name] for name in names]
    around = np.array([(time[:, 0].min(), time[:, 1].max()) for time in times], dtype=np.int64).reshape(-1, 2)
    empty = np.full(len(names), "", dtype=object)
    return TimedPieces(np.array(names, dtype=object), around, empty, np.ones(len(names)))


def _bars_without_gaps(tables: list[TimedPieces], path: Path) -> Bars:
    """Return moments at the distance that all times share; prices are none."""
    times = np.unique(np.concatenate([table.time_us.ravel() for table in tables]))
    step = int(np.gcd.reduce(np.diff(times))) if len(times) > 1 else 0
    if not step or (times[-1] - times[0]) // step > MAX_MOMENTS:
        raise InvalidData(
            f"without --bars the times of {path} must be a whole number of bars apart, but their common distance is "
            f"{step / 1e6:g} s. Give --bars."
        )
    moments = np.arange(times[0], times[-1] + step, step)
    symbols = sorted({name for table in tables for name in table.symbol.tolist()}) or [""]
    # A table without symbols is of the one that the others name.
    symbols = [name for name in symbols if name] if len(symbols) == 2 and "" in symbols else symbols
    n = len(symbols) * len(moments)
    return Bars(
        np.tile(moments, len(symbols)), np.ones((n, 4)), np.repeat(np.array(symbols, dtype=object), len(moments))
    )


def _inside(bars: Bars, stretches: TimedPieces) -> tuple[np.ndarray, int]:
    """Tell which bars lie in a stretch: those that begin in it, the last moment included."""
    inside, n = np.zeros(len(bars), dtype=bool), 0
    for name, (first, last) in zip(stretches.symbol.tolist(), stretches.time_us.tolist(), strict=True):
        mine = (bars.symbol == name) & (bars.start_us >= first) & (bars.start_us <= last)
        inside |= mine
        n += bool(mine.any())
    return inside, n


def _rows_of(pieces: TimedPieces, bars: Bars) -> list[tuple[np.ndarray, int, np.ndarray]]:
    """Numbers of the pieces of each symbol of the bars, the symbol's first row, and its times."""
    found = []
    for name in bars.symbols:
        rows = np.flatnonzero(bars.symbol == name)
        found.append((np.flatnonzero(pieces.symbol == name), int(rows[0]), bars.start_us[rows]))
    return found


def _place(pieces: TimedPieces, bars: Bars) -> tuple[np.ndarray, np.ndarray]:
    """Return rows of the first and last bar of each piece, and whether it holds a bar and lies within the bars.

    A moment inside a bar means that bar; one between bars the next one for a start, the one before for an end.
    """
    placed = np.zeros((len(pieces), 2), dtype=np.int64)
    is_there = np.zeros(len(pieces), dtype=bool)
    length = bar_lengths_us(bars)
    for mine, row, start_us in _rows_of(pieces, bars):
        first, last = pieces.time_us[mine, 0], pieces.time_us[mine, 1]
        begun = np.searchsorted(start_us, first, side="right") - 1
        is_in = (begun >= 0) & (first < start_us[np.maximum(begun, 0)] + length[row])
        low = np.where(is_in, begun, begun + 1)
        high = np.searchsorted(start_us, last, side="right") - 1
        whole = (first >= start_us[0]) & (last < start_us[-1] + max(int(length[row]), 1))
        placed[mine] = np.stack([low, high], axis=1) + row
        is_there[mine] = whole & (low <= high)
    return placed, is_there


def _touches(pieces: TimedPieces, bars: Bars) -> np.ndarray:
    """Tell which pieces lie between the first and the last bar of their symbol."""
    between = np.zeros(len(pieces), dtype=bool)
    for mine, _, start_us in _rows_of(pieces, bars):
        between[mine] = (pieces.time_us[mine, 0] >= start_us[0]) & (pieces.time_us[mine, 1] <= start_us[-1])
    return between


def place_events(path: Path, events: TimedPieces, truth: Truth) -> JudgedEvents:
    """Put events on the bars of the truth, and leave out what does not count.

    Raises
    ------
    InvalidData
        An event begins or ends at a time at which no bar begins: it is of other bars.
    """
    events = _with_symbols(events, truth.bars, path) if len(events) else events
    placed, is_there = _place(events, truth.bars)
    exact = (truth.bars.start_us[np.where(is_there[:, None], placed, 0)] == events.time_us).all(axis=1)
    wrong = _touches(events, truth.bars) & ~(exact & is_there)
    if wrong.any():
        row = int(wrong.argmax())
        problem = Problem(
            "an event must begin and end with bars of --bars",
            int(wrong.sum()),
            row,
            f"found {utc_text(events.time_us[row, 0])} to {utc_text(events.time_us[row, 1])}",
        )
        raise InvalidData.from_problems(path, in_file([problem], path), "Give the bars that were scanned.")
    rows = np.flatnonzero(is_there)
    pieces = Pieces(placed[rows], _numbers(events.label[rows], truth.class_names), events.prob[rows])
    return judged_events(pieces, truth.spans, make_chart(truth.bars.start_us, truth.symbol, truth.inside, truth.spans))


def _tables(paths: list[Path], options: EventTruthOptions) -> tuple[Truth, list[JudgedEvents], list[TimedPieces]]:
    """Read tables of events and put all of them on one chart."""
    given = [read_event_pieces(path) for path in paths]
    truth = read_truth(options, given)
    first, *others = [place_events(path, events, truth) for path, events in zip(paths, given, strict=True)]
    return truth, [first, *(judged_events(one.events, first.spans, first.chart) for one in others)], given


def _counts(judged: JudgedEvents, truth: Truth, given: TimedPieces) -> dict[str, Any]:
    return truth.record | {
        "n_events": len(judged.events),
        "n_events_outside": len(given) - len(judged.events),
        "n_spans": len(judged.spans),
        "n_spans_outside": truth.record["n_spans_given"] - len(judged.spans),
        "n_bars": judged.chart.n_bars,
        "n_blocks": len(judged.chart.bars_of_block),
        "event_class_names": sorted(set(given.label.tolist())),
    }


def evaluate_events(options: EvalOptions) -> dict[str, Any]:
    """Evaluate a table of events and write its figures beside it."""
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
            by_symbol[name] = {figure.name: figure.as_dict() for figure in figures}
    figures = event_figures(judged, options.min_prob, options.seed, ohlc)
    result = {
        "events": str(path),
        "min_prob": options.min_prob,
        **_counts(judged, truth, given),
        "figures": {figure.name: figure.as_dict() for figure in figures},
        "by_symbol": by_symbol,
        "by_threshold": threshold_rows(judged),
        "curve": {name: curve_points(judged, flag) for name, flag in (("with_class", True), ("without_class", False))},
        "reliability": bins,
        "perfect_ece": perfect,
    }
    target = options.save_metrics or path.with_name(f"{path.stem}.eval.json")
    write_atomic(target, json_bytes(result))
    return result | {"metrics_file": str(target)}


def gate_events(options: GateOptions) -> dict[str, Any]:
    """Compare two tables of events on the same spans; the verdict is in the result.

    Raises
    ------
    WrongUsage
        There is no table to beat.
    """
    path = options.events_named()
    if options.baseline_events is None or options.baseline is not None:
        raise WrongUsage(
            "events must be compared with --baseline-events, but "
            f"{'--baseline came' if options.baseline else 'it is not given'}. Name the event table to beat."
        )
    paths = [path, options.baseline_events]
    truth, (challenger, baseline), given = _tables(paths, options)
    theirs = options.min_prob if options.baseline_min_prob is None else options.baseline_min_prob
    verdict = judge_events(challenger, baseline, (options.min_prob, theirs), options.seed, options.min_gain)
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
    tested = {row["name"]: row["p"] for row in rows if row["metric"] == AP_CLASS and row["p"] is not None}
    corrected = holm(tested)
    for row in rows:
        row["p_holm"] = corrected.get(row["name"]) if row["metric"] == AP_CLASS else None
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
    """One metric of one table; the test is two-sided, from the share of resamples beyond 0."""
    ones = np.ones((1, len(mine.chart.bars_of_block)))
    value = float(metric(mine, ones)[0])
    row: dict[str, Any] = {"name": name, "metric": metric_name, "value": None if np.isnan(value) else value}
    row |= dict.fromkeys(("difference", "low", "high", "detectable", "p"))
    if base is None or np.isnan(value) or np.isnan(theirs := float(metric(base, ones)[0])):
        return row
    row["difference"] = value - theirs
    if weights is None:
        return row
    differences = metric(mine, weights) - metric(base, weights)
    known = differences[~np.isnan(differences)]
    interval = percentile_interval(differences)
    if interval is None:
        return row
    tail = max(min((known <= 0).mean(), (known >= 0).mean()), 1 / len(known))
    row |= {"low": interval[0], "high": interval[1], "p": float(min(1.0, 2 * tail))}
    row["detectable"] = float(detectable_difference(known))
    return row
