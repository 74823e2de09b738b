"""Parquet and CSV to frames and back, kinds of files by their first bytes; each fault becomes one message with the
file's own row."""

from __future__ import annotations

import contextlib
import csv
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import IO

import numpy as np
import polars as pl
import polars.selectors as cs
from polars.io.plugins import register_io_source

from moola.core.bars import OHLC, Bars, utc_text
from moola.errors import InvalidData, OperationFailed, Problem
from moola.files import read_bytes, write_atomic, write_atomic_by

UNPACK = "Unpack it first"
PANDAS = "Write it as parquet with pandas, where you trust the file"


@dataclass(frozen=True)
class FileKind:
    """A kind of file: its name in words, and how to make a table of it; nothing where `bars import` reads it."""

    name: str
    advice: str = ""


FEATHER = FileKind("a Feather (Arrow IPC) file")
JSON = FileKind("JSON")
UTF_16 = FileKind("text in UTF-16")
UTF_32 = FileKind("text in UTF-32")
READABLE = (FEATHER, JSON, UTF_16, UTF_32)

XLSX = FileKind("an Excel workbook (.xlsx)", "Save its sheet as CSV in the spreadsheet program.")
GZIP = FileKind("packed with gzip", f"{UNPACK}: gunzip --keep <file>.")
ZLIB = FileKind("packed with zlib", f"{UNPACK}: zlib-flate -uncompress.")
BEGINNINGS = {
    b"ARROW1": FEATHER,
    b"\xff\xff\xff\xff": FileKind("an Arrow stream", "Write it as Feather or parquet."),
    b"\xff\xfe\0\0": UTF_32,
    b"\0\0\xfe\xff": UTF_32,
    b"\xff\xfe": UTF_16,
    b"\xfe\xff": UTF_16,
    b"FEA1": FileKind(
        "a Feather file of version 1", "Write it again: pandas.read_feather(path).to_parquet('bars.parquet')."
    ),
    b"PK\x03\x04": FileKind("a zip archive", f"{UNPACK}: unzip <file>."),
    b"PK\x05\x06": FileKind("an empty zip archive", "Fetch the file again."),
    b"\x1f\x8b": GZIP,
    # Readers of CSV unpack gzip, zlib and zstd by themselves, without a bound.
    b"\x78\x9c": ZLIB,
    b"\x78\xda": ZLIB,
    b"\x78\x01": ZLIB,
    b"BZh": FileKind("packed with bzip2", f"{UNPACK}: bunzip2 --keep <file>."),
    b"\xfd7zXZ\0": FileKind("packed with xz", f"{UNPACK}: unxz --keep <file>."),
    b"\x28\xb5\x2f\xfd": FileKind(
        "packed with zstd", f"{UNPACK}: unzstd <file>; Databento's: databento.DBNStore.from_file(path).to_parquet(...)."
    ),
    b"\x04\x22\x4d\x18": FileKind("packed with lz4", f"{UNPACK}: unlz4 <file>."),
    b"7z\xbc\xaf\x27\x1c": FileKind("a 7z archive", f"{UNPACK}: 7z x <file>."),
    b"Rar!": FileKind("a rar archive", f"{UNPACK}: unrar x <file>."),
    b"\x5d\0\0": FileKind("packed with LZMA (Dukascopy's .bi5 is)", "Export bars as CSV from the platform instead."),
    b"\x89HDF\r\n\x1a\n": FileKind("an HDF5 file", f"{PANDAS}: pandas.read_hdf(path).to_parquet('bars.parquet')."),
    b"DBN": FileKind(
        "a Databento file (DBN)", "Write it as parquet: databento.DBNStore.from_file(path).to_parquet('bars.parquet')."
    ),
    b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1": FileKind(
        "an Excel workbook (.xls)", "Save its sheet as CSV in the spreadsheet program."
    ),
    b"SQLite format 3\0": FileKind("an SQLite database", "Export the table of bars as CSV: sqlite3 -header -csv."),
    b"ORC": FileKind("an ORC file", "Write it as parquet."),
    b"Obj\x01": FileKind("an Avro file", "Write it as parquet."),
    b"\x93NUMPY": FileKind("a numpy array", "Write it as CSV or parquet with the names of its columns."),
    b"%PDF": FileKind("a PDF", "Export bars as CSV instead."),
    b"\x90\x01\0\0": FileKind(
        "a MetaTrader history (.hst)", "Export the bars as CSV from MetaTrader's history centre."
    ),
    b"\x91\x01\0\0": FileKind(
        "a MetaTrader history (.hst)", "Export the bars as CSV from MetaTrader's history centre."
    ),
}
PICKLE = FileKind(
    "a Python pickle, which runs code when it is opened",
    f"{PANDAS}: pandas.read_pickle(path).to_parquet('bars.parquet').",
)
WEB_PAGE = FileKind("a web page and no table", "Open it in a browser: it often explains why nothing was downloaded.")
# Protocols 2 to 5 name themselves; the older ones are text that begins with an opcode and ends with a full stop.
PICKLE_BEGINNING = re.compile(rb"\x80[\x02-\x05]|[(\]}cl][a-z0-9_.]*\n")
WEB_BEGINNING = re.compile(rb"(\xef\xbb\xbf)?\s*<(!doctype|html|head|body|\?xml)", re.IGNORECASE)
JSON_BEGINNING = re.compile(rb"(\xef\xbb\xbf)?\s*(\{|\[\s*[\[{\]])")


def kind_of(content: bytes) -> FileKind | None:
    """Report what a file is that is neither parquet nor plain text of lines; None where its bytes say nothing."""
    head = content[:64]
    if head.startswith(b"PK\x03\x04") and b"xl/workbook" in content:
        return XLSX
    # DBN is three letters, which a header may begin with; the version behind them is no letter.
    for beginning, kind in BEGINNINGS.items():
        if head.startswith(beginning) and not (beginning in (b"DBN", b"ORC", b"BZh") and _is_text(head)):
            return kind
    for is_it, kind in (
        (PICKLE_BEGINNING.match(head) and content.rstrip().endswith(b"."), PICKLE),
        (WEB_BEGINNING.match(head), WEB_PAGE),
        (JSON_BEGINNING.match(content[:4096]), JSON),
    ):
        if is_it:
            return kind
    return UTF_16 if utf_16_of(head) else None


def utf_16_of(head: bytes) -> str:
    """Name the order of bytes of UTF-16 without its mark: plain letters have a NUL in every other place."""
    if len(head) < 16 or not any(head):
        return ""
    return "utf-16-le" if not any(head[1::2]) else "utf-16-be" if not any(head[0::2]) else ""


def _is_text(head: bytes) -> bool:
    return all(byte >= 32 or byte in b"\t\r\n" for byte in head)


PARQUET_MAGIC = b"PAR1"
# Columns of a CSV: each costs memory even without a row.
MAX_COLUMNS = 10_000
# Text of one cell: a dictionary makes long text many times almost no bytes of a file.
MAX_TEXT_BYTES = 10_000
MAX_SYMBOL_BYTES = 64
# Text of all cells, however small the file: so much, and so much more a row.
TABLE_TEXT_BYTES, ROW_TEXT_BYTES = 32 << 20, 128
FIRST_ROWS, PIECE_ROWS = 1024, 65_536
# Windows that overlap by all but one bar pack to a sixtieth of what they hold; a file that packs far better is made
# to fill memory. Small ones may be anything.
SMALL_BYTES, MAX_GROWTH = 256 << 20, 100
VALUE_BYTES = 8


def read_frame(path: Path, what: str, advice: str) -> pl.DataFrame:
    """Read parquet or CSV, distinguished by content and not by name."""
    content = read_bytes(path, what, advice)
    if not content:
        raise InvalidData(f"{what} must hold a table, but {path} is empty (0 bytes). {advice}")
    with reading(path, what, advice):
        if not content.startswith(PARQUET_MAGIC):
            refuse_foreign(content, path, what, advice)
            return read_csv(content)
        rows = pl.scan_parquet(io.BytesIO(content))
        refuse_inflation(rows, len(content), path, what, advice)
        # A few rows first, then more: long text is met before it is met a million times.
        return pl.concat(_pieces(rows, path, what, advice))


def refuse_inflation(rows: pl.LazyFrame, n_bytes: int, path: Path, what: str, advice: str) -> None:
    """Refuse a packed file of `n_bytes` whose rows would grow beyond all measure, before they are unpacked.

    Parquet and Feather count their rows without unpacking them, so that plain columns are known from that. How much
    is in nested cells they tell nobody: they count as much in every row as in the first one, which is read alone. One
    cell that is made to fill memory by itself is therefore met only when it is there; text has its own bound.

    Raises
    ------
    InvalidData
        What it holds is more than `MAX_GROWTH` times its size.
    """
    n_rows = rows.select(pl.len()).collect().item()
    nested = rows.select(cs.nested())
    _refuse_growth(n_rows * len(rows.collect_schema()) * VALUE_BYTES, n_bytes, path, what, advice)
    if nested.collect_schema():
        _refuse_growth(n_rows * int(nested.head(1).collect().estimated_size()), n_bytes, path, what, advice)


def _refuse_growth(grown: int, n_bytes: int, path: Path, what: str, advice: str) -> None:
    if grown > max(SMALL_BYTES, MAX_GROWTH * n_bytes):
        raise InvalidData(
            f"{what} must grow to at most {MAX_GROWTH} times its size when it is read, but {path} of {n_bytes:,} bytes "
            f"would grow to {grown:,}. {advice}"
        )


def _pieces(rows: pl.LazyFrame, path: Path, what: str, advice: str) -> Iterator[pl.DataFrame]:
    """Yield the rows in pieces (one at least, perhaps empty), refused once their text is too much."""
    first, n_rows, n_text = 0, FIRST_ROWS, 0
    while True:
        piece = rows.slice(first, n_rows).collect()
        if first and not len(piece):
            return
        n_text += refuse_long_text(piece, path, what, advice)
        if n_text > (most := TABLE_TEXT_BYTES + ROW_TEXT_BYTES * (first + len(piece))):
            raise InvalidData(
                f"{what} must have at most {most:,} bytes of text in its first {first + len(piece):,} rows, but {path} "
                f"has {n_text:,}. {advice}"
            )
        yield piece
        first, n_rows = first + n_rows, PIECE_ROWS


def refuse_long_text(frame: pl.DataFrame, path: Path | str, what: str, advice: str) -> int:
    """Return the bytes of text of a table; refuse a cell beyond `MAX_TEXT_BYTES` (a symbol: `MAX_SYMBOL_BYTES`)."""
    n_text = 0
    for name, dtype in frame.schema.items():
        if dtype not in (pl.String, pl.Categorical, pl.Enum):
            continue
        lengths = frame[name].cast(pl.String).str.len_bytes().cast(pl.Int64)
        most = MAX_SYMBOL_BYTES if plain_name(name) in ("symbol", "ticker") else MAX_TEXT_BYTES
        longest = lengths.max()
        if isinstance(longest, int) and longest > most:
            raise InvalidData(
                f"{what} must have at most {most:,} bytes of text in a cell, but {path} has {longest:,} in "
                f"the column {name[:80]!r}. {advice}"
            )
        n_text += int(lengths.sum())
    return n_text


def scan_frame(path: Path, what: str, advice: str) -> pl.LazyFrame:
    """Read parquet as it is asked for, so that it is never all in memory; anything else as `read_frame` does."""
    with contextlib.suppress(OSError), path.open("rb") as file:
        if file.read(len(PARQUET_MAGIC)) == PARQUET_MAGIC:
            rows = pl.scan_parquet(path)
            with reading(path, what, advice):
                refuse_inflation(rows, path.stat().st_size, path, what, advice)
                texts = [name for name, dtype in rows.collect_schema().items() if dtype in (pl.String, pl.Categorical)]
                for _piece in _pieces(rows.select(texts), path, what, advice) if texts else ():
                    pass
            return rows
    return read_frame(path, what, advice).lazy()


def is_parquet(path: Path) -> bool:
    """Return whether a file begins as parquet; one that cannot be opened does not."""
    with contextlib.suppress(OSError), path.open("rb") as file:
        return file.read(len(PARQUET_MAGIC)) == PARQUET_MAGIC
    return False


@contextlib.contextmanager
def reading(path: Path | str, what: str, advice: str) -> Iterator[None]:
    """Report plainly what the reader of tables found wrong with a file."""
    try:
        yield
    except (pl.exceptions.PolarsError, OSError, UnicodeError, OverflowError) as error:
        reason = str(error).splitlines()[0][:200]
        raise InvalidData(
            f"{what} must be parquet or CSV, but {path} could not be read ({reason}). {advice}"
        ) from error
    except BaseException as error:
        # Damaged parquet can end in a panic of the reader, which is no subclass of Exception.
        if type(error).__name__ != "PanicException":
            raise
        raise InvalidData(f"{what} must be complete parquet, but {path} is damaged. {advice}") from error


def plain_name(column: str) -> str:
    """Return a column's name without what exporters put around it: spaces, angle brackets, capitals."""
    return column.strip().strip("<>").lower()


def read_csv(content: bytes, separator: str = ",") -> pl.DataFrame:
    """Read CSV, inferring types from the whole column; a symbol stays text, leading zeros and all."""
    # Some separators may be inside quotation marks: this is a bound and no count.
    if (n_columns := 1 + content[: content.find(b"\n") % (len(content) + 1)].count(separator.encode())) > MAX_COLUMNS:
        raise InvalidData(f"a CSV must have at most {MAX_COLUMNS:,} columns, but it has {n_columns:,}. Check the file.")
    header = csv_header(content, separator)
    texts = {name: pl.String for name in header if plain_name(name) in ("symbol", "ticker")}
    return pl.read_csv(io.BytesIO(content), separator=separator, infer_schema_length=None, schema_overrides=texts)


def csv_header(content: bytes, separator: str = ",") -> list[str]:
    """Return the names of CSV's columns; two of one name are refused as they are in parquet."""
    names = pl.read_csv(
        io.BytesIO(content),
        separator=separator,
        n_rows=1,
        has_header=False,
        infer_schema=False,
        truncate_ragged_lines=True,
    )
    texts = [str(name) for name in names.row(0) if name is not None]
    # Numbers are no names but a first row: what is missing then is a header, and that is reported.
    twice = [name for name in texts if texts.count(name) > 1 and not name[:1].isdigit()]
    if twice:
        raise pl.exceptions.DuplicateError(f"{texts.count(twice[0])} columns are named {twice[0]!r}")
    return pl.read_csv(io.BytesIO(content), separator=separator, n_rows=0).columns


def refuse_foreign(content: bytes, path: Path | str, what: str, advice: str) -> None:
    """Raise `InvalidData` where bytes are another program's kind of file, with a way on."""
    kind = kind_of(content)
    if kind is None:
        return
    raise InvalidData(f"{what} must be parquet or CSV, but {path} is {kind.name}. {kind.advice or advice}")


def write_frame(path: Path, frame: pl.DataFrame) -> None:
    """Write a table as parquet (or CSV where the name ends so), atomically, same bytes each time."""
    buffer = io.BytesIO()
    if path.suffix == ".csv":
        nested = [name for name, dtype in frame.schema.items() if dtype.is_nested()]
        if nested:
            raise OperationFailed(
                f"CSV must have plain columns, but {', '.join(nested)} would be nested in {path}. Name it .parquet."
            )
        frame.write_csv(buffer, datetime_format="%Y-%m-%dT%H:%M:%S%.6fZ")
    elif path.suffix == ".parquet":
        frame.write_parquet(buffer, compression="zstd", statistics=True)
    else:
        raise OperationFailed(f"a table's name must end in .parquet or .csv, but {path} does not. Rename the output.")
    write_atomic(path, buffer.getvalue())


def write_frames(path: Path, frames: Iterator[pl.DataFrame], group_rows: int) -> None:
    """Write one parquet table that comes in frames (one at least), a few of them in memory at a time, atomically.

    The bytes depend on the rows and on `group_rows` alone, never on how the rows are spread over frames.
    """
    if path.suffix != ".parquet":
        raise OperationFailed(f"this table must be parquet, but {path} does not end in .parquet. Rename the output.")
    first = next(frames)

    def rows(*_asked: object) -> Iterator[pl.DataFrame]:
        yield from chain([first], frames)

    def fill(file: IO[bytes]) -> None:
        try:
            source = register_io_source(rows, schema=first.schema)
            source.sink_parquet(file, compression="zstd", row_group_size=group_rows, maintain_order=True)
        except pl.exceptions.PolarsError as error:
            raise OSError(str(error).splitlines()[0][:200]) from error

    write_atomic_by(path, fill)


def nested_column(values: np.ndarray) -> pl.Series:
    """Turn an array `(rows, bars, columns)` into a column of nested lists."""
    inner = pl.List(pl.List(pl.Float64))
    if not len(values):
        return pl.Series([], dtype=inner)
    array = pl.Series(values, dtype=pl.Array(pl.Float64, values.shape[1:]))
    return array.cast(inner)


def utc_series(time_us: np.ndarray) -> pl.Series:
    """Turn microseconds since 1970 into a UTC time column."""
    return pl.Series(time_us, dtype=pl.Int64).cast(pl.Datetime("us", "UTC"))


# Where rows of a table are in the file that it was read from, for messages that a person looks up there.


def timed(problems: list[Problem], bars: Bars, times_known: bool) -> list[Problem]:
    """Return problems with the time, where times are known, and the prices of the bar that each is found at first."""
    return [
        one
        if one.first_row is None or one.first_row >= len(bars)
        else replace(
            with_prices(one, bars.ohlc[one.first_row]),
            at=utc_text(bars.start_us[one.first_row]) if times_known else "",
        )
        for one in problems
    ]


def with_prices(problem: Problem, prices: np.ndarray) -> Problem:
    """Return a problem of a price with what was found there; of two prices that do not go together, all four."""
    name = problem.rule.split()[0]
    if problem.detail or name not in OHLC:
        return problem
    # As Python writes numbers: a high that is too low by 1e-10 looks equal in fewer digits.
    shown = {column: f"{float(price)!r}" for column, price in zip(OHLC, prices, strict=True)}
    is_of_two = "open, close" in problem.rule
    found = ", ".join(f"{key} {text}" for key, text in shown.items()) if is_of_two else shown[name]
    return replace(problem, detail=f"found {found}")


def in_file(problems: list[Problem], path: Path | str) -> list[Problem]:
    """Return problems with the line of the text file that each is found at first.

    Unchanged where `path` is no file of text: rows of parquet count from 0, as every reader of parquet counts them.
    """
    rows = {one.first_row for one in problems if one.first_row is not None}
    lines = _lines_of(rows, path) if rows and isinstance(path, Path) else {}
    return [one if one.first_row is None else replace(one, line=lines.get(one.first_row)) for one in problems]


def _lines_of(rows: set[int], path: Path) -> dict[int, int]:
    """Return the line, from 1, of each of these rows below the header; a quoted cell may run over several lines."""
    found: dict[int, int] = {}
    try:
        with path.open("rb") as file:
            if file.read(len(PARQUET_MAGIC)) == PARQUET_MAGIC:
                return {}
        with path.open(encoding="utf-8", errors="replace", newline="") as text:
            reader = csv.reader(text)
            # Empty lines above the header are skipped by the reader of tables; below it they are rows.
            while not next(reader):
                pass
            last, before = max(rows), reader.line_num
            for row, _ in enumerate(reader):
                if row in rows:
                    found[row] = before + 1
                if row == last:
                    break
                before = reader.line_num
    except (OSError, StopIteration, csv.Error):
        # The file changed under the message, or is packed: the row number says what it can.
        return found
    return found
