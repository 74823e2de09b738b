"""The pages of the documentation, and the commands on them."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable
from pathlib import Path

from cyclopts import App

from moola.cli.app import COMMANDS

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts/docs"))
try:
    import page_commands
finally:
    sys.path.pop(0)

PAGES = [ROOT / "README.md", ROOT / "SECURITY.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
LINES = {
    (page.relative_to(ROOT).as_posix(), line) for page in PAGES for line in page_commands.commands_of(page.read_text())
}
# Parsed, but not run by the slow test: why.
NOT_RUN = {
    r"^moola label ": "serves a page until Ctrl-C; tests/e2e and tests/label run it",
    r" --follow (?!.*--polls)": "waits for bars until Ctrl-C; tests/cli/test_scan.py runs it with --polls",
    r" --device cuda": "needs a GPU; tests/cli/test_gpu.py",
    r" --engine ray": "needs a cluster; tests/fit/test_processes.py starts one",
    r"^(uv )?pip install ": "reaches a registry; tests/supply/test_wheel.py installs the wheel",
    r"^(export |cp |\. )": "of the shell alone",
    r"^python3 scripts/data/make_relative_parquet\.py": "tests/cli/test_main_job.py runs it",
    r"^python benchmarks/": "measures, for minutes",
    r"^make ": "sets up and runs everything",
    r"^\./RUN_11D_TRAINING\.sh": "the main job at full size; tests/cli/test_main_job.py runs it",
    r"^benchmarks/few_labels\.sh": "two hours, and needs the benchmarks' files",
}


def why_not_run(line: str) -> str | None:
    """Say why a line of a page is not run; None where it is."""
    return next((reason for pattern, reason in NOT_RUN.items() if re.search(pattern, line)), None)


def examples() -> dict[str, str | None]:
    """Return the example in each command's help, None where it has none."""
    found: dict[str, str | None] = {}
    for name, command in COMMANDS.items():
        inner = [sub for sub in command if not sub.startswith("-")] if isinstance(command, App) else []
        of_each = {f"{name} {sub}": command[sub].default_command for sub in inner} or {name: command}
        found |= {full: _example(function) for full, function in of_each.items()}
    return found


def _example(function: Callable[..., int]) -> str | None:
    text = re.search(r"^Example: (moola .*?)(?:\n\n|\Z)", inspect.getdoc(function) or "", re.MULTILINE | re.DOTALL)
    return " ".join(text[1].split()) if text else None
