"""Where rows of a table stand in the file that it was read from, for messages that a person looks up there."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np

from moola.core.bars import OHLC, Bars
from moola.data.contracts.split_file import utc_text
from moola.errors import Problem

PARQUET_MAGIC = b"PAR1"


def timed(problems: list[Problem], bars: Bars, times_known: bool) -> list[Problem]:
    """Return problems with the time, where times are known, and the prices of the bar that each is found at first."""
    return [
        one
        if one.first_row is None or one.first_row >= len(bars)
        else replace(
            with_prices(one, bars.ohlc[one.first_row]),
            at=utc_text(bars.start_us[one.first_row]) if times_known else "",
        )
        for one in problems
    ]


def with_prices(problem: Problem, prices: np.ndarray) -> Problem:
    """Return a problem of a price with what was found there; of two prices that do not go together, all four."""
    name = problem.rule.split()[0]
    if problem.detail or name not in OHLC:
        return problem
    # As Python writes numbers: a high that is too low by 1e-10 looks equal in fewer digits.
    shown = {column: f"{float(price)!r}" for column, price in zip(OHLC, prices, strict=True)}
    is_of_two = "open, close" in problem.rule
    found = ", ".join(f"{key} {text}" for key, text in shown.items()) if is_of_two else shown[name]
    return replace(problem, detail=f"found {found}")


def in_file(problems: list[Problem], path: Path | str) -> list[Problem]:
    """Return problems with the line of the text file that each is found at first.

    Unchanged where `path` is no file of text: rows of parquet count from 0, as every reader of parquet counts them.
    """
    rows = {one.first_row for one in problems if one.first_row is not None}
    lines = _lines_of(rows, path) if rows and isinstance(path, Path) else {}
    return [one if one.first_row is None else replace(one, line=lines.get(one.first_row)) for one in problems]


def _lines_of(rows: set[int], path: Path) -> dict[int, int]:
    """Return the line, from 1, of each of these rows below the header; a quoted cell may run over several lines."""
    found: dict[int, int] = {}
    try:
        with path.open("rb") as file:
            if file.read(len(PARQUET_MAGIC)) == PARQUET_MAGIC:
                return {}
        with path.open(encoding="utf-8", errors="replace", newline="") as text:
            reader = csv.reader(text)
            # Empty lines above the header are skipped by the reader of tables; below it they are rows.
            while not next(reader):
                pass
            last, before = max(rows), reader.line_num
            for row, _ in enumerate(reader):
                if row in rows:
                    found[row] = before + 1
                if row == last:
                    break
                before = reader.line_num
    except (OSError, StopIteration, csv.Error):
        # The file changed under the message, or is packed: the row number says what it can.
        return found
    return found
