"""Label Studio exports and label stores that are cut off, foreign, wrong or in use."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from moola.tables import label_store
from moola.tables.label_database import open_database
from tests.faults.bars import altered, cut_in_half, text
from tests.faults.fault import Fault, run

Task = dict[str, Any]
HOLDERS: list[sqlite3.Connection] = []
IMPORT = "labels import --store labels.db --bars bars.parquet --annotator ana --input bad.json"
SPANS_IN = "labels import --store new.db --bars bars.parquet --annotator ana --input bad.csv"
EXPORT, STATS = "labels export --store bad.db --bars bars.parquet --output new.parquet", "labels stats --store bad.db"


def task() -> Task:
    """Return a whole task: the world's first window with one expansion."""
    times = pl.read_parquet("bars.parquet")["timestamp"]
    at = [time.isoformat() for time in times.head(105).to_list()]
    mark = {"type": "timeserieslabels", "value": {"start": at[50], "end": at[60], "timeserieslabels": ["up"]}}
    return {"data": {"window_id": "first", "start_ts": at[0]}, "annotations": [{"result": [mark]}]}


def tasks(change: Callable[[Task], object]) -> Callable[[object], None]:
    """Make bad.json: an export of one changed task."""

    def make(_patch: object) -> None:
        found = task()
        change(found)
        Path("bad.json").write_text(json.dumps([found]))

    return make


def mark(**values: object) -> Callable[[object], None]:
    return tasks(lambda found: found["annotations"][0]["result"][0]["value"].update(values))


def store(statement: str) -> Callable[[object], None]:
    """Make bad.db: the world's label store after a statement of SQL."""

    def make(_patch: object) -> None:
        source, changed = sqlite3.connect("labels.db"), sqlite3.connect("bad.db", isolation_level=None)
        source.backup(changed)
        source.close()
        changed.executescript(statement)
        changed.close()

    return make


def held(statement: str) -> Callable[[pytest.MonkeyPatch], None]:
    """Let another connection hold the world's store, and wait a short while alone for it."""

    def make(patch: pytest.MonkeyPatch) -> None:
        tasks(lambda _task: None)(patch)
        holder = sqlite3.connect("labels.db", isolation_level=None)
        HOLDERS.append(holder)
        holder.executescript(statement)
        patch.setattr(label_store, "open_database", impatient)

    return make


def impatient(path: Path, must_exist: bool, timeout_s: float) -> sqlite3.Connection:
    """Open a store as ever, and wait a tenth of a second in place of the seconds that are asked for."""
    assert 1 <= timeout_s <= 10
    return open_database(path, must_exist, 0.1)


def let_go() -> None:
    """Let go of the store: the same command works then."""
    HOLDERS.pop().close()
    answer = run(*IMPORT.split())
    assert answer.code == 0, answer.err


def altered_prices(_patch: object) -> None:
    """Make bad.parquet: the world's bars at other prices."""
    prices = ("open", "high", "low", "close")
    pl.read_parquet("bars.parquet").with_columns(pl.col(prices) * 1.3).write_parquet("bad.parquet")


def spans(start: str, end: str) -> Callable[[object], None]:
    """Make bad.csv: a table of one span."""
    return text(f"start,end,label\n{start},{end},up\n", "bad.csv")


def workbook(_patch: object) -> None:
    """Make bad.csv: the beginning of an Excel workbook."""
    Path("bad.csv").write_bytes(b"PK\x03\x04" + b"\0" * 30 + b"[Content_Types].xml xl/workbook.xml")


def foreign(_patch: object) -> None:
    """Make bad.db: a database of other software."""
    connection = sqlite3.connect("bad.db")
    connection.execute("CREATE TABLE a (b)")
    connection.close()


EXPORTS = [
    Fault("studio-empty", "0 bytes", IMPORT, 3, "must be parquet or JSON", text("", "bad.json")),
    Fault(
        "studio-cut-off", "half an export", IMPORT, 3, "must be parquet or JSON", text('[{"data": {"win', "bad.json")
    ),
    Fault(
        "studio-object", "an object in place of a list", IMPORT, 3, "must be a list of tasks", text("{}", "bad.json")
    ),
    Fault(
        "studio-numbers", "numbers in place of tasks", IMPORT, 3, "a task must have data", text("[1, 2]", "bad.json")
    ),
    Fault(
        "studio-nested",
        "a hundred thousand brackets",
        IMPORT,
        3,
        "must be parquet or JSON",
        text("[" * 100_000, "bad.json"),
    ),
    Fault(
        "studio-id-number",
        "a number as a window's id",
        IMPORT,
        3,
        "data must have window_id (text)",
        tasks(lambda found: found["data"].update(window_id=7)),
    ),
    Fault(
        "studio-unknown-window",
        "a window of a time that the bars have not",
        IMPORT,
        3,
        "a window must be in the bars file",
        tasks(lambda found: found["data"].update(start_ts="1999-01-01T00:00:00Z")),
    ),
    Fault("studio-nan", "a pointer of NaN", IMPORT, 3, "start must be a time", mark(start=float("nan"))),
    Fault("studio-huge", "a pointer of 400 digits", IMPORT, 3, "start must be a time", mark(start=10**400)),
    Fault(
        "studio-outside",
        "a pointer outside its window",
        IMPORT,
        3,
        "an expansion must be inside its window",
        mark(end="2050-01-01T00:00:00Z"),
    ),
    Fault("studio-no-class", "no class", IMPORT, 3, "a label must have one class", mark(timeserieslabels=[])),
    Fault("studio-class-number", "a number as a class", IMPORT, 3, "must have one class", mark(timeserieslabels=[3])),
]

SPANS = [
    Fault(
        "spans-no-column", "no column of classes", SPANS_IN, 3, "names no label", text("start,end\n1,2\n", "bad.csv")
    ),
    Fault("spans-empty", "a header alone", SPANS_IN, 3, "must have rows", text("start,end,label\n", "bad.csv")),
    Fault("spans-workbook", "an Excel workbook", SPANS_IN, 3, "Excel workbook", workbook),
    Fault("spans-no-time", "a word in place of a time", SPANS_IN, 3, "end: found 'soon'", spans("2020-01-01", "soon")),
    Fault(
        "spans-two-orders",
        "dates that read in two ways",
        SPANS_IN,
        3,
        "every date must have one reading",
        spans("01/02/2020", "02/03/2020"),
    ),
    Fault(
        "spans-skipped-hour",
        "an hour that the zone skips",
        f"{SPANS_IN} --timezone America/New_York",
        3,
        "every time must exist once",
        spans("2020-03-08 02:30", "2020-03-08 05:00"),
    ),
    Fault(
        "spans-backward",
        "an end before its start",
        SPANS_IN,
        3,
        "a span must not end before its start",
        spans("2020-01-02 05:00", "2020-01-02 03:00"),
    ),
    Fault(
        "spans-outside",
        "a span of a time that the bars have not",
        SPANS_IN,
        3,
        "a span must lie within the bars, but 1 does not, first at line 2",
        spans("1999-01-01", "1999-01-02"),
    ),
    Fault(
        "spans-two-classes",
        "two classes of one piece",
        SPANS_IN,
        3,
        "one annotator must give the same bars one class",
        text("start,end,label\n2020-01-02,2020-01-03,a\n2020-01-02,2020-01-03,b\n", "bad.csv"),
    ),
    Fault(
        "spans-task",
        "a task of an export that is none",
        f"{SPANS_IN} --task 3",
        2,
        "--task must name tasks of a Label Studio export",
        spans("2020-01-02", "2020-01-03"),
    ),
    Fault(
        "spans-annotated",
        "half a stretch",
        f"{SPANS_IN} --annotated 2020-01-01",
        2,
        "--annotated must be pairs FROM TO",
        spans("2020-01-02", "2020-01-03"),
    ),
    Fault(
        "spans-background",
        "background without an annotated stretch",
        "windows --bars bars.parquet --spans bad.csv --background 9 --output new.parquet",
        2,
        "background comes from annotated stretches alone",
        spans("2020-01-02", "2020-01-03"),
    ),
    Fault(
        "spans-too-long",
        "spans that are longer than a window",
        "windows --bars bars.parquet --spans bad.csv --window-bars 20 --output new.parquet",
        3,
        "must have spans that fit windows of 20 bars",
        spans("2020-01-02", "2020-01-09"),
    ),
]

STORES = [
    Fault("store-missing", "the file is not there", STATS, 1, "a label store must exist"),
    Fault("store-empty", "0 bytes", EXPORT, 5, "it is another kind of file", text("", "bad.db")),
    Fault("store-text", "a text file", STATS, 5, "it is another kind of file", text("labels " * 40, "bad.db")),
    Fault(
        "store-foreign",
        "a database of other software",
        STATS,
        5,
        "it is another database",
        foreign,
    ),
    Fault(
        "store-cut-off",
        "half a store",
        STATS,
        5,
        "must be an intact label store",
        altered("labels.db", cut_in_half, "bad.db"),
    ),
    Fault(
        "store-version",
        "a store of another version",
        STATS,
        5,
        "but it is of version 9",
        store("PRAGMA user_version = 9"),
    ),
    Fault(
        "store-being-saved",
        "another program saves and does not end: waits 5 seconds, then stops",
        IMPORT,
        1,
        "database is locked; nothing was changed. Free space, or stop the other program that holds it",
        held("BEGIN IMMEDIATE"),
        ("labels.db-",),
        let_go,
        waits=True,
    ),
    Fault(
        "store-locked",
        "another program holds the whole store: waits 5 seconds, then stops",
        "labels stats --store labels.db",
        1,
        "database is locked; nothing was changed. Free space, or stop the other program that holds it",
        held("PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE"),
        ("labels.db-",),
        let_go,
        waits=True,
    ),
    Fault(
        "store-trigger",
        "a store with a trigger of other software",
        STATS,
        5,
        "nothing in it was run",
        store("CREATE TRIGGER evil AFTER INSERT ON current BEGIN SELECT 1; END"),
    ),
    Fault(
        "store-view",
        "a store with a view",
        EXPORT,
        5,
        "nothing in it was run",
        store("CREATE VIEW evil AS SELECT 1"),
    ),
    Fault(
        "store-other-bars",
        "bars of another instrument",
        "labels export --store labels.db --bars bad.parquet --output new.parquet",
        3,
        "bars have other prices",
        altered_prices,
    ),
    Fault(
        "store-backup-there",
        "a backup onto a file that is there",
        "labels backup labels.db bars.parquet",
        2,
        "a backup must go to a path without a file",
    ),
    Fault("store-tables", "a store without its tables", STATS, 5, "must", store("DROP TABLE current")),
]
