"""Write the results of few_labels.sh into docs/benchmarks.md."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from page_parts import write_part

from moola.stages.benchmark import markdown

TITLES = {
    "table": "beside references and peers",
    "paired": "pretraining against none, several seeds",
    "labels87": "87 labels",
    "labels44": "44 labels",
}


def tables(results: Path) -> str:
    """Return the tables of every benchmark that has results, in the order of their names."""
    parts = []
    for folder in sorted(path for path in results.iterdir() if path.is_dir()):
        for part, title in TITLES.items():
            file = folder / f"{part}.json"
            if file.is_file():
                result = json.loads(file.read_text(encoding="utf-8"))
                parts.append(markdown(result, f"### {folder.name}: {title}"))
    return "\n".join(parts)


def main() -> None:
    """Read, lay out, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", type=Path, required=True)
    parser.add_argument("--page", type=Path, required=True)
    options = parser.parse_args()
    write_part(options.page, "few labels", tables(options.results))


if __name__ == "__main__":
    main()
