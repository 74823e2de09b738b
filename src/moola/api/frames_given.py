"""Frames of a caller, of pandas, polars or numpy, to polars and back to the kind that came.

pandas is never imported here before the caller has done so, or has asked for a pandas frame.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypeVar, cast

import numpy as np
import polars as pl

from moola.errors import InvalidData, OperationFailed

if TYPE_CHECKING:
    import pandas as pd

# A pandas.DataFrame, polars.DataFrame, polars.LazyFrame or structured numpy.ndarray: pandas is not there to name.
Frame: TypeAlias = Any
# What a function takes it gives back: pandas for pandas, polars for polars, a structured array for an array.
FrameT = TypeVar("FrameT")
Kind: TypeAlias = Literal["polars", "lazy", "pandas", "numpy"]

KINDS = "a pandas or polars frame, or a structured numpy array"
FRAME_ADVICE = (
    "Give a frame (`frame.to_pandas()`, `frame.compute()` or `polars.DataFrame(columns)` make one of most tables), or "
    "read a file with `moola.read_bars`, `moola.import_bars` or `moola.read_windows`."
)
NO_NUMBER = -1


def kind_of(given: Any, name: str) -> Kind:
    """Return which kind of table it is; messages call it `name`.

    Raises
    ------
    InvalidData
        It is another thing.
    """
    if isinstance(given, pl.DataFrame):
        return "polars"
    if isinstance(given, pl.LazyFrame):
        return "lazy"
    if isinstance(given, np.ndarray):
        return "numpy"
    if is_pandas(given):
        return "pandas"
    found = f"{type(given).__module__.split('.')[0]}.{type(given).__name__}".removeprefix("builtins.")
    raise InvalidData(f"{name} must be {KINDS}, but it is {found}. {FRAME_ADVICE}")


def is_pandas(given: Any) -> bool:
    """Return whether it is a pandas frame."""
    pandas = sys.modules.get("pandas")
    return pandas is not None and isinstance(given, pandas.DataFrame)


def is_frame(given: Any) -> bool:
    """Return whether it is a table with named columns: no plain array."""
    has_names = isinstance(given, np.ndarray) and given.dtype.names is not None
    return has_names or isinstance(given, pl.DataFrame | pl.LazyFrame) or is_pandas(given)


def polars_of(given: Any, name: str) -> pl.DataFrame:
    """Return the columns of a table of any kind; the index of a pandas frame is left out.

    Raises
    ------
    InvalidData
        It is no table, or a column holds what no column of moola does.
    """
    kind = kind_of(given, name)
    if kind == "polars":
        return cast(pl.DataFrame, given)
    if kind == "lazy":
        return cast(pl.DataFrame, given.collect())
    if kind == "pandas":
        twice = given.columns[given.columns.duplicated()]
        if len(twice):
            raise InvalidData(
                f"columns must have names of their own, but {name} has two named {twice[0]!r}. Rename one."
            )
        return pl.DataFrame([_of_pandas(str(column), given[column], name) for column in given.columns])
    if given.dtype.names is None or given.ndim != 1:
        raise InvalidData(
            f"{name} must have named columns, but it is an array of {given.dtype} of shape {given.shape}. Give a "
            "frame, or a structured array: numpy.rec.fromarrays(columns, names=...)."
        )
    return pl.DataFrame([_of_field(column, given[column]) for column in given.dtype.names])


def like(given: FrameT, frame: pl.DataFrame) -> FrameT:
    """Return a table in the kind of what the caller gave: a structured array where that was any array."""
    makers: dict[Kind, Callable[[pl.DataFrame], Any]] = {
        "polars": lambda table: table,
        "lazy": pl.DataFrame.lazy,
        "pandas": pandas_of,
        "numpy": _structured,
    }
    return cast(FrameT, makers[kind_of(given, "the table")](frame))


def to_pandas(table: Frame) -> pd.DataFrame:
    """Return a table of moola as a pandas frame, without pyarrow.

    Parameters
    ----------
    table
        Frame of polars (a lazy one is computed), structured array, or pandas frame, which comes back as it is.

    Returns
    -------
    pandas.DataFrame
        Times are UTC, whole numbers that may be missing are `Int64`, and the cells of nested columns are arrays.

    Raises
    ------
    OperationFailed
        pandas is not installed.

    Examples
    --------
    >>> import moola
    >>> moola.to_pandas(moola.sample_bars()).dtypes["timestamp"]
    datetime64[us, UTC]
    """
    return cast("pd.DataFrame", table) if is_pandas(table) else pandas_of(polars_of(table, "the table"))


def pandas_of(frame: pl.DataFrame) -> pd.DataFrame:
    """Return a polars frame as a pandas one."""
    try:
        import pandas as pd
    except ImportError as error:
        raise OperationFailed(
            "pandas must be installed for a pandas frame, but it is not. Run `pip install moola[pandas]`."
        ) from error
    columns: dict[str, Any] = {}
    for column in frame.get_columns():
        if isinstance(column.dtype, pl.Datetime):
            times = pd.Series(column.dt.replace_time_zone(None).to_numpy())
            columns[column.name] = times.dt.tz_localize(column.dtype.time_zone)
        elif column.dtype.is_nested():
            columns[column.name] = pd.Series([np.array(cell) for cell in column.to_list()], dtype=object)
        elif column.dtype.is_integer() and column.null_count():
            columns[column.name] = pd.array(column.to_list(), dtype="Int64")
        elif column.dtype.is_numeric() or column.dtype == pl.Boolean:
            columns[column.name] = column.to_numpy()
        else:
            columns[column.name] = pd.Series(column.to_list(), dtype=object if column.null_count() else None)
    return pd.DataFrame(columns)


def path_given(path: Any, name: str) -> Path:
    """Return a path that a caller gave.

    Raises
    ------
    InvalidData
        It is none, such as a table in memory.
    """
    if isinstance(path, str | Path):
        return Path(path)
    way = "Every function takes tables in memory as they are." if is_frame(path) else "Give the path of a file."
    raise InvalidData(f"{name} must be the path of a file, but it is {type(path).__name__}. {way}")


# Columns of pandas and numpy. No column needs pyarrow, which moola does not ask for.


def _of_pandas(column: str, values: pd.Series, name: str) -> pl.Series:
    kind = values.dtype.kind if isinstance(values.dtype, np.dtype) else None
    if kind == "M" or hasattr(values.dtype, "tz"):
        zone = getattr(values.dtype, "tz", None)
        plain = values if zone is None else values.dt.tz_convert("UTC").dt.tz_localize(None)
        times = pl.Series(column, plain.to_numpy().astype("datetime64[us]"))
        return times if zone is None else times.dt.replace_time_zone("UTC")
    if kind in ("f", "i", "u", "b"):
        return pl.Series(column, values.to_numpy())
    cells = values.astype(object).to_numpy()
    shapes = {cell.shape if isinstance(cell, np.ndarray) and cell.dtype != object else None for cell in cells}
    if len(shapes) == 1 and None not in shapes:
        return _of_field(column, np.stack(list(cells)))
    missing = [_is_missing(cell) for cell in cells]
    try:
        return pl.Series(column, [None if none else _cell(cell) for none, cell in zip(missing, cells, strict=True)])
    except (TypeError, ValueError, pl.exceptions.PolarsError) as error:
        raise InvalidData(
            f"columns must hold numbers, texts, times or lists of numbers, but {column} of {name} is {values.dtype} "
            f"({str(error).splitlines()[0][:100]}). Convert or drop it."
        ) from error


def _is_missing(cell: Any) -> bool:
    return cell is None or type(cell).__name__ in ("NAType", "NaTType") or (isinstance(cell, float) and np.isnan(cell))


def _cell(cell: Any) -> Any:
    """Return a cell as polars reads it: arrays of arrays, as parquet files give them, as lists of lists."""
    if isinstance(cell, np.ndarray):
        return [_cell(one) for one in cell] if cell.dtype == object else cell.tolist()
    return cell.item() if isinstance(cell, np.generic) else cell


def _of_field(column: str, values: np.ndarray) -> pl.Series:
    if values.ndim > 1:
        # In memory that is the field's own: in a structured array its values are apart.
        array = pl.Series(column, np.ascontiguousarray(values), dtype=pl.Array(pl.Float64, values.shape[1:]))
        return array.cast(pl.List(pl.List(pl.Float64)) if values.ndim == 3 else pl.List(pl.Float64))
    if values.dtype.kind == "M":
        return pl.Series(column, np.ascontiguousarray(values).astype("datetime64[us]"))
    if values.dtype.kind in ("U", "O"):
        texts = [None if text is None or text == "" else text for text in values.tolist()]
        return pl.Series(column, texts, strict=False)
    return pl.Series(column, np.ascontiguousarray(values))


def _structured(frame: pl.DataFrame) -> np.ndarray:
    """Return a frame as a structured array: a missing text is empty, a missing whole number -1, a missing time NaT."""
    fields = {column.name: _field(column) for column in frame.get_columns()}
    types = [(name, values.dtype, values.shape[1:]) for name, values in fields.items()]
    array = np.empty(len(frame), dtype=types)
    for name, values in fields.items():
        array[name] = values
    return array


def _field(column: pl.Series) -> np.ndarray:
    dtype = column.dtype
    if isinstance(dtype, pl.Datetime):
        return column.dt.replace_time_zone(None).to_numpy().astype("datetime64[us]")
    if dtype.is_nested():
        return np.array(column.to_list(), dtype=np.float64)
    if dtype.is_integer():
        return column.fill_null(NO_NUMBER).to_numpy()
    if dtype.is_numeric() or dtype == pl.Boolean:
        return column.to_numpy()
    return np.array([text or "" for text in column.to_list()], dtype=np.str_)
