"""Foreign bar files to the contract: any program's format, layout, column names, decimal marks and time zone."""

from __future__ import annotations

import io
import json
import logging
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl

from moola.core.bars import OHLC, broken_rule
from moola.errors import InvalidData, Problem
from moola.files import read_bytes
from moola.options.table_options import ImportOptions
from moola.tables.foreign.bar_times import utc_times
from moola.tables.foreign.columns import ForeignTable, Names, as_numbers, joined, with_marks
from moola.tables.foreign.delimited import SEPARATORS, SHOWN, Knowing, layout_of, read_delimited
from moola.tables.foreign.prices import plain_text, read_numbers, repaired, repeats, row_problems
from moola.tables.frames import (
    FEATHER,
    JSON,
    PARQUET_MAGIC,
    READABLE,
    kind_of,
    read_frame,
    reading,
    refuse_inflation,
    refuse_long_text,
    utf_16_of,
)

# Bars in JSON, as exchanges and brokers send them: lists, objects, a line each, or one list inside an object.


log = logging.getLogger(__name__)

JSON_ADVICE = "Give a list of bars, or write them as CSV."
# How far inside objects a list of bars is looked for: {"result": {"XBTUSD": [...]}}.
DEPTH = 3


def read_json_bars(text: str, options: ImportOptions) -> ForeignTable:
    """Read bars from JSON or JSON lines; numbers stay the text that they are, so that no digit is lost.

    Raises
    ------
    InvalidData
        It is no JSON, has no list of bars or more than one, or names a key twice.
    """
    rows, lines = _rows(text, options.input)
    if not rows:
        raise InvalidData(f"a bar file must have bars, but {options.input} has none. {JSON_ADVICE}")
    is_object = [isinstance(row, dict) for row in rows]
    if all(is_object):
        frame = _frame([dict(_flat(row)) for row in rows])
        return ForeignTable(frame, lines)
    if any(is_object) or not all(isinstance(row, list) for row in rows):
        raise InvalidData(f"bars must be objects or lists throughout, but {options.input} mixes them. {JSON_ADVICE}")
    wide = max(len(row) for row in rows)
    names = [f"column_{i + 1}" for i in range(wide)]
    frame = _frame([dict(zip(names, row, strict=False)) for row in rows])
    shown = [["" if cell is None else str(cell) for cell in row] for row in rows[:200]]
    broken = pl.Series([len(row) != wide for row in rows])
    return ForeignTable(frame, lines, layout_of(shown, names, options), broken)


def _rows(text: str, path: Path) -> tuple[list[Any], pl.Series | None]:
    """Return the bars, and the line of each where each has one."""
    try:
        return _list_of_bars(_parsed(text), path), None
    except (ValueError, RecursionError) as error:
        whole = error
    numbered = [(number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
    rows = []
    for number, line in numbered:
        try:
            rows.append(_parsed(line))
        except (ValueError, RecursionError) as error:
            reason = str(error if rows else whole)
            where = f", line {number}" if rows else ""
            raise InvalidData(f"the input must be JSON, but {path} is not ({reason}{where}). {JSON_ADVICE}") from error
    return rows, pl.Series([number for number, _ in numbered])


def _parsed(text: str) -> Any:
    return json.loads(text, parse_float=str, parse_int=str, parse_constant=str, object_pairs_hook=_object)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"one object has two values named {twice!r}")
    return found


def _list_of_bars(value: Any, path: Path) -> list[Any]:
    found = list(_lists(value, "", DEPTH))
    if len(found) != 1:
        what = "no list of bars" if not found else f"{len(found)} lists ({', '.join(name for name, _ in found)[:200]})"
        raise InvalidData(f"{path} must hold one list of bars, but it has {what}. {JSON_ADVICE}")
    name, rows = found[0]
    if name:
        log.info("Bars are those of %r.", name)
    return rows


def _lists(value: Any, name: str, depth: int) -> Iterator[tuple[str, list[Any]]]:
    """Yield the lists of bars in a value, with the names that lead there."""
    if isinstance(value, list):
        if not name or (value and isinstance(value[0], dict | list)):
            yield name, value
        return
    if not isinstance(value, dict) or depth < 0:
        return
    columns = {key: one for key, one in value.items() if isinstance(one, list) and not _nested(one)}
    lengths = {len(one) for one in columns.values()}
    if len(columns) >= 5 and len(lengths) == 1:
        # A list a column, as charting interfaces send them.
        yield name, [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
        return
    objects = list(value.values())
    are_alike = len(objects) > 1 and all(
        isinstance(one, dict) and one.keys() == objects[0].keys() and not _nested(list(one.values())) for one in objects
    )
    if are_alike and len(objects[0]) >= min(4, len(objects)):
        yield name, _indexed(value)
        return
    for key, one in value.items():
        yield from _lists(one, f"{name}.{key}" if name else key, depth - 1)


def _indexed(value: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Turn an object of objects into rows: by row, or by column as pandas writes by itself."""
    by_row = [{"": key, **row} for key, row in value.items()]
    names = {name.lower() for name in value}
    if {"open", "high", "low", "close"} <= names:
        keys = next(iter(value.values())).keys()
        return [{"": key, **{name: column[key] for name, column in value.items()}} for key in keys]
    return by_row


def _nested(values: list[Any]) -> bool:
    return any(isinstance(one, dict | list) for one in values[:1])


def _flat(row: dict[str, Any], name: str = "") -> Iterator[tuple[str, Any]]:
    """Yield an object's values, those of objects inside it by both names: mid.o."""
    for key, value in row.items():
        own = f"{name}.{key}" if name else key
        if isinstance(value, dict):
            yield from _flat(value, own)
        else:
            yield own, value


def _frame(rows: list[dict[str, Any]]) -> pl.DataFrame:
    names = list(dict.fromkeys(name for row in rows for name in row))
    columns = {name: [_cell(row.get(name)) for row in rows] for name in names}
    return pl.DataFrame(columns, schema=dict.fromkeys(names, pl.String))


def _cell(value: Any) -> str | None:
    return None if value is None else str(value)


WHAT, ADVICE = "the input", "Check --input."
MARKS = ((b"\xff\xfe\0\0", "utf-32"), (b"\0\0\xfe\xff", "utf-32"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))


def read_foreign(options: ImportOptions, known: Knowing) -> ForeignTable:
    """Read CSV of any shape, JSON, Feather or parquet, distinguished by content and not by name.

    Raises
    ------
    InvalidData
        The file is empty, of a kind that is named in the message, no text, or can be read in two ways.
    """
    content = read_bytes(options.input, WHAT, ADVICE)
    if not content:
        raise InvalidData(f"{WHAT} must hold a table, but {options.input} is empty (0 bytes). {ADVICE}")
    if content.startswith(PARQUET_MAGIC):
        return ForeignTable(read_frame(options.input, WHAT, ADVICE))
    kind = kind_of(content)
    if kind is not None and kind not in READABLE:
        raise InvalidData(
            f"{WHAT} must be CSV, JSON, Feather or parquet, but {options.input} is {kind.name}. {kind.advice}"
        )
    if kind is FEATHER:
        with reading(options.input, WHAT, ADVICE):
            return ForeignTable(feather_frame(content, options))
    text = text_of(content, options)
    # A line of JSON in a file of another encoding shows only now.
    return (
        read_json_bars(text, options)
        if kind in (JSON,) or kind_of(text.encode()) is JSON
        else read_delimited(text, options, known)
    )


def feather_frame(content: bytes, options: ImportOptions) -> pl.DataFrame:
    """Read a Feather file that does not unpack to far more than it holds."""
    rows = pl.scan_ipc(io.BytesIO(content))
    refuse_inflation(rows, len(content), options.input, WHAT, ADVICE)
    frame = rows.collect()
    refuse_long_text(frame, options.input, WHAT, ADVICE)
    return frame


def text_of(content: bytes, options: ImportOptions) -> str:
    """Decode text by its mark, else as UTF-8, else as what Windows writes; line ends become those of Unix."""
    text = _decoded(content, options)
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise InvalidData(
            f"{WHAT} must be text or a table, but {options.input} has {text.count(chr(0)):,} NUL characters (first at "
            f"line {line}). Write the bars as CSV or parquet."
        )
    return re.sub(r"\r\n?", "\n", text.replace("\r\r\n", "\n")) if "\r" in text else text


def _decoded(content: bytes, options: ImportOptions) -> str:
    for mark, name in MARKS:
        if content.startswith(mark):
            log.info("Text is %s.", name.upper())
            return _as(content, name, options)
    if name := utf_16_of(content[:64]):
        log.info("Text is UTF-16 without its mark.")
        return _as(content, name, options)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = _as(content, "cp1252", options)
        log.info("Text is not UTF-8 and is read as Windows-1252.")
        return text


def _as(content: bytes, encoding: str, options: ImportOptions) -> str:
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        raise InvalidData(
            f"{WHAT} must be text in UTF-8 or UTF-16, but {options.input} is not (byte {error.start:,}: "
            f"{error.reason}). Write it as UTF-8, CSV or parquet."
        ) from error


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
            f"{', '.join(missing)} (it has {', '.join(columns[:20])}). {_advice(columns, example)}"
        )
    chosen = table.frame.select([pl.col(column).alias(name) for name, column in mapping.items()])
    table = _without_footer(replace(table, frame=chosen))
    raw = table.frame
    values = [name for name in (*OHLC, "volume") if name in mapping]
    numbers = read_numbers(table, values, options.decimal, options.input)
    columns_read = [number.alias(name) for name, number in zip(values, numbers, strict=True)]
    table = replace(table, frame=pl.DataFrame([*columns_read, *_symbols(raw, options)]))
    _report_lost_volume(table, raw)
    is_split = "date" in raw.columns
    times = joined(raw["date"], raw["time"], options) if is_split else with_marks(raw["timestamp"], options)
    return _bars(table, raw, times, options)


def _bars(table: ForeignTable, raw: pl.DataFrame, times: pl.Series, options: ImportOptions) -> pl.DataFrame:
    """Return the rows as bars of the contract, or raise with all that is wrong with them."""
    problems = [] if len(table.frame) else [Problem("a bar file must have bars", 1)]
    if options.repair:
        table, times = repaired(table, times)
    else:
        problems += row_problems(table, raw)
    n_by_repair = 0 if options.repair or not len(raw) else len(problems)
    symbols = table.frame["symbol"] if "symbol" in table.frame.columns else None
    if symbols is not None:
        problems += broken_rule("symbol must be there where the file has one", symbols.is_null())
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


def _symbols(raw: pl.DataFrame, options: ImportOptions) -> list[pl.Series]:
    if options.symbol is not None:
        return [pl.Series("symbol", [options.symbol] * len(raw), dtype=pl.String)]
    return [raw["symbol"].cast(pl.String)] if "symbol" in raw.columns else []


def _report_lost_volume(table: ForeignTable, raw: pl.DataFrame) -> None:
    if "volume" not in raw.columns:
        return
    lost = table.frame["volume"].is_null() & plain_text(raw["volume"]).is_not_null()
    if lost.any():
        first = int(lost.arg_max() or 0)
        found = (int(lost.sum()), table.place(first), str(raw["volume"][first]))
        log.info("Volume is not a number in %d rows and is left empty there (first at %s: %r).", *found)


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


def _advice(columns: list[str], example: str) -> str:
    """State what finds the columns: another separator where one column holds them all, else their names."""
    found = [separator for separator in SEPARATORS if len(columns) == 1 and separator in columns[0]]
    if not found:
        return f"Set --columns {example}."
    most = max(found, key=columns[0].count)
    return (
        f"It looks separated by '{SHOWN.get(most, most)}': set --separator '{SHOWN.get(most, most)}', or leave it out."
    )
