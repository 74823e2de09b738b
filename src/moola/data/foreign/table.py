"""What was read of a foreign file: its columns as they stand, and where each row stands in the file."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import polars as pl

from moola.errors import InvalidData, Problem


@dataclass(frozen=True)
class ForeignTable:
    """Rows of a foreign file.

    Attributes
    ----------
    frame
        Columns as the file has them: text where the file is text.
    lines
        Line of the file, from 1, that each row stands on; None where the file has no lines, and rows count from 0.
    layout
        Column by name of the contract, where no header names them and the values do.
    broken
        Rows whose line has another number of fields than the header.
    """

    frame: pl.DataFrame
    lines: pl.Series | None = None
    layout: dict[str, str] | None = None
    broken: pl.Series | None = None

    def keep(self, rows: pl.Series) -> ForeignTable:
        """Return the rows that are true in `rows`."""
        lines = None if self.lines is None else self.lines.filter(rows)
        broken = None if self.broken is None else self.broken.filter(rows)
        return replace(self, frame=self.frame.filter(rows), lines=lines, broken=broken)

    def place(self, row: int) -> str:
        """Say where a row stands in the file."""
        return f"row {row}" if self.lines is None else f"line {self.lines[row]}"

    def located(self, problem: Problem, at: str = "") -> Problem:
        """Return a problem whose first row is told as the file has it, with the time that stands there."""
        if problem.first_row is None or problem.first_row >= len(self.frame):
            return problem
        line = None if self.lines is None else int(self.lines[problem.first_row])
        return replace(problem, line=line, at=problem.at or at)


def refuse_same_names(names: list[str], path: Path | str) -> None:
    """Raise `InvalidData` where two columns have one name: which of them is meant would be a guess."""
    twice = [name for name in dict.fromkeys(names) if name and names.count(name) > 1]
    if twice:
        raise InvalidData(
            f"columns must have names of their own, but {path} has {names.count(twice[0])} columns named "
            f"{twice[0]!r}. Rename or remove one of them."
        )
