"""Rows of a file of spans or stretches, of any layout: its columns by name of the contract, and its times in UTC."""

from __future__ import annotations

import csv
import io
import json
import logging
import shlex
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from moola.core.bars import Bars, bar_interval_us
from moola.errors import InvalidData, Problem, WrongUsage
from moola.files import read_bytes
from moola.options.table_options import ImportOptions, SpanReading
from moola.tables import studio_file
from moola.tables.foreign.bar_times import utc_times
from moola.tables.foreign.columns import as_numbers, belong_together, days_ended, joined, refuse_same_names
from moola.tables.foreign.delimited import SEPARATORS
from moola.tables.foreign.importing import feather_frame, text_of
from moola.tables.foreign.time_texts import DAY_US
from moola.tables.frames import FEATHER, PARQUET_MAGIC, READABLE, kind_of, plain_name, read_frame

log = logging.getLogger(__name__)
WHAT, ADVICE = "a file of spans", "Fix the file or the options."
NEEDED, OTHERS = ("start", "end", "label"), ("symbol", "annotator", "note")
# What other programs call the columns; spaces and hyphens count as underscores.
SYNONYMS = {
    "start": ("from", "date_from", "time_from", "date_start", "time_start", "timestamp_start", "first", "first_bar",
              "t0", "x0", "open_time", "entry_time"),
    "end": ("to", "until", "stop", "finish", "date_to", "time_to", "date_end", "time_end", "timestamp_end", "last",
            "last_bar", "t1", "x1", "close_time", "exit_time"),
    "label": ("class", "pattern", "type", "category", "tag", "labels", "kind", "class_name", "classname", "label_name",
              "pattern_name", "pattern_type", "pattern_class", "setup"),
    "symbol": ("ticker", "instrument", "pair", "market"),
    "annotator": ("author", "user", "labeler", "labeller", "annotated_by", "labeled_by", "labelled_by", "marked_by",
                  "who"),
    "note": ("notes", "comment", "comments", "remark", "text"),
    "source": (),
}  # fmt: skip
# A time is called by one of these words alone or with one of these endings: start_ts, begin_datetime, fromdate.
TIME_WORDS = {"start": ("start", "begin", "from"), "end": ("end", "to", "stop", "until", "finish")}
TIME_ENDINGS = (
    "ts",
    "us",
    "ms",
    "ns",
    "time",
    "date",
    "datetime",
    "timestamp",
    "unix",
    "epoch",
    "utc",
    "time_utc",
    "at",
)
# Columns that count bars are times with `--timestamp-unit bars`.
ROW_ENDINGS = ("bar", "index", "idx", "row", "i")
MEANS = {other: name for name, others in SYNONYMS.items() for other in (name, *others)}
MEANS |= {
    word + joint + ending: name
    for name, words in TIME_WORDS.items()
    for word in words
    for ending in TIME_ENDINGS
    for joint in ("_", "")
} | {"begin": "start"}
COUNTS = {f"{word}_{ending}": name for name, words in TIME_WORDS.items() for word in words for ending in ROW_ENDINGS}
# Lines that may stand above a header, and how long those are.
HEAD_LINES, HEADER_CHARACTERS = 20, 20_000


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

    def texts(self, name: str) -> np.ndarray:
        """Return a column as texts without spaces around them; empty ones where there is no such column."""
        if name not in self.frame.columns:
            return np.full(len(self.frame), "", dtype=object)
        return self.frame[name].cast(pl.String).fill_null("").str.strip_chars().to_numpy().astype(object)

    def missing(self, names: tuple[str, ...]) -> list[Problem]:
        """Return a problem for each column that has rows without a value."""
        problems = []
        for name in names:
            column = self.frame[name]
            lost = column.is_null()
            if column.dtype in (pl.String, pl.Categorical):
                lost = lost | (column.cast(pl.String).str.strip_chars() == "")
            if (lost := lost.fill_null(True)).any():
                problems.append(self.problem(f"{name} must be there in every row", lost.to_numpy()))
        return problems


def import_options(path: Path, reading: SpanReading) -> ImportOptions:
    """Return what readers of foreign times and texts need to know of how spans are read."""
    names = ("timezone", "timestamp_format", "day_first", "timestamp_unit", "ambiguous")
    return ImportOptions(input=path, output=path, **{name: asdict(reading)[name] for name in names})


# Which column is which.


def table_rows(
    path: Path, reading: SpanReading, needed: tuple[str, ...], others: tuple[str, ...], what: str = WHAT
) -> Rows:
    """Read a table: parquet, Feather, JSON, or text with any separator; columns by `--columns` or by their names.

    Raises
    ------
    WrongUsage
        `--columns` names what is not there.
    InvalidData
        The file is no table, has no rows, or a column is missing or could be any of several.
    """
    given = dict(pair.partition("=")[::2] for pair in reading.columns)
    frame, place, is_line = _read_table(path, reading, set(given.values()), what)
    for name, column in given.items():
        if name not in (*NEEDED, *OTHERS, "from", "to") or column not in frame.columns:
            raise WrongUsage(
                f"--columns must hold pairs name=Column of {', '.join((*NEEDED, *OTHERS))} and columns of {path} "
                f"({', '.join(frame.columns[:20])}), but it has {name}={column}. Fix the pair."
            )
    count_bars = reading.timestamp_unit == "bars"
    found = {
        name: frame[given[name]] if name in given else _column(name, frame, path, reading, count_bars)
        for name in (*needed, *others)
    }
    if lost := [name for name in needed if found[name] is None]:
        raise InvalidData(_no_columns(lost, needed, frame.columns, path, what))
    chosen = pl.DataFrame([column.alias(name) for name, column in found.items() if column is not None])
    if not len(chosen):
        raise InvalidData(f"{what} must have rows, but {path} has none. Check the file.")
    read = {column.name for column in found.values() if column is not None} | set(given.values())
    unread = [name for name in frame.columns if name and name not in read]
    if unread := [name for name in unread if MEANS.get(_plain(name)) not in (*needed, *others)]:
        log.info("Columns that are not read: %s.", ", ".join(unread[:8]))
    return Rows(chosen, place, is_line)


def _no_columns(lost: list[str], needed: tuple[str, ...], columns: list[str], path: Path, what: str) -> str:
    problem = (
        f"{what} must have the columns {', '.join(needed)}, but {path} names no {', '.join(lost)} (it has "
        f"{', '.join(columns[:20])[:300]}). "
    )
    if {COUNTS.get(_plain(column)) for column in columns} >= set(lost):
        return problem + "Where they count the bars from 0, pass --timestamp-unit bars."
    asked = " ".join(f"{name}=<column>" for name in lost)
    return problem + f"Pass --columns {asked} where the command takes it, or rename them."


def _column(name: str, frame: pl.DataFrame, path: Path, reading: SpanReading, count_bars: bool) -> pl.Series | None:
    """Return the column of a name: the one called so, else the only one, or the day and time, with another name."""
    means = (COUNTS | MEANS) if count_bars else MEANS
    plain = {column: _plain(column) for column in frame.columns}
    exact = [column for column, text in plain.items() if text == name]
    fitting = exact or [column for column, text in plain.items() if means.get(text) == name]
    if len(fitting) == 2:
        for day, time in (fitting, fitting[::-1]):
            if belong_together(frame[day], frame[time]):
                return joined(frame[day], frame[time], import_options(path, reading)).alias(day)
    if len(fitting) > 1:
        raise InvalidData(
            f"one column must be the {name}, but {path} has {len(fitting)} that may be ({', '.join(fitting[:5])}). "
            f"Pass --columns {name}={shlex.quote(fitting[0])} or another."
        )
    return frame[fitting[0]] if fitting else None


def _plain(column: str) -> str:
    return plain_name(column.strip("\ufeff \"'")).replace(" ", "_").replace("-", "_")


# Tables of each kind.


def _read_table(path: Path, reading: SpanReading, given: set[str], what: str) -> tuple[pl.DataFrame, np.ndarray, bool]:
    """Return columns as the file has them, where each row stands, and whether that is a line."""
    content = read_bytes(path, what, "Check the path.", studio_file.MAX_BYTES)
    if not content.strip():
        raise InvalidData(f"{what} must hold a table, but {path} is empty ({len(content)} bytes). Check the file.")
    if content.startswith(PARQUET_MAGIC):
        frame = read_frame(path, what, ADVICE)
        return frame, np.arange(len(frame)), False
    kind = kind_of(content)
    if kind is not None and kind not in READABLE:
        raise InvalidData(
            f"{what} must be CSV, JSON, Feather or parquet, but {path} is {kind.name}. "
            f"{kind.advice.replace('bars.parquet', 'spans.parquet')}"
        )
    if kind is FEATHER:
        frame = feather_frame(content, import_options(path, reading))
        return frame, np.arange(len(frame)), False
    text = text_of(content, import_options(path, reading))
    if text.lstrip()[:1] in ("[", "{"):
        records = _records(text, path)
        return _frame(records), np.arange(len(records)), False
    return delimited(text, path, given)


def _records(text: str, path: Path) -> list[dict[str, Any]]:
    """Return the objects of JSON: a list, the list of an object that holds spans, any layout of pandas, or lines."""
    value = studio_file.parsed(text, path, WHAT)
    if isinstance(value, dict):
        value = _laid_out(value)
    if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
        raise InvalidData(f"{WHAT} in JSON must be a list of objects, but {path} is none. {ADVICE}")
    return value


def _laid_out(value: dict[str, Any]) -> Any:
    """Return the rows of an object, as pandas' to_json writes them by each `orient`."""
    inside = list(value.values())
    names, data = value.get("columns"), value.get("data")
    if isinstance(names, list) and isinstance(data, list) and all(isinstance(row, list) for row in data):
        return [dict(zip(map(str, names), row, strict=False)) for row in data]
    if inside and all(isinstance(one, dict) for one in inside):
        if not any(_plain(name) in MEANS for name in value):
            return inside
        return [{name: column.get(key) for name, column in value.items()} for key in inside[0]]
    if inside and all(isinstance(one, list) for one in inside) and sum(_plain(name) in MEANS for name in value) > 1:
        return [dict(zip(value, row, strict=False)) for row in zip(*inside, strict=False)]
    lists = [one for one in inside if isinstance(one, list) and all(isinstance(row, dict) for row in one)]
    with_label = [one for one in lists if one and any(MEANS.get(_plain(name)) == "label" for name in one[0])]
    for several in (lists, with_label):
        if len(several) == 1:
            return several[0]
    return [value]


def _frame(records: list[dict[str, Any]]) -> pl.DataFrame:
    names = list(dict.fromkeys(name for record in records for name in record))
    cells = {name: [_cell(record.get(name)) for record in records] for name in names}
    return pl.DataFrame(cells, schema=dict.fromkeys(names, pl.String))


def _cell(value: Any) -> str | None:
    return None if value is None else value if isinstance(value, str) else json.dumps(value)


def delimited(text: str, path: Path, given: Iterable[str] = ()) -> tuple[pl.DataFrame, np.ndarray, bool]:
    """Read text by the header and the separator that name the most columns; quotes may hold lines."""
    lines = text.split("\n")
    at, separator = _header(lines, set(given))
    if separator != ",":
        log.info("Columns are separated by %r.", separator)
    above = [line for line in lines[:at] if line.strip()]
    if above:
        log.info("Left out %d lines before the header: %r.", len(above), above[0][:60])
    body_text = "\n" * at + "\n".join([lines[at].removeprefix("#").lstrip(), *lines[at + 1 :]])
    reader = csv.reader(io.StringIO(body_text), delimiter=separator, skipinitialspace=True)
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


def _header(lines: list[str], given: Iterable[str]) -> tuple[int, str]:
    """Return the place of the header among lines, and the separator of its cells.

    It is the first line that holds something, unless one of the next names two columns and more of them than that one.
    """
    head = [i for i, line in enumerate(lines) if line.strip()][:HEAD_LINES]
    best, most = (head[0], ","), (-1, -1)
    for i in head:
        for mark in SEPARATORS:
            cells = _cells(lines[i].removeprefix("#"), mark)
            known = sum(_plain(cell) in MEANS or _plain(cell) in COUNTS or cell in given for cell in cells)
            is_first = i in (best[0], head[0])
            if (known, len(cells)) > most if is_first else known >= 2 and known > most[0]:
                best, most = (i, mark), (known, len(cells))
    return best


def _cells(line: str, separator: str) -> list[str]:
    cells = next(csv.reader([line[:HEADER_CHARACTERS]], delimiter=separator, skipinitialspace=True), [])
    return [cell.strip() for cell in cells]


# Times.


def times_of(
    rows: Rows, reading: SpanReading, path: Path, problems: list[Problem], bars: Bars
) -> tuple[np.ndarray, np.ndarray]:
    """Return both columns of times in UTC; they are read as one, so that an order of day and month fits both.

    An end that is a day without a time of day means the whole of that day.
    """
    if reading.timestamp_unit == "bars":
        return _counted(rows, "start", problems, bars), _counted(rows, "end", problems, bars)
    n = len(rows.frame)
    options = import_options(path, reading)
    columns = [_with_points(rows.frame[name]).alias("time") for name in ("start", "end")]
    if bar_interval_us(bars.start_us) < DAY_US:
        columns[0], columns[1], options = days_ended(columns[0], columns[1], options)
    if columns[0].dtype != columns[1].dtype:
        columns = [column.cast(pl.String) for column in columns]
    # A row's start, then its end: clocks that go back are resolved by the order.
    order = np.arange(2 * n).reshape(2, n).T.ravel()
    found: list[Problem] = []
    times = utc_times(as_numbers(pl.concat(columns)[order]), options, found)
    for problem in found:
        row = None if problem.first_row is None else int(rows.place[min(problem.first_row // 2, n - 1)])
        line = row if rows.is_line else None
        side = "" if problem.first_row is None else f"{('start', 'end')[problem.first_row % 2]}: "
        detail = _as_counts(columns, bars) or problem.detail
        problems.append(replace(problem, first_row=row, line=line, detail=f"{side}{detail}"))
    time_us = times.dt.timestamp("us").fill_null(0).to_numpy().reshape(n, 2)
    return time_us[:, 0].copy(), time_us[:, 1].copy()


def _with_points(column: pl.Series) -> pl.Series:
    """Return numbers that were written with a decimal comma with a point."""
    return column.str.replace(r"^([+-]?\d+),(\d+)$", "$1.$2") if column.dtype == pl.String else column


def _as_counts(columns: list[pl.Series], bars: Bars) -> str:
    """Return what to say where all times can be places of bars; the empty string where they cannot."""
    numbers = [as_numbers(column) for column in columns]
    if not all(column.dtype.is_numeric() for column in numbers):
        return ""
    low, high = (pick(getattr(column, pick.__name__)() or 0 for column in numbers) for pick in (min, max))
    if not 0 <= low <= high < len(bars):
        return ""
    return (
        f"found {columns[0][0]}; where they count the bars from 0, set --timestamp-unit bars, and where another column "
        "has the times, --columns start=<column> end=<column>"
    )


def _counted(rows: Rows, name: str, problems: list[Problem], bars: Bars) -> np.ndarray:
    """Return the times of bars that a column counts from 0, as Label Studio does where a series has no times.

    A fraction, as of an edge that was drawn between two bars, means the bar that it lies in.
    """
    if len(bars.symbols) > 1:
        raise WrongUsage(
            f"--timestamp-unit bars must count the bars of one symbol, but there are {len(bars.symbols)} "
            f"({', '.join(bars.symbols[:5])}). Give the bars of one."
        )
    column = _with_points(rows.frame[name])
    number = column.cast(pl.Float64, strict=False).fill_null(float("nan")).to_numpy()
    unfit = ~((number >= 0) & (number < len(bars)))
    if unfit.any():
        rule = f"{name} must count bars from 0 to {len(bars) - 1} (--timestamp-unit bars)"
        problems.append(rows.problem(rule, unfit, f"found {rows.frame[name][int(unfit.argmax())]}"))
    number = np.where(unfit, 0, number)
    if n_between := int((number != np.floor(number)).sum()):
        log.info("%d of %d places of %s are no whole numbers and mean the bar before.", n_between, len(number), name)
    return bars.start_us[np.floor(number).astype(np.int64)]
