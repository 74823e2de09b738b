"""The shelf of promoted models: one file in use, the one before it, and a log."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import Any

from moola.errors import InvalidData
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

    Each of the three is atomic, in an order in which a stop in between loses nothing: the older model
    is kept first, then replaced, then logged.
    """
    content = read_bytes(model, "the model to promote", "Train the run anew.")
    replaced = None
    if target.is_file():
        older = read_bytes(target, "the promoted model", "Mend its permissions.")
        replaced = sha256_bytes(older)
        write_atomic(previous_path(target), older)
    write_atomic(target, content)
    entry = {
        "promoted_at": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "file": target.name,
        "sha256": sha256_bytes(content),
        "replaced_sha256": replaced,
        **record,
    }
    log = target.with_name(LOG_NAME)
    before = read_bytes(log, "the promotion log", "Mend its permissions.") if log.is_file() else b""
    line = json.dumps(entry, sort_keys=True, allow_nan=False) + "\n"
    write_atomic(log, before + line.encode())
    return entry


def read_log(root: Path) -> list[dict[str, Any]]:
    """Return the promotions so far, oldest first."""
    log = root / LOG_NAME
    if not log.is_file():
        return []
    lines = read_bytes(log, "the promotion log", "Mend its permissions.").decode().splitlines()
    try:
        return [json.loads(line) for line in lines]
    except ValueError as error:
        raise InvalidData(f"{log} must hold a JSON object a line, but does not ({error}). Mend it.") from error
