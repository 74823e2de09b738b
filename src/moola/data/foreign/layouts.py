"""Columns without names, told by what stands in them: time, open, high, low, close, volume."""

from __future__ import annotations

import logging
import re

from moola.config.table_options import ImportOptions
from moola.errors import InvalidData

log = logging.getLogger(__name__)

DAY = re.compile(r"\d{8}|\d{4}[-./]\d{1,2}[-./]\d{1,2}|\d{1,2}[-./]\d{1,2}[-./]\d{2,4}")
TIME_OF_DAY = re.compile(r"\d{1,2}:\d{2}(:\d{2}(\.\d+)?)?|\d{4}|\d{6}")
BINANCE_COLUMNS = 12
NAMES = ("open", "high", "low", "close")


def layout_of(rows: list[list[str]], columns: list[str], options: ImportOptions) -> dict[str, str]:
    """Return the column of each name of the contract, for rows that begin with a time and go on with four prices.

    That is how Binance, MetaTrader, histdata and exchanges' interfaces write bars; where high is not the highest or
    low not the lowest of the four, the order is another one, and `--columns` must say it.

    Raises
    ------
    InvalidData
        The first rows are not laid out so and `--columns` names none.
    """
    if options.columns:
        return {}
    texts = [row for row in rows if len(row) >= 5]
    has_day = bool(texts) and all(DAY.fullmatch(row[0]) and TIME_OF_DAY.fullmatch(row[1]) for row in texts)
    n_times = 2 if has_day and len(columns) >= 6 else 1
    places = columns[n_times : n_times + 4]
    if len(places) < 4 or not texts or not all(_is_bar(row[n_times : n_times + 4]) for row in texts):
        raise InvalidData(
            f"columns without names must be a time, open, high, low and close, but {options.input} has "
            f"{len(columns)} columns of another order{_example(texts)}. "
            f"Say --columns timestamp={columns[0]} open=... with column_1 to column_{len(columns)}."
        )
    times = {"date": columns[0], "time": columns[1]} if n_times == 2 else {"timestamp": columns[0]}
    layout = times | dict(zip(NAMES, places, strict=True))
    # Behind the prices alone, or as Binance writes; other sources have other figures there first.
    if len(columns) == n_times + 5 or (n_times == 1 and len(columns) == BINANCE_COLUMNS):
        layout["volume"] = columns[n_times + 4]
    shown = ", ".join(layout)
    log.info("Columns have no names and are taken as %s (--columns names others).", shown)
    return layout


def _is_bar(cells: list[str]) -> bool:
    """Tell whether four cells can be open, high, low and close; empty ones say nothing against it."""
    # Which of comma and point is the decimal mark does not change the order of prices written alike, nearly always.
    numbers = [_number(cell) for cell in cells]
    if any(number is None for number in numbers):
        return all(number is None for number in numbers)
    open_, high, low, close = (number for number in numbers if number is not None)
    room = 1e-6 * abs(high)
    return high + room >= max(open_, close) and low - room <= min(open_, close)


def _number(cell: str) -> float | None:
    plain = cell.replace(" ", "")
    if "," in plain and "." in plain:
        plain = plain.replace("," if plain.rfind(".") > plain.rfind(",") else ".", "")
    try:
        return float(plain.replace(",", "."))
    except ValueError:
        return None


def _example(rows: list[list[str]]) -> str:
    return f" (first: {', '.join(rows[0])[:80]})" if rows else ""
