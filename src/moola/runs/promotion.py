"""The shelf of promoted models: one file in use, the one before it, and a log."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
from pathlib import Path
from typing import Any

from moola.errors import InvalidData, OperationFailed
from moola.files import read_bytes, safe_name, sha256_bytes, write_atomic

LOG_NAME = "promotions.jsonl"


def promoted_path(root: Path, name: str) -> Path:
    """Return where the promoted model of this name is, or will be."""
    return root / safe_name(name, "the name of a promoted model")


def previous_path(path: Path) -> Path:
    """Return where the model before the promoted one is kept."""
    return path.with_name(f"{path.stem}.previous{path.suffix}")


def promote_file(model: Path, target: Path, record: dict[str, Any]) -> dict[str, Any]:
    """Copy a model to the shelf, keep the one before it, and append to the promotion log.

    Each of the three is atomic, in an order in which a stop in between loses nothing (the older model is
    kept first, then replaced, then logged), and a failed one brings back what stood before.
    """
    content = read_bytes(model, "the model to promote", "Train the run anew.")
    log = target.with_name(LOG_NAME)
    before = {path: _content_of(path) for path in (previous_path(target), target, log)}
    older = before[target]
    entry = {
        "promoted_at": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "file": target.name,
        "sha256": sha256_bytes(content),
        "replaced_sha256": None if older is None else sha256_bytes(older),
        **record,
    }
    line = json.dumps(entry, sort_keys=True, allow_nan=False) + "\n"
    try:
        if older is not None:
            write_atomic(previous_path(target), older)
        write_atomic(target, content)
        write_atomic(log, (before[log] or b"") + line.encode())
    except OperationFailed:
        _put_back(before)
        raise
    return entry


def _content_of(path: Path) -> bytes | None:
    return read_bytes(path, "a file of the shelf", "Mend its permissions.") if path.is_file() else None


def _put_back(before: dict[Path, bytes | None]) -> None:
    """Bring the shelf back to what it was; a file that cannot be written back stays as it is."""
    for path, content in before.items():
        with contextlib.suppress(OperationFailed, OSError):
            if content is None:
                path.unlink(missing_ok=True)
            elif path.read_bytes() != content:
                write_atomic(path, content)


def read_log(root: Path) -> list[dict[str, Any]]:
    """Return the promotions so far, oldest first."""
    log = root / LOG_NAME
    if not log.is_file():
        return []
    try:
        lines = read_bytes(log, "the promotion log", "Mend its permissions.").decode().splitlines()
        entries = [json.loads(line) for line in lines]
    except (ValueError, RecursionError) as error:
        raise InvalidData(f"{log} must hold a JSON object a line, but does not ({error}). Mend it.") from error
    if not all(isinstance(entry, dict) for entry in entries):
        raise InvalidData(f"{log} must hold a JSON object a line, but a line holds another value. Mend it.")
    return entries
