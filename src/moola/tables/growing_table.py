"""A bar table that grows, is rotated or is written again: how far it is read, and whether it still is the same file.

A file is known by its header, by a hash of the last bytes read and, where it is looked for under another name, by its
inode. A line is read once its end is there; a line that is not a bar is counted and left out.
"""

from __future__ import annotations

import csv
import datetime as dt
import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import polars as pl
import polars.selectors as cs

from moola.core.bars import OHLC, Bars, broken_prices
from moola.errors import InvalidData, Problem
from moola.tables.bar_table import ADVICE, PIECE_BYTES, columns_of
from moola.tables.frames import PARQUET_MAGIC, PIECE_ROWS, reading, refuse_foreign, scan_frame

# Enough that no two stretches of bars agree by chance, and some thousand bars: more than windows to come look at.
KNOWN_BYTES, KNOWN_ROWS = 1 << 16, 1024
NAMES = ("timestamp", *OHLC)


@dataclass(frozen=True)
class Place:
    """How far a file is read.

    Attributes
    ----------
    n_rows, n_bytes
        Rows of parquet, lines of a CSV, and its bytes, the header included.
    header
        The first line of a CSV; the columns of parquet.
    known
        SHA-256 of the last `KNOWN_BYTES` (or rows of parquet) before the place; empty where it is not known.
    device, inode
        Of the file when it was read.
    """

    n_rows: int = 0
    n_bytes: int = 0
    header: str = ""
    known: str = ""
    device: int = 0
    inode: int = 0


@dataclass(frozen=True)
class Piece:
    """Rows of a file, of which bad lines are left out, and the place behind them.

    Attributes
    ----------
    bad
        The lines left out.
    """

    frame: pl.DataFrame
    place: Place
    bad: tuple[str, ...] = ()


def is_parquet(path: Path) -> bool:
    """Distinguish parquet from CSV by content."""
    with path.open("rb") as file:
        return file.read(len(PARQUET_MAGIC)) == PARQUET_MAGIC


def is_continued(path: Path, place: Place) -> bool:
    """Return whether a file still begins with what was read of it; one of whom nothing is known is believed to."""
    with path.open("rb") as file:
        if is_parquet(path):
            return place.header.startswith("parquet ") and place.known == _known_rows(path, place.n_rows)
        if place.header.startswith("parquet ") or file.seek(0, os.SEEK_END) < place.n_bytes:
            return False
        if not place.known:
            return True
        return _known_bytes(file, place.n_bytes) == place.known and _starts_as(file, place.header)


def renamed_file(path: Path, place: Place) -> Path | None:
    """Find where a file went that is no longer at its path: renamed or copied, in the same folder."""
    if not place.known:
        return None
    others = [one for one in path.parent.iterdir() if one != path and one.is_file()]
    # A rename keeps the inode, a copy does not; of copies the latest.
    others.sort(key=lambda one: (one.stat().st_ino == place.inode, one.stat().st_mtime_ns), reverse=True)
    for other in others:
        try:
            if is_continued(other, place):
                return other
        except (OSError, InvalidData):
            # Whatever else is in that folder.
            continue
    return None


def new_pieces(path: Path, place: Place, header: str = "") -> Iterator[Piece]:
    """Yield a file's complete rows behind a place, a piece at a time.

    Parameters
    ----------
    header
        That of the file before it under this name: a log that is emptied under its writer continues without one.

    Raises
    ------
    InvalidData
        The file is damaged, is compressed, or has no header with the columns of bars.
    """
    with path.open("rb") as file:
        status = os.fstat(file.fileno())
        begun = Place(place.n_rows, place.n_bytes, place.header, place.known, status.st_dev, status.st_ino)
        if is_parquet(path):
            yield from _parquet(path, begun)
            return
        if not begun.n_bytes or not begun.header:
            begun = _begun(file, path, begun, header)
        if begun.n_bytes or begun.header:
            yield from _csv(file, path, begun)


def _parquet(path: Path, place: Place) -> Iterator[Piece]:
    with reading(path, "a bar file", "It is read again when it changes."):
        rows = scan_frame(path, "a bar file", "It is read again when it changes.")
        header = f"parquet {', '.join(rows.collect_schema().names())}"
        while True:
            frame = rows.slice(place.n_rows, PIECE_ROWS).collect()
            if not len(frame):
                return
            n_rows = place.n_rows + len(frame)
            place = Place(n_rows, 0, header, _known_rows(path, n_rows), place.device, place.inode)
            yield Piece(frame, place)


def _known_rows(path: Path, n_rows: int) -> str:
    first = max(n_rows - KNOWN_ROWS, 0)
    columns = cs.by_name(*NAMES, "symbol", require_all=False)
    with reading(path, "a bar file", "It is read again when it changes."):
        frame = pl.scan_parquet(path).select(columns).slice(first, n_rows - first).collect()
    if len(frame) < n_rows - first:
        return "shorter"
    return hashlib.sha256(frame.write_csv().encode()).hexdigest()


def _known_bytes(file: BinaryIO, n_bytes: int) -> str:
    first = max(n_bytes - KNOWN_BYTES, 0)
    file.seek(first)
    return hashlib.sha256(file.read(n_bytes - first)).hexdigest()


def _starts_as(file: BinaryIO, header: str) -> bool:
    file.seek(0)
    begin = _without_zeros(file)
    file.seek(begin)
    line = _line(file.readline(PIECE_BYTES))
    # A file without a header of its own begins with a bar: its header is that of the file before it.
    return line == header or not _is_header(line)


def _begun(file: BinaryIO, path: Path, place: Place, before: str) -> Place:
    """Return the place behind the header; that of an older follower, which kept none, stays where it was."""
    file.seek(0)
    begin = _without_zeros(file)
    file.seek(begin)
    first = file.readline(PIECE_BYTES)
    refuse_foreign(first, path, "a bar file", ADVICE)
    if not first.endswith(b"\n"):
        if len(first) >= PIECE_BYTES:
            raise InvalidData(f"a line must be at most {PIECE_BYTES:,} bytes, but the first one of {path} is longer.")
        return place
    line = _line(first)
    if _is_header(line):
        n_bytes = place.n_bytes or begin + len(first)
        return Place(place.n_rows, n_bytes, line, "", place.device, place.inode)
    if before and len(_cells(line)) == len(_cells(before)) and _is_header(before):
        return Place(0, begin, before, "", place.device, place.inode)
    raise InvalidData(
        f"bars must have the columns {', '.join(NAMES)}, but the first line of {path} is {line[:80]!r}. "
        "Map it with `moola bars import`."
    )


def _without_zeros(file: BinaryIO) -> int:
    """Return where a file begins behind the zeros that a writer leaves whose file was emptied under it."""
    begin = file.tell()
    while block := file.read(PIECE_BYTES):
        rest = block.lstrip(b"\0")
        begin += len(block) - len(rest)
        if rest:
            return begin
    return begin


def _csv(file: BinaryIO, path: Path, place: Place) -> Iterator[Piece]:
    file.seek(place.n_bytes)
    while block := file.read(PIECE_BYTES):
        end = block.rfind(b"\n") + 1
        if not end:
            if len(block) >= PIECE_BYTES:
                raise InvalidData(f"a line must be at most {PIECE_BYTES:,} bytes, but one of {path} is longer.")
            # The rest of that line is still to come.
            return
        lines, n_bytes = block[:end].split(b"\n")[:-1], place.n_bytes + end
        frame, header, bad = _rows(lines, place.header)
        known = _known_bytes(file, n_bytes)
        place = Place(place.n_rows + len(lines), n_bytes, header, known, place.device, place.inode)
        yield Piece(frame, place, tuple(bad))
        file.seek(n_bytes)


def _rows(lines: list[bytes], header: str) -> tuple[pl.DataFrame, str, list[str]]:
    """Read lines one by one, so that a stray quotation mark costs its own line alone."""
    at, width = _columns(header)
    rows, bad = [], []
    for content in lines:
        line = content.rstrip(b"\r").decode(errors="replace")
        cells = _cells(line)
        if not line.strip():
            continue
        if _is_header(line):
            # Tables put one behind the other; their columns may be others.
            header, (at, width) = line, _columns(line)
        elif len(cells) != width or "\ufffd" in line or "\0" in line:
            bad.append(line)
        else:
            rows.append([cells[column] if column is not None else "" for column in at])
    return pl.DataFrame(rows, schema=dict.fromkeys((*NAMES, "symbol"), pl.String), orient="row"), header, bad


def _columns(header: str) -> tuple[list[int | None], int]:
    """Return where a header has the columns of bars, and how many columns it has."""
    cells = _cells(header)
    return [cells.index(name) if name in cells else None for name in (*NAMES, "symbol")], len(cells)


def _is_header(line: str) -> bool:
    return {*NAMES} <= {*_cells(line)}


def _line(content: bytes) -> str:
    return content.decode("utf-8-sig", errors="replace").rstrip("\r\n")


def _cells(line: str) -> list[str]:
    try:
        return next(csv.reader([line]), [])
    except csv.Error:
        return []


def good_bars(frame: pl.DataFrame, path: Path) -> tuple[Bars, tuple[str, ...]]:
    """Return the bars of the rows that obey the rules of prices and times, and the other rows as text.

    Raises
    ------
    InvalidData
        The table lacks a column, or its times are not times at all.
    """
    if frame.schema.get("timestamp") == pl.String:
        frame = frame.with_columns(_moments(frame["timestamp"]))
    is_there = pl.all_horizontal(cs.by_name("timestamp", "symbol", require_all=False).is_not_null())
    there, missing = (frame, frame.clear()) if not len(frame) else (frame.filter(is_there), frame.filter(~is_there))
    problems: list[Problem] = []
    bars, times_known = columns_of(there, path, problems)
    if not times_known:
        raise InvalidData.from_problems(path, problems, "Give times, or map the file with `moola bars import`.")
    broken = broken_prices(bars.ohlc)
    bad = [",".join(map(str, row)) for part in (missing, there.filter(pl.Series(broken))) for row in part.iter_rows()]
    return bars.take(~broken), tuple(bad)


def _moments(column: pl.Series) -> pl.Series:
    """Read times in text; one that is none, or is written otherwise, must not decide about its neighbours."""
    try:
        moments = column.str.to_datetime(time_unit="us", time_zone="UTC", strict=False)
    except pl.exceptions.PolarsError:
        moments = pl.Series(column.name, [None] * len(column), dtype=pl.Datetime("us", "UTC"))
    unread = moments.is_null().arg_true()
    return moments.scatter(unread, [_moment(text) for text in column[unread]]) if len(unread) else moments


def _moment(text: str) -> dt.datetime | None:
    try:
        found = pl.Series([text]).str.to_datetime(time_unit="us", time_zone="UTC", strict=False).item()
    except pl.exceptions.PolarsError:
        return None
    return found if isinstance(found, dt.datetime) else None
