"""A bar file read piece by piece: memory does not grow with the file."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import polars as pl

from moola.data.contracts.bar_table import ADVICE
from moola.data.contracts.frames import (
    FIRST_ROWS,
    PARQUET_MAGIC,
    PIECE_ROWS,
    csv_header,
    refuse_foreign,
    refuse_long_text,
)
from moola.data.contracts.parquet_claims import refuse_inflation
from moola.errors import InvalidData, OperationFailed

# Bytes of CSV at a time.
PIECE_BYTES = 4 << 20


def bar_frames(path: Path) -> Iterator[pl.DataFrame]:
    """Yield a file's rows, some at a time; parquet and CSV are told by content.

    Raises
    ------
    InvalidData
        The file is neither, is damaged, is compressed, or is empty.
    """
    try:
        if not path.is_file():
            raise OperationFailed(f"a bar file must exist, but there is no file {path}. Check the path.")
        with path.open("rb") as file:
            is_parquet = file.read(len(PARQUET_MAGIC)) == PARQUET_MAGIC
            if is_parquet:
                refuse_inflation(file, path, "a bar file", ADVICE)
        if not path.stat().st_size:
            raise InvalidData(f"a bar file must hold a table, but {path} is empty (0 bytes). {ADVICE}")
        for piece in _parquet(path) if is_parquet else _csv(path):
            refuse_long_text(piece, path, "a bar file", ADVICE)
            yield piece
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


def _parquet(path: Path) -> Iterator[pl.DataFrame]:
    frame = pl.scan_parquet(path)
    # A few rows first: long text is met before it is met many thousand times.
    first, n_rows = 0, FIRST_ROWS
    while len(piece := frame.slice(first, n_rows).collect()):
        yield piece
        first, n_rows = first + n_rows, PIECE_ROWS


def _csv(path: Path) -> Iterator[pl.DataFrame]:
    with path.open("rb") as file:
        header = file.readline(PIECE_BYTES)
        refuse_foreign(header, path, "a bar file", ADVICE)
        csv_header(header)
        while block := file.read(PIECE_BYTES):
            # To the end of a line; the last one may have none.
            block += file.readline(PIECE_BYTES)
            # Text throughout: what a column holds must not hang on the piece.
            yield pl.read_csv(io.BytesIO(header.rstrip(b"\r\n") + b"\n" + block), infer_schema=False)
