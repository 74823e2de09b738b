"""Promoted models: one in use, those before it by hash, a log, and how often the test windows behind them have been
looked at."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moola.errors import OperationFailed
from moola.files import (
    append_json_line,
    json_bytes,
    read_bytes,
    read_json,
    read_json_lines,
    safe_name,
    sha256_bytes,
    sha256_file,
    write_atomic,
)

log = logging.getLogger(__name__)
LOG_NAME = "promotions.jsonl"
PREVIOUS = "previous"
BACK = "back"


def promoted_path(root: Path, name: str) -> Path:
    """Return where the promoted model of this name is, or will be."""
    return root / safe_name(name, "the name of a promoted model")


def previous_path(path: Path, sha256: str) -> Path:
    """Return where a model that was in use under `path` is kept: by its hash, so that none takes another's place."""
    return path.parent / PREVIOUS / f"{path.stem}-{sha256[:16]}{path.suffix}"


def check_promotion(model: Path, target: Path) -> bytes:
    """Return the content of a model that may be put into use at `target`; nothing is written.

    Raises
    ------
    InvalidData
        The promotion log is damaged: nothing could be added to it afterwards.
    OperationFailed
        The model cannot be read, or it is the one in use.
    """
    read_log(target.parent)
    content = read_bytes(model, "the model to promote", "Train the run again.")
    in_use = _content_of(target)
    if in_use is not None and sha256_bytes(in_use) == sha256_bytes(content):
        raise OperationFailed(
            f"a model to promote must be another than the one in use, but {model} is in use already ({target}, SHA-256 "
            f"{sha256_bytes(content)[:16]}). Promote another run, or return to the model before it with --back."
        )
    return content


def promote_file(model: Path, target: Path, record: dict[str, Any]) -> dict[str, Any]:
    """Put a model into use, keep the one before it by its hash, and append to the promotion log.

    All that can be refused is checked before anything is written (`check_promotion`). What is about to be done is
    written first, so that `finish_promotion` can end what a kill cut short; each file is then replaced whole, and a
    failed write brings back what was before.
    """
    content = check_promotion(model, target)
    older = _content_of(target)
    entry = {
        "promoted_at": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "file": target.name,
        "sha256": sha256_bytes(content),
        "replaced_sha256": None if older is None else sha256_bytes(older),
        **record,
    }
    kept = [] if older is None else [previous_path(target, sha256_bytes(older))]
    before = {path: _content_of(path) for path in (*kept, target, _log_path(target))}
    try:
        write_atomic(_pending_path(target), json_bytes({"entry": entry, "model": str(model.absolute())}))
        _put(target, older, content)
        _append_entry(target, entry)
    except OperationFailed:
        _put_back(before)
        _pending_path(target).unlink(missing_ok=True)
        raise
    _pending_path(target).unlink(missing_ok=True)
    return entry


def promote_back(target: Path) -> dict[str, Any]:
    """Put the model into use that was in use before this one, and append to the log; repeated, it goes further back.

    Raises
    ------
    InvalidData
        The promotion log is damaged. Nothing was changed.
    OperationFailed
        There was none before, or its file is gone or another by now. Nothing was changed.
    """
    entries = [entry for entry in read_log(target.parent) if entry.get("file") == target.name]
    in_use = _content_of(target)
    history = _history(entries)
    if history and in_use is not None and history[-1] == sha256_bytes(in_use):
        history.pop()
    if not history:
        raise OperationFailed(
            f"a model must have been in use before the present one to return to it, but the promotion log names 0 for "
            f"{target.name} ({_log_path(target)}). The model in use is unchanged."
        )
    first = next((entry for entry in entries if entry.get("sha256") == history[-1]), {})
    return promote_file(_kept(target, history[-1]), target, {"action": BACK, "run_id": first.get("run_id")})


def _history(entries: list[dict[str, Any]]) -> list[str]:
    """Return hashes of the models in use so far, oldest first; a return takes those after it away."""
    history: list[str] = []
    for entry in entries:
        now, replaced = entry.get("sha256"), entry.get("replaced_sha256")
        if entry.get("action") == BACK and now in history:
            del history[len(history) - history[::-1].index(now) :]
            continue
        # A model that was put there by hand is known by what replaced it.
        history += [one for one in (replaced, now) if isinstance(one, str) and history[-1:] != [one]]
    return history


def _kept(target: Path, sha256: str) -> Path:
    """Find a model that was in use: by its hash, or where earlier versions kept the last one."""
    places = (previous_path(target, sha256), target.with_name(f"{target.stem}.previous{target.suffix}"))
    for place in places:
        if place.is_file() and sha256_file(place) == sha256:
            return place
    raise OperationFailed(
        f"the model to return to must have the SHA-256 {sha256[:16]} of the promotion log, but 0 of {len(places)} "
        f"files have it ({places[0]}, {places[1].name}). Promote its run again."
    )


def finish_promotion(target: Path) -> dict[str, Any] | None:
    """End a promotion that a kill cut short, and return its entry of the log; None where there is nothing to end.

    One that cannot be ended (its model is gone, or something else was put into use) is dropped with a warning.
    """
    pending = _pending_path(target)
    if not pending.is_file():
        return None
    found = read_json(pending, "a promotion that was cut short", f"Remove {pending} and promote again.")
    read_log(target.parent)
    entry, model, in_use = found["entry"], Path(found["model"]), _content_of(target)
    in_use_sha256 = None if in_use is None else sha256_bytes(in_use)
    if in_use_sha256 == entry["replaced_sha256"] and model.is_file() and sha256_file(model) == entry["sha256"]:
        _put(target, in_use, model.read_bytes())
    elif in_use_sha256 != entry["sha256"]:
        log.warning("The promotion of run %s was cut short and cannot be finished.", entry.get("run_id"))
        pending.unlink()
        return None
    _append_entry(target, entry)
    pending.unlink()
    return dict(entry)


def _put(target: Path, older: bytes | None, content: bytes) -> None:
    if older is not None:
        kept = previous_path(target, sha256_bytes(older))
        if _content_of(kept) != older:
            write_atomic(kept, older)
    write_atomic(target, content)


def _append_entry(target: Path, entry: dict[str, Any]) -> None:
    """Append an entry to the log, unless it is there."""
    if entry not in read_log(target.parent):
        content = _content_of(_log_path(target)) or b""
        # An editor may have left the last line without its end.
        content += b"" if not content or content.endswith(b"\n") else b"\n"
        write_atomic(_log_path(target), content + json.dumps(entry, sort_keys=True, allow_nan=False).encode() + b"\n")


def _log_path(target: Path) -> Path:
    return target.with_name(LOG_NAME)


def _pending_path(target: Path) -> Path:
    return target.with_name(f".{target.name}.pending.json")


def _content_of(path: Path) -> bytes | None:
    return read_bytes(path, "a promoted model", "Fix its permissions.") if path.is_file() else None


def _put_back(before: dict[Path, bytes | None]) -> None:
    """Restore all files; one that cannot be written back stays as it is."""
    for path, content in before.items():
        with contextlib.suppress(OperationFailed, OSError):
            if content is None:
                path.unlink(missing_ok=True)
                if path.parent.name == PREVIOUS:
                    path.parent.rmdir()
            elif path.read_bytes() != content:
                write_atomic(path, content)


def read_log(root: Path) -> list[dict[str, Any]]:
    """Return the promotions so far, oldest first.

    Raises
    ------
    InvalidData
        A line is no JSON object, such as the half line of a copy that was cut short.
    """
    return read_json_lines(root / LOG_NAME, "the promotion log", "Complete that line from a copy, or remove it.")


LOOKS = Path("artifacts/gates/looks.jsonl")


@dataclass(frozen=True)
class GateCounts:
    """Comparisons made on the same windows, this one included; the same two models compared again count once."""

    n_looks: int
    n_runs: int


def count_gates(windows_sha256: str, run_id: str, baseline: str) -> GateCounts:
    """Count the comparisons on these windows so far, with that of `run_id` against `baseline`.

    Raises
    ------
    InvalidData
        The record of gates is damaged.
    """
    pairs = {(one.get("run_id"), one.get("baseline")) for one in _read() if one.get("windows_sha256") == windows_sha256}
    pairs.add((run_id, baseline))
    return GateCounts(len(pairs), len({run for run, _ in pairs}))


def record_gate(gated: dict[str, Any]) -> None:
    """Append a gate to the record; `gated` has `windows_sha256`, `run_id` and `baseline` among what it says."""
    append_json_line(LOOKS, {"gated_at": dt.datetime.now(dt.UTC).isoformat(timespec="seconds")} | gated)


def _read() -> list[dict[str, Any]]:
    return read_json_lines(LOOKS, "the record of gates", "Complete that line from a copy, or remove it.")
