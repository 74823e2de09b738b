"""Prices as people write them, and rows that are not bars: reported, or repaired and counted by kind."""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np
import polars as pl

from moola.core.bars import LEAST, MOST, OHLC, broken_rule, price_problems
from moola.errors import InvalidData, Problem
from moola.tables.foreign.columns import ForeignTable
from moola.tables.frames import with_prices

log = logging.getLogger(__name__)

# What programs write where there is not a number; compared in small letters.
EMPTY = ("", "null", "nan", "na", "n/a", "#n/a", "none", "nil", "-", "--")
SPACES = r"(\d)[\s'’\x{a0}\x{202f}](\d{3})"
NUMBER = r"^[-+]?\d[\d.,]*$"
# One mark with three digits behind it says nothing; anything else says which mark is the decimal one.
POINT = r",\d{3},|,.*\.|^[-+]?\d*\.(\d{0,2}|\d{4,})$|^[-+]?(0|\d{4,})?\.\d{3}$"
COMMA = r"\.\d{3}\.|\..*,|^[-+]?\d*,(\d{0,2}|\d{4,})$|^[-+]?(0|\d{4,})?,\d{3}$"
# Indian numbers have groups of two above the first thousand.
GROUPED = {
    ".": r"^[-+]?\d{1,3}((,\d{3})+|(,\d{2})+,\d{3})(\.\d*)?$",
    ",": r"^[-+]?\d{1,3}((\.\d{3})+|(\.\d{2})+\.\d{3})(,\d*)?$",
}


def plain_text(column: pl.Series) -> pl.Series:
    """Return cells without spaces and money signs, null where they say that there is not a number."""
    text = column.cast(pl.String).str.strip_chars()
    text = text.str.replace(r"^([-+]?)[$€£¥]", "$1").str.replace_all("−", "-", literal=True)
    # Groups of three overlap at one digit, so that each pass frees every other mark.
    text = text.str.replace_all(SPACES, "$1$2").str.replace_all(SPACES, "$1$2")
    return _blanked(text, text.str.to_lowercase().is_in(EMPTY))


def _blanked(text: pl.Series, rows: pl.Series) -> pl.Series:
    return text.zip_with(~rows, pl.Series([None], dtype=pl.String))


def read_numbers(table: ForeignTable, columns: list[str], decimal: str | None, path: object) -> list[pl.Series]:
    """Read columns of text as numbers; a cell that is not a number is null.

    Parameters
    ----------
    decimal
        The decimal mark; found from the cells of all the columns together when None.

    Raises
    ------
    InvalidData
        Both marks are decimal ones, or every comma has three digits behind it, which fits both readings.
    """
    found = {name: table.frame[name] for name in columns}
    if decimal != ",":
        # Most files are plain, and need no look at each cell.
        plain = [column.cast(pl.Float64, strict=False) for column in found.values()]
        if all(one.null_count() == column.null_count() for one, column in zip(plain, found.values(), strict=True)):
            return [one.fill_nan(None) for one in plain]
    texts = {name: plain_text(column) for name, column in found.items() if not column.dtype.is_numeric()}
    has_marks = any(
        text.str.contains(",", literal=True).any() or (text.str.count_matches(".", literal=True) > 1).any()
        for text in texts.values()
    )
    mark = decimal or (_decimal_mark(table, texts, path) if has_marks else ".")
    return [_with_mark(texts[name], mark) if name in texts else found[name].cast(pl.Float64) for name in columns]


def _decimal_mark(table: ForeignTable, columns: dict[str, pl.Series], path: object) -> str:
    """Find the decimal mark that every cell allows; prices are asked before the volume."""
    texts = list(columns.values())
    prices = [text for name, text in columns.items() if name != "volume"]
    for group in (prices, texts):
        points, commas = (_first(group, pattern) for pattern in (POINT, COMMA))
        if points is not None and commas is not None:
            raise InvalidData(
                f"numbers must have one decimal mark, but {path} has both: {points[1]!r} at {table.place(points[0])} "
                f"and {commas[1]!r} at {table.place(commas[0])}. Fix the file, or set --decimal . or --decimal ,"
            )
        if points is not None or commas is not None:
            mark = "." if points is not None else ","
            if mark == "," or _first(texts, ",") is not None:
                log.info(
                    "Numbers are read with a decimal %s, as in %r (--decimal).",
                    "point" if mark == "." else "comma",
                    (points or commas or (0, ""))[1],
                )
            return mark
    doubtful = _first(texts, ",")
    assert doubtful is not None
    raise InvalidData(
        f"numbers must have one reading, but {doubtful[1]!r} of {path} ({table.place(doubtful[0])}) fits two: a comma "
        "of thousands or a decimal one. Set --decimal . or --decimal ,"
    )


def _first(texts: list[pl.Series], pattern: str) -> tuple[int, str] | None:
    """Return the first row, and its cell, of the numbers in which a pattern is found."""
    found = []
    for text in texts:
        fits = text.str.contains(NUMBER) & text.str.contains(pattern)
        if fits.any():
            row = int(fits.arg_max() or 0)
            found.append((row, str(text[row])))
    return min(found, default=None)


def _with_mark(text: pl.Series, mark: str) -> pl.Series:
    """Read numbers with a decimal mark; the other one may be between groups of three digits alone."""
    other = "," if mark == "." else "."
    has_other = text.str.contains(other, literal=True)
    fits = ~has_other | text.str.contains(GROUPED[mark])
    plain = _blanked(text, ~fits).str.replace_all(other, "", literal=True).str.replace(mark, ".", literal=True)
    return plain.cast(pl.Float64, strict=False)


# Rows that are not bars: found and reported, or dropped and fixed with a count of each kind (`--repair`).


# Farther than this from the body, relative to the price, a high or low is no matter of rounding: single precision
# keeps seven digits.
ROUNDING = 1e-6
# What loses more than this share of its rows was read wrongly and is not repaired.
MOST_DROPPED = 0.5
VALUES = (*OHLC, "volume")


def row_problems(table: ForeignTable, raw: pl.DataFrame) -> list[Problem]:
    """Return what is wrong with the rows of a table of numbers; `raw` holds the cells that they were read from."""
    problems = []
    if table.broken is not None:
        problems += broken_rule("every line must have as many columns as the header", table.broken)
    for name in OHLC:
        cells = raw[name]
        lost = table.frame[name].is_null()
        problems += broken_rule(f"{name} must be a number", lost, lambda row, cells=cells: f"found {cells[row]!r}")
    prices = _prices(table)
    # A missing number is reported above; the rules are of bars that have all four.
    whole = ~table.frame.select(pl.any_horizontal(pl.col(*OHLC).is_null())).to_series().to_numpy()
    rows = np.flatnonzero(whole)
    for problem in price_problems(prices[rows]):
        first = int(rows[problem.first_row or 0])
        problems.append(replace(with_prices(problem, prices[first]), first_row=first))
    return problems


def repaired(table: ForeignTable, times: pl.Series) -> tuple[ForeignTable, pl.Series]:
    """Drop rows that are not bars and fix rounded highs and lows; each kind is reported with its count and first place.

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
    """Find rows that repeat the symbol and time of an earlier row.

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
