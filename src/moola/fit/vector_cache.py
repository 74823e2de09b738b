"""Vectors of windows on disk, so that a second fit on the same windows starts at once.

Entries are named by content: a hash over the encoder's weights, the window's scaled features and what else decides the
bytes. A file holds the windows of one fit that were not known yet, behind a hash of all that follows: a file that was
cut or altered is removed and its windows encoded again, never used in part. The folder is bounded: the files unused for
longest go first. It can be deleted at any time.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import struct
from pathlib import Path

import numpy as np

from moola.errors import OperationFailed
from moola.files import write_atomic

log = logging.getLogger(__name__)
CACHE_ROOT = Path("artifacts/cache/vectors")
MAX_BYTES = 512 << 20
MAGIC, KEY_BYTES, SUFFIX = b"moola-vectors-1\n", 32, ".vectors"
# Hash of what follows it, then windows, bars and values of a bar's vector.
HEAD = struct.Struct("<32s3q")
Vectors = dict[bytes, np.ndarray]


def stored_vectors(kind: bytes, wanted: set[bytes]) -> Vectors:
    """Return those of the wanted windows that are on disk, each `(bars, hidden)`.

    `kind` is what all windows of a file have in common (the encoder): files of another are not opened.
    """
    found: Vectors = {}
    for path in sorted(CACHE_ROOT.glob(f"{kind.hex()[:16]}-*{SUFFIX}")):
        with contextlib.suppress(OSError):
            if wanted - found.keys() and wanted & set(_keys(path)):
                found |= {name: one for name, one in _read(path).items() if name in wanted}
    return found


def store_vectors(kind: bytes, vectors: Vectors) -> None:
    """Put windows on disk and keep the folder within its bound; a folder that cannot be written to changes nothing."""
    if not vectors:
        return
    names = sorted(vectors)
    stacked = np.stack([vectors[name] for name in names]).astype("<f4")
    body = b"".join(names) + stacked.tobytes()
    if len(body) > MAX_BYTES // 2:
        return
    sizes = struct.pack("<3q", *stacked.shape)
    digest = hashlib.sha256(sizes + body).digest()
    path = CACHE_ROOT / f"{kind.hex()[:16]}-{hashlib.sha256(b''.join(names)).hexdigest()[:16]}{SUFFIX}"
    try:
        write_atomic(path, MAGIC + digest + sizes + body)
        keep_within(CACHE_ROOT, SUFFIX, MAX_BYTES)
    except (OSError, OperationFailed) as error:
        log.debug("Encoded windows are not kept: %s", error)


def _head(content: bytes) -> tuple[bytes, tuple[int, ...]]:
    if not content.startswith(MAGIC) or len(content) < len(MAGIC) + HEAD.size:
        return b"", (0, 0, 0)
    digest, *shape = HEAD.unpack_from(content, len(MAGIC))
    return digest, tuple(shape) if min(shape) > 0 else (0, 0, 0)


def _keys(path: Path) -> list[bytes]:
    with path.open("rb") as file:
        _, (n_windows, _, _) = _head(file.read(len(MAGIC) + HEAD.size))
        listed = file.read(min(n_windows * KEY_BYTES, path.stat().st_size))
    return [listed[i : i + KEY_BYTES] for i in range(0, len(listed), KEY_BYTES)]


def _read(path: Path) -> Vectors:
    """Return a file's windows after checking every byte of it; one that is not whole is removed."""
    content = path.read_bytes()
    digest, shape = _head(content)
    n_windows, n_bars, n_hidden = shape
    first = len(MAGIC) + HEAD.size + n_windows * KEY_BYTES
    whole = hashlib.sha256(content[len(MAGIC) + 32 :]).digest() == digest
    if not whole or len(content) != first + 4 * n_windows * n_bars * n_hidden:
        log.warning("%s is not as it was written: its windows are encoded again.", path)
        path.unlink()
        return {}
    os.utime(path)
    vectors = np.frombuffer(content, "<f4", offset=first).reshape(shape)
    listed = content[first - n_windows * KEY_BYTES : first]
    names = [listed[i : i + KEY_BYTES] for i in range(0, len(listed), KEY_BYTES)]
    return dict(zip(names, vectors, strict=True))


def keep_within(folder: Path, suffix: str, max_bytes: int) -> None:
    """Remove a folder's files of this suffix, those unused for longest first, until the rest are within `max_bytes`."""
    files = [(path.stat().st_mtime, path.stat().st_size, path) for path in folder.glob(f"*{suffix}")]
    total = sum(size for _, size, _ in files)
    for _, size, path in sorted(files):
        if total <= max_bytes:
            return
        path.unlink(missing_ok=True)
        total -= size
