"""The one writer of artefacts, and hashes of files.

A file appears atomically: temporary file in the same folder, flush to disk, read back and
compared by hash, replace, flush of the folder. Whatever was at the path before stays until then.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import io
import json
import math
import os
import re
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import IO, Any, cast

from moola.errors import InvalidData, OperationFailed, WrongUsage

LEFTOVER = re.compile(r"\.(.+)\.[a-z0-9_]{8}\.tmp")
SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,119}")
# Names that are devices on Windows, with any ending: a store is copied between machines.
RESERVED_NAME = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?", re.IGNORECASE)
MAX_JSON_BYTES = 64 << 20


def sha256_bytes(content: bytes) -> str:
    """Return the SHA-256 of bytes as 64 hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def sha256_file(path: Path) -> str:
    """Return the SHA-256 of a file as 64 hexadecimal digits, reading it in pieces."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise OperationFailed(f"{path} must be readable, but {_reason(error)}.") from error


def read_bytes(path: Path, what: str, advice: str, max_bytes: int = 2 << 30) -> bytes:
    """Read a whole file that a user named; missing or unreadable is reported plainly."""
    try:
        if not path.is_file():
            raise OperationFailed(f"{what} must exist, but there is no file {path}. Check the path.")
        size = path.stat().st_size
        if size > max_bytes:
            raise OperationFailed(f"{what} must be at most {max_bytes:,} bytes, but {path} has {size:,}. {advice}")
        return path.read_bytes()
    except OSError as error:
        raise OperationFailed(f"{what} must be readable, but {path}: {_reason(error)}. {advice}") from error


def write_atomic(path: Path, content: bytes) -> None:
    """Put `content` at `path`, atomically; raises `OperationFailed` with the old file kept."""
    write_atomic_pieces(path, (content,))


def write_atomic_pieces(path: Path, pieces: Iterable[bytes]) -> None:
    """Put pieces, one behind the other and never all in memory, at `path` as `write_atomic` does."""

    def fill(file: IO[bytes]) -> None:
        for piece in pieces:
            file.write(piece)

    write_atomic_by(path, fill)


class _HashedFile(io.RawIOBase):
    """What is appended to a file, with its SHA-256 as it grows."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file = file
        self.sha256 = hashlib.sha256()

    def writable(self) -> bool:
        """Report that this can be written to."""
        return True

    def write(self, content: Any) -> int:
        """Append bytes."""
        self.sha256.update(content)
        return self.file.write(content)


def write_atomic_by(path: Path, fill: Callable[[IO[bytes]], None]) -> None:
    """Put what `fill` writes at `path` as `write_atomic` does; nothing where `fill` raises."""
    temporary: str | None = None
    made = missing_folders(path.parent)
    try:
        if path.exists() and not path.is_file():
            raise OSError("it is a folder or a device, and no file")
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=f".{_shortened(path.name)}.", suffix=".tmp", dir=path.parent)
        with os.fdopen(handle, "wb") as file:
            hashed = _HashedFile(file)
            fill(cast(IO[bytes], hashed))
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        if sha256_file(Path(temporary)) != hashed.sha256.hexdigest():
            raise OSError("what was written differs from what is read back")
        os.replace(temporary, path)
        temporary = None
        _sync_folder(path.parent)
    except OSError as error:
        raise OperationFailed(
            f"{path} must be writable, but {_reason(error)}; the existing file is unchanged. "
            "Free space, fix its permissions, or choose another place."
        ) from error
    finally:
        if temporary is not None:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
        remove_empty(made)


def same_place(one: Path, other: Path) -> bool:
    """Return whether two paths lead to one place, whatever links they go through; neither need be there."""
    return os.path.realpath(one) == os.path.realpath(other)


def missing_folders(folder: Path) -> list[Path]:
    """Return the folders that would have to be made for this one to be there, innermost first."""
    return [one for one in (folder, *folder.parents) if not one.exists()]


def remove_empty(folders: Iterable[Path]) -> None:
    """Remove folders, innermost first, that hold nothing."""
    for folder in folders:
        with contextlib.suppress(OSError):
            folder.rmdir()


def remove_leftovers(*places: Path) -> None:
    """Remove temporary files that killed writes left: of a file beside it, of a folder anywhere in it.

    Only for whoever holds the lock of these places: a write under way looks the same.
    """
    for place in places:
        for path in place.rglob(".*.tmp") if place.is_dir() else place.parent.glob(".*.tmp"):
            name = LEFTOVER.fullmatch(path.name)
            if name is not None and (place.is_dir() or name[1] == _shortened(place.name)):
                with contextlib.suppress(OSError):
                    path.unlink()


def _shortened(name: str) -> str:
    """Return as much of a name as leaves room for what a temporary file's name adds."""
    return name.encode()[:80].decode(errors="ignore")


def _sync_folder(folder: Path) -> None:
    # The new file is in place. Some file systems cannot flush folders, and then there is no more to do.
    with contextlib.suppress(OSError):
        _flush(folder)


def _flush(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _reason(error: OSError) -> str:
    return error.strerror or str(error)


def json_bytes(value: Any) -> bytes:
    """Encode a value as JSON for a file: sorted keys, two spaces, no NaN."""
    return (json.dumps(value, indent=2, sort_keys=True, allow_nan=False) + "\n").encode()


def read_json(path: Path, what: str, advice: str) -> dict[str, Any]:
    """Read a JSON object that a user named; every number is finite, and no key is there twice."""
    content = read_bytes(path, what, advice, max_bytes=MAX_JSON_BYTES)
    try:
        value = json.loads(content, parse_float=_finite, parse_constant=_finite, object_pairs_hook=_object)
    except (ValueError, RecursionError) as error:
        raise InvalidData(f"{what} must be JSON, but {path} is not ({error}). {advice}") from error
    if not isinstance(value, dict):
        raise InvalidData(f"{what} must be a JSON object, but {path} holds another value. {advice}")
    return value


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text} is not a finite number")
    return number


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuse a key that is there twice: which of its values was checked would be anybody's guess."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError(f"a key is there twice among {', '.join(repr(key) for key in list(found)[:5])}")
    return found


def safe_name(name: str, what: str) -> str:
    """Return a name that is safe as one file name, or refuse it before the disk is touched."""
    if not SAFE_NAME.fullmatch(name) or ".." in name or RESERVED_NAME.fullmatch(name):
        raise WrongUsage(
            f"{what} must be 1 to 120 letters, digits, '.', '_' or '-', and no device, but {name[:130]!r} is not. "
            "Choose a plain name without folders."
        )
    return name


# Records that grow by a line: one JSON object each.


def read_json_lines(path: Path, what: str, advice: str) -> list[dict[str, Any]]:
    """Read a file of one JSON object a line, such as `the promotion log`; empty where there is no file.

    Raises
    ------
    InvalidData
        A line is no JSON object, such as the half line of a copy that was cut short.
    """
    if not path.is_file():
        return []
    lines = read_bytes(path, what, "Fix its permissions.").split(b"\n")
    entries, broken = [], []
    for number, line in enumerate(lines[:-1] if not lines[-1] else lines, start=1):
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError):
            entry = None
        entries.append(entry)
        if not isinstance(entry, dict):
            broken.append(number)
    if broken:
        raise InvalidData(
            f"{what} must hold a JSON object a line, but {len(broken)} of {len(entries)} lines are none "
            f"({path}, first line {broken[0]}). {advice}"
        )
    return entries


def append_json_line(path: Path, entry: dict[str, Any]) -> None:
    """Append one JSON object to a file that several processes may append to; a failed write leaves it as it was.

    Raises
    ------
    OperationFailed
        The file cannot be written.
    """
    line = json.dumps(entry, sort_keys=True, allow_nan=False).encode() + b"\n"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "a+b", buffering=0) as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            size = file.seek(0, os.SEEK_END)
            file.seek(max(size - 1, 0))
            # An editor may have left the last line without its end.
            line = b"\n" + line if size and file.read(1) != b"\n" else line
            try:
                written = file.write(line)
                os.fsync(file.fileno())
            except OSError:
                file.truncate(size)
                raise
            if written != len(line):
                file.truncate(size)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    except OSError as error:
        raise OperationFailed(f"{path} must be written, but {_reason(error)}.") from error
