"""The bar table: `timestamp` (UTC), open, high, low, close, optional volume and symbol; whole or piece by piece."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl

from moola.core.bars import OHLC, Bars, bar_problems, broken_rule, price_problems
from moola.errors import InvalidData, OperationFailed, Problem
from moola.tables.frames import (
    FIRST_ROWS,
    PARQUET_MAGIC,
    PIECE_ROWS,
    csv_header,
    in_file,
    read_frame,
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
    told = {problem.rule for problem in problems}
    found = bar_problems(bars) if times_known else price_problems(bars.ohlc)
    problems += [problem for problem in found if problem.rule not in told]
    if problems:
        raise InvalidData.from_problems(path, in_file(timed(problems, bars, times_known), path), advice)
    return _symbol_by_symbol(bars)


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


def _symbol_by_symbol(bars: Bars) -> Bars:
    return bars.take(_symbol_order(bars.symbol))


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
    try:
        if not path.is_file():
            raise OperationFailed(f"a bar file must exist, but there is no file {path}. Check the path.")
        with path.open("rb") as file:
            is_parquet = file.read(len(PARQUET_MAGIC)) == PARQUET_MAGIC
        if not path.stat().st_size:
            raise InvalidData(f"a bar file must hold a table, but {path} is empty (0 bytes). {ADVICE}")
        for piece in _parquet(path) if is_parquet else _csv(path):
            refuse_long_text(piece, path, "a bar file", ADVICE)
            yield piece
    except (pl.exceptions.PolarsError, UnicodeError, OverflowError) as error:
        reason = str(error).splitlines()[0][:200]
        raise InvalidData(
            f"a bar file must be parquet or CSV, but {path} could not be read ({reason}). {ADVICE}"
        ) from error
    except OSError as error:
        raise OperationFailed(
            f"a bar file must be readable, but {path}: {error.strerror or error}. {ADVICE}"
        ) from error
    except BaseException as error:
        # Damaged parquet can end in a panic of the reader, which is no subclass of Exception.
        if type(error).__name__ != "PanicException":
            raise
        raise InvalidData(f"a bar file must be complete parquet, but {path} is damaged. {ADVICE}") from error


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
