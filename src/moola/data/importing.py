"""Foreign bar files to the contract: any column names, any time zone."""

from __future__ import annotations

import polars as pl

from moola.config.table_options import ImportOptions
from moola.core.bars import OHLC
from moola.data.bar_times import utc_times
from moola.data.contracts.frames import PARQUET_MAGIC, plain_name, read_csv, read_frame
from moola.errors import InvalidData, Problem, WrongUsage
from moola.files import read_bytes

SEPARATORS = (";", "\t", "|", ",")
KNOWN = ("timestamp", *OHLC, "volume", "symbol")
# What tables call an index that has no name: the last choice, for it may number the rows.
UNNAMED = ("", "unnamed: 0", "__index_level_0__", "index")
SYNONYMS = dict.fromkeys(
    ("date", "time", "datetime", "date time", "date_time", "gmt time", "local time", "utc time", "time utc",
     "timestamp_utc", "timestamp utc", "datetime_utc", "date_utc", "time_utc", "utc", "t", "ts", "dt",
     "ts_event", "open time", "open_time", "opentime", "start", "start_time", "start time", "time_period_start",
     "window_start", "unix", "epoch", "unix_timestamp", "unix timestamp", "timestamp_ms", *UNNAMED),
    "timestamp",
)  # fmt: skip
SYNONYMS |= {"o": "open", "h": "high", "l": "low", "c": "close", "vol": "volume", "v": "volume", "ticker": "symbol"}


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
    symbols = frame["symbol"] if "symbol" in mapping and options.symbol is None else None
    times = utc_times(frame["timestamp"], options, problems, symbols)
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
    for column in sorted(columns, key=lambda name: plain_name(name) in UNNAMED):
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
