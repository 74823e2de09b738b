"""The label store: how every annotator labelled every window, every revision of it, in one SQLite file.

Append-only: a save adds a revision and moves the pointer to the current one, in one transaction. What `save` returned
is on disk. Two pages (or processes) at once are distinguished by the revision each has seen (compare-and-swap).
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import astuple, replace
from pathlib import Path
from typing import Any

from moola.core.label_rules import SOURCES, STATUSES, ChartLabels, ChartSpan, Expansion, WindowLabel, check_label
from moola.errors import InvalidData, LabelConflict, OperationFailed, UntrustedFile
from moola.tables.label_database import (
    ADDED,
    ADVICE,
    SCHEMA_VERSION,
    backup_database,
    database_errors,
    identity_of,
    open_database,
)

log = logging.getLogger(__name__)

COLUMNS = (
    "window_id, symbol, r.start_us, r.end_us, annotator, grade, reason, note, status, revision, saved_us, number, "
    "of_revision"
)
ALL_REVISIONS = "FROM revisions AS r"
FIRST_WITH_HASHES = 2
NO_BARS: Mapping[str, bytes] = {}
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
        try:
            with self._lock, database_errors(self.path):
                if self._version() < SCHEMA_VERSION:
                    self._upgrade()
                # One state of the file, even while another process saves.
                self._execute("BEGIN")
                self._verify()
                self._execute("COMMIT")
            # The two files beside it are there from the first read on.
            self._identity = identity_of(self.path)
        except BaseException:
            self._connection.close()
            raise

    def __enter__(self) -> LabelStore:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; a second time does nothing."""
        with self._lock:
            self._connection.close()

    def save(self, label: WindowLabel, expected_revision: int, bars: bytes | None = None) -> WindowLabel:
        """Add a revision, provided that the current one is the one that the annotator has seen.

        Parameters
        ----------
        label
            What to save; its own `revision` and `saved_us` are not looked at.
        expected_revision
            Revision that the change was made on; 0 where there was none.
        bars
            The bars that the label lies on, as `BarPlaces.content` gives them; None where they are not known.

        Returns
        -------
        WindowLabel
            The label as it now is on disk, with its new revision and the time of the save.

        Raises
        ------
        LabelConflict
            Another save came first; `current` is what it left.
        InvalidData
            The label breaks a rule (see `check_label`).
        OperationFailed
            The disk is full, the database locked, or the file removed or moved; nothing was changed.
        """
        return self.save_all([(label, expected_revision)], NO_BARS if bars is None else {label.window_id: bars})[0]

    def save_all(
        self, changes: Sequence[tuple[WindowLabel, int]], bars: Mapping[str, bytes] = NO_BARS
    ) -> list[WindowLabel]:
        """Save several labels, each with the revision it expects: all of them or, on any error, none.

        `bars` holds the bars of a window by its id, for those that are known.
        """
        for label, _ in changes:
            check_label(label)
        with self._transaction():
            return [self._append(label, expected, None, bars.get(label.window_id)) for label, expected in changes]

    def bars(self) -> dict[tuple[str, str], bytes]:
        """Return the bars that current labels lie on, by window and annotator; those not known are left out."""
        query = f"SELECT window_id, annotator, l.sha256, content {CURRENT} JOIN lies_on AS l USING (number) "
        rows = self._read(f"{query} JOIN bars USING (sha256)")
        # Equal bars of several labels are one object.
        once = {sha256: content for _, _, sha256, content in rows}
        return {(window_id, annotator): once[sha256] for window_id, annotator, sha256, _ in rows}

    def span_bars(self) -> dict[str, list[bytes]]:
        """Return the bars under the spans of all charts by symbol, for spans of which they are known."""
        found: dict[str, list[bytes]] = {}
        with self._lock, database_errors(self.path):
            once = dict(self._execute("SELECT sha256, content FROM bars").fetchall())
            for chart in self._newest_charts():
                found.setdefault(chart.symbol, []).extend(once[one.bars] for one in chart.spans if one.bars in once)
        return found

    def instruments(self) -> dict[str, int]:
        """Return the usual time of a bar in microseconds by symbol, for the symbols that the store knows."""
        return dict(self._read("SELECT symbol, bar_us FROM instruments"))

    def learn(self, bars: Mapping[tuple[str, int, int], bytes], bar_us: Mapping[str, int]) -> None:
        """Write down the bars of labels that have none yet, and the bar length of symbols that have none yet.

        `bars` is by symbol, first and last time of the window. What is known already stays.
        """
        with self._transaction():
            for (symbol, start_us, end_us), content in bars.items():
                numbers = self._execute(
                    "SELECT number FROM revisions WHERE symbol = ? AND start_us = ? AND end_us = ? "
                    "AND number NOT IN (SELECT number FROM lies_on)",
                    (symbol, start_us, end_us),
                ).fetchall()
                for (number,) in numbers:
                    self._lay_on(number, content)
            for symbol, length in bar_us.items():
                self._execute("INSERT OR IGNORE INTO instruments (symbol, bar_us) VALUES (?, ?)", (symbol, length))

    def backup(self, target: Path) -> None:
        """Copy the store as it now is to a new file, even while another process saves.

        Raises
        ------
        WrongUsage
            There is a file already.
        """
        with self._lock, database_errors(self.path):
            backup_database(self._connection, target)

    def n_revisions(self) -> int:
        """Return how many revisions the store holds."""
        return int(self._read("SELECT COUNT(*) FROM revisions")[0][0])

    def undo(self, window_id: str, annotator: str, expected_revision: int) -> WindowLabel | None:
        """Restore what was before the current content, as a new revision.

        Undoing again goes further back; a save after an undo starts from what the undo brought back. Nothing is
        lost: every revision stays in `history`.

        Returns
        -------
        WindowLabel or None
            The label as it is now; None, with nothing changed, where nothing was before.

        Raises
        ------
        LabelConflict
            Another save came first.
        """
        with self._transaction():
            rows = self._rows(f"SELECT {COLUMNS} {HISTORY}", (window_id, annotator))
            current = rows[-1] if rows else None
            if (current[0].revision if current else 0) != expected_revision:
                raise LabelConflict(current[0] if current else None)
            if current is None or current[1] == 1:
                return None
            # What revision n was made on is what n - 1 showed, and that may itself be an undo.
            shown = rows[current[1] - 2][1]
            before = rows[shown - 1][0]
            return self._append(before, expected_revision, shown, self._bars_of(before))

    def get(self, window_id: str, annotator: str) -> WindowLabel | None:
        """Return the current label of a window by an annotator; None where there is none."""
        found = self._select(f"SELECT {COLUMNS} {CURRENT} WHERE window_id = ? AND annotator = ?", window_id, annotator)
        return next(iter(found), None)

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
        return self._select(f"SELECT {COLUMNS} {HISTORY}", window_id, annotator)

    def annotators(self) -> list[str]:
        """Return everybody who saved a label, sorted by name."""
        return [name for (name,) in self._read("SELECT DISTINCT annotator FROM current ORDER BY annotator")]

    def charts(self) -> list[ChartLabels]:
        """Return what every annotator marked on every chart, by symbol and annotator: the last saved of each."""
        with self._lock, database_errors(self.path):
            return sorted(self._newest_charts(), key=lambda chart: (chart.symbol, chart.annotator))

    def save_charts(self, charts: Sequence[ChartLabels], bars: Mapping[str, bytes] = NO_BARS) -> list[ChartLabels]:
        """Add a revision of each chart, and return them as they now are: all of them or, on any error, none.

        `bars` holds the bars under spans by their SHA-256, for those that the store does not have yet.

        Raises
        ------
        LabelConflict
            A chart's `revision` is not the one in the store: another save was first.
        InvalidData
            A chart has no annotator, or a span without a class.
        """
        for chart in charts:
            if not chart.annotator.strip() or not all(span.label.strip() for span in chart.spans):
                raise InvalidData(
                    f"a chart must have an annotator and every span of it a class, but {chart.symbol!r} of "
                    f"{chart.annotator!r} has not. Name them."
                )
            if any(span.source not in SOURCES for span in chart.spans):
                raise InvalidData(f"source of a span must be empty, {' or '.join(SOURCES[1:])}. Change it.")
        saved: list[ChartLabels] = []
        with self._transaction():
            for sha256, under in bars.items():
                self._execute("INSERT OR IGNORE INTO bars (sha256, content) VALUES (?, ?)", (sha256, under))
            current = {(one.symbol, one.annotator): one.revision for one in self._newest_charts()}
            for chart in charts:
                if (found := current.get((chart.symbol, chart.annotator), 0)) != chart.revision:
                    raise LabelConflict(
                        None,
                        f"spans of {chart.annotator} on {chart.symbol or 'the chart'} must still be at revision "
                        f"{chart.revision}, but they are at {found}: another save was first. Run it again.",
                    )
                saved.append(replace(chart, revision=found + 1, saved_us=time.time_ns() // 1000))
                self._append_chart(saved[-1])
        return saved

    def foreign_changes(self) -> int:
        """Return a number that changes when another process, or another store over this file, has saved."""
        return int(self._read("PRAGMA data_version")[0][0])

    def counts(self, annotator: str) -> dict[str, int]:
        """Count the windows of an annotator by status, and the marked expansions by class.

        Returns
        -------
        dict of str to int
            `labelled`, `rejected` and `skipped` (0 included), then `class:<name>` by name: expansions of labelled
            windows, of which a window may have several or none.
        """
        of_annotator = f"{CURRENT} JOIN expansions USING (number) WHERE annotator = ? AND status = 'labelled'"
        by_class_query = f"SELECT label, COUNT(*) {of_annotator} GROUP BY label ORDER BY label"
        with self._lock:
            by_status = self._read(f"SELECT status, COUNT(*) {CURRENT} WHERE annotator = ? GROUP BY status", annotator)
            by_class = self._read(by_class_query, annotator)
        counted = Counter(dict(by_status))
        return {status: counted[status] for status in STATUSES} | {f"class:{name}": n for name, n in by_class}

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._lock, database_errors(self.path):
            self._still_there()
            with self._writing():
                yield
                self._still_there()
            self._still_there()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        # Takes the write lock at once: what is read inside is what is written upon.
        self._execute("BEGIN IMMEDIATE")
        try:
            yield
            self._execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                self._execute("ROLLBACK")
            raise

    def _still_there(self) -> None:
        """Refuse to write where the path leads to another file than the open one: what went there would be lost."""
        if identity_of(self.path) != self._identity:
            gone = "removed or moved" if not self.path.exists() else "replaced, or a file beside it removed,"
            raise OperationFailed(
                f"the label store must stay where it was opened, but {self.path} was {gone} meanwhile; nothing was "
                "saved, and marks stay in the page. Put it back as it was, or stop `moola label`, restore the store "
                "from a backup and start again."
            )

    def _upgrade(self) -> None:
        """Bring a store of an older version to this one; the file as it was stays beside it."""
        version = self._version()
        kept = self.path.with_name(f"{self.path.name}.version-{version}")
        if not os.path.lexists(kept):
            backup_database(self._connection, kept)
        with self._writing():
            # Another process may have been first.
            for added in range(self._version() + 1, SCHEMA_VERSION + 1):
                for statement in ADDED[added].split(";\n"):
                    self._execute(statement)
                if added == FIRST_WITH_HASHES:
                    for number, label, of_revision in self._numbered(f"SELECT {COLUMNS} {ALL_REVISIONS}", ()):
                        self._seal(number, label, of_revision)
                self._execute(f"PRAGMA user_version = {added}")
        log.warning(
            "%s was brought from version %d to version %d. The file as it was is %s.",
            self.path, version, SCHEMA_VERSION, kept,
        )  # fmt: skip

    def _version(self) -> int:
        return int(self._execute("PRAGMA user_version").fetchone()[0])

    def _verify(self) -> None:
        """Refuse a store of which a revision is not as it was saved, lacks, or is not the current one that it was."""
        found = self._rows(f"SELECT {COLUMNS} {ALL_REVISIONS}", ())
        newest: dict[tuple[str, str], int] = {}
        for label, _ in found:
            key = (label.window_id, label.annotator)
            if label.revision != newest.get(key, 0) + 1:
                self._damaged(f"revision {label.revision} of {label.window_id[:80]!r} follows {newest.get(key, 0)}")
            newest[key] = label.revision
        current = self._execute(f"SELECT window_id, annotator, revision {CURRENT}").fetchall()
        if {(window_id, annotator): revision for window_id, annotator, revision in current} != newest:
            self._damaged("its current labels are not the last saved ones")
        counts = ("SELECT COUNT(*) FROM hashes", "SELECT COUNT(*) FROM current")
        counted = [self._execute(count).fetchone()[0] for count in counts]
        last = self._execute("SELECT seq FROM sqlite_sequence WHERE name = 'revisions'").fetchone()
        if counted != [len(found), len(newest)] or (last[0] if last else 0) != len(found):
            self._damaged(f"{len(found)} revisions are there where {last[0] if last else counted[0]} were saved")
        if self._execute("PRAGMA foreign_key_check").fetchone():
            self._damaged("a part of a label has no label, or a label's bars are not there")
        for sha256, content in self._execute("SELECT sha256, content FROM bars"):
            if not isinstance(content, bytes) or hashlib.sha256(content).hexdigest() != sha256:
                self._damaged("bars of a label are not as they were saved")
        self._charts()

    def _damaged(self, what: str) -> None:
        raise UntrustedFile(f"{self.path} must hold every revision as it was saved, but {what}. {ADVICE}")

    def _seal(self, number: int, label: WindowLabel, of_revision: int) -> None:
        sha256 = _content_hash(number, label, of_revision)
        self._execute("INSERT INTO hashes (number, sha256) VALUES (?, ?)", (number, sha256))

    def _lay_on(self, number: int, content: bytes) -> None:
        sha256 = hashlib.sha256(content).hexdigest()
        self._execute("INSERT OR IGNORE INTO bars (sha256, content) VALUES (?, ?)", (sha256, content))
        self._execute("INSERT INTO lies_on (number, sha256) VALUES (?, ?)", (number, sha256))

    def _bars_of(self, label: WindowLabel) -> bytes | None:
        found = self._execute(
            f"SELECT content {ALL_REVISIONS} JOIN lies_on AS l USING (number) JOIN bars USING (sha256) "
            "WHERE window_id = ? AND annotator = ? AND revision = ?",
            (label.window_id, label.annotator, label.revision),
        ).fetchone()
        return found[0] if found else None

    def _append(
        self, label: WindowLabel, expected_revision: int, shown: int | None, bars: bytes | None = None
    ) -> WindowLabel:
        current = self.get(label.window_id, label.annotator)
        if (current.revision if current else 0) != expected_revision:
            raise LabelConflict(
                current,
                f"window {label.window_id} must still be at revision {expected_revision} of {label.annotator}, but it "
                f"is at {current.revision if current else 0}: it was saved elsewhere meanwhile. Load it again and "
                f"save again.",
            )
        saved = replace(label, revision=expected_revision + 1, saved_us=time.time_ns() // 1000)
        made_on = shown or saved.revision
        row: tuple[Any, ...] = (
            saved.window_id,
            saved.annotator,
            saved.revision,
            made_on,
            saved.symbol,
            int(saved.start_us),
        )
        row += (int(saved.end_us), saved.grade, saved.reason, saved.note, saved.status, saved.saved_us)
        number = self._execute(APPEND, row).lastrowid
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
        assert number is not None
        self._seal(number, saved, made_on)
        if bars is not None:
            self._lay_on(number, bars)
        return saved

    def _append_chart(self, chart: ChartLabels) -> None:
        number = 1 + self._execute("SELECT COUNT(*) FROM charts").fetchone()[0]
        held: dict[str, Any] = {"spans": [_span_row(one) for one in chart.spans], "stretches": chart.stretches}
        if chart.rejected:
            held["rejected"] = [_span_row(one) for one in chart.rejected]
        content = json.dumps(held, default=int)
        row = (number, chart.symbol, chart.annotator, chart.revision, content, chart.saved_us)
        self._execute("INSERT INTO charts VALUES (?, ?, ?, ?, ?, ?, ?)", (*row, _row_hash(row)))

    def _newest_charts(self) -> list[ChartLabels]:
        """Return the last revision of every chart; each must be as it was saved."""
        rows = self._execute(
            "SELECT * FROM charts WHERE number IN (SELECT MAX(number) FROM charts GROUP BY symbol, annotator)"
        ).fetchall()
        return [self._chart(row) for row in rows]

    def _chart(self, row: tuple[Any, ...]) -> ChartLabels:
        *content_row, sha256 = row
        _, symbol, annotator, revision, content, saved_us = content_row
        if sha256 != _row_hash(tuple(content_row)):
            self._damaged(f"spans of {annotator[:80]!r} on {symbol[:80]!r}, revision {revision}, are not")
        held = json.loads(content)
        spans, rejected = (tuple(ChartSpan(*one) for one in held.get(name, ())) for name in ("spans", "rejected"))
        stretches = tuple((first, last) for first, last in held["stretches"])
        return ChartLabels(symbol, annotator, spans, stretches, revision, saved_us, rejected)

    def _charts(self) -> list[ChartLabels]:
        """Return every revision of every chart, the first one first; each must be as it was saved."""
        newest: Counter[tuple[str, str]] = Counter()
        found: list[ChartLabels] = []
        for row in self._execute("SELECT * FROM charts ORDER BY number").fetchall():
            number, symbol, annotator, revision = row[:4]
            newest[symbol, annotator] += 1
            if (number, revision) != (len(found) + 1, newest[symbol, annotator]):
                self._damaged(f"spans of {annotator[:80]!r} on {symbol[:80]!r}, revision {revision}, are not")
            found.append(self._chart(row))
        last = self._execute("SELECT seq FROM sqlite_sequence WHERE name = 'charts'").fetchone()
        if (last[0] if last else 0) != len(found):
            self._damaged(f"spans are there {len(found)} times where they were saved {last[0] if last else 0} times")
        return found

    def _select(self, query: str, *values: Any) -> list[WindowLabel]:
        with self._lock, database_errors(self.path):
            return [label for label, _ in self._rows(query, values)]

    def _rows(self, query: str, values: Iterable[Any]) -> list[tuple[WindowLabel, int]]:
        """Return labels, each with the revision whose content it is; each must be as it was saved."""
        found = list(self._numbered(query, values))
        hashes: dict[int, str] = {}
        for first in range(0, len(found), 500):
            numbers = [number for number, _, _ in found[first : first + 500]]
            marks = ", ".join("?" * len(numbers))
            asked = f"SELECT number, sha256 FROM hashes WHERE number IN ({marks})"  # noqa: S608
            hashes.update(self._execute(asked, tuple(numbers)).fetchall())
        for number, label, of_revision in found:
            if hashes.get(number) != _content_hash(number, label, of_revision):
                self._damaged(
                    f"revision {label.revision} of {label.window_id[:80]!r} by {label.annotator[:80]!r} is not"
                )
        return [(label, of_revision) for _, label, of_revision in found]

    def _numbered(self, query: str, values: Iterable[Any]) -> list[tuple[int, WindowLabel, int]]:
        """Return labels with their number in the file and the revision whose content they are, unchecked."""
        # One statement for both tables reads one state of the file, even while another process saves.
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
        return [
            (number, WindowLabel(*[*head[:8], tuple(expansions[number]), *head[8:11]]), head[12])
            for number, head in heads.items()
        ]

    def _read(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        with self._lock, database_errors(self.path):
            return self._execute(query, values).fetchall()

    def _execute(self, statement: str, values: tuple[Any, ...] = ()) -> sqlite3.Cursor:
        return self._connection.execute(statement, values)


def _span_row(span: ChartSpan) -> tuple[Any, ...]:
    """Return what is written of a span; source and bars only where there are any, as files before them had none."""
    row = astuple(span)
    return row if span.bars else row[:-1] if span.source else row[:-2]


def _row_hash(row: tuple[Any, ...]) -> str:
    return hashlib.sha256(json.dumps(row, default=repr, ensure_ascii=True).encode()).hexdigest()


def _content_hash(number: int, label: WindowLabel, of_revision: int) -> str:
    """Hash everything that a revision says, its place in the file included."""
    content = json.dumps([number, of_revision, *astuple(label)], default=repr, ensure_ascii=True)
    return hashlib.sha256(content.encode()).hexdigest()
