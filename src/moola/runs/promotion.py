"""The shelf of promoted models: one file in use, the one before it, and a log."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import logging
from pathlib import Path
from typing import Any

from moola.errors import InvalidData, OperationFailed
from moola.files import json_bytes, read_bytes, read_json, safe_name, sha256_bytes, sha256_file, write_atomic

log = logging.getLogger(__name__)
LOG_NAME = "promotions.jsonl"


def promoted_path(root: Path, name: str) -> Path:
    """Return where the promoted model of this name is, or will be."""
    return root / safe_name(name, "the name of a promoted model")


def previous_path(path: Path) -> Path:
    """Return where the model before the promoted one is kept."""
    return path.with_name(f"{path.stem}.previous{path.suffix}")


def promote_file(model: Path, target: Path, record: dict[str, Any]) -> dict[str, Any]:
    """Copy a model to the shelf, keep the one before it, and append to the promotion log.

    What is about to be done is written first, so that `finish_promotion` can end what a kill cut short; each file is
    then replaced whole, and a failed write brings back what stood before.
    """
    content = read_bytes(model, "the model to promote", "Train the run anew.")
    before = {path: _content_of(path) for path in (previous_path(target), target, _log_path(target))}
    older = before[target]
    entry = {
        "promoted_at": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "file": target.name,
        "sha256": sha256_bytes(content),
        "replaced_sha256": None if older is None else sha256_bytes(older),
        **record,
    }
    try:
        write_atomic(_pending_path(target), json_bytes({"entry": entry, "model": str(model.absolute())}))
        _put(target, older, content)
        _tell(target, entry)
    except OperationFailed:
        _put_back(before)
        raise
    finally:
        _pending_path(target).unlink(missing_ok=True)
    return entry


def finish_promotion(target: Path) -> dict[str, Any] | None:
    """End a promotion that a kill cut short, and return its entry of the log; None where there is nothing to end.

    One that cannot be ended (its model is gone, or something else was put into use) is dropped with a warning.
    """
    pending = _pending_path(target)
    if not pending.is_file():
        return None
    found = read_json(pending, "a promotion that was cut short", f"Remove {pending} and promote anew.")
    entry, model, in_use = found["entry"], Path(found["model"]), _content_of(target)
    in_use_sha256 = None if in_use is None else sha256_bytes(in_use)
    if in_use_sha256 == entry["replaced_sha256"] and model.is_file() and sha256_file(model) == entry["sha256"]:
        _put(target, in_use, model.read_bytes())
    elif in_use_sha256 != entry["sha256"]:
        log.warning("The promotion of run %s was cut short and cannot be finished.", entry.get("run_id"))
        pending.unlink()
        return None
    _tell(target, entry)
    pending.unlink()
    return dict(entry)


def _put(target: Path, older: bytes | None, content: bytes) -> None:
    if older is not None:
        write_atomic(previous_path(target), older)
    write_atomic(target, content)


def _tell(target: Path, entry: dict[str, Any]) -> None:
    """Append an entry to the log, unless it stands there."""
    if entry not in read_log(target.parent):
        line = json.dumps(entry, sort_keys=True, allow_nan=False) + "\n"
        write_atomic(_log_path(target), (_content_of(_log_path(target)) or b"") + line.encode())


def _log_path(target: Path) -> Path:
    return target.with_name(LOG_NAME)


def _pending_path(target: Path) -> Path:
    return target.with_name(f".{target.name}.pending.json")


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
    path = root / LOG_NAME
    if not path.is_file():
        return []
    try:
        lines = read_bytes(path, "the promotion log", "Mend its permissions.").decode().splitlines()
        entries = [json.loads(line) for line in lines]
    except (ValueError, RecursionError) as error:
        raise InvalidData(f"{path} must hold a JSON object a line, but does not ({error}). Mend it.") from error
    if not all(isinstance(entry, dict) for entry in entries):
        raise InvalidData(f"{path} must hold a JSON object a line, but a line holds another value. Mend it.")
    return entries
