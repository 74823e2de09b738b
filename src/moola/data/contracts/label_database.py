"""The database file under the label store: made whole, and opened only where it is one of ours."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path

from moola.errors import OperationFailed, UntrustedFile

SCHEMA_VERSION = 1
# "mola" in ASCII, at its place in the header of every SQLite file.
APPLICATION_ID = 0x6D6F6C61
SQLITE_MAGIC = b"SQLite format 3\x00"
# The last one: a statement of ours does not fit the tables that are there.
DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_FORMAT, sqlite3.SQLITE_ERROR)
SCHEMA = """
CREATE TABLE revisions (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    window_id TEXT NOT NULL,
    annotator TEXT NOT NULL,
    revision INTEGER NOT NULL CHECK (revision >= 1),
    of_revision INTEGER NOT NULL CHECK (of_revision BETWEEN 1 AND revision),
    symbol TEXT NOT NULL,
    start_us INTEGER NOT NULL,
    end_us INTEGER NOT NULL CHECK (end_us >= start_us),
    grade TEXT NOT NULL CHECK (grade IN ('', 'A', 'B', 'C', 'D')),
    reason TEXT NOT NULL,
    note TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('labelled', 'rejected', 'skipped')),
    saved_us INTEGER NOT NULL,
    UNIQUE (window_id, annotator, revision)
);
CREATE TABLE expansions (
    number INTEGER NOT NULL REFERENCES revisions (number),
    place INTEGER NOT NULL CHECK (place >= 1),
    start_us INTEGER NOT NULL,
    end_us INTEGER NOT NULL CHECK (end_us >= start_us),
    label TEXT NOT NULL CHECK (label <> ''),
    PRIMARY KEY (number, place)
) WITHOUT ROWID;
CREATE TABLE current (
    window_id TEXT NOT NULL,
    annotator TEXT NOT NULL,
    number INTEGER NOT NULL UNIQUE REFERENCES revisions (number),
    PRIMARY KEY (window_id, annotator)
) WITHOUT ROWID;
CREATE INDEX current_of_annotator ON current (annotator, number);
CREATE TRIGGER revisions_stay BEFORE UPDATE ON revisions BEGIN SELECT RAISE(ABORT, 'revisions are never changed'); END;
CREATE TRIGGER revisions_last BEFORE DELETE ON revisions BEGIN SELECT RAISE(ABORT, 'revisions are never deleted'); END;
CREATE TRIGGER marks_stay BEFORE UPDATE ON expansions BEGIN SELECT RAISE(ABORT, 'revisions are never changed'); END;
CREATE TRIGGER marks_last BEFORE DELETE ON expansions BEGIN SELECT RAISE(ABORT, 'revisions are never deleted'); END;
"""


def open_database(path: Path, must_exist: bool, timeout_s: float) -> sqlite3.Connection:
    """Open the database of a label store, and make an empty one first where none is there.

    Write-ahead log, synchronous FULL (an acknowledged save survives a crash of the machine), foreign keys on, no
    transaction that is not asked for.

    Raises
    ------
    OperationFailed
        `must_exist` and there is no file; the folder cannot be written; another program holds it locked.
    UntrustedFile
        The file is no label store, damaged, or of a newer version; it is left as it is.
    """
    if not path.exists():
        if must_exist:
            raise OperationFailed(f"a label store must exist, but there is no file {path}. Check --store.")
        _make(path)
    _judge_header(path)
    with told(path):
        # Any thread may use it: the store holds a lock around every use.
        connection = sqlite3.connect(path, timeout=timeout_s, isolation_level=None, check_same_thread=False)
        try:
            for pragma in ("foreign_keys = ON", "trusted_schema = OFF", "journal_mode = WAL", "synchronous = FULL"):
                connection.execute(f"PRAGMA {pragma}")
            _judge_version(path, connection.execute("PRAGMA user_version").fetchone()[0])
            found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
            if found != "ok":
                raise UntrustedFile(f"{path} must be a whole label store, but it is damaged ({found}). {_ADVICE}")
        except BaseException:
            connection.close()
            raise
    return connection


_ADVICE = "Restore it from a copy, or name another --store."


@contextlib.contextmanager
def told(path: Path) -> Iterator[None]:
    """Turn what SQLite raises into one of our errors."""
    try:
        yield
    except sqlite3.Error as error:
        # Extended codes carry the plain one in their last eight bits.
        if (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF in DAMAGED:
            raise UntrustedFile(f"{path} must be a whole label store, but {error}. {_ADVICE}") from error
        raise OperationFailed(
            f"{path} must be free to read and write, but {error}; nothing was changed. "
            "Free space, or stop the other program that holds it, and try again."
        ) from error


def _judge_header(path: Path) -> None:
    """Look at the first 100 bytes alone: opening a foreign database could change it already."""
    try:
        with path.open("rb") as file:
            header = file.read(100)
    except OSError as error:
        raise OperationFailed(f"{path} must be readable, but {error.strerror or error}. Check --store.") from error
    if not header.startswith(SQLITE_MAGIC) or len(header) < 100:
        raise UntrustedFile(f"{path} must be a label store (SQLite), but it is another kind of file. {_ADVICE}")
    if int.from_bytes(header[68:72], "big") != APPLICATION_ID:
        raise UntrustedFile(f"{path} must be a label store of moola, but it is another database. {_ADVICE}")
    _judge_version(path, int.from_bytes(header[60:64], "big"))


def _judge_version(path: Path, version: int) -> None:
    if version != SCHEMA_VERSION:
        raise UntrustedFile(
            f"{path} must be a label store of version {SCHEMA_VERSION}, but it is of version {version}; "
            "it was left as it is. Use the moola that made it."
        )


def _make(path: Path) -> None:
    """Put an empty store at the path, whole or not at all; where another process was first, its store stays."""
    temporary: str | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=".labels.", suffix=".tmp", dir=path.parent)
        os.close(handle)
        with told(path), contextlib.closing(sqlite3.connect(temporary, isolation_level=None)) as connection:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.executescript(
                f"BEGIN; {SCHEMA} PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {SCHEMA_VERSION}; "
                "COMMIT;"
            )
        os.chmod(temporary, 0o644)
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        _put(temporary, path)
    except OSError as error:
        raise OperationFailed(
            f"{path} must be writable, but {error.strerror or error}; nothing was changed. Choose another --store."
        ) from error
    finally:
        for leftover in (temporary, f"{temporary}-wal", f"{temporary}-shm"):
            if leftover is not None:
                with contextlib.suppress(OSError):
                    os.unlink(leftover)


def _put(temporary: str, path: Path) -> None:
    try:
        os.link(temporary, path)
    except FileExistsError:
        return
    except OSError:
        # Some file systems know no second name for a file; there the two steps must do.
        if not path.exists():
            os.replace(temporary, path)
