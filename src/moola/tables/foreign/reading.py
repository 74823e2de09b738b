"""Foreign files to columns, whatever program wrote them (text, JSON, parquet, Feather)."""

from __future__ import annotations

import io
import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl

from moola.errors import InvalidData
from moola.files import read_bytes
from moola.options.table_options import ImportOptions
from moola.tables.file_kinds import FEATHER, JSON, READABLE, VALUE_BYTES, kind_of, refuse_growth, utf_16_of
from moola.tables.foreign.columns import ForeignTable
from moola.tables.foreign.delimited import Knowing, layout_of, read_delimited
from moola.tables.frames import PARQUET_MAGIC, read_frame, reading, refuse_long_text

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
    """Read CSV of any shape, JSON, Feather or parquet, told apart by content and not by name.

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
            f"{WHAT} must be CSV, JSON, Feather or parquet, but {options.input} is {kind.name}. {kind.way_on}"
        )
    if kind is FEATHER:
        with reading(options.input, WHAT, ADVICE):
            return ForeignTable(_feather(content, options))
    text = text_of(content, options)
    # A line of JSON in a file of another encoding shows only now.
    return (
        read_json_bars(text, options)
        if kind in (JSON,) or kind_of(text.encode()) is JSON
        else read_delimited(text, options, known)
    )


def _feather(content: bytes, options: ImportOptions) -> pl.DataFrame:
    """Read a Feather file whose rows, which it counts without unpacking them, are not beyond all measure."""
    rows = pl.scan_ipc(io.BytesIO(content))
    n_values = rows.select(pl.len()).collect().item() * len(rows.collect_schema())
    refuse_growth(VALUE_BYTES * n_values, len(content), options.input, WHAT, ADVICE)
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
        log.info("Text is no UTF-8 and is taken as Windows-1252.")
        return text


def _as(content: bytes, encoding: str, options: ImportOptions) -> str:
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        raise InvalidData(
            f"{WHAT} must be text in UTF-8 or UTF-16, but {options.input} is not (byte {error.start:,}: "
            f"{error.reason}). Write it as UTF-8, CSV or parquet."
        ) from error
