"""What a parquet file says it grows to, read from its footer before anything of it is unpacked.

A few kilobytes of parquet can say "a billion times the same" and fill any memory. The footer is a struct in Thrift's
compact protocol (github.com/apache/parquet-format, github.com/apache/thrift thrift-compact-protocol.md).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, BinaryIO

from moola.errors import InvalidData

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
        What it says it holds is more than `MAX_GROWTH` times its size, or its footer cannot be read.
    """
    n_bytes = file.seek(0, 2)
    try:
        file.seek(n_bytes - TAIL_BYTES)
        n_footer = int.from_bytes(file.read(4), "little")
        file.seek(n_bytes - TAIL_BYTES - n_footer)
        grown = _grown(_Thrift(file.read(n_footer)).struct())
    except (OSError, ValueError, IndexError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise InvalidData(f"{what} must be whole parquet, but the footer of {path} is damaged. {advice}") from error
    file.seek(0)
    refuse_growth(grown, n_bytes, path, what, advice)


def refuse_growth(grown: int, n_bytes: int, path: Path, what: str, advice: str) -> None:
    """Refuse a file of `n_bytes` that says it holds `grown` bytes, where that is beyond all measure."""
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
