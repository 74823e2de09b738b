"""The quickest tests first, so that most mutants are killed before a long test begins."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path

import pytest


class QuickestFirst:
    """A pytest plugin that notes how long the tests of the unchanged file take, and from then on sorts by it."""

    def __init__(self, notes: Path) -> None:
        self.notes = notes
        self.took: dict[str, float] = defaultdict(float)

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Sort by the notes, where there are any."""
        if self.notes.exists():
            took = json.loads(self.notes.read_text())
            items.sort(key=lambda item: took.get(item.nodeid, 0.0))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Count set-up, call and clean-up."""
        self.took[report.nodeid] += report.duration

    def pytest_sessionfinish(self) -> None:
        """Write the notes once."""
        if not self.notes.exists():
            self.notes.write_text(json.dumps(self.took))
