"""Write a summary of the results of few_labels.sh into docs/benchmarks.md."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from page_parts import write_part

from moola.stages.benchmark import standing_rows

# The comparison of several seeds, 87 labels and paired differences stay beside the results.
PARTS = {"table": "", "labels44": ", 44 labels"}
SHOWN = ("PR-AUC", "Brier", "ECE", "hit@3 both")


def figures(result: dict) -> dict[str, str]:
    """Return the chosen figures of each model of a result, as one cell."""
    names, standings = standing_rows(result)
    return {
        row[0]: " / ".join(row[names.index(name)] for name in SHOWN).replace(" +- ", "±").replace(" ", "")
        for row in standings
    }


def tables(results: Path) -> str:
    """Return one table: a row for each model, a column for each benchmark that has results, by their names."""
    folders = sorted(path for path in results.iterdir() if path.is_dir())
    cells: dict[str, dict[str, str]] = {}
    for part, suffix in PARTS.items():
        for folder in folders:
            file = folder / f"{part}.json"
            if file.is_file():
                for model, cell in figures(json.loads(file.read_text(encoding="utf-8"))).items():
                    cells.setdefault(model + suffix, {})[folder.name] = cell
    head = [" / ".join(SHOWN), *(folder.name for folder in folders)]
    rows = [[model, *(of.get(folder.name, "") for folder in folders)] for model, of in cells.items()]
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows))


def main() -> None:
    """Read, lay out, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", type=Path, required=True)
    parser.add_argument("--page", type=Path, required=True)
    options = parser.parse_args()
    write_part(options.page, "few labels", tables(options.results))


if __name__ == "__main__":
    main()
