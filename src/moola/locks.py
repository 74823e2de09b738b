"""One process at a time: a lock file that names its holder, and that the system frees when the holder ends."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from moola.errors import OperationFailed
from moola.files import missing_folders, remove_empty

log = logging.getLogger(__name__)


def lock_beside(path: Path) -> Path:
    """Return the lock file of a file or folder: hidden, beside it."""
    return path.with_name(f".{path.name}.lock")


@contextlib.contextmanager
def alone(lock: Path, what: str) -> Iterator[None]:
    """Hold a lock file while the block runs; a second process, or a second use in this one, is refused.

    Parameters
    ----------
    lock
        Where the lock is, or will be; it is removed at the end. One that a killed process left is taken over.
    what
        What one process at a time must do, such as `work on run r1`.

    Raises
    ------
    OperationFailed
        Another process holds it, named by process id and host; or the folder cannot be written or locked.
    """
    # Those still empty at the end go again.
    made = missing_folders(lock.parent)
    try:
        handle = _take(lock, what)
    except OSError as error:
        remove_empty(made)
        raise OperationFailed(
            f"one process at a time must {what}, which a lock keeps, but {lock} cannot be made ({error.strerror}). "
            "Free space, correct the folder's permissions, or choose a folder that can be locked."
        ) from error
    try:
        yield
    finally:
        # While it is held: a process that waits for this file sees that it is no longer the one at its path.
        with contextlib.suppress(OSError):
            os.unlink(lock)
        os.close(handle)
        remove_empty(made)


def _take(lock: Path, what: str) -> int:
    while True:
        lock.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(lock, os.O_CREAT | os.O_RDWR, 0o644)
        try:
            _hold(handle, lock, what)
            if _is_at(handle, lock):
                try:
                    _sign(handle, what)
                except OSError:
                    # A full disk: what cannot be signed is not left behind.
                    os.unlink(lock)
                    raise
                return handle
        except BaseException:
            os.close(handle)
            raise
        # Its holder ended and removed it between our two steps.
        os.close(handle)


def _hold(handle: int, lock: Path, what: str) -> None:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        holder = _read(handle) or "another process"
        raise OperationFailed(
            f"one process at a time must {what}, but {holder} is doing so (it holds {lock}). Wait for it, or end it."
        ) from error


def _is_at(handle: int, lock: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), os.stat(lock))
    except FileNotFoundError:
        return False


def _sign(handle: int, what: str) -> None:
    if left := _read(handle):
        log.info("Taking over from %s, which ended before it was done: %s.", left, what)
    os.ftruncate(handle, 0)
    os.pwrite(handle, f"process {os.getpid()} on {socket.gethostname()}\n".encode(), 0)


def _read(handle: int) -> str:
    return os.pread(handle, 300, 0).decode(errors="replace").strip()
