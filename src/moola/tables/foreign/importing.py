"""Foreign bar files to the contract: any program's layout, column names, decimal marks and time zone."""

from __future__ import annotations

import logging
from dataclasses import replace

import polars as pl

from moola.core.bars import OHLC, broken_rule
from moola.errors import InvalidData, Problem
from moola.options.table_options import ImportOptions
from moola.tables.foreign.bar_times import utc_times
from moola.tables.foreign.columns import ForeignTable, Names, as_numbers, joined, with_marks
from moola.tables.foreign.delimited import SEPARATORS, SHOWN
from moola.tables.foreign.prices import plain_text, read_numbers, repaired, repeats, row_problems
from moola.tables.foreign.reading import read_foreign

log = logging.getLogger(__name__)

KNOWN = ("timestamp", *OHLC, "volume", "symbol")
SYNONYMS = dict.fromkeys(
    ("date", "time", "datetime", "date time", "date_time", "gmt time", "local time", "utc time", "time utc",
     "timestamp_utc", "timestamp utc", "datetime_utc", "date_utc", "time_utc", "utc", "t", "ts", "dt",
     "ts_event", "open time", "open_time", "opentime", "start", "start_time", "start time", "time_period_start",
     "window_start", "unix", "epoch", "unix_timestamp", "unix timestamp", "timestamp_ms"),
    "timestamp",
)  # fmt: skip
SYNONYMS |= {"o": "open", "h": "high", "l": "low", "c": "close", "vol": "volume", "v": "volume", "ticker": "symbol"}
SYNONYMS |= {"close/last": "close", "vol.": "volume"}
# Lines of a sum or a source that programs write below the last bar.
MOST_FOOTER_LINES = 5


def import_frame(options: ImportOptions) -> pl.DataFrame:
    """Read, rename and convert a foreign file to the columns of the bar contract, sorted in time.

    What is found rather than given (separator, header, times of two columns, decimal mark) is logged. With `--repair`
    rows that are not bars are dropped or fixed, and each kind is logged with its count.

    Raises
    ------
    WrongUsage
        A mapping that is no `name=Column` of the file.
    InvalidData
        A needed column is not found, the file fits two readings, or rows are not bars of the contract; each rule with
        the line of the file, the time and what was found.
    """
    return import_table(read_foreign(options, Names(KNOWN, SYNONYMS, options).among), options)


def import_table(table: ForeignTable, options: ImportOptions) -> pl.DataFrame:
    """Do what `import_frame` does with rows that are read already; messages call them `options.input`."""
    columns = table.frame.columns
    mapping = Names(KNOWN, SYNONYMS, options).mapping(table)
    if missing := [name for name in KNOWN[:5] if name not in mapping and not (name == KNOWN[0] and "date" in mapping)]:
        example = " ".join(f"{name}=<column>" for name in missing)
        raise InvalidData(
            f"bars must have timestamp, open, high, low and close, but {options.input} names no "
            f"{', '.join(missing)} (it has {', '.join(columns[:20])}). {_way_out(columns, example)}"
        )
    chosen = table.frame.select([pl.col(column).alias(name) for name, column in mapping.items()])
    table = _without_footer(replace(table, frame=chosen))
    raw = table.frame
    values = [name for name in (*OHLC, "volume") if name in mapping]
    numbers = read_numbers(table, values, options.decimal, options.input)
    columns_read = [number.alias(name) for name, number in zip(values, numbers, strict=True)]
    table = replace(table, frame=pl.DataFrame([*columns_read, *_symbols(raw, options)]))
    _say_lost_volume(table, raw)
    return _bars(table, raw, _raw_times(raw, options), options)


def _bars(table: ForeignTable, raw: pl.DataFrame, times: pl.Series, options: ImportOptions) -> pl.DataFrame:
    """Return the rows as bars of the contract, or raise with all that is wrong with them."""
    problems = [] if len(table.frame) else [Problem("a bar file must have bars", 1)]
    if options.repair:
        table, times = repaired(table, times)
    else:
        problems += row_problems(table, raw)
    n_by_repair = 0 if options.repair or not len(raw) else len(problems)
    problems += _without_symbol(table)
    symbols = table.frame["symbol"] if "symbol" in table.frame.columns else None
    utc = utc_times(as_numbers(times), options, problems, symbols)
    is_repeat, same, other = repeats(table, utc)
    if options.repair and is_repeat.any():
        first = int(is_repeat.arg_max() or 0)
        log.info(
            "Repair: dropped %d bars that repeat an earlier one in every value, first at %s (%s).",
            int(is_repeat.sum()),
            table.place(first),
            times[first],
        )
        same = []
    problems += same + other
    if problems:
        located = [
            table.located(
                one, "" if one.first_row is None or one.first_row >= len(times) else str(times[one.first_row])
            )
            for one in problems
        ]
        advice = "Fix the file or the options."
        if n_by_repair or same:
            advice += " --repair drops or fixes rows that are not bars, and counts them."
        raise InvalidData.from_problems(options.input, located, advice)
    frame = pl.DataFrame([utc.alias("timestamp"), *table.frame.get_columns()])
    frame = frame.filter(~is_repeat) if options.repair else frame
    keys = ["symbol", "timestamp"] if "symbol" in frame.columns else ["timestamp"]
    return frame.sort(keys, maintain_order=True)


def _raw_times(raw: pl.DataFrame, options: ImportOptions) -> pl.Series:
    return joined(raw["date"], raw["time"], options) if "date" in raw.columns else with_marks(raw["timestamp"], options)


def _symbols(raw: pl.DataFrame, options: ImportOptions) -> list[pl.Series]:
    if options.symbol is not None:
        return [pl.Series("symbol", [options.symbol] * len(raw), dtype=pl.String)]
    return [raw["symbol"].cast(pl.String)] if "symbol" in raw.columns else []


def _without_symbol(table: ForeignTable) -> list[Problem]:
    lost = table.frame["symbol"].is_null() if "symbol" in table.frame.columns else pl.Series([], dtype=pl.Boolean)
    return broken_rule("symbol must be there where the file has one", lost)


def _say_lost_volume(table: ForeignTable, raw: pl.DataFrame) -> None:
    if "volume" not in raw.columns:
        return
    lost = table.frame["volume"].is_null() & plain_text(raw["volume"]).is_not_null()
    if lost.any():
        first = int(lost.arg_max() or 0)
        said = (int(lost.sum()), table.place(first), str(raw["volume"][first]))
        log.info("Volume is not a number in %d rows and is left empty there (first at %s: %r).", *said)


def _without_footer(table: ForeignTable) -> ForeignTable:
    """Leave out lines below the last bar that hold neither a time nor a price: sums, sources."""
    if table.lines is None:
        return table
    tail = table.frame.tail(MOST_FOOTER_LINES)
    time = tail[tail.columns[0]].cast(pl.String).str.contains(r"^\d").fill_null(False)
    has_price = tail.select(pl.any_horizontal(pl.col(*OHLC).cast(pl.String).str.contains(r"\d")).fill_null(False))
    holds = (time | has_price.to_series()).to_list()
    n_footer = next((i for i, one in enumerate(reversed(holds)) if one), 0)
    if not n_footer:
        return table
    n_rows = len(table.frame) - n_footer
    shown = next((str(cell) for cell in table.frame.row(n_rows) if cell is not None), "")
    log.info("Left out %d lines below the last bar, from %s: %r.", n_footer, table.place(n_rows), shown[:60])
    return table.keep(pl.int_range(len(table.frame), eager=True) < n_rows)


def _way_out(columns: list[str], example: str) -> str:
    """State what finds the columns: another separator where one column holds them all, else their names."""
    found = [separator for separator in SEPARATORS if len(columns) == 1 and separator in columns[0]]
    if not found:
        return f"Set --columns {example}."
    most = max(found, key=columns[0].count)
    return (
        f"It looks separated by '{SHOWN.get(most, most)}': set --separator '{SHOWN.get(most, most)}', or leave it out."
    )
