"""Columns of a window file that older files and other tools write in other types."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

from moola.core.features import FEATURE_TYPE, N_FEATURES
from moola.data.contracts.window_rules import ADVICE
from moola.errors import InvalidData, Problem


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


def is_relative_frame(rows: pl.DataFrame, frame: pl.LazyFrame, path: Path) -> bool:
    """Tell relative windows from 4-D ones by `feature_type`, or by the width of the first window's bars."""
    if "feature_type" not in rows.columns:
        first = frame.select("features").drop_nulls().head(1).collect()["features"].to_list()
        row = first[0] if first else None
        return bool(isinstance(row, list) and row and isinstance(row[0], list) and len(row[0]) == N_FEATURES)
    kinds = rows["feature_type"].unique().to_list()
    if kinds == ["ohlc"]:
        return False
    if kinds != [FEATURE_TYPE]:
        raise InvalidData(
            f"feature_type must be {FEATURE_TYPE} or ohlc in every row, but {path} has {kinds[:5]}. {ADVICE}"
        )
    return True
