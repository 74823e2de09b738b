"""The window file: 4-D windows (OHLC) and relative windows (eleven features), one row a label."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl
import polars.selectors as cs

from moola.core.features import N_FEATURES
from moola.core.splits import content_hashes, groups_of_equal
from moola.core.windows import WINDOW_BARS
from moola.data.contracts.frames import is_parquet, reading, scan_frame, write_frames
from moola.data.contracts.window_columns import is_relative_frame, optional_column, times_column, windows_frame
from moola.data.contracts.window_rules import ADVICE, feature_problems, label_problems, nested_array, pointer_warning
from moola.data.contracts.window_table import WindowTable
from moola.errors import InvalidData, Problem

log = logging.getLogger(__name__)
# Windows in memory at a time, and a row group: 6.5 MB with their features and prices.
PIECE_WINDOWS = 512
EXTRA_COLUMNS = ("annotator", "quality", "draw")


@dataclass(frozen=True)
class WindowFile:
    """A window file whose prices and features are read some windows at a time.

    Attributes
    ----------
    rows
        All windows with everything but prices and features.
    is_relative
        Whether the file holds relative windows.
    """

    path: Path | str
    frame: pl.LazyFrame
    window_bars: int | None
    rows: WindowTable
    is_relative: bool
    row_problems: list[Problem]

    @classmethod
    def open(cls, path: Path, window_bars: int | None = None) -> WindowFile:
        """Read everything of a file but prices and features; a file without its columns or rows is refused."""
        return cls.of_frame(scan_frame(path, "a window file", ADVICE), path, window_bars)

    @classmethod
    def of_frame(cls, frame: pl.LazyFrame, path: Path | str, window_bars: int | None = None) -> WindowFile:
        """Do the same with a table that is read as it is asked for; messages call it `path`."""
        with reading(path, "a window file", ADVICE):
            columns = frame.collect_schema().names()
            for name in ("window_id", "features"):
                if name not in columns:
                    raise InvalidData(
                        f"windows must have the columns window_id and features, but {path} lacks {name} "
                        f"(it has {', '.join(columns[:20])}). {ADVICE}"
                    )
            rows = frame.drop("features", "ohlc", strict=False).collect()
            if not len(rows):
                raise InvalidData(f"a window file must have windows, but {path} has none. {ADVICE}")
            is_relative = is_relative_frame(rows, frame, path)
        problems: list[Problem] = []
        return cls(path, frame, window_bars, _assemble(rows, problems), is_relative, problems)

    def pieces(self) -> Iterator[WindowTable]:
        """Yield the windows in order, some at a time; at the end raise with every broken rule of the whole file."""
        problems: dict[str, Problem] = {}
        hashes: list[bytes] = []
        n_rows = 0
        for frame in self._values():
            found: list[Problem] = []
            ohlc, features = self._arrays(frame, found)
            Problem.gather(problems, found, n_rows)
            values = features if ohlc is None else ohlc
            if values is not None:
                hashes += content_hashes(values)
            n_rows += len(frame)
            if not problems and not self.row_problems:
                rows = self.rows.take(np.arange(n_rows - len(frame), n_rows))
                yield replace(rows, ohlc=ohlc, features=features)
        n_bars = self.window_bars or WINDOW_BARS
        group = groups_of_equal(hashes) if len(hashes) == len(self.rows) else None
        broken = [*problems.values(), *self.row_problems, *label_problems(self.rows, n_bars, group)]
        if broken:
            raise InvalidData.from_problems(self.path, broken, ADVICE)
        if self.rows.start_us is None:
            log.warning("%s has no start_ts and end_ts: overlap between parts cannot be checked.", self.path)
        if message := pointer_warning(self.rows, n_bars):
            log.warning("%s: %s", self.path, message)

    def _values(self) -> Iterator[pl.DataFrame]:
        wanted = self.frame.select(cs.by_name("features", "ohlc", require_all=False))
        with reading(self.path, "a window file", ADVICE):
            yield from wanted.collect_batches(chunk_size=PIECE_WINDOWS, maintain_order=True)

    def _arrays(self, frame: pl.DataFrame, problems: list[Problem]) -> tuple[np.ndarray | None, np.ndarray | None]:
        width = N_FEATURES if self.is_relative else 4
        values = nested_array(frame["features"], "features", width, self.window_bars, problems)
        ohlc, features = (None, values) if self.is_relative else (values, None)
        if features is not None and "ohlc" in frame.columns:
            ohlc = nested_array(frame["ohlc"], "ohlc", 4, features.shape[1], problems)
        problems += feature_problems(features, ohlc)
        return ohlc, features


def read_windows(path: Path, window_bars: int | None = None) -> WindowTable:
    """Read windows of either kind; otherwise raise with every broken rule at once.

    `window_bars` is the length that must hold; `None` means 105.
    """
    return _whole(WindowFile.open(path, window_bars))


def recorded_window_bars(path: Path) -> int | None:
    """Return how long the first windows of a file are; None where it has none, or where they differ."""
    if not is_parquet(path):
        return None
    frame = scan_frame(path, "a window file", ADVICE)
    with reading(path, "a window file", ADVICE):
        dtype = frame.collect_schema().get("features")
        if isinstance(dtype, pl.Array):
            return dtype.size or None
        if not isinstance(dtype, pl.List):
            return None
        found = frame.select("features").head(PIECE_WINDOWS).collect()["features"]
    lengths = found.list.len().unique().to_list()
    return lengths[0] if len(lengths) == 1 and lengths[0] else None


def windows_from_frame(frame: pl.DataFrame, name: str) -> WindowTable:
    """Take windows from a table in memory by the rules of a file; all must be as long as the first."""
    column = frame["features"] if "features" in frame.columns else pl.Series()
    first = column[0] if len(column) and column.dtype.is_nested() else None
    return _whole(WindowFile.of_frame(frame.lazy(), name, len(first) if first is not None else None))


def _whole(file: WindowFile) -> WindowTable:
    pieces = list(file.pieces())
    ohlc, features = ([getattr(piece, name) for piece in pieces] for name in ("ohlc", "features"))
    return replace(file.rows, ohlc=_joined(ohlc), features=_joined(features))


def _joined(values: list[np.ndarray | None]) -> np.ndarray | None:
    known = [some for some in values if some is not None]
    return np.concatenate(known) if known else None


def piece_rows(n_windows: int) -> Iterator[np.ndarray]:
    """Yield the rows of a table some at a time; once, and none, where the table has no rows."""
    for first in range(0, max(n_windows, 1), PIECE_WINDOWS):
        yield np.arange(first, min(first + PIECE_WINDOWS, n_windows))


def _assemble(frame: pl.DataFrame, problems: list[Problem]) -> WindowTable:
    n = len(frame)
    identifier = frame["window_id"].cast(pl.String)
    if identifier.null_count() or identifier.n_unique() < n:
        wrong = identifier.is_null() | ~identifier.is_first_distinct()
        count, where = int(wrong.sum()), int(wrong.arg_max() or 0)
        name = identifier[where]
        detail = "" if name is None else f"{name[:60]!r} is row {(identifier == name).arg_max()} already"
        problems.append(Problem("window_id must be there and name one row each", count, where, detail))
    label = np.array(optional_column(frame, "label", pl.String).to_list(), dtype=object)
    first, last = (
        optional_column(frame, name, pl.Int64, problems).fill_null(-1).to_numpy()
        for name in ("expansion_start", "expansion_end")
    )
    start_us, end_us = (times_column(frame, name, problems) for name in ("start_ts", "end_ts"))
    if (start_us is None) != (end_us is None):
        problems.append(Problem("start_ts and end_ts must come together", 1))
    elif start_us is not None and end_us is not None and (end_us < start_us).any():
        backward = end_us < start_us
        problems.append(Problem("end_ts must not be before start_ts", int(backward.sum()), int(backward.argmax())))
    symbol = optional_column(frame, "symbol", pl.String).fill_null("").to_numpy().astype(object)
    extra = frame.select([name for name in EXTRA_COLUMNS if name in frame.columns])
    return WindowTable(
        identifier.fill_null("").to_list(), None, None, label, first, last, start_us, end_us, symbol, extra
    )


def write_windows(path: Path, table: WindowTable) -> None:
    """Write a window table: 4-D without features, relative (with the bars, where known) with them."""
    write_window_pieces(path, table, (table.take(rows) for rows in piece_rows(len(table))))


def write_window_pieces(path: Path, rows: WindowTable, pieces: Iterator[WindowTable]) -> None:
    """Write windows that come some at a time to the bytes that `write_windows` gives.

    `rows` is all of them, prices and features or not: it tells which columns the file has.
    """
    write_frames(path, (windows_frame(piece, rows) for piece in pieces), PIECE_WINDOWS)
