"""What a caller gives (frames, arrays, times, labels), as the tables that the stages take."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np
import polars as pl
from jaxtyping import Int, Shaped
from numpy.typing import ArrayLike

from moola.api.frame_conversion import is_frame, kind_of, polars_of
from moola.core.expansions import NO_POINTER
from moola.core.features import N_FEATURES
from moola.errors import InvalidData
from moola.tables.window_file import ADVICE, WindowTable, feature_problems, label_problems, windows_from_frame

# A window table of any kind, or an array of prices `(windows, bars, 4)` or features `(windows, bars, 11)`.
Windows: TypeAlias = Any
# A frame with `start_ts` and `end_ts`, or an array `(windows, 2)`.
Times: TypeAlias = Any
WINDOWS_ADVICE = "Cut windows with `moola.windows`, or give `moola.relative_features` of them."
TIMES_ADVICE = 'Give `windows.select("start_ts", "end_ts")`, or datetime64 in UTC.'


def table_of(given: Windows, times: Times | None = None, name: str = "X") -> WindowTable:
    """Return windows as a table; `times` go before those of a frame, and messages call the windows `name`.

    Raises
    ------
    InvalidData
        The windows break a rule, or are no windows.
    """
    if is_frame(given):
        table = windows_from_frame(polars_of(given, name), name)
    else:
        kind_of(given, name)
        table = _table_of_array(given, name)
    if times is None:
        return table
    start_us, end_us = time_us_of(times, len(table)).T
    return replace(table, start_us=start_us, end_us=end_us)


def _table_of_array(given: Any, name: str) -> WindowTable:
    shape = np.shape(given)
    if len(shape) != 3 or shape[2] not in (4, N_FEATURES) or not all(shape):
        raise InvalidData(
            f"{name} must be a window table or an array (windows, bars, 4 prices or {N_FEATURES} features), but its "
            f"shape is {shape}. {WINDOWS_ADVICE}"
        )
    values = np.asarray(given, dtype=np.float64)
    ohlc, features = (values, None) if shape[2] == 4 else (None, values)
    if problems := feature_problems(features, ohlc):
        raise InvalidData.from_problems(name, problems, WINDOWS_ADVICE)
    n = shape[0]
    none = np.full(n, -1, dtype=np.int64)
    return WindowTable(
        [str(row) for row in range(n)],
        ohlc,
        features,
        np.full(n, None, dtype=object),
        none,
        none,
        None,
        None,
        np.full(n, "", dtype=object),
        pl.DataFrame(),
    )


def time_us_of(times: Times, n_windows: int) -> Int[np.ndarray, "windows 2"]:
    """Return the times of first and last bars in microseconds.

    Raises
    ------
    InvalidData
        They are not two times a window, or a window ends before it starts.
    """
    if is_frame(times):
        times = polars_of(times, "times")
        missing = [name for name in ("start_ts", "end_ts") if name not in times.columns]
        if missing:
            raise InvalidData(
                f"times must have start_ts and end_ts, but {', '.join(missing)} is not there. {TIMES_ADVICE}"
            )
        times = times.select("start_ts", "end_ts").to_numpy()
    times = np.asarray(times)
    if times.dtype == object and times.ndim == 2:
        times = _of_datetimes(times)
    is_time = np.issubdtype(times.dtype, np.datetime64) or np.issubdtype(times.dtype, np.integer)
    if times.shape != (n_windows, 2) or not is_time:
        raise InvalidData(
            f"times must be the first and last bar's of each of {n_windows} windows, but they are {times.dtype} of "
            f"shape {times.shape}. {TIMES_ADVICE}"
        )
    time_us: np.ndarray = times.astype("datetime64[us]").astype(np.int64) if times.dtype.kind == "M" else times
    unknown = np.isnat(times).any(axis=1) if times.dtype.kind == "M" else np.zeros(n_windows, dtype=bool)
    wrong = unknown | (time_us[:, 1] < time_us[:, 0])
    if wrong.any():
        raise InvalidData(
            f"times must be known and none may end before it starts, but {int(wrong.sum())} do not hold (times, first "
            f"row {int(wrong.argmax())}). {TIMES_ADVICE}"
        )
    return time_us.astype(np.int64)


def _of_datetimes(times: np.ndarray) -> np.ndarray:
    """Return datetimes with a zone, as pandas has them, in UTC; what holds other things is returned as it is."""
    try:
        flat = pl.Series(times.ravel().tolist())
    except (TypeError, pl.exceptions.PolarsError):
        return times
    if not isinstance(flat.dtype, pl.Datetime):
        return times
    utc = flat if flat.dtype.time_zone is None else flat.dt.convert_time_zone("UTC").dt.replace_time_zone(None)
    return utc.to_numpy().reshape(times.shape)


# Labels and pointers as scikit-learn gives them, put into a window table.


def with_labels(
    table: WindowTable, y: ArrayLike, pointers: ArrayLike | None
) -> tuple[WindowTable, Shaped[np.ndarray, " classes"]]:
    """Return the table with these classes and pointers, and the classes as they came, sorted.

    Raises
    ------
    InvalidData
        Another number of them than windows, or what breaks a rule of a window file.
    """
    given = np.asarray(y)
    if given.shape != (len(table),):
        raise InvalidData(
            f"y must be a class for each of {len(table)} windows, but its shape is {given.shape}. Give one a window."
        )
    missing = [
        row for row, name in enumerate(given.tolist()) if name is None or (isinstance(name, float) and np.isnan(name))
    ]
    if missing:
        raise InvalidData(
            f"every window must have a label, but {len(missing)} of {len(given)} have none (y, first row "
            f"{missing[0]}). Leave them out."
        )
    classes = np.unique(given)
    if given.dtype.kind == "f" and (classes != np.round(classes)).any():
        raise InvalidData(
            f"y must be classes, but it holds {len(classes)} different numbers of {given.dtype}, not whole (first "
            f"{given[np.flatnonzero(given != np.round(given))[0]]:g}): a continuous target. Give a class for each."
        )
    table = replace(table, label=np.array([str(name) for name in given.tolist()], dtype=object))
    if pointers is not None:
        table = _with_pointers(table, np.asarray(pointers))
    if problems := label_problems(table, table.window_bars, table.equal_bars()):
        raise InvalidData.from_problems("X with y", problems, ADVICE)
    return table, classes


def _with_pointers(table: WindowTable, pointers: np.ndarray) -> WindowTable:
    if pointers.shape != (len(table), 2) or not np.issubdtype(pointers.dtype, np.integer):
        raise InvalidData(
            f"pointers must be two whole numbers for each of {len(table)} windows, but they are {pointers.dtype} of "
            f"shape {pointers.shape}. Give {NO_POINTER} where there is no expansion."
        )
    start, end = pointers.astype(np.int64).T
    return replace(table, expansion_start=start, expansion_end=end)
