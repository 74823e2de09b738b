"""Write a summary of the results of few_labels.sh into docs/benchmarks.md."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from page_parts import write_part

from moola.stages.benchmark import difference_rows, standing_rows

# The comparison of several seeds, and other numbers of labels, stay beside the results.
TITLES = {"table": "beside references and peers", "labels44": "44 labels"}
SHOWN = ("PR-AUC", "Brier", "ECE", "hit@3 both")


def summary(result: dict) -> list[str]:
    """Return the table of one benchmark: its chosen figures, and the paired difference in Brier."""
    names, standings = standing_rows(result)
    columns, differences = difference_rows(result)
    gains = {row[0].split(" - ")[0]: row[columns.index("Brier")] for row in differences}
    rows = [[row[0], *(row[names.index(name)] for name in SHOWN), gains.get(row[0], "")] for row in standings]
    head = ["model", *SHOWN, "Brier minus none (better in)"]
    return [f"| {' | '.join(row)} |".replace(" +- ", "±") for row in (head, ["---"] * len(head), *rows)]


def tables(results: Path) -> str:
    """Return the tables of every benchmark that has results, in the order of their names."""
    parts: list[str] = []
    for folder in sorted(path for path in results.iterdir() if path.is_dir()):
        for part, title in TITLES.items():
            file = folder / f"{part}.json"
            if file.is_file():
                result = json.loads(file.read_text(encoding="utf-8"))
                parts += [f"### {folder.name}: {title}", "", *summary(result), ""]
    return "\n".join(parts).rstrip()


def main() -> None:
    """Read, lay out, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", type=Path, required=True)
    parser.add_argument("--page", type=Path, required=True)
    options = parser.parse_args()
    write_part(options.page, "few labels", tables(options.results))


if __name__ == "__main__":
    main()
