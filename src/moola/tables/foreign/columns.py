"""Which column of a foreign file is which: by `--columns`, by its name, or by its place; and where its rows are."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import polars as pl

from moola.errors import InvalidData, Problem, WrongUsage
from moola.options.table_options import ImportOptions
from moola.tables.frames import plain_name

# Which columns hold the times of bars: one, or a day and a time of day that belong together.


log = logging.getLogger(__name__)

DAY = r"^(\d{8}|\d{4}[-./]\d{1,2}[-./]\d{1,2}|\d{1,2}[-./ ][\dA-Za-z]{1,3}[-./ ]\d{2,4})$"
TIME_OF_DAY = r"^(\d{1,2}:\d{2}(:\d{2}([.,]\d+)?)?( ?[AaPp][Mm])?|\d{1,6})$"
PLAIN_DIGITS = r"^(\d{4})(\d{2})(\d{2})[ T](\d{2})(\d{2})(\d{2})?$"
ISO_DAY = r"^(\d{4})[-./]?(\d{2})[-./]?(\d{2})$"


def are_days(column: pl.Series) -> bool:
    """Return whether a column holds days without a time of day, as most of its cells say."""
    return _most(_day_text(column).str.contains(DAY))


def day_cells(column: pl.Series) -> pl.Series:
    """Tell which cells are days without a time of day; none of a column where most cells have one."""
    found = _day_text(column).str.contains(DAY).fill_null(False)
    return found if _most(found) else pl.repeat(False, len(column), dtype=pl.Boolean, eager=True)


def days_ended(start: pl.Series, end: pl.Series, options: ImportOptions) -> tuple[pl.Series, pl.Series, ImportOptions]:
    """Return columns of first and last moments in which a last day without a time of day goes to its end.

    Options come back with the format that these texts have where `--timestamp-format` was that of days.
    """
    days = day_cells(end)
    if not days.any():
        return start, end, options
    if isinstance(end.dtype, pl.Date | pl.Datetime):
        moments = end.cast(pl.Datetime("us")) if end.dtype == pl.Date else end.dt.cast_time_unit("us")
        first = start.cast(pl.Datetime("us")) if start.dtype == pl.Date else start
        return first, moments.dt.offset_by("1d").dt.offset_by("-1us").alias(end.name), options
    texts = end.cast(pl.String).str.strip_chars()
    ended = (texts + " 23:59:59").zip_with(days, texts).alias(end.name)
    if options.timestamp_format is None:
        return start.cast(pl.String), ended, options
    first = start.cast(pl.String).str.strip_chars() + " 00:00:00"
    return first, ended, replace(options, timestamp_format=f"{options.timestamp_format} %H:%M:%S")


def belong_together(day: pl.Series, time: pl.Series) -> bool:
    """Return whether one column holds days alone and the other times of day alone."""
    return are_days(day) and _most(_time_text(time).str.contains(TIME_OF_DAY))


def joined(day: pl.Series, time: pl.Series, options: ImportOptions) -> pl.Series:
    """Return the texts of days and times of day as one column, `2024-03-04 10:00:00` where the year comes first.

    Times of day may be plain digits: HHMMSS, or HHMM where none has more than four; leading zeros may be lost.
    With `--timestamp-format` both stay as they are, with a space between.
    """
    days, times = _day_text(day), _time_text(time)
    if options.timestamp_format is None:
        days = days.str.replace(ISO_DAY, "$1-$2-$3")
        is_plain = times.str.contains(r"^\d{1,6}$")
        # A column of zeros alone is midnight, however many there are.
        wide = 6 if int(times.filter(is_plain.fill_null(False)).str.len_chars().max() or 0) > 4 else 4  # type: ignore[arg-type]
        digits = times.str.zfill(wide)
        clock = digits.str.replace(r"^(\d\d)(\d\d)(\d\d)?$", "$1:$2:$3").str.strip_chars_end(":")
        times = clock.zip_with(is_plain.fill_null(False), times.str.replace(r"^(\d):", "0$1:"))
    return (days + " " + times).alias("timestamp")


def with_marks(column: pl.Series, options: ImportOptions) -> pl.Series:
    """Return texts of a day and a time in plain digits (`20240304 100000`) with marks between; others as they are."""
    if column.dtype != pl.String or options.timestamp_format is not None:
        return column
    return column.str.replace(PLAIN_DIGITS, "$1-$2-$3 $4:$5:$6").str.strip_chars_end(":")


def as_numbers(column: pl.Series) -> pl.Series:
    """Return a column of text as whole or other numbers where every cell is one, else as it is."""
    if column.dtype != pl.String or column.null_count() == len(column):
        return column
    for kind in (pl.Int64, pl.Float64):
        number = column.cast(kind, strict=False)
        if number.null_count() == column.null_count():
            return number
    return column


def _day_text(column: pl.Series) -> pl.Series:
    if isinstance(column.dtype, pl.Datetime) and (column == column.dt.truncate("1d")).all():
        column = column.dt.date()
    return column.cast(pl.String).str.strip_chars()


def _time_text(column: pl.Series) -> pl.Series:
    return column.cast(pl.String).str.strip_chars()


def _most(fits: pl.Series) -> bool:
    return int(fits.sum() or 0) * 2 > len(fits) - fits.null_count()


# What was read of a foreign file: its columns as they are, and where each row is in the file.


@dataclass(frozen=True)
class ForeignTable:
    """Rows of a foreign file.

    Attributes
    ----------
    frame
        Columns as the file has them: text where the file is text.
    lines
        Line of the file, from 1, that each row is on; None where the file has no lines, and rows count from 0.
    layout
        Column by name of the contract, where no header names them and the values do.
    broken
        Rows whose line has another number of fields than the header.
    """

    frame: pl.DataFrame
    lines: pl.Series | None = None
    layout: dict[str, str] | None = None
    broken: pl.Series | None = None

    def keep(self, rows: pl.Series) -> ForeignTable:
        """Return the rows that are true in `rows`."""
        lines = None if self.lines is None else self.lines.filter(rows)
        broken = None if self.broken is None else self.broken.filter(rows)
        return replace(self, frame=self.frame.filter(rows), lines=lines, broken=broken)

    def place(self, row: int) -> str:
        """Return where a row is in the file."""
        return f"row {row}" if self.lines is None else f"line {self.lines[row]}"

    def located(self, problem: Problem, at: str = "") -> Problem:
        """Return a problem whose first row is given as the file has it, with the time that is there."""
        if problem.first_row is None or problem.first_row >= len(self.frame):
            return problem
        line = None if self.lines is None else int(self.lines[problem.first_row])
        return replace(problem, line=line, at=problem.at or at)


def refuse_same_names(names: list[str], path: Path | str) -> None:
    """Raise `InvalidData` where two columns have one name: which of them is meant would be a guess."""
    twice = [name for name in dict.fromkeys(names) if name and names.count(name) > 1]
    if twice:
        raise InvalidData(
            f"columns must have names of their own, but {path} has {names.count(twice[0])} columns named "
            f"{twice[0]!r}. Rename or remove one of them."
        )


# Numbers before names, as in Alpha Vantage's "1. open".
COUNTED = re.compile(r"^\d+\. +")
# What writers of tables call an index without a name of its own; it may count rows, so any other time goes first.
INDEX_NAMES = ("", "index", "unnamed: 0", "__index_level_0__")
DAY_NAMES = ("date", "day", "dtyyyymmdd", "yyyymmdd", "trade date", "trade_date")
TIME_NAMES = ("time", "hhmmss", "hhmm", "time of day", "trade time", "trade_time")


class Names:
    """Names of the contract and what else they are called.

    Attributes
    ----------
    known
        Names of the contract, in its order.
    synonyms
        Name of the contract by another one, in small letters.
    """

    def __init__(self, known: tuple[str, ...], synonyms: dict[str, str], options: ImportOptions) -> None:
        self.known, self.synonyms, self.options = known, synonyms, options
        self.given = dict(pair.partition("=")[::2] for pair in options.columns)

    def among(self, columns: list[str]) -> set[str]:
        """Return the names of the contract that a list of column names gives."""
        given = {name for name, column in self.given.items() if column in columns}
        return given | {name for column in columns if (name := self._of(column))}

    def _of(self, column: str) -> str:
        plain = _plain(column)
        if plain in DAY_NAMES or plain in TIME_NAMES:
            return "timestamp"
        name = self.synonyms.get(plain, plain)
        return name if name in self.known else ""

    def mapping(self, table: ForeignTable) -> dict[str, str]:
        """Return the file's column by name of the contract; `date` and `time` in place of `timestamp` where both are.

        Raises
        ------
        WrongUsage
            A pair of `--columns` names no column, or none of the contract's.
        InvalidData
            Two columns fit one name equally.
        """
        columns = table.frame.columns
        mapping = self._given(columns)
        times = self._times(table) if not mapping.keys() & {"timestamp", "date", "time"} else {}
        for name, column in {**times, **(table.layout or {})}.items():
            mapping.setdefault(name, column)
        for name in self.known[1:]:
            if name not in mapping and (fitting := self._fitting(name, columns, set(mapping.values()))):
                mapping[name] = fitting
        return {name: mapping[name] for name in ("date", "time", *self.known) if name in mapping}

    def _given(self, columns: list[str]) -> dict[str, str]:
        names = ("date", "time", *self.known)
        for pair in self.options.columns:
            name, _, column = pair.partition("=")
            if name not in names or column not in columns:
                what = (
                    f"{name!r} is none of {', '.join(self.known)}, nor date and time"
                    if name not in names
                    else f"there is no column {column!r} (but {', '.join(columns[:20])})"
                )
                raise WrongUsage(f"--columns must hold pairs name=Column, but in {pair!r} {what}. Fix the pair.")
        if ("date" in self.given) != ("time" in self.given) or ("date" in self.given and "timestamp" in self.given):
            raise WrongUsage(
                f"--columns must give timestamp, or date and time together, but it gives {', '.join(self.given)}. "
                "Fix the pairs."
            )
        return dict(self.given)

    def _times(self, table: ForeignTable) -> dict[str, str]:
        """Find the column of times, or the two whose texts make one."""
        columns = table.frame.columns
        taken = set(self.given.values()) | set((table.layout or {}).values())
        free = {column: _plain(column) for column in columns if column not in taken}
        exact = self._only("timestamp", [column for column, plain in free.items() if plain == "timestamp"])
        if exact:
            return {"timestamp": exact}
        for day in (column for column, plain in free.items() if plain in DAY_NAMES):
            for time in (column for column, plain in free.items() if plain in TIME_NAMES and column != day):
                if belong_together(table.frame[day], table.frame[time]):
                    log.info("Times are %r and %r joined.", day, time)
                    return {"date": day, "time": time}
        named = [column for column in free if self._of(column) == "timestamp" and _plain(column) not in INDEX_NAMES]
        # A day alone says less than a time beside it.
        full = [column for column in named if not are_days(table.frame[column])] or named
        full = full or [column for column, plain in free.items() if plain in INDEX_NAMES]
        if not full:
            return {}
        if len(named) > 1:
            others = ", ".join(repr(column) for column in named if column != full[0])
            log.info("Times are those of %r and not of %s (--columns timestamp=<column>).", full[0], others)
        return {"timestamp": full[0]}

    def _fitting(self, name: str, columns: list[str], taken: set[str]) -> str | None:
        """Return the column that a name of the contract means: its own name, another one, or one inside an object."""
        free = [column for column in columns if column not in taken]
        ways: tuple[Callable[[str], bool], ...] = (
            lambda column: _plain(column) == name,
            lambda column: self._of(column) == name,
            lambda column: "." in column and self._of(column.rpartition(".")[2]) == name,
        )
        for fits in ways:
            if found := [column for column in free if fits(column)]:
                return self._only(name, found)
        return None

    def _only(self, name: str, columns: list[str]) -> str | None:
        if len(columns) > 1:
            raise InvalidData(
                f"one column must be the {name}, but {self.options.input} has {len(columns)} that may be "
                f"({', '.join(repr(column) for column in columns[:5])}). Set --columns {name}={columns[0]} or another."
            )
        return columns[0] if columns else None


def _plain(column: str) -> str:
    return COUNTED.sub("", plain_name(column.strip(" \"'")))
