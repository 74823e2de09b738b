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
from tests.faults.fault import fault, run

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
    fault(IMPORT, "studio-empty | 0 bytes | 3 | must be parquet or JSON", text("", "bad.json")),
    fault(IMPORT, "studio-cut-off | half an export | 3 | must be parquet or JSON", text('[{"data": {"win', "bad.json")),
    fault(IMPORT, "studio-object | an object in place of a list | 3 | must be a list of tasks", text("{}", "bad.json")),
    fault(IMPORT, "studio-numbers | numbers in place of tasks | 3 | a task must have data", text("[1, 2]", "bad.json")),
    fault(
        IMPORT,
        "studio-nested | a hundred thousand brackets | 3 | must be parquet or JSON",
        text("[" * 100_000, "bad.json"),
    ),
    fault(IMPORT, "studio-nan | a pointer of NaN | 3 | start must be a time", mark(start=float("nan"))),
    fault(IMPORT, "studio-huge | a pointer of 400 digits | 3 | start must be a time", mark(start=10**400)),
    fault(IMPORT, "studio-class-number | a number as a class | 3 | must have one class", mark(timeserieslabels=[3])),
]

SPANS = [
    fault(SPANS_IN, "spans-no-column | no column of classes | 3 | names no label", text("start,end\n1,2\n", "bad.csv")),
    fault(SPANS_IN, "spans-workbook | an Excel workbook | 3 | Excel workbook", workbook),
    fault(
        SPANS_IN,
        "spans-two-orders | dates that read in two ways | 3 | every date must have one reading",
        spans("01/02/2020", "02/03/2020"),
    ),
    fault(
        f"{SPANS_IN} --timezone America/New_York",
        "spans-skipped-hour | an hour that the zone skips | 3 | every time must exist once",
        spans("2020-03-08 02:30", "2020-03-08 05:00"),
    ),
    fault(
        SPANS_IN,
        "spans-backward | an end before its start | 3 | a span must not end before its start",
        spans("2020-01-02 05:00", "2020-01-02 03:00"),
    ),
    fault(
        f"{SPANS_IN} --annotated 2020-01-01",
        "spans-annotated | half a stretch | 2 | --annotated must be pairs FROM TO",
        spans("2020-01-02", "2020-01-03"),
    ),
    fault(
        "windows --bars bars.parquet --spans bad.csv --background 9 --output new.parquet",
        "spans-background | background without an annotated stretch | 2 | "
        "background comes from annotated stretches alone",
        spans("2020-01-02", "2020-01-03"),
    ),
    fault(
        "windows --bars bars.parquet --spans bad.csv --window-bars 20 --output new.parquet",
        "spans-too-long | spans that are longer than a window | 3 | must have spans that fit windows of 20 bars",
        spans("2020-01-02", "2020-01-09"),
    ),
]

STORES = [
    fault(STATS, "store-missing | the file is not there | 1 | a label store must exist"),
    fault(EXPORT, "store-empty | 0 bytes | 5 | it is another kind of file", text("", "bad.db")),
    fault(STATS, "store-foreign | a database of other software | 5 | it is another database", foreign),
    fault(
        STATS,
        "store-cut-off | half a store | 5 | must be an intact label store",
        altered("labels.db", cut_in_half, "bad.db"),
    ),
    fault(
        STATS,
        "store-version | a store of another version | 5 | but it is of version 9",
        store("PRAGMA user_version = 9"),
    ),
    fault(
        IMPORT,
        "store-being-saved | another program saves and does not end: waits 5 seconds, then stops | 1 | "
        "database is locked; nothing was changed. Free space, or stop the other program that holds it",
        held("BEGIN IMMEDIATE"),
        ("labels.db-",),
        let_go,
        waits=True,
    ),
    fault(
        "labels stats --store labels.db",
        "store-locked | another program holds the whole store: waits 5 seconds, then stops | 1 | "
        "database is locked; nothing was changed. Free space, or stop the other program that holds it",
        held("PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE"),
        ("labels.db-",),
        let_go,
        waits=True,
    ),
    fault(
        STATS,
        "store-trigger | a store with a trigger of other software | 5 | nothing in it was run",
        store("CREATE TRIGGER evil AFTER INSERT ON current BEGIN SELECT 1; END"),
    ),
    fault(
        EXPORT, "store-view | a store with a view | 5 | nothing in it was run", store("CREATE VIEW evil AS SELECT 1")
    ),
    fault(
        "labels export --store labels.db --bars bad.parquet --output new.parquet",
        "store-other-bars | bars of another instrument | 3 | bars have other prices",
        altered_prices,
    ),
    fault(
        "labels backup labels.db bars.parquet",
        "store-backup-there | a backup onto a file that is there | 2 | a backup must go to a path without a file",
    ),
    fault(STATS, "store-tables | a store without its tables | 5 | must", store("DROP TABLE current")),
]
