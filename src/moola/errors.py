"""Every error that moola raises on purpose, with the exit code it ends in.

A message says what must hold, what was found (with a count), where, and one thing to do.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

__all__ = [
    "DeviceUnavailable",
    "Interrupted",
    "InvalidData",
    "LabelConflict",
    "MoolaError",
    "NotPromoted",
    "OperationFailed",
    "Problem",
    "TrainingDiverged",
    "UntrustedFile",
    "WrongUsage",
]


@dataclass(frozen=True)
class Problem:
    """One broken rule: the rule as a sentence, how many rows break it and the first of them.

    `first_row` counts rows of the table from 0; `line` is the line of the text file, from 1, that this row is on,
    and `at` the time of its bar, where they are known.
    """

    rule: str
    count: int
    first_row: int | None = None
    detail: str = ""
    line: int | None = None
    at: str = ""

    def __str__(self) -> str:
        where = "" if self.first_row is None else f", first at row {self.first_row}"
        where = where if self.line is None else f", first at line {self.line}"
        where += f" ({self.at})" if where and self.at else ""
        detail = f": {self.detail}" if self.detail else ""
        return f"{self.rule}, but {self.count} {'does' if self.count == 1 else 'do'} not{where}{detail}"

    @staticmethod
    def gather(problems: dict[str, Problem], found: list[Problem], n_before: int) -> None:
        """Add what a further piece of a file breaks, by rule; `n_before` rows of the file are before the piece."""
        for problem in found:
            before = problems.get(problem.rule)
            problems[problem.rule] = (
                replace(problem, first_row=(problem.first_row or 0) + n_before)
                if before is None
                else replace(before, count=before.count + problem.count)
            )


class MoolaError(Exception):
    """Root of the family; `exit_code` is what the command line returns."""

    exit_code = 1


class OperationFailed(MoolaError):
    """The operation could not be done (disk, missing file, something that must exist first)."""


class DeviceUnavailable(OperationFailed):
    """The device that was asked for is not on this machine."""


class TrainingDiverged(OperationFailed):
    """A loss stopped being a finite number."""


class LabelConflict(OperationFailed):
    """Another save came first; `current` is the current label, None where none does."""

    def __init__(self, current: Any, message: str = "") -> None:
        super().__init__(message or "this window was saved elsewhere meanwhile. Load it again and save again.")
        self.current = current


class WrongUsage(MoolaError):
    """Options that do not go together or do not exist."""

    exit_code = 2


class InvalidData(MoolaError):
    """Input data breaks its contract; every broken rule is in `problems`."""

    exit_code = 3

    def __init__(self, message: str, problems: tuple[Problem, ...] = ()) -> None:
        super().__init__(message)
        self.problems = problems

    @classmethod
    def from_problems(cls, path: Path | str, problems: list[Problem], advice: str) -> InvalidData:
        """Build the message of a refused file from all its broken rules at once."""
        lines = "\n".join(f"  - {problem}" for problem in problems)
        n_rules = len(problems)
        head = f"{path} breaks {n_rules} rule{'s' if n_rules != 1 else ''}:"
        return cls(f"{head}\n{lines}\n{advice}", tuple(problems))


class NotPromoted(MoolaError):
    """The gate's verdict was not `promote`."""

    exit_code = 4


class UntrustedFile(MoolaError):
    """A file is truncated, altered, foreign or of another format; nothing of it was used."""

    exit_code = 5


class Interrupted(MoolaError):
    """The user stopped the command; what was done is kept.

    `go_on` is what to add to the same command to continue from there; None where nothing was kept.
    """

    exit_code = 130

    def __init__(self, message: str, go_on: tuple[str, ...] | None = None) -> None:
        super().__init__(message)
        self.go_on = go_on
