"""The label store: what every annotator said of every window, every revision of it, in one SQLite file.

Append-only: a save adds a revision and moves the pointer to the current one, in one transaction. What `save` returned
is on disk. Two pages (or processes) at once are told apart by the revision each has seen (compare-and-swap).
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from moola.data.contracts.label_database import open_database, told
from moola.data.contracts.label_rows import (
    GRADES,
    STATUSES,
    Expansion,
    WindowLabel,
    check_label,
)
from moola.errors import LabelConflict

__all__ = ["GRADES", "STATUSES", "Expansion", "LabelStore", "WindowLabel"]

COLUMNS = (
    "window_id, symbol, r.start_us, r.end_us, annotator, grade, reason, note, status, revision, saved_us, number, "
    "of_revision"
)
APPEND = (
    "INSERT INTO revisions (window_id, annotator, revision, of_revision, symbol, start_us, end_us, grade, reason, "
    "note, status, saved_us) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
WITH_MARKS = "LEFT JOIN expansions AS e ON e.number = q.number ORDER BY q.number, e.place"
HISTORY = "FROM revisions AS r WHERE window_id = ? AND annotator = ?"
CURRENT = "FROM current JOIN revisions AS r USING (number, window_id, annotator)"


class LabelStore:
    """Labels of windows by annotator, with their history.

    Safe to use from several threads; several processes may have the same file open.

    Parameters
    ----------
    path
        Database file; made with its folder where it is not there.
    must_exist
        Refuse a path without a file instead of making one.
    timeout_s
        Seconds to wait for another process that is saving.

    Raises
    ------
    OperationFailed
        The file cannot be read or made, or stays locked.
    UntrustedFile
        The file is no label store, damaged, or of another version; it is left as it is.
    """

    def __init__(self, path: Path, *, must_exist: bool = False, timeout_s: float = 5.0) -> None:
        self.path = Path(path)
        self._lock = threading.RLock()
        self._connection = open_database(self.path, must_exist, timeout_s)

    def __enter__(self) -> LabelStore:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; a second time does nothing."""
        with self._lock:
            self._connection.close()

    def save(self, label: WindowLabel, expected_revision: int) -> WindowLabel:
        """Add a revision, provided that the current one is the one that the annotator has seen.

        Parameters
        ----------
        label
            What to save; its own `revision` and `saved_us` are not looked at.
        expected_revision
            Revision that the change was made on; 0 where there was none.

        Returns
        -------
        WindowLabel
            The label as it now stands on disk, with its new revision and the time of the save.

        Raises
        ------
        LabelConflict
            Another save was first; `current` is what it left.
        InvalidData
            The label breaks a rule (see `check_label`).
        OperationFailed
            The disk is full or the database locked; nothing was changed.
        """
        return self.save_all([(label, expected_revision)])[0]

    def save_all(self, changes: Sequence[tuple[WindowLabel, int]]) -> list[WindowLabel]:
        """Save several labels, each with the revision it expects: all of them or, on any error, none."""
        for label, _ in changes:
            check_label(label)
        with self._transaction():
            return [self._append(label, expected, None) for label, expected in changes]

    def undo(self, window_id: str, annotator: str, expected_revision: int) -> WindowLabel | None:
        """Bring back what stood before the current content, as a new revision.

        Undoing again goes further back; a save after an undo starts from what the undo brought back. Nothing is
        lost: every revision stays in `history`.

        Returns
        -------
        WindowLabel or None
            The label as it now stands; None, with nothing changed, where nothing stood before.

        Raises
        ------
        LabelConflict
            Another save was first.
        """
        with self._transaction():
            rows = self._rows(
                f"SELECT {COLUMNS} {HISTORY}",
                (window_id, annotator),
            )
            current = rows[-1] if rows else None
            if (current[0].revision if current else 0) != expected_revision:
                raise LabelConflict(current[0] if current else None)
            if current is None or current[1] == 1:
                return None
            # What revision n was made on is what n - 1 showed, and that may itself be an undo.
            shown = rows[current[1] - 2][1]
            return self._append(rows[shown - 1][0], expected_revision, shown)

    def get(self, window_id: str, annotator: str) -> WindowLabel | None:
        """Return the current label of a window by an annotator; None where there is none."""
        found = self._select(f"SELECT {COLUMNS} {CURRENT} WHERE window_id = ? AND annotator = ?", window_id, annotator)
        return found[0] if found else None

    def of_window(self, window_id: str) -> list[WindowLabel]:
        """Return the current label of every annotator of a window, the last saved at the end."""
        return self._select(f"SELECT {COLUMNS} {CURRENT} WHERE window_id = ?", window_id)

    def all(self, annotator: str | None = None) -> list[WindowLabel]:
        """Return every current label (of one annotator, where named), the last saved at the end."""
        if annotator is None:
            return self._select(f"SELECT {COLUMNS} {CURRENT}")
        return self._select(f"SELECT {COLUMNS} {CURRENT} WHERE annotator = ?", annotator)

    def history(self, window_id: str, annotator: str) -> list[WindowLabel]:
        """Return every revision of a window by an annotator, the first one first."""
        return self._select(
            f"SELECT {COLUMNS} {HISTORY}",
            window_id,
            annotator,
        )

    def annotators(self) -> list[str]:
        """Return everybody who saved a label, sorted by name."""
        with self._lock, told(self.path):
            rows = self._execute("SELECT DISTINCT annotator FROM current ORDER BY annotator").fetchall()
        return [row[0] for row in rows]

    def foreign_changes(self) -> int:
        """Return a number that changes when another process, or another store over this file, has saved."""
        with self._lock, told(self.path):
            return int(self._execute("PRAGMA data_version").fetchone()[0])

    def counts(self, annotator: str) -> dict[str, int]:
        """Count the windows of an annotator by status, and the marked expansions by class.

        Returns
        -------
        dict of str to int
            `labelled`, `rejected` and `skipped` (0 included), then `class:<name>` by name: expansions of labelled
            windows, of which a window may have several or none.
        """
        with self._lock, told(self.path):
            by_status = self._execute(
                f"SELECT status, COUNT(*) {CURRENT} WHERE annotator = ? GROUP BY status", (annotator,)
            ).fetchall()
            by_class = self._execute(
                f"SELECT label, COUNT(*) {CURRENT} JOIN expansions USING (number) "
                "WHERE annotator = ? AND status = 'labelled' GROUP BY label ORDER BY label",
                (annotator,),
            ).fetchall()
        counted = Counter(dict(by_status))
        return {status: counted[status] for status in STATUSES} | {f"class:{name}": n for name, n in by_class}

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._lock, told(self.path):
            # Takes the write lock at once: what is read inside is what is written upon.
            self._execute("BEGIN IMMEDIATE")
            try:
                yield
                self._execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._execute("ROLLBACK")
                raise

    def _append(self, label: WindowLabel, expected_revision: int, shown: int | None) -> WindowLabel:
        current = self.get(label.window_id, label.annotator)
        if (current.revision if current else 0) != expected_revision:
            raise LabelConflict(
                current,
                f"window {label.window_id} must still be at revision {expected_revision} of {label.annotator}, but it "
                f"is at {current.revision if current else 0}: another save was first. Load it again and save anew.",
            )
        saved = replace(label, revision=expected_revision + 1, saved_us=time.time_ns() // 1000)
        number = self._execute(
            APPEND,
            (
                saved.window_id,
                saved.annotator,
                saved.revision,
                shown or saved.revision,
                saved.symbol,
                int(saved.start_us),
                int(saved.end_us),
                saved.grade,
                saved.reason,
                saved.note,
                saved.status,
                saved.saved_us,
            ),
        ).lastrowid
        for place, expansion in enumerate(saved.expansions, start=1):
            self._execute(
                "INSERT INTO expansions (number, place, start_us, end_us, label) VALUES (?, ?, ?, ?, ?)",
                (number, place, int(expansion.start_us), int(expansion.end_us), expansion.label),
            )
        self._execute(
            "INSERT INTO current (window_id, annotator, number) VALUES (?, ?, ?) "
            "ON CONFLICT (window_id, annotator) DO UPDATE SET number = excluded.number",
            (saved.window_id, saved.annotator, number),
        )
        return saved

    def _select(self, query: str, *values: Any) -> list[WindowLabel]:
        with self._lock, told(self.path):
            return [label for label, _ in self._rows(query, values)]

    def _rows(self, query: str, values: Iterable[Any]) -> list[tuple[WindowLabel, int]]:
        """Return labels, each with the revision whose content it is."""
        # One statement for both tables reads one state of the file, whoever saves meanwhile.
        rows = self._execute(
            f"SELECT q.*, e.start_us, e.end_us, e.label FROM ({query}) AS q {WITH_MARKS}",  # noqa: S608
            tuple(values),
        ).fetchall()
        heads: dict[int, list[Any]] = {}
        expansions: dict[int, list[Expansion]] = {}
        for *head, start_us, end_us, name in rows:
            number = head[11]
            heads[number] = head
            marks = expansions.setdefault(number, [])
            if name is not None:
                marks.append(Expansion(start_us, end_us, name))
        return [(_label(head, tuple(expansions[number])), int(head[12])) for number, head in heads.items()]

    def _execute(self, statement: str, values: tuple[Any, ...] = ()) -> sqlite3.Cursor:
        return self._connection.execute(statement, values)


def _label(head: list[Any], expansions: tuple[Expansion, ...]) -> WindowLabel:
    window_id, symbol, start_us, end_us, annotator, grade, reason, note, status, revision, saved_us = head[:11]
    return WindowLabel(
        window_id, symbol, start_us, end_us, annotator, grade, reason, note, expansions, status, revision, saved_us
    )
