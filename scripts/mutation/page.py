"""The table of mutants, a row a file, and the survivors with what explains them."""

from __future__ import annotations

import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

from sites import Mutant

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.page_parts import write_part

EXPLAINED = Path(__file__).with_name("explained.toml")
TABLE = "| file | mutants | tried | killed | share |\n| --- | --- | --- | --- | --- |"


@dataclass(frozen=True)
class Tried:
    """What the tests of a file noticed."""

    name: str
    n_mutants: int
    n_tried: int
    survivors: list[Mutant]

    @property
    def share(self) -> float:
        """Share of the tried mutants that were killed; 1 where there is nothing to change."""
        return 1 - len(self.survivors) / self.n_tried if self.n_tried else 1.0

    def row(self) -> str:
        """Return the file's row of the table."""
        n_killed = self.n_tried - len(self.survivors)
        return f"| {self.name} | {self.n_mutants} | {self.n_tried} | {n_killed} | {self.share:.0%} |"


def survivor_rows(tried: Tried) -> list[str]:
    """Return a line per survivor, with the reason that is written down for its file and its changed line."""
    reasons = tomllib.loads(EXPLAINED.read_text()).get(tried.name, {})
    return [
        f"{tried.name}:{one.line}: {one.change}: {reasons.get(one.line_after, 'not explained')}"
        for one in tried.survivors
    ]


def write_table(page: Path, tried: list[Tried]) -> None:
    """Write the table between the marks of a page, keeping the rows of files that were not tried now."""
    names = {one.name for one in tried}
    old = page.read_text().partition("<!-- mutants -->")[2].partition("<!-- end of mutants -->")[0]
    rows = [line for line in old.splitlines() if ".py |" in line]
    kept = [row for row in rows if row.split(" ")[1] not in names]
    write_part(page, "mutants", "\n".join([TABLE, *sorted([*kept, *(one.row() for one in tried)])]))
