"""Foreign bar files to the contract: any column names, any time zone."""

from __future__ import annotations

import logging

import polars as pl

from moola.config.table_options import ImportOptions
from moola.core.bars import OHLC
from moola.data.contracts.frames import PARQUET_MAGIC, plain_name, read_csv, read_frame
from moola.errors import InvalidData, Problem, WrongUsage
from moola.files import read_bytes

log = logging.getLogger(__name__)
SEPARATORS = (";", "\t", "|", ",")
KNOWN = ("timestamp", *OHLC, "volume", "symbol")
SYNONYMS = {"date": "timestamp", "time": "timestamp", "datetime": "timestamp", "gmt time": "timestamp"}
SYNONYMS |= {"o": "open", "h": "high", "l": "low", "c": "close", "vol": "volume", "v": "volume", "ticker": "symbol"}

# The year 2262: the last that nanosecond clocks of other tools can tell.
LATEST_US = 9.2e15


def import_frame(options: ImportOptions) -> pl.DataFrame:
    """Read, rename and convert a foreign file to the columns of the bar contract, sorted in time.

    Raises
    ------
    WrongUsage
        A mapping that is no `name=Column` of the file.
    InvalidData
        A needed column is not found, or times cannot be read, with the first row of each.
    """
    frame = _read(options)
    mapping = _mapping(options.columns, frame.columns)
    missing = [name for name in KNOWN[:5] if name not in mapping]
    if missing:
        example = " ".join(f"{name}=<column>" for name in missing)
        raise InvalidData(
            f"bars must have timestamp, open, high, low and close, but {options.input} names no "
            f"{', '.join(missing)} (it has {', '.join(frame.columns[:20])}). {_way_out(frame.columns, example)}"
        )
    frame = frame.select([pl.col(column).alias(name) for name, column in mapping.items()])
    problems: list[Problem] = []
    times = _utc(frame["timestamp"], options, problems)
    prices = [_price(frame[name], problems) for name in mapping if name in (*OHLC, "volume")]
    if problems:
        raise InvalidData.from_problems(options.input, problems, "Mend the file or the options.")
    columns = [times.alias("timestamp"), *prices]
    if options.symbol is not None:
        columns.append(pl.Series("symbol", [options.symbol] * len(frame), dtype=pl.String))
    elif "symbol" in mapping:
        columns.append(frame["symbol"].cast(pl.String))
    keys = ["symbol", "timestamp"] if any(c.name == "symbol" for c in columns) else ["timestamp"]
    return pl.DataFrame(columns).sort(keys, maintain_order=True)


def _way_out(columns: list[str], example: str) -> str:
    """Say what finds the columns: another separator where one column holds them all, else their names."""
    found = [separator for separator in SEPARATORS if len(columns) == 1 and separator in columns[0]]
    return (
        f"It looks separated by {found[0]!r}: say --separator {found[0]!r}." if found else f"Say --columns {example}."
    )


def _read(options: ImportOptions) -> pl.DataFrame:
    what, advice = "the input", "Check --input."
    content = read_bytes(options.input, what, advice)
    if content.startswith(PARQUET_MAGIC):
        return read_frame(options.input, what, advice)
    try:
        symbols = tuple(pair.partition("=")[2] for pair in options.columns if pair.startswith("symbol="))
        return read_csv(content, options.separator, symbols)
    except (pl.exceptions.PolarsError, ValueError) as error:
        raise InvalidData(
            f"{what} must be CSV with separator {options.separator!r}, but {options.input} could not be read "
            f"({str(error).splitlines()[0][:200]}). Check --separator."
        ) from error


def _mapping(pairs: tuple[str, ...], columns: list[str]) -> dict[str, str]:
    """Return file column by contract name: pairs first, then names that match without case."""
    mapping: dict[str, str] = {}
    for pair in pairs:
        name, _, column = pair.partition("=")
        if name not in KNOWN or column not in columns:
            what = f"{name!r} is none of {', '.join(KNOWN)}" if name not in KNOWN else f"there is no column {column!r}"
            raise WrongUsage(f"--columns must hold pairs name=Column, but in {pair!r} {what}. Mend the pair.")
        mapping[name] = column
    for column in columns:
        plain = plain_name(column)
        name = SYNONYMS.get(plain, plain)
        if name in KNOWN and name not in mapping and column not in mapping.values():
            mapping[name] = column
    return {name: mapping[name] for name in KNOWN if name in mapping}


def _price(column: pl.Series, problems: list[Problem]) -> pl.Series:
    number = column.cast(pl.Float64, strict=False)
    lost = number.is_null()
    if lost.any() and column.name != "volume":
        first = int(lost.arg_max() or 0)
        problems.append(Problem(f"{column.name} must be a number", int(lost.sum()), first, f"found {column[first]!r}"))
    return number.alias(column.name)


def _utc(column: pl.Series, options: ImportOptions, problems: list[Problem]) -> pl.Series:
    naive = _times(column, options)
    if naive.dtype.time_zone is None:  # type: ignore[attr-defined]
        log.info("Times carry no zone and are taken as %s (--timezone).", options.timezone)
        try:
            ambiguous = "null" if options.ambiguous == "raise" else options.ambiguous
            aware = naive.dt.replace_time_zone(options.timezone, ambiguous=ambiguous, non_existent="null")
        except pl.exceptions.PolarsError as error:
            raise WrongUsage(
                f"--timezone must be a name such as America/New_York, but {options.timezone!r} is not known. "
                "Look it up in the IANA list."
            ) from error
        lost = aware.is_null() & naive.is_not_null()
        if lost.any():
            first = int(lost.arg_max() or 0)
            rule = f"every time must exist once in {options.timezone} (clocks change: see --ambiguous)"
            problems.append(Problem(rule, int(lost.sum()), first, f"found {naive[first]}"))
    else:
        aware = naive
    unread = naive.is_null()
    if unread.any():
        first = int(unread.arg_max() or 0)
        detail = f"found {column[first]!r}; see --timestamp-format"
        problems.append(Problem("timestamp must be readable as a time", int(unread.sum()), first, detail))
    return aware.dt.convert_time_zone("UTC").dt.cast_time_unit("us")


def _times(column: pl.Series, options: ImportOptions) -> pl.Series:
    if isinstance(column.dtype, pl.Datetime):
        return column.dt.cast_time_unit("us")
    if column.dtype == pl.Date:
        return column.cast(pl.Datetime("us"))
    if column.dtype.is_numeric():
        per_unit = {"s": 1_000_000, "ms": 1_000, "us": 1}[options.timestamp_unit]
        time_us = column.cast(pl.Float64) * per_unit
        # Outside these years a number is no time of a bar, whatever its unit was meant to be.
        known = time_us.is_finite() & (time_us.abs() < LATEST_US)
        time_us = time_us.zip_with(known.fill_null(False), pl.Series([None], dtype=pl.Float64))
        return time_us.cast(pl.Int64).cast(pl.Datetime("us", "UTC"))
    text = column.cast(pl.String)
    try:
        return text.str.to_datetime(options.timestamp_format, time_unit="us", strict=False)
    except pl.exceptions.PolarsError:
        # No format fits: every row is unread, and the message that follows shows the first one.
        return pl.Series(column.name, [None] * len(column), dtype=pl.Datetime("us"))
