"""Run the notebooks of docs/notebooks and keep what they show, with nothing of the machine that ran them."""

from __future__ import annotations

import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient

FOLDER = Path(__file__).resolve().parents[2] / "docs/notebooks"
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
TIMEOUT_S = 300


def executed(path: Path) -> nbformat.NotebookNode:
    """Return a notebook with the outputs of a run of all its cells."""
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(notebook, timeout=TIMEOUT_S, kernel_name="python3", record_timing=False).execute()
    notebook.metadata = nbformat.from_dict(METADATA)
    return notebook


def main() -> int:
    """Run every notebook and write it back."""
    for path in sorted(FOLDER.glob("*.ipynb")):
        nbformat.write(executed(path), path)
        print(f"{path.relative_to(FOLDER.parents[1])} run", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
