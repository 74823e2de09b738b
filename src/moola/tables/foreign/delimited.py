"""Text with one bar per line: separator, header, lines that are not bars, and columns without names.

Whatever is found rather than given is reported; what fits two readings is refused with the option that decides.
"""

from __future__ import annotations

import csv
import io
import logging
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from moola.errors import InvalidData, WrongUsage
from moola.options.table_options import ImportOptions
from moola.tables.foreign.columns import ForeignTable, refuse_same_names
from moola.tables.foreign.prices import EMPTY

# Columns without names, recognised by what is in them: time, open, high, low, close, volume.


log = logging.getLogger(__name__)

DAY = re.compile(r"\d{8}|\d{4}[-./]\d{1,2}[-./]\d{1,2}|\d{1,2}[-./]\d{1,2}[-./]\d{2,4}")
TIME_OF_DAY = re.compile(r"\d{1,2}:\d{2}(:\d{2}(\.\d+)?)?|\d{4}|\d{6}")
BINANCE_COLUMNS = 12
NAMES = ("open", "high", "low", "close")


def layout_of(rows: list[list[str]], columns: list[str], options: ImportOptions) -> dict[str, str]:
    """Return the column of each name of the contract, for rows that begin with a time and continue with four prices.

    That is how Binance, MetaTrader, histdata and exchanges' interfaces write bars; where high is not the highest or
    low not the lowest of the four, the order is another one, and `--columns` must say it.

    Raises
    ------
    InvalidData
        The first rows are not laid out so and `--columns` names none.
    """
    if options.columns:
        return {}
    texts = [row for row in rows if len(row) >= 5]
    has_day = bool(texts) and all(DAY.fullmatch(row[0]) and TIME_OF_DAY.fullmatch(row[1]) for row in texts)
    n_times = 2 if has_day and len(columns) >= 6 else 1
    places = columns[n_times : n_times + 4]
    if len(places) < 4 or not texts or not all(_is_bar(row[n_times : n_times + 4]) for row in texts):
        raise InvalidData(
            f"columns without names must be a time, open, high, low and close, but {options.input} has "
            f"{len(columns)} columns of another order{_example(texts)}. "
            f"Set --columns timestamp={columns[0]} open=... with column_1 to column_{len(columns)}."
        )
    times = {"date": columns[0], "time": columns[1]} if n_times == 2 else {"timestamp": columns[0]}
    layout = times | dict(zip(NAMES, places, strict=True))
    # Behind the prices alone, or as Binance writes; other sources have other figures there first.
    if len(columns) == n_times + 5 or (n_times == 1 and len(columns) == BINANCE_COLUMNS):
        layout["volume"] = columns[n_times + 4]
    shown = ", ".join(layout)
    log.info("Columns have no names and are taken as %s (--columns names others).", shown)
    return layout


def _is_bar(cells: list[str]) -> bool:
    """Return whether four cells can be open, high, low and close; empty ones say nothing against it."""
    # Which of comma and point is the decimal mark does not change the order of prices written alike, nearly always.
    numbers = [_number(cell) for cell in cells]
    if any(number is None for number in numbers):
        return all(number is None for number in numbers)
    open_, high, low, close = (number for number in numbers if number is not None)
    room = 1e-6 * abs(high)
    return high + room >= max(open_, close) and low - room <= min(open_, close)


def _number(cell: str) -> float | None:
    plain = cell.replace(" ", "")
    if "," in plain and "." in plain:
        plain = plain.replace("," if plain.rfind(".") > plain.rfind(",") else ".", "")
    try:
        return float(plain.replace(",", "."))
    except ValueError:
        return None


def _example(rows: list[list[str]]) -> str:
    return f" (first: {', '.join(rows[0])[:80]})" if rows else ""


SEPARATORS = (",", ";", "\t", "|")
TYPED = {"\\t": "\t", "tab": "\t", "\\|": "|"}
SHOWN = {"\t": r"\t"}
# Lines that show how the file is laid out; nobody writes a longer note before a header.
HEAD_LINES = 200
MOST_HEADER_LINES = 3
NUMBER = re.compile(r"[-+]?[$€£¥]?(\d[\d.,'’ \u00a0\u202f]*|\.\d+)([eE][-+]?\d+)?")
TIME = re.compile(r"\d{4}[-./]\d{1,2}[-./]\d{1,2}|\d{1,2}[-./]\d{1,2}[-./]\d{2,4}|\d{8}\b|\d{1,2}:\d{2}|\d{9,}")
# In polars' regular expressions, which know no possessive forms: what is between quotes.
QUOTED = r'"[^"]*"'
# How many of the contract's names a list of column names holds.
Knowing = Callable[[list[str]], set[str]]


@dataclass(frozen=True)
class _Line:
    """A line of the head: its number from 1, its cells, and whether it holds a bar."""

    number: int
    cells: list[str]
    text: str

    @property
    def has_prices(self) -> bool:
        return sum(bool(NUMBER.fullmatch(cell)) for cell in self.cells) >= 4

    @property
    def holds_bar(self) -> bool:
        # A bar without prices is one too, as it is for a holiday.
        return self.has_prices or (len(self.cells) >= 5 and any(TIME.match(cell) for cell in self.cells))


def read_delimited(text: str, options: ImportOptions, known: Knowing) -> ForeignTable:
    """Read text of separated columns; every column stays text.

    Parameters
    ----------
    known
        Returns which names of the contract a list of column names gives.

    Raises
    ------
    InvalidData
        No separator or more than one fits, a quote is left open, or two columns have one name.
    """
    path = options.input
    lines = _content_lines(text, options)
    separator = _separator(lines, options, known)
    head = [_Line(number, cells_of(line, separator), line) for number, line in lines.head(HEAD_LINES).iter_rows()]
    header = None if options.no_header else _header(head, path, known)
    names, behind = _names(head, header, known) if header is not None else ([], _before_first_bar(head, options))
    body = lines.filter((pl.col("number") > behind) & ~pl.col("line").str.starts_with("#"))
    if header is not None:
        body = _without_repeated_header(body, header.text)
    table = _table(body, names, separator, path)
    rows = [line.cells for line in head if line.number > behind and line.holds_bar]
    return (
        table
        if names
        else ForeignTable(table.frame, table.lines, layout_of(rows, table.frame.columns, options), table.broken)
    )


def cells_of(line: str, separator: str) -> list[str]:
    """Return a line's cells without spaces and quotes around them."""
    return [cell.strip() for cell in next(csv.reader([line], delimiter=separator, skipinitialspace=True), [])]


def _content_lines(text: str, options: ImportOptions) -> pl.DataFrame:
    """Return the lines that hold something, with their numbers; `--skip-rows` leaves out those that it counts."""
    lines = pl.Series("line", [text]).str.split("\n").explode().str.strip_chars_end("\r \x1a")
    frame = pl.DataFrame({"number": pl.int_range(1, len(lines) + 1, eager=True), "line": lines})
    # Marks alone are a row of nothing: spreadsheets write them below the last one.
    frame = frame.slice(options.skip_rows).filter(pl.col("line").str.strip_chars(' ,;|\t"') != "")
    if not len(frame):
        raise InvalidData(f"a bar file must have bars, but {options.input} has no line with any. Check --input.")
    is_open = frame["line"].str.count_matches('"', literal=True) % 2 == 1
    if is_open.any():
        raise InvalidData(
            f"a quoted cell must end on its line, but {int(is_open.sum())} do not ({options.input}, first at line "
            f"{frame['number'][is_open.arg_max() or 0]}). Fix the quotes."
        )
    return frame


def _separator(lines: pl.DataFrame, options: ImportOptions, known: Knowing) -> str:
    """Return the separator that was given, or the only one that makes bars of the first lines."""
    if options.separator is not None:
        separator = TYPED.get(options.separator, options.separator)
        if len(separator) != 1 or separator in '"\r\n' or not separator.isascii():
            raise WrongUsage(
                f"--separator must be one character, as ';' or '\\t', but it is {options.separator!r}. "
                "Leave it out to have it found."
            )
        return separator
    head = lines.head(HEAD_LINES)["line"].to_list()
    share = {}
    for separator in SEPARATORS:
        cells = [_Line(0, cells_of(line, separator), line) for line in head]
        if not any(separator in line for line in head):
            continue
        share[separator] = sum(line.has_prices and len(line.cells) >= 5 for line in cells) / len(head)
        # A file without bars, or without numbers in them, is recognised by its header.
        has_names = any(len(known(line.cells)) >= 4 for line in cells)
        share[separator] = max(share[separator], 0.5 / len(head) if has_names else 0.0)
    fitting = [separator for separator, value in share.items() if value > 0]
    if not fitting:
        most = max(SEPARATORS, key=lambda separator: sum(line.count(separator) for line in head))
        return most
    best = max(fitting, key=lambda separator: share[separator])
    rivals = [one for one in fitting if share[one] > share[best] / 2]
    if len(rivals) > 1:
        shown = " and ".join(f"'{SHOWN.get(one, one)}'" for one in rivals)
        raise InvalidData(
            f"one separator must fit, but {shown} both make bars of {options.input}. Choose one with --separator."
        )
    if best != ",":
        log.info("Columns are separated by '%s'.", SHOWN.get(best, best))
    return best


def _header(head: list[_Line], path: Path, known: Knowing) -> _Line | None:
    """Find the line that names the columns; None where the first line is a bar already."""
    named = [(line, _uncommented(line)) for line in head]
    for line, plain in named:
        if {"open", "high", "low", "close"} <= known(plain.cells):
            lost = [one for one in head if one.number < line.number and one.holds_bar and _width(one) == _width(line)]
            if lost:
                raise InvalidData(
                    f"bars must come below their header, but {path} has {len(lost)} above it (header at line "
                    f"{line.number}, first bar at line {lost[0].number}). Set --skip-rows {line.number - 1} to leave "
                    "them out, or remove the header."
                )
            return plain
    content = [line for line in head if not line.text.startswith("#")]
    first = next((i for i, line in enumerate(content) if line.holds_bar), None)
    if first is None:
        # No line looks like a bar: the first of several cells names them, so that the message can show the names.
        return next((line for line in content if len(line.cells) > 1), content[0] if content else None)
    above = [line for line in content[:first] if len(line.cells) >= max(2, _width(content[first]) - 1)]
    return above[-1] if above else None


def _width(line: _Line) -> int:
    """Return a line's number of cells without empty ones at its end."""
    n_cells = len(line.cells)
    while n_cells and not line.cells[n_cells - 1]:
        n_cells -= 1
    return n_cells


def _uncommented(line: _Line) -> _Line:
    """Return a line as a header: some programs put '#' before it."""
    if not line.text.startswith("#"):
        return line
    return _Line(line.number, [line.cells[0].lstrip("# "), *line.cells[1:]], line.text)


def _names(head: list[_Line], header: _Line, known: Knowing) -> tuple[list[str], int]:
    """Return the columns' names and the last line that names them; what is above is reported and skipped.

    Some headers are several lines: one of names, one of symbols or units, one that names the index alone.
    """
    above = [line for line in head if line.number < header.number and not line.text.startswith("#")]
    if above:
        log.info("Left out %s before the header: %r.", _lines(above), above[0].text[:60])
    names, last = list(header.cells), header.number
    for line in [line for line in head if line.number > header.number][:MOST_HEADER_LINES]:
        if line.holds_bar or len(line.cells) < 2 or any(NUMBER.fullmatch(cell) for cell in line.cells):
            break
        if any(cell and cell.lower() in EMPTY for cell in line.cells):
            break
        for place, cell in enumerate(line.cells[: len(names)]):
            if known([cell]) == {"timestamp"} and not known([names[place]]) and cell:
                names[place] = cell
        last = line.number
        log.info("Line %d belongs to the header: %r.", line.number, line.text[:60])
    while names and not names[-1]:
        names.pop()
    # Indicators of a chart may share a name; which is meant matters where bars have such a column.
    repeated = [name in names[:place] and not known([name]) for place, name in enumerate(names)]
    return [
        f"column_{at}" if again else name for at, (name, again) in enumerate(zip(names, repeated, strict=True), 1)
    ], last


def _before_first_bar(head: list[_Line], options: ImportOptions) -> int:
    """Return the last line before the first bar of a file without a header; what is skipped is reported."""
    content = [line for line in head if not line.text.startswith("#")]
    first = next((i for i, line in enumerate(content) if line.holds_bar), 0)
    if first:
        log.info("Left out %s before the first bar: %r.", _lines(content[:first]), content[0].text[:60])
    if not options.no_header and content:
        log.info("There is no header: line %d is taken as the first bar.", content[first].number)
    return content[first - 1].number if first else 0


def _lines(lines: list[_Line]) -> str:
    first, last = lines[0].number, lines[-1].number
    return f"line {first}" if first == last else f"lines {first} to {last}"


def _without_repeated_header(body: pl.DataFrame, header: str) -> pl.DataFrame:
    """Leave out further copies of the header, which files that were put together have."""
    is_copy = body["line"] == header
    if is_copy.any():
        first = body["number"][is_copy.arg_max() or 0]
        log.info("Left out %d more copies of the header, first at line %d.", int(is_copy.sum()), first)
    return body.filter(~is_copy)


def _table(body: pl.DataFrame, names: list[str], separator: str, path: Path) -> ForeignTable:
    """Split lines into columns of text."""
    n_cells = body["line"].str.replace_all(QUOTED, "").str.count_matches(separator, literal=True) + 1
    wide = max(int(n_cells.max() or 0), len(names), 1)  # type: ignore[arg-type]
    columns = [f"column_{i + 1}" for i in range(wide)]
    # The reader takes the number of columns from the first line, whatever the schema says.
    widest = separator * (wide - 1)
    frame = pl.read_csv(
        io.BytesIO("\n".join([widest, *body["line"].to_list()]).encode()),
        has_header=False,
        separator=separator,
        schema=dict.fromkeys(columns, pl.String),
        truncate_ragged_lines=True,
    ).slice(1 if wide > 1 else 0)
    frame = frame.with_columns(pl.all().str.strip_chars(' \t"').replace("", None))
    # Cells that are empty throughout and have no name are separators at the ends of lines.
    if not names:
        wanted = int(n_cells.mode().max() or wide)  # type: ignore[arg-type]
        while wanted > 1 and frame[columns[wanted - 1]].null_count() == len(frame):
            wanted -= 1
    else:
        wanted = len(names)
    beyond = frame.select(pl.any_horizontal(pl.col(columns[wanted:]).is_not_null())) if wide > wanted else None
    broken = n_cells < wanted
    if beyond is not None:
        broken = broken | beyond.to_series().fill_null(False)
    frame = frame.select(columns[:wanted])
    if names:
        refuse_same_names(names, path)
        # The first column may have no name: exporters of tables with an index leave it out.
        named = [name or ("" if place == 0 else f"column_{place + 1}") for place, name in enumerate(names)]
        refuse_same_names(named, path)
        frame.columns = named
    return ForeignTable(frame, body["number"], None, broken)
