"""The window table: 4-D windows (OHLC) and relative windows (eleven features), one row a label."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl

from moola.core.features import FEATURE_TYPE, N_FEATURES, relative_features
from moola.core.splits import Intervals
from moola.data.contracts.frames import nested_column, read_frame, rows_of, utc_series, write_frame
from moola.data.contracts.window_rules import (
    ADVICE,
    feature_problems,
    label_problems,
    nested_array,
    pointer_warning,
)
from moola.errors import InvalidData, Problem

log = logging.getLogger(__name__)
EXTRA_COLUMNS = ("annotator", "quality", "draw")


@dataclass(frozen=True)
class WindowTable:
    """Windows of one length, with what is known of each.

    Attributes
    ----------
    ohlc
        Prices `(windows, bars, 4)`; `None` in relative files that do not carry them.
    features
        Relative features `(windows, bars, 11)`; `None` in 4-D files.
    label
        Class of each row, `None` where it has none.
    expansion_start, expansion_end
        Pointers, inclusive bar positions; -1 where there is none.
    start_us, end_us
        Times of the first and last bar, `None` in older files without timestamps.
    """

    window_id: list[str]
    ohlc: np.ndarray | None
    features: np.ndarray | None
    label: np.ndarray
    expansion_start: np.ndarray
    expansion_end: np.ndarray
    start_us: np.ndarray | None
    end_us: np.ndarray | None
    symbol: np.ndarray
    extra: pl.DataFrame

    def __len__(self) -> int:
        return len(self.window_id)

    @property
    def window_bars(self) -> int:
        """Bars a window."""
        return int(self._values.shape[1])

    @property
    def _values(self) -> np.ndarray:
        values = self.ohlc if self.ohlc is not None else self.features
        if values is None:
            raise ValueError("a window table holds prices, features or both")
        return values

    @property
    def classes(self) -> list[str]:
        """Class names, sorted."""
        return sorted({name for name in self.label.tolist() if name is not None})

    @property
    def has_pointers(self) -> bool:
        """Tell whether any row has pointers."""
        return bool((self.expansion_start >= 0).any())

    @property
    def annotator(self) -> np.ndarray | None:
        """Who labelled each row; None where the file does not say."""
        if "annotator" not in self.extra.columns:
            return None
        return self.extra["annotator"].to_numpy().astype(object)

    @property
    def annotators(self) -> list[str]:
        """Who labelled the rows, sorted; empty where the file does not say."""
        if "annotator" not in self.extra.columns:
            return []
        return sorted(self.extra["annotator"].drop_nulls().unique().to_list())

    def take(self, rows: np.ndarray) -> WindowTable:
        """Return some rows, in this order."""
        return WindowTable(
            [self.window_id[row] for row in rows],
            rows_of(self.ohlc, rows),
            rows_of(self.features, rows),
            self.label[rows],
            self.expansion_start[rows],
            self.expansion_end[rows],
            rows_of(self.start_us, rows),
            rows_of(self.end_us, rows),
            self.symbol[rows],
            self.extra[rows] if len(self.extra.columns) else pl.DataFrame(),
        )

    def with_features(self) -> WindowTable:
        """Return the same windows with the eleven features, computed from the bars where absent."""
        if self.features is not None:
            return self
        return replace(self, features=relative_features(self._values))

    def intervals(self) -> Intervals:
        """Return what a split needs: times, and groups of rows with the same bars."""
        content = [row.tobytes() for row in np.ascontiguousarray(self._values)]
        number: dict[bytes, int] = {}
        group = np.array([number.setdefault(key, len(number)) for key in content], dtype=np.int64)
        return Intervals(self.start_us, self.end_us, group)


def read_windows(path: Path, window_bars: int | None = None) -> WindowTable:
    """Read windows of either kind; otherwise raise with every broken rule at once.

    `window_bars` is the length that must hold; `None` means 105.
    """
    frame = read_frame(path, "a window file", ADVICE)
    for name in ("window_id", "features"):
        if name not in frame.columns:
            raise InvalidData(
                f"windows must have the columns window_id and features, but {path} lacks {name} "
                f"(it has {', '.join(frame.columns[:20])}). {ADVICE}"
            )
    if not len(frame):
        raise InvalidData(f"a window file must have windows, but {path} has none. {ADVICE}")
    problems: list[Problem] = []
    is_relative = _is_relative(frame, path)
    width = N_FEATURES if is_relative else 4
    values = nested_array(frame["features"], "features", width, window_bars, problems)
    ohlc = None if is_relative else values
    if is_relative and "ohlc" in frame.columns and values is not None:
        ohlc = nested_array(frame["ohlc"], "ohlc", 4, values.shape[1], problems)
    if values is not None:
        problems += feature_problems(values if is_relative else None, ohlc)
    n_bars = values.shape[1] if values is not None else (window_bars or 105)
    table = _assemble(frame, ohlc, values if is_relative else None, problems)
    problems += label_problems(table, n_bars, values)
    if problems:
        raise InvalidData.from_problems(path, problems, ADVICE)
    if not table.intervals().timed:
        log.warning("%s has no start_ts and end_ts: overlap between parts cannot be checked.", path)
    if message := pointer_warning(table, n_bars):
        log.warning("%s: %s", path, message)
    return table


def _is_relative(frame: pl.DataFrame, path: Path) -> bool:
    if "feature_type" not in frame.columns:
        first = frame["features"].drop_nulls().head(1).to_list()
        row = first[0] if first else None
        return bool(isinstance(row, list) and row and isinstance(row[0], list) and len(row[0]) == N_FEATURES)
    kinds = frame["feature_type"].unique().to_list()
    if kinds == ["ohlc"]:
        return False
    if kinds != [FEATURE_TYPE]:
        raise InvalidData(
            f"feature_type must be {FEATURE_TYPE} or ohlc in every row, but {path} has {kinds[:5]}. {ADVICE}"
        )
    return True


def _assemble(
    frame: pl.DataFrame, ohlc: np.ndarray | None, features: np.ndarray | None, problems: list[Problem]
) -> WindowTable:
    n = len(frame)
    identifier = frame["window_id"].cast(pl.String)
    if identifier.null_count() or identifier.n_unique() < n:
        wrong = identifier.is_null() | ~identifier.is_first_distinct()
        count, where = int(wrong.sum()), int(wrong.arg_max() or 0)
        problems.append(Problem("window_id must be there and name one row each", count, where))
    label = np.array(_optional(frame, "label", pl.String).to_list(), dtype=object)
    first, last = (
        _optional(frame, name, pl.Int64, problems).fill_null(-1).to_numpy()
        for name in ("expansion_start", "expansion_end")
    )
    start_us, end_us = (_times(frame, name, problems) for name in ("start_ts", "end_ts"))
    if (start_us is None) != (end_us is None):
        problems.append(Problem("start_ts and end_ts must come together", 1))
    elif start_us is not None and end_us is not None and (end_us < start_us).any():
        backward = end_us < start_us
        problems.append(Problem("end_ts must not be before start_ts", int(backward.sum()), int(backward.argmax())))
    symbol = _optional(frame, "symbol", pl.String).fill_null("").to_numpy().astype(object)
    extra = frame.select([name for name in EXTRA_COLUMNS if name in frame.columns])
    return WindowTable(
        identifier.fill_null("").to_list(), ohlc, features, label, first, last, start_us, end_us, symbol, extra
    )


def _optional(
    frame: pl.DataFrame, name: str, dtype: type[pl.DataType], problems: list[Problem] | None = None
) -> pl.Series:
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


def _times(frame: pl.DataFrame, name: str, problems: list[Problem]) -> np.ndarray | None:
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


def write_windows(path: Path, table: WindowTable) -> None:
    """Write a window table: 4-D without features, relative (with the bars, where known) with them."""
    columns: dict[str, pl.Series] = {"window_id": pl.Series(table.window_id, dtype=pl.String)}
    if set(table.symbol.tolist()) != {""}:
        columns["symbol"] = pl.Series(table.symbol.tolist(), dtype=pl.String)
    if table.start_us is not None and table.end_us is not None:
        columns |= {"start_ts": utc_series(table.start_us), "end_ts": utc_series(table.end_us)}
    if table.classes:
        columns["label"] = pl.Series(table.label.tolist(), dtype=pl.String)
    if table.has_pointers:
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
        columns["features"] = nested_column(table._values)
    write_frame(path, pl.DataFrame(columns))
