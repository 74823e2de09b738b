"""Frames of a caller (pandas, polars, numpy) to polars and back to the kind that came, and frames of bars in any
layout."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypeVar, cast

import numpy as np
import polars as pl

from moola.core.bars import OHLC, Bars
from moola.errors import InvalidData, OperationFailed, Problem
from moola.options.table_options import ImportOptions
from moola.tables.bar_table import bars_from_frame
from moola.tables.foreign.bar_times import utc_times
from moola.tables.foreign.importing import KNOWN, SYNONYMS
from moola.tables.frames import plain_name

if TYPE_CHECKING:
    import pandas as pd

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


log = logging.getLogger(__name__)
NAME = "the bars"
ADVICE = (
    "Fix the frame, or let `moola.import_bars(frame, repair=True)` sort it, read its times and drop what are no bars."
)
TIMES_ADVICE = (
    "Give the times as the index of a pandas frame (a DatetimeIndex), as a column timestamp, or say which column: "
    '`moola.import_bars(frame, columns={"timestamp": "<column>"})`.'
)


def bars_of(given: Frame) -> Bars:
    """Return bars that obey the contract, from a frame of any kind.

    Columns may have capitals and other programs' names (`Open`, `o`, `Date`); times may be the index of a pandas frame,
    texts, or counts since 1970, and are UTC where they have no zone. Columns of several symbols side by side, as
    yfinance gives them, become rows with a symbol.

    Raises
    ------
    InvalidData
        It is no frame, a column is missing, or a rule is broken: with every broken rule at once.
    """
    came = foreign_of(given)
    frame = named(came)
    if missing := [name for name in ("timestamp", *OHLC) if name not in frame.columns]:
        pairs = ", ".join(f'"{name}": "<column>"' for name in missing)
        say = f"Say which they are: `moola.import_bars(frame, columns={{{pairs}}})`."
        advice = TIMES_ADVICE if missing == ["timestamp"] else say
        raise InvalidData(
            f"bars must have the columns timestamp, open, high, low, close, but {NAME} lack {', '.join(missing)} (they "
            f"have {', '.join(came.columns[:20])}). {advice}"
        )
    return bars_from_frame(_with_times(frame), NAME, ADVICE)


def foreign_of(given: Frame) -> pl.DataFrame:
    """Return a frame of bars as it came, with the index of a pandas frame as columns and symbols one below another."""
    kind_of(given, NAME)
    return polars_of(_flat(given), NAME) if is_pandas(given) else polars_of(given, NAME)


def named(frame: pl.DataFrame) -> pl.DataFrame:
    """Return the columns of the contract by its names, where other ones stand for them; others are left out.

    Raises
    ------
    InvalidData
        Two columns fit one name equally.
    """
    chosen: dict[str, str] = {}
    for name in KNOWN:
        others = {other for other, meant in SYNONYMS.items() if meant == name}
        exact, small, meant = (
            [column for column in frame.columns if fits(column)]
            for fits in (
                lambda column, name=name: column == name,
                lambda column, name=name: plain_name(column) == name,
                lambda column, others=others: plain_name(column) in others,
            )
        )
        found = exact or small or meant
        if len(found) > 1:
            raise InvalidData(
                f"one column must be the {name}, but {NAME} have {len(found)} that may be ({', '.join(found[:5])}). "
                f"Rename the one that is meant to {name}."
            )
        if found:
            chosen[name] = found[0]
    return frame.select(pl.col(column).alias(name) for name, column in chosen.items())


def import_options(**given: Any) -> ImportOptions:
    """Return the options with which foreign times and columns are read, for bars in memory."""
    return ImportOptions(input=Path(NAME), output=Path("bars.parquet"), **given)


def _with_times(frame: pl.DataFrame) -> pl.DataFrame:
    column = frame["timestamp"]
    if isinstance(column.dtype, pl.Datetime | pl.String):
        return frame
    problems: list[Problem] = []
    times = utc_times(column, import_options(), problems)
    if problems:
        raise InvalidData.from_problems(NAME, problems, TIMES_ADVICE)
    return frame.with_columns(times.alias("timestamp"))


# What pandas has and polars has not: an index, and columns of several levels.


def _flat(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a pandas frame with one level of columns, its index among them where that is of times or symbols."""
    if frame.columns.nlevels > 1:
        frame = _one_below_another(frame)
    if frame.index.nlevels > 1:
        return _without_empty(frame.reset_index(names=_index_names(frame)))
    has_times = any(SYNONYMS.get(plain_name(str(column)), plain_name(str(column))) == "timestamp" for column in frame)
    if _is_time(frame.index) and not has_times:
        return frame.reset_index(names="timestamp")
    return frame


def _is_time(index: pd.Index) -> bool:
    return type(index).__name__ == "DatetimeIndex"


def _index_names(frame: pd.DataFrame) -> list[str]:
    """Return names of the levels of an index: the level of times, and the symbol."""
    is_time = [_is_time(level) for level in frame.index.levels]
    if sum(is_time) != 1 or len(is_time) != 2:
        raise InvalidData(
            f"an index of several levels must have one of times and one of symbols, but {NAME} have "
            f"{', '.join(str(name) for name in frame.index.names)}. Call frame.reset_index()."
        )
    return ["timestamp" if times else "symbol" for times in is_time]


def _one_below_another(frame: pd.DataFrame) -> pd.DataFrame:
    """Return rows with a symbol from columns of two levels, price and symbol in either order, as yfinance has them."""
    if frame.columns.nlevels != 2:
        raise InvalidData(
            f"columns must have one level, or two of price and symbol, but {NAME} have {frame.columns.nlevels}. Take "
            "the columns of one symbol: frame[symbol], or frame.xs(symbol, axis=1, level=1)."
        )
    levels = [{plain_name(str(name)) for name in frame.columns.get_level_values(level)} for level in (0, 1)]
    of_prices = [level for level in (0, 1) if set(OHLC) <= levels[level]]
    if len(of_prices) != 1:
        raise InvalidData(
            f"one level of the columns must be open, high, low and close, but {len(of_prices)} of {NAME} are (first "
            f"column {tuple(frame.columns[0])}). Take the columns of one symbol."
        )
    import pandas

    [prices] = of_prices
    pieces = []
    for symbol in dict.fromkeys(frame.columns.get_level_values(1 - prices)):
        piece = frame.xs(symbol, axis=1, level=1 - prices).copy()
        piece.columns = [str(column) for column in piece.columns]
        if str(symbol):
            piece["symbol"] = str(symbol)
        pieces.append(_without_empty(piece))
    return pandas.concat(pieces)


def _without_empty(frame: pd.DataFrame) -> pd.DataFrame:
    """Leave out rows without any price: times at which another symbol has a bar and this one has none."""
    prices = [column for column in frame.columns if plain_name(str(column)) in OHLC]
    empty = frame[prices].isna().all(axis=1)
    if empty.any():
        log.info("Left out %d rows without a price, where another symbol has a bar.", int(empty.sum()))
    return frame[~empty]
