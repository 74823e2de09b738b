"""Everybody's current labels of the shelf's windows, in memory, and true to the store."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from moola.data.contracts.label_store import LabelStore, WindowLabel
from moola.label.telling import marks_of
from moola.label.windows import Shelf
from moola.pipeline.labels.places import Mark


class LabelsHere:
    """Labels by annotator and window; read anew where another process wrote to the store."""

    def __init__(self, shelf: Shelf, store: LabelStore, number: Mapping[str, int]) -> None:
        self._shelf, self._store, self._number = shelf, store, number
        self._version: int | None = None
        self._by_annotator: dict[str, dict[str, WindowLabel]] = {}
        self._status: dict[str, dict[str, str]] = {}
        self._marks: dict[tuple[str, str], tuple[Mark, ...] | None] = {}

    def of(self, annotator: str) -> Mapping[str, WindowLabel]:
        """Return an annotator's labels by window."""
        self._read()
        return self._by_annotator.get(annotator, {})

    def status(self, annotator: str) -> Mapping[str, str]:
        """Return the status of each window that an annotator has saved."""
        self._read()
        return self._status.get(annotator, {})

    def all(self) -> list[WindowLabel]:
        """Return the labels of all annotators, annotator by annotator."""
        self._read()
        return [label for labels in self._by_annotator.values() for label in labels.values()]

    def of_several(self) -> list[WindowLabel]:
        """Return the labels of the windows that more than one annotator saved."""
        labels = self.all()
        count = Counter(label.window_id for label in labels)
        return [label for label in labels if count[label.window_id] > 1]

    def marks(self, label: WindowLabel) -> tuple[Mark, ...] | None:
        """Return the expansions of one of these labels as bars; None where it is over other bars than its window's."""
        key = (label.window_id, label.annotator)
        if key not in self._marks:
            self._marks[key] = marks_of(self._shelf, self._number[label.window_id], label)
        return self._marks[key]

    def remember(self, label: WindowLabel) -> None:
        """Take in what was just saved through this desk."""
        self._read()
        self._take(label)

    def _read(self) -> None:
        version = self._store.foreign_changes()
        if version == self._version:
            return
        self._by_annotator, self._status, self._marks = {}, {}, {}
        for label in self._store.all():
            if label.window_id in self._number:
                self._take(label)
        self._version = version

    def _take(self, label: WindowLabel) -> None:
        # What a page that is open for weeks holds must not grow with every save of the same window.
        self._marks.pop((label.window_id, label.annotator), None)
        self._by_annotator.setdefault(label.annotator, {})[label.window_id] = label
        self._status.setdefault(label.annotator, {})[label.window_id] = label.status
