"""Spans and annotated stretches as plain CSV tables in UTC, put on bars."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

from moola.core.bars import Bars
from moola.errors import InvalidData
from moola.tables.frames import read_frame

ADVICE = "Mend the file."


def read_spans_on(path: Path, bars: Bars) -> tuple[np.ndarray, np.ndarray]:
    """Return rows `(spans, 2)` of the first and the last bar of each span (`symbol,start,end,label`), and its label.

    A moment inside a bar means that bar. Spans of symbols that the bars have not are left out.

    Raises
    ------
    InvalidData
        A column is missing, a time cannot be read, or a span that ends before it starts or that no bar meets.
    """
    frame = _frame(path, "a file of spans", ("start", "end", "label"))
    rows, chosen = _on_bars(frame, path, bars, ("start", "end"))
    return rows, frame["label"].cast(pl.String).to_numpy().astype(object)[chosen]


def read_stretches_on(path: Path, bars: Bars) -> np.ndarray:
    """Return rows `[first, stop)` of the bars of each annotated stretch (`symbol,from,to`), both ends annotated."""
    frame = _frame(path, "a file of annotated stretches", ("from", "to"))
    rows, _ = _on_bars(frame, path, bars, ("from", "to"))
    return rows + np.array([0, 1])


def _frame(path: Path, what: str, columns: tuple[str, ...]) -> pl.DataFrame:
    frame = read_frame(path, what, ADVICE)
    if missing := [name for name in columns if name not in frame.columns]:
        raise InvalidData(
            f"{what} must have the columns {', '.join(columns)}, but {path} lacks {', '.join(missing)} (it has "
            f"{', '.join(frame.columns[:20])}). {ADVICE}"
        )
    if not len(frame):
        raise InvalidData(f"{what} must have rows, but {path} has 0. {ADVICE}")
    return frame


def _times(frame: pl.DataFrame, name: str, path: Path) -> np.ndarray:
    column = frame[name]
    if column.dtype == pl.String:
        column = column.str.to_datetime(time_unit="us", time_zone="UTC", strict=False)
    if not isinstance(column.dtype, pl.Datetime) or column.null_count():
        first = int(column.is_null().to_numpy().argmax())
        raise InvalidData(
            f"{name} must be a time in UTC, but {path} has {frame[name][first]!r} in row {first} "
            f"({column.null_count()} such rows). {ADVICE}"
        )
    return column.dt.timestamp("us").to_numpy()


def _on_bars(frame: pl.DataFrame, path: Path, bars: Bars, ends: tuple[str, str]) -> tuple[np.ndarray, np.ndarray]:
    times = np.stack([_times(frame, name, path) for name in ends], axis=1)
    backward = times[:, 0] > times[:, 1]
    if backward.any():
        raise InvalidData(
            f"{ends[0]} must not be after {ends[1]}, but it is in {int(backward.sum())} rows of {path}, first row "
            f"{int(backward.argmax())}. {ADVICE}"
        )
    names = bars.symbols
    symbol = (
        frame["symbol"].cast(pl.String).fill_null("").to_numpy().astype(object) if "symbol" in frame.columns else None
    )
    if symbol is None and len(names) > 1:
        raise InvalidData(f"{path} must have a column symbol, for the bars are of {len(names)} symbols. {ADVICE}")
    rows = np.full((len(frame), 2), -1, dtype=np.int64)
    for name in names:
        own = np.flatnonzero(bars.symbol == name)
        # Bars and files that name no symbol are of the only one there is.
        mine = np.ones(len(frame), dtype=bool) if symbol is None or name == "" else symbol == name
        start_us = bars.start_us[own]
        first = np.searchsorted(start_us, times[mine, 0], side="right") - 1
        last = np.searchsorted(start_us, times[mine, 1], side="right") - 1
        rows[mine] = np.where(
            ((last >= 0) & (times[mine, 0] <= start_us[-1]))[:, None],
            own[np.stack([np.maximum(first, 0), np.maximum(last, 0)], axis=1)],
            -1,
        )
    known = np.ones(len(frame), dtype=bool) if symbol is None else np.isin(symbol, names) | (names == [""])
    outside = known & (rows[:, 0] < 0)
    if outside.any() or not known.any():
        raise InvalidData(
            f"the rows of {path} must lie on bars, but {int(outside.sum())} of {int(known.sum())} rows with a symbol of "
            f"the bars ({', '.join(names[:5])}) do not, first row {int(outside.argmax())}. Give the bars they were "
            "marked on."
        )
    return rows[known], np.flatnonzero(known)
