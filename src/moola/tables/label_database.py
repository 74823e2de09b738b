"""The database file under the label store: made whole, and opened only where it is one of ours."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path

from moola.errors import OperationFailed, UntrustedFile, WrongUsage

SCHEMA_VERSION = 3
# "mola" in ASCII, at its place in the header of every SQLite file.
APPLICATION_ID = 0x6D6F6C61
SQLITE_MAGIC = b"SQLite format 3\x00"
# The last one: a statement of ours does not fit the tables that are there.
DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_FORMAT, sqlite3.SQLITE_ERROR)
FIRST_SCHEMA = """
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
# What version 2 added: a hash a revision, and the bars that a label lies on (equal ones are kept once, by their hash).
ADDED_2 = """
CREATE TABLE hashes (
    number INTEGER PRIMARY KEY REFERENCES revisions (number),
    sha256 TEXT NOT NULL
);
CREATE TABLE bars (
    sha256 TEXT PRIMARY KEY,
    content BLOB NOT NULL
) WITHOUT ROWID;
CREATE TABLE lies_on (
    number INTEGER PRIMARY KEY REFERENCES revisions (number),
    sha256 TEXT NOT NULL REFERENCES bars (sha256)
);
CREATE TABLE instruments (
    symbol TEXT PRIMARY KEY,
    bar_us INTEGER NOT NULL CHECK (bar_us >= 0)
) WITHOUT ROWID;
CREATE TRIGGER hashes_stay BEFORE UPDATE ON hashes BEGIN SELECT RAISE(ABORT, 'revisions are never changed'); END;
CREATE TRIGGER hashes_last BEFORE DELETE ON hashes BEGIN SELECT RAISE(ABORT, 'revisions are never deleted'); END;
CREATE TRIGGER bars_stay BEFORE UPDATE ON bars BEGIN SELECT RAISE(ABORT, 'bars are never changed'); END;
CREATE TRIGGER bars_last BEFORE DELETE ON bars BEGIN SELECT RAISE(ABORT, 'bars are never deleted'); END;
"""
# What version 3 added: what an annotator marked on a chart, spans and stretches of any length.
ADDED_3 = """
CREATE TABLE charts (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    symbol TEXT NOT NULL,
    annotator TEXT NOT NULL CHECK (annotator <> ''),
    revision INTEGER NOT NULL CHECK (revision >= 1),
    content TEXT NOT NULL,
    saved_us INTEGER NOT NULL,
    sha256 TEXT NOT NULL,
    UNIQUE (symbol, annotator, revision)
);
CREATE TRIGGER charts_stay BEFORE UPDATE ON charts BEGIN SELECT RAISE(ABORT, 'revisions are never changed'); END;
CREATE TRIGGER charts_last BEFORE DELETE ON charts BEGIN SELECT RAISE(ABORT, 'revisions are never deleted'); END;
"""
# What each version added to the one before.
ADDED = {2: ADDED_2, SCHEMA_VERSION: ADDED_3}
SCHEMAS = {1: FIRST_SCHEMA, 2: FIRST_SCHEMA + ADDED_2, SCHEMA_VERSION: FIRST_SCHEMA + ADDED_2 + ADDED_3}


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
    with database_errors(path):
        # Any thread may use it: the store holds a lock around every use.
        connection = sqlite3.connect(path, timeout=timeout_s, isolation_level=None, check_same_thread=False)
        try:
            for pragma in ("trusted_schema = OFF", "cell_size_check = ON", "foreign_keys = ON"):
                connection.execute(f"PRAGMA {pragma}")
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            _judge_version(path, version)
            _judge_schema(path, connection, version)
            for pragma in ("journal_mode = WAL", "synchronous = FULL"):
                connection.execute(f"PRAGMA {pragma}")
            found = connection.execute("PRAGMA integrity_check(1)").fetchone()[0]
            if found != "ok":
                raise UntrustedFile(f"{path} must be an intact label store, but it is damaged ({found}). {ADVICE}")
        except BaseException:
            connection.close()
            raise
    return connection


ADVICE = "Restore it from a copy, or name another --store."


@contextlib.contextmanager
def database_errors(path: Path) -> Iterator[None]:
    """Turn what SQLite raises into one of our errors."""
    try:
        yield
    except UnicodeDecodeError as error:
        raise UntrustedFile(f"{path} must be an intact label store, but a text in it is not UTF-8. {ADVICE}") from error
    except sqlite3.Error as error:
        # Extended codes carry the plain one in their last eight bits.
        if (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF in DAMAGED:
            raise UntrustedFile(f"{path} must be an intact label store, but {error}. {ADVICE}") from error
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
        raise UntrustedFile(f"{path} must be a label store (SQLite), but it is another kind of file. {ADVICE}")
    if int.from_bytes(header[68:72], "big") != APPLICATION_ID:
        raise UntrustedFile(f"{path} must be a label store of moola, but it is another database. {ADVICE}")
    _judge_version(path, int.from_bytes(header[60:64], "big"))


def _judge_version(path: Path, version: int) -> None:
    if version not in SCHEMAS:
        raise UntrustedFile(
            f"{path} must be a label store of version {' or '.join(map(str, SCHEMAS))}, but it is of version "
            f"{version}; it was left as it is. Use the moola that made it."
        )


def _judge_schema(path: Path, connection: sqlite3.Connection, version: int) -> None:
    """Refuse tables, triggers and views that are not ours: a statement of ours could run what is in them."""
    with contextlib.closing(sqlite3.connect(":memory:")) as ours:
        ours.executescript(SCHEMAS[version])
        expected = _objects(ours)
    found = _objects(connection)
    if found != expected:
        other = sorted(f"{kind} {name}"[:80] for kind, name, _, _ in found ^ expected)
        shown = ", ".join(repr(one) for one in dict.fromkeys(other[:5]))
        raise UntrustedFile(
            f"{path} must have the tables, indices and triggers of a label store and no others, but {len(set(other))} "
            f"differ (first {shown}); nothing in it was run. {ADVICE}"
        )


def _objects(connection: sqlite3.Connection) -> set[tuple[str, str, str, str | None]]:
    return set(connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_schema").fetchall())


def backup_database(source: sqlite3.Connection, target: Path) -> None:
    """Copy an open store, whoever saves meanwhile, to a path where no file is yet: atomically.

    Raises
    ------
    WrongUsage
        There is a file already.
    OperationFailed
        The folder cannot be written.
    """
    taken = WrongUsage(f"a backup must go to a path without a file, but {target} is there. Choose another name.")
    with (
        _put_in_place(target, taken) as name,
        database_errors(target),
        contextlib.closing(sqlite3.connect(name)) as copy,
    ):
        source.backup(copy)
        # One file, with nothing beside it.
        copy.execute("PRAGMA journal_mode = DELETE")


Places = tuple[tuple[int, int] | None, ...]


def identity_of(path: Path) -> Places:
    """Return device and inode of a store and of its two files beside it; None for one that is not there."""
    # SQLite puts the two beside the file that a link points to.
    real = os.path.realpath(path)
    found: list[tuple[int, int] | None] = []
    for name in (str(path), f"{real}-wal", f"{real}-shm"):
        try:
            status = os.stat(name)
        except OSError:
            found.append(None)
        else:
            found.append((status.st_dev, status.st_ino))
    return tuple(found)


def _make(path: Path) -> None:
    """Put an empty store at the path, atomically; where another process was first, its store stays."""
    with (
        _put_in_place(path, None) as name,
        database_errors(path),
        contextlib.closing(sqlite3.connect(name)) as connection,
    ):
        connection.execute("PRAGMA journal_mode = WAL")
        connection.executescript(
            f"BEGIN; {SCHEMAS[SCHEMA_VERSION]} PRAGMA application_id = {APPLICATION_ID}; "
            f"PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;"
        )


@contextlib.contextmanager
def _put_in_place(path: Path, taken: WrongUsage | None) -> Iterator[str]:
    """Give a temporary file to fill, then its name to the path; `taken` is raised where a file was there first."""
    temporary: str | None = None
    try:
        if taken is not None and os.path.lexists(path):
            raise taken
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=".labels.", suffix=".tmp", dir=path.parent)
        os.close(handle)
        yield temporary
        os.chmod(temporary, 0o644)
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        if not _put(temporary, path) and taken is not None:
            raise taken
    except OSError as error:
        option = "--store" if taken is None else "place for the backup"
        raise OperationFailed(
            f"{path} must be writable, but {error.strerror or error}; nothing was changed. Choose another {option}."
        ) from error
    finally:
        for leftover in (temporary, f"{temporary}-wal", f"{temporary}-shm"):
            if leftover is not None:
                with contextlib.suppress(OSError):
                    os.unlink(leftover)


def _put(temporary: str, path: Path) -> bool:
    """Give the file its name, unless another file has it."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        return False
    except OSError:
        # Some file systems know no second name for a file; there the two steps must do.
        if path.exists():
            return False
        os.replace(temporary, path)
    return True
