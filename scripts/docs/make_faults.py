"""Print the site's page of faults: every fault of the tests' catalogue with what a user really sees."""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.faults.catalogue import CATALOGUE
from tests.faults.fault import Fault
from tests.faults.world import enter, make_world

HEAD = """# Faults, and what you see

Each row is produced by a test (`tests/faults/test_catalogue.py::test_fault[NAME]`): the command ends with this code
and this message, shows no traceback, writes nothing but its log (nothing at all with exit code 2), and runs nothing
that a file contains. Kills, stops and two processes at once: [reliability](reliability.md). What is promised:
[security](../SECURITY.md). Exit codes: [specification 10](specification.md#10-errors-and-exit-codes).
"""
SHOWN = 230


def rows_of(world: Path, faults: list[Fault]) -> list[str]:
    """Meet each fault in a copy of the world, and return its row."""
    rows = []
    for fault in faults:
        with tempfile.TemporaryDirectory() as place, pytest.MonkeyPatch.context() as patch:
            shutil.copytree(world, Path(place) / "world", symlinks=True)
            enter(Path(place) / "world", patch)
            answer = fault.happen(patch)
        rows.append(f"| {fault.what} | {shown(answer.message)} | {answer.code} | `{fault.name}` |")
    return rows


def shown(message: str) -> str:
    """Shorten a message, and let no character of it mean anything to a table."""
    text = "".join(letter if letter.isprintable() else "?" for letter in message)
    text = text if len(text) <= SHOWN else text[:SHOWN].rsplit(" ", 1)[0] + " ..."
    for sign in "|<>*`_":
        text = text.replace(sign, f"&#{ord(sign)};")
    return text


def page() -> str:
    """Make the page."""
    parts = [HEAD]
    with tempfile.TemporaryDirectory() as place, pytest.MonkeyPatch.context() as patch:
        world = Path(place) / "made"
        world.mkdir()
        make_world(world, patch)
        for kind, faults in CATALOGUE.items():
            head = f"\n## {kind}\n\n| fault | what you see | exit code | test |\n|---|---|---|---|\n"
            parts.append(head + "\n".join(rows_of(world, faults)) + "\n")
    return "".join(parts)


if __name__ == "__main__":
    print(page(), end="")
