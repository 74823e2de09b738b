"""Rows that are no bars: found and told, or dropped and fixed with a count of each kind (`--repair`)."""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np
import polars as pl

from moola.core.bars import LEAST, MOST, OHLC, price_problems
from moola.data.contracts.file_lines import with_prices
from moola.data.foreign.table import ForeignTable
from moola.errors import InvalidData, Problem

log = logging.getLogger(__name__)

# Farther than this from the body, relative to the price, a high or low is no matter of rounding: single precision
# keeps seven digits.
ROUNDING = 1e-6
# What loses more than this share of its rows was read wrongly and is not repaired.
MOST_DROPPED = 0.5
VALUES = (*OHLC, "volume")


def row_problems(table: ForeignTable, raw: pl.DataFrame) -> list[Problem]:
    """Return what is wrong with the rows of a table of numbers; `raw` holds the cells that they were read from."""
    problems = []
    if table.broken is not None and table.broken.any():
        rule = "every line must have as many columns as the header"
        problems.append(Problem(rule, int(table.broken.sum()), int(table.broken.arg_max() or 0)))
    for name in OHLC:
        lost = table.frame[name].is_null()
        if lost.any():
            first = int(lost.arg_max() or 0)
            problems.append(Problem(f"{name} must be a number", int(lost.sum()), first, f"found {raw[name][first]!r}"))
    prices = _prices(table)
    # A missing number is told above; the rules are of bars that have all four.
    whole = ~table.frame.select(pl.any_horizontal(pl.col(*OHLC).is_null())).to_series().to_numpy()
    rows = np.flatnonzero(whole)
    for problem in price_problems(prices[rows]):
        first = int(rows[problem.first_row or 0])
        problems.append(replace(with_prices(problem, prices[first]), first_row=first))
    return problems


def repaired(table: ForeignTable, times: pl.Series) -> tuple[ForeignTable, pl.Series]:
    """Drop rows that are no bars and fix rounded highs and lows; each kind is said with its count and first place.

    Parameters
    ----------
    times
        What the file has as the time of each row.

    Raises
    ------
    InvalidData
        More than half of the rows would go.
    """
    lost = np.isnan(_prices(table))
    n_before = len(table.frame)
    kinds = {
        "lines with another number of columns": _broken(table),
        "rows without a price": lost.all(axis=1),
        "rows with a price that is missing or no number": lost.any(axis=1),
    }
    fixed = _rounded(table)
    kinds["bars with impossible prices"] = _impossible(_prices(fixed))
    gone = np.zeros(n_before, dtype=bool)
    for kind, broken in kinds.items():
        rows = broken & ~gone
        gone |= rows
        if rows.any():
            log.info("Repair: dropped %d %s, first at %s.", int(rows.sum()), kind, _place(table, times, rows))
    if gone.sum() > MOST_DROPPED * n_before:
        raise InvalidData(
            f"--repair must keep at least half of the rows, but {int(gone.sum())} of {n_before} would be dropped. "
            "Look at --columns, --separator and --decimal: the file is read wrongly, or is not one of bars."
        )
    changed = (_prices(fixed) != _prices(table)).any(axis=1) & ~gone & ~lost.any(axis=1)
    if changed.any():
        log.info(
            "Repair: fixed %d bars whose high or low was rounded off by up to %g of the price, first at %s.",
            int(changed.sum()),
            ROUNDING,
            _place(table, times, changed),
        )
    kept = pl.Series(~gone)
    return fixed.keep(kept), times.filter(kept)


def repeats(table: ForeignTable, times: pl.Series) -> tuple[pl.Series, list[Problem], list[Problem]]:
    """Find rows whose symbol and time stood before.

    Returns
    -------
    tuple
        Rows that repeat an earlier one in every value, those as a problem, and those with other values as a problem.
    """
    frame = table.frame.with_columns(times.alias("timestamp")).with_row_index("row")
    key = ["symbol", "timestamp"] if "symbol" in frame.columns else ["timestamp"]
    values = [name for name in VALUES if name in frame.columns]
    seen = frame.select("row", *key, *values, pl.col("row").first().over(key).alias("first"))
    again = seen.filter((pl.col("row") != pl.col("first")) & pl.col("timestamp").is_not_null())
    if not len(again):
        return pl.repeat(False, len(frame), eager=True), [], []
    same = pl.all_horizontal(pl.col(name).eq_missing(pl.col(f"{name}_first")) for name in values)
    earlier = seen.select("row", *values).rename({"row": "first"})
    again = again.join(earlier, on="first", suffix="_first", maintain_order="left").with_columns(same.alias("same"))
    exact, other = again.filter("same"), again.filter(~pl.col("same"))
    repeated: list[Problem] = []
    differing: list[Problem] = []
    if len(exact):
        row = exact.row(0, named=True)
        detail = f"it repeats {table.place(row['first'])}"
        repeated = [Problem("a symbol and timestamp must have one bar", len(exact), row["row"], detail)]
    if len(other):
        row = other.row(0, named=True)
        shown = [", ".join(f"{row[name + end]:g}" for name in OHLC) for end in ("", "_first")]
        detail = f"found {shown[0]}, and {shown[1]} at {table.place(row['first'])}; remove the wrong one"
        rule = "a symbol and timestamp must have one set of prices and volume"
        differing = [Problem(rule, len(other), row["row"], detail)]
    is_exact = pl.int_range(len(frame), eager=True).is_in(exact["row"].to_list())
    return is_exact, repeated, differing


def _prices(table: ForeignTable) -> np.ndarray:
    return table.frame.select(pl.col(*OHLC).fill_null(np.nan)).to_numpy()  # type: ignore[no-any-return]


def _broken(table: ForeignTable) -> np.ndarray:
    if table.broken is None:
        return np.zeros(len(table.frame), dtype=bool)
    return table.broken.to_numpy().copy()


def _rounded(table: ForeignTable) -> ForeignTable:
    """Return the table with highs and lows that miss the body by rounding alone put on it."""
    top, bottom = pl.max_horizontal("open", "close"), pl.min_horizontal("open", "close")
    high, low = pl.col("high"), pl.col("low")
    frame = table.frame.with_columns(
        pl.when((high < top) & (high >= top - ROUNDING * top.abs())).then(top).otherwise(high).alias("high"),
        pl.when((low > bottom) & (low <= bottom + ROUNDING * bottom.abs())).then(bottom).otherwise(low).alias("low"),
    )
    return replace(table, frame=frame)


def _impossible(prices: np.ndarray) -> np.ndarray:
    open_, high, low, close = prices.T
    # Comparisons with a missing price are false, which counts as impossible here and is counted before.
    possible = (prices >= LEAST).all(axis=1) & (prices <= MOST).all(axis=1)
    possible &= (high >= np.maximum(open_, close)) & (low <= np.minimum(open_, close))
    return ~possible


def _place(table: ForeignTable, times: pl.Series, rows: np.ndarray) -> str:
    first = int(rows.argmax())
    return f"{table.place(first)} ({times[first]})"
