"""A bar file read piece by piece: memory does not grow with the file, and reading can go on where it stopped."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from moola.data.contracts.bar_table import ADVICE
from moola.data.contracts.frames import PARQUET_MAGIC, csv_header
from moola.data.contracts.parquet_claims import refuse_inflation
from moola.errors import InvalidData, OperationFailed

# Rows of parquet, or bytes of CSV, at a time. Polars writes 262,144 rows a group, which holds whole pieces.
PIECE_ROWS = 65_536
PIECE_BYTES = 4 << 20


@dataclass(frozen=True)
class Place:
    """How far a file is read: rows, and in a CSV bytes (its header included)."""

    n_rows: int = 0
    n_bytes: int = 0


def bar_frames(path: Path, place: Place = Place(), finished: bool = True) -> Iterator[tuple[pl.DataFrame, Place]]:
    """Yield a file's rows from a place on, and the place behind each piece; parquet and CSV are told by content.

    Parameters
    ----------
    finished
        Whether the file is whole; one that is still written to may end inside a line, which then waits.

    Raises
    ------
    InvalidData
        The file is neither, is damaged, or is empty (which an unfinished one may be).
    """
    try:
        if not path.is_file():
            raise OperationFailed(f"a bar file must exist, but there is no file {path}. Check the path.")
        with path.open("rb") as file:
            is_parquet = file.read(len(PARQUET_MAGIC)) == PARQUET_MAGIC
            if is_parquet:
                refuse_inflation(file, path, "a bar file", ADVICE)
        if not path.stat().st_size:
            if finished:
                raise InvalidData(f"a bar file must hold a table, but {path} is empty (0 bytes). {ADVICE}")
            return
        yield from _parquet(path, place) if is_parquet else _csv(path, place, finished)
    except (pl.exceptions.PolarsError, UnicodeError, OverflowError) as error:
        reason = str(error).splitlines()[0][:200]
        raise InvalidData(
            f"a bar file must be parquet or CSV, but {path} could not be read ({reason}). {ADVICE}"
        ) from error
    except OSError as error:
        raise OperationFailed(
            f"a bar file must be readable, but {path}: {error.strerror or error}. {ADVICE}"
        ) from error
    except BaseException as error:
        # Damaged parquet can end in a panic of the reader, which is no subclass of Exception.
        if type(error).__name__ != "PanicException":
            raise
        raise InvalidData(f"a bar file must be whole parquet, but {path} is damaged. {ADVICE}") from error


def _parquet(path: Path, place: Place) -> Iterator[tuple[pl.DataFrame, Place]]:
    frame = pl.scan_parquet(path)
    while True:
        piece = frame.slice(place.n_rows, PIECE_ROWS).collect()
        if not len(piece):
            return
        place = Place(place.n_rows + len(piece))
        yield piece, place


def _csv(path: Path, place: Place, finished: bool) -> Iterator[tuple[pl.DataFrame, Place]]:
    with path.open("rb") as file:
        header = file.readline()
        if not header.endswith(b"\n") and not finished:
            return
        csv_header(header)
        place = place if place.n_bytes else Place(0, len(header))
        file.seek(place.n_bytes)
        while block := file.read(PIECE_BYTES):
            # To the end of a line; the last one may have none.
            block += file.readline()
            is_cut = not block.endswith(b"\n") and not finished
            if is_cut:
                block = block[: block.rfind(b"\n") + 1]
            if not block:
                return
            # Text throughout: what a column holds must not hang on the piece.
            piece = pl.read_csv(io.BytesIO(header.rstrip(b"\r\n") + b"\n" + block), infer_schema=False)
            place = Place(place.n_rows + len(piece), place.n_bytes + len(block))
            yield piece, place
            if is_cut:
                # The rest of that line may have come by now: to read on from here would begin inside it.
                return
