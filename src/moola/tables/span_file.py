"""Files of spans (start, end, label) and of annotated stretches, in any layout: read, put on bars, written."""

from __future__ import annotations

import csv
import io
import json
import logging
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Int

from moola.core.bars import Bars, bar_interval_us, bar_lengths_us, utc_text
from moola.core.spans import ACCEPTED, CORRECTED, MARKED, PlacedSpans, Spans, place_spans, share_bars
from moola.errors import InvalidData, Problem, WrongUsage
from moola.files import read_bytes
from moola.options.table_options import ImportOptions, SpanReading
from moola.tables import studio_file
from moola.tables.foreign.bar_times import utc_times
from moola.tables.foreign.columns import are_days, as_numbers, refuse_same_names
from moola.tables.foreign.delimited import SEPARATORS
from moola.tables.foreign.importing import text_of
from moola.tables.foreign.time_texts import DAY_US
from moola.tables.frames import PARQUET_MAGIC, READABLE, kind_of, plain_name, read_frame, utc_series, write_frame
from moola.tables.frames import reading as table_reading

log = logging.getLogger(__name__)
WHAT, ADVICE = "a file of spans", "Fix the file or the options."
PIECE = 1024
NEEDED, OTHERS = ("start", "end", "label"), ("symbol", "annotator", "note")
# Written by `labels export`; other programs mean other things by it, and then it says nothing here.
SOURCE, SOURCES = "source", (MARKED, ACCEPTED, CORRECTED)
# What other programs call the columns; spaces and hyphens count as underscores.
SYNONYMS = {
    "start": ("start_ts", "start_us", "start_time", "start_date", "starttime", "from", "from_ts", "begin", "begin_ts",
              "begin_time", "date_from", "first", "first_bar", "t0", "x0", "open_time", "entry_time"),
    "end": ("end_ts", "end_us", "end_time", "end_date", "endtime", "to", "to_ts", "until", "stop", "finish", "date_to",
            "last", "last_bar", "t1", "x1", "close_time", "exit_time"),
    "label": ("class", "pattern", "type", "category", "tag", "labels", "kind"),
    "symbol": ("ticker", "instrument", "pair", "market"),
    "annotator": ("author", "user", "labeler", "labeller", "annotated_by", "marked_by", "who"),
    "note": ("notes", "comment", "comments", "remark", "text"),
    "source": (),
}  # fmt: skip
MEANS = {other: name for name, others in SYNONYMS.items() for other in (name, *others)}


@dataclass(frozen=True)
class Rows:
    """Rows of a file as text by name of the contract, and where each stands."""

    frame: pl.DataFrame
    place: np.ndarray
    is_line: bool

    def problem(self, rule: str, broken: np.ndarray, detail: str = "") -> Problem:
        """Return a rule that some rows break, with the first of them as the file has it."""
        place = int(self.place[int(broken.argmax())])
        return Problem(rule, int(broken.sum()), place, detail, place if self.is_line else None)


def read_spans(path: Path, reading: SpanReading, bars: Bars) -> Spans:
    """Read a file of spans: a table, or a Label Studio export of long series, told apart by content.

    Times are in UTC, as the file has them; symbols are those of the bars, and spans of other symbols are passed over,
    which is said.

    Raises
    ------
    WrongUsage
        An option names a column, a task or an annotator that the file has not.
    InvalidData
        The file is no table of spans, or rows break rules: each with its count, its first row and what stands there.
    """
    with table_reading(path, WHAT, ADVICE):
        return _read_spans(path, reading, bars)


def _read_spans(path: Path, reading: SpanReading, bars: Bars) -> Spans:
    rows = _studio_rows(path, reading, bars) or _table_rows(path, reading, NEEDED, (*OTHERS, SOURCE))
    problems = _missing(rows, ("start", "end", "label"))
    start_us, end_us = _times(rows, reading, path, problems, bars)
    spans = Spans(
        start_us,
        end_us,
        _texts(rows.frame, "label"),
        _texts(rows.frame, "symbol"),
        _texts(rows.frame, "annotator"),
        _texts(rows.frame, "note"),
        rows.place,
        rows.is_line,
        _sources(rows.frame),
    )
    backward = end_us < start_us
    if not problems and backward.any():
        at = int(backward.argmax())
        detail = f"from {utc_text(start_us[at])} to {utc_text(end_us[at])}"
        problems.append(rows.problem("a span must not end before its start", backward, detail))
    problems += _unfit_labels(rows, spans)
    if are_days(rows.frame["end"]) and bar_interval_us(bars.start_us) < DAY_US:
        log.warning(
            "Ends of spans are days without a time of day, and mean the bar at midnight, not the last one of the day. "
            "Write times where a span ends later (%s).",
            path,
        )
    if problems:
        raise InvalidData.from_problems(path, problems, ADVICE)
    return _of_annotator(_of_symbols(spans, bars, path), path, reading)


def _unfit_labels(rows: Rows, spans: Spans) -> list[Problem]:
    unfit = np.array([len(name) > 300 or not name.isprintable() for name in spans.label], dtype=bool)
    if not unfit.any():
        return []
    rule = "a label must be one printable line of at most 300 characters"
    return [rows.problem(rule, unfit, f"found {spans.label[int(unfit.argmax())][:40]!a}")]


# Rows of tables: parquet, JSON, text with any separator.


def _table_rows(path: Path, reading: SpanReading, needed: tuple[str, ...], others: tuple[str, ...]) -> Rows:
    frame, place, is_line = _read_table(path, reading)
    given = dict(pair.partition("=")[::2] for pair in reading.columns)
    for name, column in given.items():
        if name not in (*NEEDED, *OTHERS, "from", "to") or column not in frame.columns:
            raise WrongUsage(
                f"--columns must hold pairs name=Column of {', '.join((*NEEDED, *OTHERS))} and columns of {path} "
                f"({', '.join(frame.columns[:20])}), but it has {name}={column}. Fix the pair."
            )
    found = {name: given.get(name) or _column(name, frame.columns, path) for name in (*needed, *others)}
    if lost := [name for name in needed if found[name] is None]:
        raise InvalidData(
            f"{WHAT} must have the columns {', '.join(needed)}, but {path} names no {', '.join(lost)} (it has "
            f"{', '.join(frame.columns[:20])[:300]}). Say --columns {' '.join(f'{name}=<column>' for name in lost)}."
        )
    chosen = frame.select(pl.col(column).alias(name) for name, column in found.items() if column is not None)
    if not len(chosen):
        raise InvalidData(f"{WHAT} must have rows, but {path} has none. Check the file.")
    return Rows(chosen, place, is_line)


def _column(name: str, columns: list[str], path: Path) -> str | None:
    """Return the column of a name: the one called so, else the only one with another name for it."""
    plain = {column: _plain(column) for column in columns}
    exact = [column for column, text in plain.items() if text == name]
    fitting = exact or [column for column, text in plain.items() if MEANS.get(text) == name]
    if len(fitting) > 1:
        raise InvalidData(
            f"one column must be the {name}, but {path} has {len(fitting)} that may be ({', '.join(fitting[:5])}). "
            f"Say --columns {name}={fitting[0]} or another."
        )
    return fitting[0] if fitting else None


def _plain(column: str) -> str:
    return plain_name(column.strip("\ufeff \"'")).replace(" ", "_").replace("-", "_")


def _read_table(path: Path, reading: SpanReading) -> tuple[pl.DataFrame, np.ndarray, bool]:
    """Return columns as the file has them, where each row stands, and whether that is a line."""
    content = read_bytes(path, WHAT, "Check the path.", studio_file.MAX_BYTES)
    if not content.strip():
        raise InvalidData(f"{WHAT} must hold a table, but {path} is empty ({len(content)} bytes). Check the file.")
    if content.startswith(PARQUET_MAGIC):
        frame = read_frame(path, WHAT, ADVICE)
        return frame, np.arange(len(frame)), False
    kind = kind_of(content)
    if kind is not None and kind not in READABLE:
        raise InvalidData(f"{WHAT} must be CSV, JSON or parquet, but {path} is {kind.name}. {kind.advice}")
    text = text_of(content, _import_options(path, reading))
    if text.lstrip()[:1] in ("[", "{"):
        records = _records(text, path)
        return _frame(records), np.arange(len(records)), False
    return _delimited(text, path)


def _records(text: str, path: Path) -> list[dict[str, Any]]:
    """Return the objects of JSON: a list, the only list of an object, or a line each."""
    value = studio_file.parsed(text, path, WHAT)
    if isinstance(value, dict):
        lists = [one for one in value.values() if isinstance(one, list)]
        value = lists[0] if len(lists) == 1 else [value]
    if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
        raise InvalidData(f"{WHAT} in JSON must be a list of objects, but {path} is none. {ADVICE}")
    return value


def _frame(records: list[dict[str, Any]]) -> pl.DataFrame:
    names = list(dict.fromkeys(name for record in records for name in record))
    cells = {name: [_cell(record.get(name)) for record in records] for name in names}
    return pl.DataFrame(cells, schema=dict.fromkeys(names, pl.String))


def _cell(value: Any) -> str | None:
    return None if value is None else value if isinstance(value, str) else json.dumps(value)


def _delimited(text: str, path: Path) -> tuple[pl.DataFrame, np.ndarray, bool]:
    """Read text by the separator whose header names the most columns; quotes may hold lines."""
    header_line = next((line for line in text.split("\n") if line.strip()), "")
    known = {mark: sum(_plain(cell) in MEANS for cell in _cells(header_line, mark)) for mark in SEPARATORS}
    separator = max(SEPARATORS, key=lambda mark: (known[mark], header_line.count(mark)))
    if separator != ",":
        log.info("Columns are separated by %r.", separator)
    reader = csv.reader(io.StringIO(text), delimiter=separator, skipinitialspace=True)
    rows: list[tuple[int, list[str]]] = []
    # All regions of a task of Label Studio stand in one cell.
    limit = csv.field_size_limit(studio_file.MAX_BYTES)
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                rows.append((reader.line_num, [cell.strip() for cell in cells]))
    except csv.Error as error:
        raise InvalidData(f"{WHAT} must be text with a separator, but {path} is not ({error}). {ADVICE}") from error
    finally:
        csv.field_size_limit(limit)
    (_, header), *body = rows
    refuse_same_names(header, path)
    wide = [line for line, cells in body if len(cells) > len(header) and any(cells[len(header) :])]
    if wide:
        rule = f"a row must have at most {len(header)} cells, as the header has"
        raise InvalidData.from_problems(path, [Problem(rule, len(wide), wide[0], "", wide[0])], ADVICE)
    columns = {
        name: [cells[i] if i < len(cells) and cells[i] else None for _, cells in body] for i, name in enumerate(header)
    }
    frame = pl.DataFrame(columns, schema=dict.fromkeys(header, pl.String))
    return frame, np.array([line for line, _ in body], dtype=np.int64), True


def _cells(line: str, separator: str) -> list[str]:
    return next(csv.reader([line], delimiter=separator, skipinitialspace=True), [])


# Times, texts and who marked what.


def _times(
    rows: Rows, reading: SpanReading, path: Path, problems: list[Problem], bars: Bars
) -> tuple[np.ndarray, np.ndarray]:
    """Return both columns of times in UTC; they are read as one, so that an order of day and month fits both."""
    if reading.timestamp_unit == "bars":
        return _counted(rows, "start", problems, bars), _counted(rows, "end", problems, bars)
    n = len(rows.frame)
    columns = [rows.frame[name].alias("time") for name in ("start", "end")]
    if columns[0].dtype != columns[1].dtype:
        columns = [column.cast(pl.String) for column in columns]
    # A row's start, then its end: clocks that go back are told by the order.
    order = np.arange(2 * n).reshape(2, n).T.ravel()
    found: list[Problem] = []
    times = utc_times(as_numbers(pl.concat(columns)[order]), _import_options(path, reading), found)
    for problem in found:
        row = None if problem.first_row is None else int(rows.place[min(problem.first_row // 2, n - 1)])
        line = row if rows.is_line else None
        side = "" if problem.first_row is None else f"{('start', 'end')[problem.first_row % 2]}: "
        problems.append(replace(problem, first_row=row, line=line, detail=f"{side}{problem.detail}"))
    time_us = times.dt.timestamp("us").fill_null(0).to_numpy().reshape(n, 2)
    return time_us[:, 0].copy(), time_us[:, 1].copy()


def _counted(rows: Rows, name: str, problems: list[Problem], bars: Bars) -> np.ndarray:
    """Return the times of bars that a column counts from 0, as Label Studio does where a series has no times."""
    if len(bars.symbols) > 1:
        raise WrongUsage(
            f"--timestamp-unit bars must count the bars of one symbol, but there are {len(bars.symbols)} "
            f"({', '.join(bars.symbols[:5])}). Give the bars of one."
        )
    number = rows.frame[name].cast(pl.Float64, strict=False).fill_null(float("nan")).to_numpy()
    unfit = ~((number >= 0) & (number < len(bars)) & (number == np.round(number)))
    if unfit.any():
        rule = f"{name} must count bars from 0 to {len(bars) - 1} (--timestamp-unit bars)"
        problems.append(rows.problem(rule, unfit, f"found {rows.frame[name][int(unfit.argmax())]}"))
    return bars.start_us[np.where(unfit, 0, number).astype(np.int64)]


def _import_options(path: Path, reading: SpanReading) -> ImportOptions:
    names = ("timezone", "timestamp_format", "day_first", "timestamp_unit", "ambiguous")
    return ImportOptions(input=path, output=path, **{name: asdict(reading)[name] for name in names})


def _missing(rows: Rows, names: tuple[str, ...]) -> list[Problem]:
    problems = []
    for name in names:
        column = rows.frame[name]
        lost = column.is_null()
        if column.dtype == pl.String:
            lost = lost | (column.str.strip_chars() == "").fill_null(True)
        if lost.any():
            problems.append(rows.problem(f"{name} must be there in every row", lost.to_numpy()))
    return problems


def _texts(frame: pl.DataFrame, name: str) -> np.ndarray:
    if name not in frame.columns:
        return np.full(len(frame), "", dtype=object)
    return frame[name].cast(pl.String).fill_null("").str.strip_chars().to_numpy().astype(object)


def _sources(frame: pl.DataFrame) -> np.ndarray | None:
    found = _texts(frame, SOURCE)
    return found if SOURCE in frame.columns and set(found.tolist()) <= {"", *SOURCES} else None


def _of_symbols(spans: Spans, bars: Bars, path: Path) -> Spans:
    """Return the spans of the bars' symbols, named as the bars name them."""
    of_bars = bars.symbols
    named = [name for name in spans.symbols if name]
    same = {_bare(name): name for name in of_bars}
    means = {name: same.get(_bare(name)) for name in named}
    if of_bars == [""]:
        if len(named) > 1:
            raise WrongUsage(
                f"spans of {len(named)} symbols ({', '.join(named[:5])}) need bars that say whose they are, but the "
                f"bars name none ({path}). Name them with --symbol."
            )
        # Of one symbol both are, so that a store keeps them apart from others.
        means = {name: name for name in named}
    means[""] = of_bars[0] if len(of_bars) == 1 else None
    if means[""] is None and (spans.symbol == "").any():
        raise WrongUsage(
            f"every span must have a symbol where bars have several ({', '.join(of_bars[:5])}), but "
            f"{int((spans.symbol == '').sum())} of {path} have none. Add a column symbol."
        )
    if of_bars == [""] and named:
        means[""] = named[0]
    symbol = np.array([means[name] for name in spans.symbol], dtype=object)
    kept = np.flatnonzero([name is not None for name in symbol])
    if not len(kept):
        raise InvalidData(
            f"spans must be of the bars' symbols ({', '.join(of_bars[:5])}), but {path} has {', '.join(named[:5])} "
            "alone. Give the bars that the spans were marked on."
        )
    if len(kept) < len(spans):
        others = sorted(set(spans.symbol.tolist()) - {name for name, known in means.items() if known is not None})
        log.info("%d spans of other symbols are passed over: %s.", len(spans) - len(kept), ", ".join(others[:5]))
    return replace(spans, symbol=symbol).take(kept)


def _bare(symbol: str) -> str:
    """Return a symbol without case and marks: EUR/USD is eurusd."""
    return "".join(one for one in symbol.lower() if one.isalnum()) or symbol


def _of_annotator(spans: Spans, path: Path, reading: SpanReading) -> Spans:
    if reading.annotator is None:
        return spans
    named = [name for name in spans.annotators if name]
    if reading.annotator in named:
        return spans.take(np.flatnonzero(spans.annotator == reading.annotator))
    if len(named) > 1:
        raise WrongUsage(
            f"--annotator must be one of the {len(named)} of {path} ({', '.join(named[:10])}), but it is "
            f"{reading.annotator!r}. Name one of these, or leave it out."
        )
    return replace(spans, annotator=np.full(len(spans), reading.annotator, dtype=object))


# Spans on bars.


def bars_of(spans: Spans, bars: Bars) -> Bars:
    """Return bars that name no symbol under the one that their spans name."""
    named = [name for name in spans.symbols if name]
    if bars.symbols != [""] or not named:
        return bars
    log.info("The bars name no symbol and are taken as %s.", named[0])
    return replace(bars, symbol=np.full(len(bars), named[0], dtype=object))


def spans_on_bars(spans: Spans, bars: Bars, path: Path | str, drop_outside: bool) -> tuple[Spans, dict[str, Any]]:
    """Return spans with the times of their bars, and how they met them.

    Returns
    -------
    tuple
        Spans that begin and end with starts of bars, without exact repeats; and `n_exact`, `n_moved`,
        `usual_move_s` and `longest_move_s` of those moved, `n_in_gaps` (of those moved, by a bar or more: an end lies
        where the bars rest), `n_over_gaps` (a bar is missing inside), `n_none` (met no bar), `n_repeated`,
        `n_overlapping` and `n_disagreeing` (spans that share bars with those of another annotator, and of those the
        ones that share bars with a span of another class).

    Raises
    ------
    InvalidData
        Spans meet no bar and `drop_outside` is not asked for, or all do; or one annotator gave one piece two classes.
    """
    placed = place_spans(spans, bars)
    lost = ~placed.met
    if lost.any() and (not drop_outside or lost.all()):
        raise InvalidData.from_problems(path, _met_none(spans, placed, bars), _advice(lost))
    kept = np.flatnonzero(placed.met)
    spans, placed = spans.take(kept), placed.take(kept)
    moves = placed.moved_us[~placed.exact] / 1e6
    known = spans.on_bars(bars, placed)
    once, repeated = _once(known, path)
    n_in_gaps = int((placed.moved_us >= bar_lengths_us(bars)[placed.first]).sum())
    if n_in_gaps:
        log.warning(
            "%d of %d spans begin or end where the bars rest, and were moved to the next bar: check --timezone.",
            n_in_gaps, len(spans),
        )  # fmt: skip
    told = {
        "n_spans": len(once),
        "n_exact": int(placed.exact.sum()),
        "n_moved": len(moves),
        "usual_move_s": float(np.median(moves)) if len(moves) else 0.0,
        "longest_move_s": float(moves.max()) if len(moves) else 0.0,
        "n_in_gaps": n_in_gaps,
        "n_none": int(lost.sum()),
        "n_repeated": repeated,
        "n_over_gaps": _over_gaps(bars, placed),
    }
    return known.take(once), told | _overlaps(known.take(once), placed.take(once))


def _met_none(spans: Spans, placed: PlacedSpans, bars: Bars) -> list[Problem]:
    problems = []
    rules = {
        "a span must lie within the bars": ~placed.met & placed.outside,
        "a span must meet a bar": ~placed.met & ~placed.outside,
    }
    for rule, broken in rules.items():
        if broken.any():
            at = int(broken.argmax())
            detail = (
                f"from {utc_text(spans.start_us[at])} to {utc_text(spans.end_us[at])}; "
                f"the nearest bar is {utc_text(bars.start_us[placed.nearest[at]])}"
            )
            place = int(spans.place[at])
            problems.append(Problem(rule, int(broken.sum()), place, detail, place if spans.is_line else None))
    return problems


def _advice(lost: np.ndarray) -> str:
    if lost.all():
        return "Check --bars and --timezone: not one span lies on these bars."
    return "Check --bars and --timezone; --drop-outside leaves these spans out and counts them."


def _once(spans: Spans, path: Path | str) -> tuple[np.ndarray, int]:
    """Return the rows without exact repeats, and how many repeats there were; two classes of one piece are refused."""
    seen: dict[tuple[Any, ...], int] = {}
    kept, clashes = [], []
    for row, key in enumerate(zip(spans.symbol, spans.annotator, spans.start_us, spans.end_us, strict=True)):
        first = seen.setdefault(key, row)
        if first == row:
            kept.append(row)
        elif spans.label[first] != spans.label[row]:
            clashes.append((first, row))
    if clashes:
        first, row = clashes[0]
        detail = f"{spans.label[first]} and {spans.label[row]}, on the bars from {utc_text(spans.start_us[row])}"
        place = int(spans.place[row])
        rule = "one annotator must give the same bars one class"
        problem = Problem(rule, len(clashes), place, detail, place if spans.is_line else None)
        raise InvalidData.from_problems(path, [problem], ADVICE)
    return np.array(kept, dtype=np.int64), len(spans) - len(kept)


def _over_gaps(bars: Bars, placed: PlacedSpans) -> int:
    elapsed = bars.start_us[placed.last] - bars.start_us[placed.first]
    return int((elapsed > bar_lengths_us(bars)[placed.first] * (placed.last - placed.first)).sum())


def _overlaps(spans: Spans, placed: PlacedSpans) -> dict[str, int]:
    found, disagree = np.zeros(len(spans), dtype=bool), np.zeros(len(spans), dtype=bool)
    for who in spans.annotators:
        other = np.flatnonzero(spans.annotator != who)
        # Some at a time, for the table of pairs grows with the square.
        for first in range(0, len(spans), PIECE) if len(other) else ():
            mine = first + np.flatnonzero(spans.annotator[first : first + PIECE] == who)
            shared = share_bars(placed.first[mine], placed.last[mine], placed.first[other], placed.last[other])
            found[mine] = shared.any(axis=1)
            disagree[mine] = (shared & (spans.label[mine][:, None] != spans.label[other][None, :])).any(axis=1)
    return {"n_overlapping": int(found.sum()), "n_disagreeing": int(disagree.sum())}


# Annotated stretches: from one moment to another a person looked at all bars.


@dataclass(frozen=True)
class Stretches:
    """Stretches of charts that a person looked at, first and last moment included; empty texts hold for all."""

    from_us: np.ndarray
    to_us: np.ndarray
    symbol: np.ndarray

    def __len__(self) -> int:
        return len(self.from_us)

    @staticmethod
    def joined(several: list[Stretches]) -> Stretches:
        """Return all stretches of several, each once, in order."""
        known = {
            key
            for one in several
            for key in zip(one.symbol.tolist(), one.from_us.tolist(), one.to_us.tolist(), strict=True)
        }
        symbol, from_us, to_us = zip(*sorted(known), strict=True) if known else ((), (), ())
        times = [np.array(values, dtype=np.int64) for values in (from_us, to_us)]
        return Stretches(times[0], times[1], np.array(symbol, dtype=object))


def read_stretches(path: Path, reading: SpanReading, bars: Bars) -> Stretches:
    """Read annotated stretches: a table of `from`, `to` and, where known, `symbol`.

    Raises
    ------
    InvalidData
        The file is no such table, or a stretch ends before it begins or holds no bar.
    """
    with table_reading(path, "a file of annotated stretches", ADVICE):
        return _read_stretches(path, reading, bars)


def _read_stretches(path: Path, reading: SpanReading, bars: Bars) -> Stretches:
    plain = replace(reading, columns=())
    rows = _table_rows(path, plain, ("start", "end"), ("symbol",))
    problems = _missing(rows, ("start", "end"))
    from_us, to_us = _times(rows, reading, path, problems, bars)
    if problems:
        raise InvalidData.from_problems(path, problems, ADVICE)
    nothing = np.full(len(from_us), "", dtype=object)
    spans = Spans(from_us, to_us, nothing, _texts(rows.frame, "symbol"), nothing, nothing, rows.place, rows.is_line)
    spans = _of_symbols(spans, bars, path)
    if bars.symbols == [""]:
        spans = replace(spans, symbol=nothing)
    return _with_bars(Stretches(spans.start_us, spans.end_us, spans.symbol), bars, path)


def named_stretches(words: tuple[str, ...], reading: SpanReading, bars: Bars) -> Stretches:
    """Read the stretches of `--annotated FROM TO`, which hold for every symbol of the bars; further pairs may follow.

    Raises
    ------
    WrongUsage
        They are no pairs of times.
    """
    from_us, to_us = named_times(words, reading, bars, "--annotated")
    symbols = np.array(bars.symbols, dtype=object)
    n = len(from_us)
    found = Stretches(from_us.repeat(len(symbols)), to_us.repeat(len(symbols)), np.tile(symbols, n))
    return _with_bars(found, bars, "--annotated")


def named_times(
    words: tuple[str, ...], reading: SpanReading, bars: Bars, option: str
) -> tuple[Int[np.ndarray, " pairs"], Int[np.ndarray, " pairs"]]:
    """Read pairs of times that an option names, as microseconds since 1970 in UTC.

    Raises
    ------
    WrongUsage
        They are no pairs of times.
    """
    problems: list[Problem] = []
    if len(words) % 2:
        raise WrongUsage(f"{option} must be pairs FROM TO, but it has {len(words)} times. Give one more.")
    n = len(words) // 2
    rows = Rows(pl.DataFrame({"start": words[::2], "end": words[1::2]}), np.arange(n), False)
    from_us, to_us = _times(rows, reading, Path(option), problems, bars)
    if problems:
        said = "; ".join(problem.detail or problem.rule for problem in problems)
        raise WrongUsage(f"{option} must be two times, but {' '.join(words)!r} is not ({said}). Write them again.")
    return from_us, to_us


def _with_bars(stretches: Stretches, bars: Bars, path: Path | str) -> Stretches:
    """Return stretches as they are; each must hold a bar."""
    held = [len(stretch_rows(stretches, row, bars)) for row in range(len(stretches))]
    if 0 in held:
        row = held.index(0)
        detail = f"from {utc_text(stretches.from_us[row])} to {utc_text(stretches.to_us[row])}"
        problem = Problem("an annotated stretch must hold bars", held.count(0), row, detail)
        raise InvalidData.from_problems(path, [problem], "Check --bars and --timezone.")
    return stretches


def stretch_rows(stretches: Stretches, row: int, bars: Bars) -> np.ndarray:
    """Return the rows of the bars that begin within a stretch."""
    mine = bars.symbol == stretches.symbol[row]
    return np.flatnonzero(mine & (bars.start_us >= stretches.from_us[row]) & (bars.start_us <= stretches.to_us[row]))


# Rows of Label Studio exports, and both kinds of files written.


def _studio_rows(path: Path, reading: SpanReading, bars: Bars) -> Rows | None:
    """Return the regions of a Label Studio export as rows; None where the file is none."""
    content = read_bytes(path, WHAT, "Check the path.", studio_file.MAX_BYTES)
    if content.startswith(PARQUET_MAGIC) or (kind_of(content) not in (None, *READABLE)):
        return None
    text = text_of(content, _import_options(path, reading))
    tasks = studio_file.tasks_of(text, path, lambda: _delimited(text, path))
    if tasks is None:
        if reading.task:
            raise WrongUsage(f"--task must name tasks of a Label Studio export, but {path} is none. Leave it out.")
        return None
    groups = studio_file.chosen(tasks, reading.task, bars.symbols, path)
    if len(groups) > 1:
        groups = [group for group in groups if _on_bars(_rows_of_tasks(group, path), reading, path, bars)]
    if len(groups) != 1:
        raise WrongUsage(
            f"tasks of several series need to be told apart, but the spans of {len(groups) or 'none'} of them fit "
            f"these bars ({', '.join(dict.fromkeys(task.name for task in tasks))[:300]}, in {path}). Name them with "
            "--task, or the bars with --symbol."
        )
    return _rows_of_tasks(groups[0], path)


def _on_bars(rows: Rows, reading: SpanReading, path: Path, bars: Bars) -> bool:
    """Tell whether all spans of a series lie on the bars."""
    problems: list[Problem] = []
    start_us, end_us = _times(rows, reading, path, problems, bars)
    symbol = np.full(len(start_us), bars.symbols[0], dtype=object)
    spans = Spans(start_us, end_us, symbol, symbol, symbol, symbol, rows.place)
    return not problems and len(bars.symbols) == 1 and bool(place_spans(spans, bars).met.all())


def _rows_of_tasks(tasks: list[studio_file.Task], path: Path) -> Rows:
    regions, problems = studio_file.regions(tasks, path)
    if problems:
        raise InvalidData.from_problems(path, problems, "Fix these regions in Label Studio, and export again.")
    names = (*NEEDED, *OTHERS)
    cells = [{name: getattr(one, name) for name in names} for one in regions]
    frame = pl.DataFrame(cells, schema=dict.fromkeys(names, pl.String))
    return Rows(frame, np.array([one.place for one in regions], dtype=np.int64), tasks[0].is_line)


def spans_frame(spans: Spans) -> pl.DataFrame:
    """Lay spans out as the columns of the file, those without any content left out."""
    columns = {
        "symbol": spans.symbol, "start": spans.start_us, "end": spans.end_us, "label": spans.label,
        "annotator": spans.annotator, "note": spans.note,
    }  # fmt: skip
    columns |= {} if spans.source is None else {SOURCE: spans.source}
    kept = {name: values for name, values in columns.items() if values.dtype != object or (values != "").any()}
    return pl.DataFrame(
        {
            name: pl.Series(values.tolist(), dtype=pl.String) if values.dtype == object else utc_series(values)
            for name, values in kept.items()
        }
    )


def write_spans(path: Path, spans: Spans) -> None:
    """Write spans as a table (.parquet, else CSV) that `read_spans` reads to the same."""
    write_frame(path, spans_frame(spans))


def write_stretches(path: Path, stretches: Stretches) -> None:
    """Write annotated stretches as a table that `read_stretches` reads to the same."""
    columns = {
        "symbol": pl.Series(stretches.symbol.tolist(), dtype=pl.String),
        "from": utc_series(stretches.from_us),
        "to": utc_series(stretches.to_us),
    }
    write_frame(path, pl.DataFrame(columns if (stretches.symbol != "").any() else dict(list(columns.items())[1:])))
