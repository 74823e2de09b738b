"""The bar table: `timestamp` (UTC), open, high, low, close, optional volume and symbol; whole, in pieces, or symbol
by symbol."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import polars as pl

from moola.core.bars import OHLC, Bars, allowed_gap_s, bar_interval_us, bar_problems, broken_rule, price_problems
from moola.errors import InvalidData, OperationFailed, Problem
from moola.tables.frames import (
    FIRST_ROWS,
    PARQUET_MAGIC,
    PIECE_ROWS,
    csv_header,
    in_file,
    read_frame,
    reading,
    refuse_foreign,
    refuse_inflation,
    refuse_long_text,
    timed,
    utc_series,
    write_frame,
)

ADVICE = "Fix the file, or map it with `moola bars import`."


def read_bars(path: Path) -> Bars:
    """Read a bar table that obeys the contract; otherwise raise with every broken rule at once."""
    return bars_from_frame(read_frame(path, "a bar file", ADVICE), path)


def read_volume(path: Path) -> np.ndarray | None:
    """Return the volume of each bar in the order of `read_bars`, 0 where it is not known; None where none is."""
    frame = read_frame(path, "a bar file", ADVICE)
    if "volume" not in frame.columns:
        return None
    volume = frame["volume"].cast(pl.Float64, strict=False).fill_null(0.0).fill_nan(0.0).to_numpy()
    return volume[_symbol_order(_symbols(frame, []))] if volume.any() else None


def bars_from_frame(frame: pl.DataFrame, path: Path | str, advice: str = ADVICE) -> Bars:
    """Check a frame against the contract and return its bars symbol by symbol; `advice` ends a refusal."""
    problems = [] if len(frame) else [Problem("a bar file must have bars", 1)]
    bars, times_known = columns_of(frame, path, problems)
    # Order cannot be checked on times that could not be read; prices always can.
    reported = {problem.rule for problem in problems}
    found = bar_problems(bars) if times_known else price_problems(bars.ohlc)
    problems += [problem for problem in found if problem.rule not in reported]
    if problems:
        raise InvalidData.from_problems(path, in_file(timed(problems, bars, times_known), path), advice)
    return bars.take(_symbol_order(bars.symbol))


def columns_of(frame: pl.DataFrame, path: Path | str, problems: list[Problem]) -> tuple[Bars, bool]:
    """Return a frame's bars in its order, and whether all times are known; what cannot be read is a problem added."""
    missing = [name for name in ("timestamp", *OHLC) if name not in frame.columns]
    if missing:
        raise InvalidData(
            f"bars must have the columns timestamp, open, high, low, close, but {path} lacks "
            f"{', '.join(missing)} (it has {', '.join(frame.columns[:20])}). {ADVICE}"
        )
    n_before = len(problems)
    start_us = _times(frame["timestamp"], problems)
    times_known = len(problems) == n_before
    prices = np.stack([_numbers(frame[name], name, problems) for name in OHLC], axis=1).reshape(-1, 4)
    return Bars(start_us, prices, _symbols(frame, problems)), times_known


# Of 01/02/2024 nobody knows the month: text of the contract has the year first.
YEAR_FIRST = r"^\s*\d{4}[-/.]?\d"


def _times(column: pl.Series, problems: list[Problem]) -> np.ndarray:
    given = column
    if column.dtype == pl.String:
        clear = column.str.contains(YEAR_FIRST).fill_null(False)
        column = column.zip_with(clear, pl.Series([None], dtype=pl.String))
        column = column.str.to_datetime(time_unit="us", time_zone="UTC", strict=False)
    if not isinstance(column.dtype, pl.Datetime):
        problems.append(Problem("timestamp must be a time in UTC", len(column), 0, str(column.dtype)))
        return np.zeros(len(column), dtype=np.int64)
    if column.dtype.time_zone is None:
        column = column.dt.replace_time_zone("UTC")
    rule = "timestamp must be there and readable as UTC"
    problems += broken_rule(rule, column.is_null(), lambda row: f"found {given[row]!r}")
    return column.dt.timestamp("us").fill_null(0).to_numpy()


def _numbers(column: pl.Series, name: str, problems: list[Problem]) -> np.ndarray:
    if not (column.dtype.is_numeric() or column.dtype == pl.String):
        rule = f"{name} must be a finite number"
        problems.append(Problem(rule, len(column), 0, f"found {column.dtype}"))
        return np.full(len(column), np.nan)
    numbers = column.cast(pl.Float64, strict=False).fill_null(np.nan).to_numpy()
    # Said here and not by the price rules, because the text that stood there is known here.
    rule = f"{name} must be a finite number"
    problems += broken_rule(rule, ~np.isfinite(numbers), lambda row: f"found {column[row]!r}")
    return numbers


def _symbols(frame: pl.DataFrame, problems: list[Problem]) -> np.ndarray:
    if "symbol" not in frame.columns:
        return np.full(len(frame), "", dtype=object)
    column = frame["symbol"].cast(pl.String)
    problems += broken_rule("symbol must be there where the file has one", column.is_null())
    return column.fill_null("").to_numpy().astype(object)


def _symbol_order(symbol: np.ndarray) -> np.ndarray:
    rank = {name: i for i, name in enumerate(dict.fromkeys(symbol.tolist()))}
    return np.argsort([rank[name] for name in symbol], kind="stable")


def write_bars(path: Path, bars: Bars, volume: np.ndarray | None = None) -> None:
    """Write a bar table of the contract."""
    write_frame(path, bars_frame(bars, volume))


def bars_frame(bars: Bars, volume: np.ndarray | None = None) -> pl.DataFrame:
    """Lay bars out as the columns of the file."""
    columns = {"timestamp": utc_series(bars.start_us)}
    columns |= {name: pl.Series(bars.ohlc[:, i]) for i, name in enumerate(OHLC)}
    if volume is not None:
        columns["volume"] = pl.Series(volume)
    if bars.symbols != [""]:
        columns["symbol"] = pl.Series(bars.symbol.tolist(), dtype=pl.String)
    return pl.DataFrame(columns)


# A bar file read piece by piece: memory does not grow with the file.


# Bytes of CSV at a time.
PIECE_BYTES = 4 << 20


def bar_frames(path: Path) -> Iterator[pl.DataFrame]:
    """Yield a file's rows, some at a time; parquet and CSV are distinguished by content.

    Raises
    ------
    InvalidData
        The file is neither, is damaged, is compressed, or is empty.
    """
    with reading(path, "a bar file", ADVICE):
        try:
            if not path.is_file():
                raise OperationFailed(f"a bar file must exist, but there is no file {path}. Check the path.")
            with path.open("rb") as file:
                begin = file.read(len(PARQUET_MAGIC))
            if not begin:
                raise InvalidData(f"a bar file must hold a table, but {path} is empty (0 bytes). {ADVICE}")
            for piece in _parquet(path) if begin == PARQUET_MAGIC else _csv(path):
                refuse_long_text(piece, path, "a bar file", ADVICE)
                yield piece
        except OSError as error:
            raise OperationFailed(
                f"a bar file must be readable, but {path}: {error.strerror or error}. {ADVICE}"
            ) from error


def _parquet(path: Path) -> Iterator[pl.DataFrame]:
    frame = pl.scan_parquet(path)
    refuse_inflation(frame, path.stat().st_size, path, "a bar file", ADVICE)
    # A few rows first: long text is met before it is met many thousand times.
    first, n_rows = 0, FIRST_ROWS
    while len(piece := frame.slice(first, n_rows).collect()):
        yield piece
        first, n_rows = first + n_rows, PIECE_ROWS


def _csv(path: Path) -> Iterator[pl.DataFrame]:
    with path.open("rb") as file:
        header = file.readline(PIECE_BYTES)
        refuse_foreign(header, path, "a bar file", ADVICE)
        csv_header(header)
        while block := file.read(PIECE_BYTES):
            # To the end of a line; the last one may have none.
            block += file.readline(PIECE_BYTES)
            # Text throughout: what a column holds must not depend on the piece.
            yield pl.read_csv(io.BytesIO(header.rstrip(b"\r\n") + b"\n" + block), infer_schema=False)


RECORD = np.dtype([("start_us", "<i8"), ("ohlc", "<f8", (4,))])
NAME = "bars_{:06d}.bin"
# Bars that give a symbol's usual time from bar to bar.
INTERVAL_BARS = 65_536


class LaidOutBars(Protocol):
    """Bars that a stretch at a time is read of."""

    @property
    def symbols(self) -> list[str]:
        """Symbols in the order in which they first appear."""
        ...

    @property
    def n_bars(self) -> list[int]:
        """Bars of each symbol."""
        ...

    @property
    def usual_gap_s(self) -> list[float]:
        """Longest gap inside a window of each symbol, found from its first bars."""
        ...

    def read(self, symbol: int, first: int, stop: int) -> Bars:
        """Return the bars `[first, stop)` of a symbol, as far as it has them."""
        ...


def symbol_interval_us(bars: LaidOutBars, symbol: int) -> int:
    """Return a symbol's usual time from bar to bar, found from its first bars."""
    return bar_interval_us(bars.read(symbol, 0, INTERVAL_BARS).start_us)


def symbol_gap_s(bars: LaidOutBars, symbol: int, max_gap_hours: float | None) -> float:
    """Return the longest gap inside a window of a symbol: the one asked for, or found from its first bars."""
    return bars.usual_gap_s[symbol] if max_gap_hours is None else max_gap_hours * 3600


class HeldBars:
    """Bars of a checked table in memory."""

    def __init__(self, bars: Bars) -> None:
        self.bars = bars
        rows = list(rows_by_symbol(bars))
        self.symbols = [name for name, _ in rows]
        self.n_bars = [len(own) for _, own in rows]
        self._rows = [own for _, own in rows]
        self.usual_gap_s = [allowed_gap_s(bars.start_us[own[:INTERVAL_BARS]]) for own in self._rows]

    def read(self, symbol: int, first: int, stop: int) -> Bars:
        """Return the bars `[first, stop)` of a symbol, as far as it has them."""
        rows = self._rows[symbol][max(first, 0) : stop]
        return self.bars.take(rows)


@dataclass(frozen=True)
class LastBars:
    """The last bars of one symbol in memory, `offset` bars after its first one."""

    bars: Bars
    offset: int
    max_gap_s: float

    @property
    def symbols(self) -> list[str]:
        """The one symbol."""
        return [str(self.bars.symbol[0])]

    @property
    def n_bars(self) -> list[int]:
        """Its bars, those that are no longer here included."""
        return [self.offset + len(self.bars)]

    @property
    def usual_gap_s(self) -> list[float]:
        """Longest gap inside a window."""
        return [self.max_gap_s]

    def read(self, symbol: int, first: int, stop: int) -> Bars:  # noqa: ARG002
        """Return the bars `[first, stop)`, as far as they are here."""
        return self.bars.take(slice(max(first - self.offset, 0), max(stop - self.offset, 0)))


@dataclass(frozen=True)
class SpooledBars:
    """Bars of a checked bar file in a folder, one file of records per symbol.

    Attributes
    ----------
    symbols
        In the order in which they first appear.
    n_bars
        Bars of each symbol.
    usual_gap_s
        Longest gap inside a window of each symbol, found from its first bars.
    """

    folder: Path
    symbols: list[str]
    n_bars: list[int]
    usual_gap_s: list[float]

    def read(self, symbol: int, first: int, stop: int) -> Bars:
        """Return the bars `[first, stop)` of a symbol, as far as it has them."""
        first, stop = max(first, 0), min(stop, self.n_bars[symbol])
        path = self.folder / NAME.format(symbol)
        try:
            found = np.fromfile(path, RECORD, max(stop - first, 0), offset=first * RECORD.itemsize)
        except OSError as error:
            raise OperationFailed(f"{path} must be readable, but {error.strerror}. Start the scan again.") from error
        name = np.full(len(found), self.symbols[symbol], dtype=object)
        return Bars(found["start_us"].copy(), found["ohlc"].copy(), name)


class BarChecks:
    """Rules of a bar table, kept over pieces: every broken one with its count and its first row in the file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.n_rows = 0
        self.last_us: dict[str, int] = {}
        self.problems: dict[str, Problem] = {}

    def add(self, bars: Bars, unread: list[Problem], times_known: bool) -> None:
        """Check the next piece; `unread` is what `columns_of` could not read of it."""
        reported = {problem.rule for problem in unread}
        found = price_problems(bars.ohlc) + (self._order(bars) if times_known else [])
        problems = [*unread, *(one for one in found if one.rule not in reported)]
        Problem.gather(self.problems, timed(problems, bars, times_known), self.n_rows)
        self.n_rows += len(bars)

    def _order(self, bars: Bars) -> list[Problem]:
        backward, repeated = np.zeros(len(bars), dtype=bool), np.zeros(len(bars), dtype=bool)
        for symbol, rows in rows_by_symbol(bars):
            step = np.diff(bars.start_us[rows], prepend=self.last_us.get(symbol, bars.start_us[rows[0]] - 1))
            backward[rows], repeated[rows] = step < 0, step == 0
            self.last_us[symbol] = int(bars.start_us[rows[-1]])
        rules = ("timestamps must increase within a symbol", "a symbol and timestamp must have one bar")
        return broken_rule(rules[0], backward) + broken_rule(rules[1], repeated)

    def finish(self) -> None:
        """Raise with every broken rule at once."""
        problems = list(self.problems.values())
        if not self.n_rows:
            problems.append(Problem("a bar file must have bars", 1))
        if problems:
            raise InvalidData.from_problems(self.path, in_file(problems, self.path), ADVICE)


def rows_by_symbol(bars: Bars) -> Iterator[tuple[str, np.ndarray]]:
    """Yield each symbol, in the order of first appearance, with its rows ascending."""
    number: dict[str, int] = {}
    # No array of text, which would take the longest name's room for every bar.
    place = np.fromiter((number.setdefault(name, len(number)) for name in bars.symbol), np.int64, len(bars))
    order = np.argsort(place, kind="stable")
    ends = np.cumsum(np.bincount(place, minlength=len(number))).tolist()
    for name, first, end in zip(number, [0, *ends], ends, strict=False):
        yield str(name), order[first:end]


def spool_bars(path: Path, folder: Path) -> SpooledBars:
    """Check a bar file of any size, and lay it out in a folder.

    Raises
    ------
    InvalidData
        With every broken rule at once, as `read_bars`.
    """
    checks = BarChecks(path)
    number: dict[str, int] = {}
    n_bars: list[int] = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for frame in bar_frames(path):
            unread: list[Problem] = []
            bars, times_known = columns_of(frame, path, unread)
            checks.add(bars, unread, times_known)
            if checks.problems:
                continue
            for symbol, rows in rows_by_symbol(bars):
                is_new = symbol not in number
                place = number.setdefault(symbol, len(number))
                if is_new:
                    n_bars.append(0)
                n_bars[place] += len(rows)
                _append(folder / NAME.format(place), bars, rows, is_new)
    except OSError as error:
        raise OperationFailed(
            f"{folder} must hold the bars while they are scanned ({RECORD.itemsize} bytes each), but {error.strerror}. "
            "Free space or choose another --output."
        ) from error
    checks.finish()
    gap_s = [
        allowed_gap_s(np.fromfile(folder / NAME.format(place), RECORD, INTERVAL_BARS)["start_us"])
        for place in number.values()
    ]
    return SpooledBars(folder, list(number), n_bars, gap_s)


def _append(path: Path, bars: Bars, rows: np.ndarray, is_new: bool) -> None:
    records = np.empty(len(rows), RECORD)
    records["start_us"], records["ohlc"] = bars.start_us[rows], bars.ohlc[rows]
    with path.open("wb" if is_new else "ab") as file:
        file.write(records.tobytes())
