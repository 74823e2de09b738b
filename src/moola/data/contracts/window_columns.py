"""Columns of a window file: those that older files and other tools write in other types, and our own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from moola.core.features import FEATURE_TYPE, N_FEATURES
from moola.data.contracts.frames import nested_column, utc_series
from moola.data.contracts.window_rules import ADVICE
from moola.errors import InvalidData, Problem

if TYPE_CHECKING:
    from moola.data.contracts.window_table import WindowTable


def optional_column(
    frame: pl.DataFrame, name: str, dtype: type[pl.DataType], problems: list[Problem] | None = None
) -> pl.Series:
    """Return a column as this type, missing where the file has none; what does not fit is a problem."""
    if name not in frame.columns:
        return pl.Series(name, [None] * len(frame), dtype=dtype)
    column = frame[name]
    if column.dtype.is_float():
        # Other tools write a missing pointer as NaN.
        column = column.fill_nan(None)
    whole = column.cast(dtype, strict=False)
    lost = whole.is_null() & column.is_not_null()
    if column.dtype.is_float():
        lost = lost | (column != whole.cast(column.dtype)).fill_null(False)
    if problems is not None and lost.any():
        problems.append(Problem(f"{name} must be whole numbers", int(lost.sum()), int(lost.arg_max() or 0)))
    return whole


def times_column(frame: pl.DataFrame, name: str, problems: list[Problem]) -> np.ndarray | None:
    """Return a column of times in microseconds; `None` where the file has none."""
    if name not in frame.columns or frame[name].null_count() == len(frame):
        return None
    column = frame[name]
    rule = f"{name} must be a time in every row or in none"
    if not isinstance(column.dtype, pl.Datetime):
        problems.append(Problem(rule, len(column), 0, str(column.dtype)))
        return None
    if column.null_count():
        problems.append(Problem(rule, column.null_count(), int(column.is_null().arg_max() or 0)))
        return None
    if column.dtype.time_zone is None:
        column = column.dt.replace_time_zone("UTC")
    return column.dt.timestamp("us").to_numpy()


def is_relative_frame(rows: pl.DataFrame, frame: pl.LazyFrame, path: Path | str) -> bool:
    """Tell relative windows from 4-D ones by `feature_type`, or by the width of the first window's bars."""
    if "feature_type" not in rows.columns:
        first = frame.select("features").drop_nulls().head(1).collect()["features"].to_list()
        row = first[0] if first else None
        return bool(isinstance(row, list) and row and isinstance(row[0], list) and len(row[0]) == N_FEATURES)
    # In the order of the rows, so that a message is the same each time.
    kinds = rows["feature_type"].unique(maintain_order=True).to_list()
    if kinds == ["ohlc"]:
        return False
    if kinds != [FEATURE_TYPE]:
        raise InvalidData(
            f"feature_type must be {FEATURE_TYPE} or ohlc in every row, but {path} has {kinds[:5]}. {ADVICE}"
        )
    return True


def windows_frame(table: WindowTable, whole: WindowTable) -> pl.DataFrame:
    """Lay windows out as the columns of the file; `whole` is all of them, and tells which columns there are."""
    columns: dict[str, pl.Series] = {"window_id": pl.Series(table.window_id, dtype=pl.String)}
    if whole.has_symbols:
        columns["symbol"] = pl.Series(table.symbol.tolist(), dtype=pl.String)
    if table.start_us is not None and table.end_us is not None:
        columns |= {"start_ts": utc_series(table.start_us), "end_ts": utc_series(table.end_us)}
    if whole.classes:
        columns["label"] = pl.Series(table.label.tolist(), dtype=pl.String)
    if whole.has_pointers:
        for name in ("expansion_start", "expansion_end"):
            bars = getattr(table, name)
            columns[name] = pl.Series([int(b) if b >= 0 else None for b in bars], dtype=pl.Int64)
    columns |= {name: table.extra[name] for name in table.extra.columns}
    if table.features is not None:
        columns["feature_type"] = pl.Series([FEATURE_TYPE] * len(table), dtype=pl.String)
        columns["features"] = nested_column(table.features)
        if table.ohlc is not None:
            columns["ohlc"] = nested_column(table.ohlc)
    else:
        columns["features"] = nested_column(table.values)
    return pl.DataFrame(columns)
