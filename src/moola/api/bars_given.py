"""Bars that a caller gives: a frame with a `timestamp`, a pandas frame whose index is time, yfinance's columns."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from moola.api.frames_given import Frame, is_pandas, kind_of, polars_of
from moola.core.bars import OHLC, Bars
from moola.errors import InvalidData, Problem
from moola.options.table_options import ImportOptions
from moola.tables.bar_table import bars_from_frame
from moola.tables.foreign.bar_times import utc_times
from moola.tables.foreign.importing import KNOWN, SYNONYMS
from moola.tables.frames import plain_name

if TYPE_CHECKING:
    import pandas as pd

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
