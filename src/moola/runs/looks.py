"""How often the same test windows have been looked at: a line for each comparison of two models on them."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moola.files import append_json_line, read_json_lines

LOOKS = Path("artifacts/gates/looks.jsonl")


@dataclass(frozen=True)
class Looks:
    """Comparisons made on the same windows, this one included; the same two models compared again count once."""

    n_looks: int
    n_runs: int


def count_looks(windows_sha256: str, run_id: str, baseline: str) -> Looks:
    """Count the comparisons on these windows so far, with that of `run_id` against `baseline`.

    Raises
    ------
    InvalidData
        The record of gates is damaged.
    """
    pairs = {(one.get("run_id"), one.get("baseline")) for one in _read() if one.get("windows_sha256") == windows_sha256}
    pairs.add((run_id, baseline))
    return Looks(len(pairs), len({run for run, _ in pairs}))


def remember_look(gated: dict[str, Any]) -> None:
    """Append a gate to the record; `gated` has `windows_sha256`, `run_id` and `baseline` among what it says."""
    append_json_line(LOOKS, {"gated_at": dt.datetime.now(dt.UTC).isoformat(timespec="seconds")} | gated)


def _read() -> list[dict[str, Any]]:
    return read_json_lines(LOOKS, "the record of gates", "Complete that line from a copy, or remove it.")
