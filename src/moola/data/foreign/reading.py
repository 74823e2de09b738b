"""Foreign files to columns, whatever program wrote them; what cannot be read is named, with a way on."""

from __future__ import annotations

import io
import logging
import re

import polars as pl

from moola.config.table_options import ImportOptions
from moola.data.contracts.file_kinds import FEATHER, JSON, READABLE, kind_of, utf_16_of
from moola.data.contracts.frames import PARQUET_MAGIC, read_frame, reading, refuse_long_text
from moola.data.contracts.parquet_claims import VALUE_BYTES, refuse_growth
from moola.data.foreign.delimited import Knowing, read_delimited
from moola.data.foreign.json_rows import read_json_bars
from moola.data.foreign.table import ForeignTable
from moola.errors import InvalidData
from moola.files import read_bytes

log = logging.getLogger(__name__)

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
    text = _text(content, options)
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


def _text(content: bytes, options: ImportOptions) -> str:
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
