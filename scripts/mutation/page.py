"""The page of mutants: a row a file, and the survivors with what explains them."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path

from sites import Mutant

EXPLAINED = Path(__file__).with_name("explained.toml")
HEAD = """# Do the tests notice a mistake?

`make mutants` changes the code that counts, one spot at a time (`<` to `<=`, `+` to `-`, `and` to `or`, a number plus
1, True to False, a sign or a `not` left out; never texts, annotations or decorators), and runs the tests that mirror
the file. A mutant that no test fails on survives. Of each file a sample is drawn with a fixed seed; the command fails
where under 90 % of a file's are killed.
`scripts/mutation/run.py --page docs/mutation.md` writes this page, and replaces the rows of the files it tried;
reasons stand in `scripts/mutation/explained.toml`.
"""
TABLE = "| file | mutants | tried | killed | share |\n| --- | --- | --- | --- | --- |"
SURVIVORS = "| file | line | survives | why |\n| --- | --- | --- | --- |"


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
    """Return a row a survivor, with the reason that is written down for its file and its changed line."""
    reasons = tomllib.loads(EXPLAINED.read_text()).get(tried.name, {})
    return [
        f"| {tried.name} | {one.line} | `{one.change}` | {reasons.get(one.line_after, 'not explained')} |".replace(
            f"`{one.change}`", f"`{one.change.replace('|', chr(92) + '|')}`"
        )
        for one in tried.survivors
    ]


def write_page(page: Path, tried: list[Tried]) -> None:
    """Write the page, keeping the rows of files that were not tried now."""
    old = page.read_text() if page.exists() else ""
    names = {one.name for one in tried}
    table, _, survivors = old.partition("## Survivors")
    rows = _kept(table, names) + [one.row() for one in tried]
    left = _kept(survivors, names) + [row for one in tried for row in survivor_rows(one)]
    parts = [
        HEAD,
        "\n".join([TABLE, *sorted(rows)]),
        "\n## Survivors\n",
        "\n".join([SURVIVORS, *sorted(left, key=_file_of)]),
    ]
    page.write_text("\n".join(parts) + "\n")


def _kept(text: str, names: set[str]) -> list[str]:
    rows = [line for line in text.splitlines() if line.startswith("| ") and ".py |" in line]
    return [row for row in rows if _file_of(row) not in names]


def _file_of(row: str) -> str:
    return row.split(" ")[1]
