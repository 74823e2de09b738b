"""Kinds of files recognised by their first bytes, and what a parquet file would grow to."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from moola.errors import InvalidData

UNPACK = "Unpack it first"
PANDAS = "Write it as parquet with pandas, where you trust the file"


@dataclass(frozen=True)
class FileKind:
    """A kind of file: its name in words, and how to make a table of it; nothing where `bars import` reads it."""

    name: str
    way_on: str = ""


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


# What a parquet file declares it grows to, read from its footer before anything of it is unpacked.


# Windows that overlap by all but one bar pack to a sixtieth of what they hold; a file that packs far better is made
# to fill memory. Small ones may be anything.
SMALL_BYTES, MAX_GROWTH = 256 << 20, 100
TAIL_BYTES = 8
VALUE_BYTES = 8
# Places of what is looked at in the structs FileMetaData, RowGroup, ColumnChunk and ColumnMetaData.
ROW_GROUPS, COLUMNS, COLUMN_METADATA, N_VALUES, UNPACKED_BYTES = 4, 1, 3, 5, 6
TRUE, FALSE, I8, I16, I64, DOUBLE, BINARY, LIST, SET, MAP, STRUCT = 1, 2, 3, 4, 6, 7, 8, 9, 10, 11, 12


def refuse_inflation(file: BinaryIO, path: Path, what: str, advice: str) -> None:
    """Refuse parquet that would grow beyond all measure; the file is left at its beginning.

    Raises
    ------
    InvalidData
        What it declares is more than `MAX_GROWTH` times its size, or its footer cannot be read.
    """
    n_bytes = file.seek(0, 2)
    try:
        file.seek(n_bytes - TAIL_BYTES)
        n_footer = int.from_bytes(file.read(4), "little")
        file.seek(n_bytes - TAIL_BYTES - n_footer)
        grown = _grown(_Thrift(file.read(n_footer)).struct())
    except (OSError, ValueError, IndexError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise InvalidData(f"{what} must be complete parquet, but the footer of {path} is damaged. {advice}") from error
    file.seek(0)
    refuse_growth(grown, n_bytes, path, what, advice)


def refuse_growth(grown: int, n_bytes: int, path: Path, what: str, advice: str) -> None:
    """Refuse a file of `n_bytes` that declares `grown` bytes, where that is beyond all measure."""
    if grown > max(SMALL_BYTES, MAX_GROWTH * n_bytes):
        raise InvalidData(
            f"{what} must grow to at most {MAX_GROWTH} times its size when it is read, but {path} of {n_bytes:,} bytes "
            f"says it holds {grown:,}. {advice}"
        )


def _grown(footer: dict[int, Any]) -> int:
    columns = [chunk[COLUMN_METADATA] for group in footer[ROW_GROUPS] for chunk in group[COLUMNS]]
    return sum(max(column[UNPACKED_BYTES], VALUE_BYTES * column[N_VALUES]) for column in columns)


class _Thrift:
    """Reads structs as dictionaries of their values by place; text is passed over."""

    def __init__(self, content: bytes) -> None:
        self.content, self.at = content, 0

    def struct(self) -> dict[int, Any]:
        found: dict[int, Any] = {}
        place = 0
        while head := self._byte():
            place = place + (head >> 4) if head >> 4 else self._signed()
            kind = head & 0xF
            # A struct's booleans are in the kind itself.
            found[place] = kind == TRUE if kind in (TRUE, FALSE) else self._value(kind)
        return found

    def _value(self, kind: int) -> Any:
        if kind in (TRUE, FALSE, I8):
            return self._byte()
        if I16 <= kind <= I64:
            return self._signed()
        if kind in (DOUBLE, BINARY):
            return self._pass(8 if kind == DOUBLE else self._number())
        if kind in (LIST, SET):
            head = self._byte()
            n = head >> 4 if head >> 4 < 15 else self._number()
            return [self._value(head & 0xF) for _ in range(n)]
        if kind == MAP:
            n = self._number()
            kinds = self._byte() if n else 0
            return [(self._value(kinds >> 4), self._value(kinds & 0xF)) for _ in range(n)]
        if kind == STRUCT:
            return self.struct()
        raise ValueError(f"a value of kind {kind}")

    def _byte(self) -> int:
        self.at += 1
        return self.content[self.at - 1]

    def _number(self) -> int:
        number = shift = 0
        while (byte := self._byte()) & 0x80:
            number |= (byte & 0x7F) << shift
            shift += 7
        return number | byte << shift

    def _signed(self) -> int:
        number = self._number()
        return number >> 1 ^ -(number & 1)

    def _pass(self, n: int) -> None:
        self.at += n
