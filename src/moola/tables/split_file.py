"""The split file: index lists, and what proves that they do not leak."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from moola.core.bars import time_us, utc_text
from moola.core.splits import PARTS, Split, chain_problems, index_problems, sharing_problems
from moola.core.windows import WINDOW_BARS
from moola.errors import InvalidData
from moola.files import json_bytes, read_json, write_atomic
from moola.tables.window_file import WindowTable

FORMAT_VERSION = 1
# A century: no bar is longer.
MAX_INTERVAL_S = 100 * 366 * 86400
ADVICE = "Write a purged split with `moola split`, or pass --allow-overlap to use an old one as it is."


@dataclass(frozen=True)
class SplitFile:
    """A split with its record: name, purge, the data it was made for, and each part's time range.

    Attributes
    ----------
    bar_interval_us
        Usual time between the bars of the data, which the purge counts; None where the file does not record it.
    """

    name: str
    split: Split
    purge_window: int
    data_sha256: str | None
    time_range_us: dict[str, tuple[int, int]]
    window_bars: int
    scheme: str = "forward"
    bar_interval_us: int | None = None


def read_split(path: Path) -> SplitFile:
    """Read a split file; its agreement with a window table is checked by `verify_split`."""
    content = read_json(path, "a split file", ADVICE)
    # Files of other programs, and old ones, do not say.
    version = content.get("format_version", FORMAT_VERSION)
    if version != FORMAT_VERSION:
        raise InvalidData(
            f"{path} must be a split file of format version {FORMAT_VERSION}, but it is of version {version!r}. "
            "Use the moola that wrote it, or write one again with `moola split`."
        )
    rows = {part: _indices(content, f"{part}_indices", path, part == "test") for part in PARTS}
    purge = content.get("purge_window", WINDOW_BARS - 1)
    if not isinstance(purge, int) or purge < 0:
        raise InvalidData(f"purge_window must be a whole number from 0 on, but {path} has {purge!r}. {ADVICE}")
    split = Split(rows["train"], rows["val"], rows["test"])
    ranges = content.get("time_range") or {}
    try:
        time_range = {part: (time_us(span[0]), time_us(span[1])) for part, span in ranges.items() if span}
    except (TypeError, ValueError, KeyError, IndexError, AttributeError) as error:
        raise InvalidData(
            f"time_range must hold two UTC times a part, but {path} does not ({error}). {ADVICE}"
        ) from error
    window_bars, data_sha256 = content.get("window_bars", WINDOW_BARS), content.get("data_sha256")
    if data_sha256 is not None and not isinstance(data_sha256, str):
        raise InvalidData(f"data_sha256 must be text, but {path} has {type(data_sha256).__name__}. {ADVICE}")
    interval_s = content.get("bar_interval_s")
    if interval_s is not None and not (type(interval_s) in (int, float) and 0 < interval_s < MAX_INTERVAL_S):
        raise InvalidData(f"bar_interval_s must be seconds above 0, but {path} has {interval_s!r}. {ADVICE}")
    interval_us = None if interval_s is None else round(interval_s * 1e6)
    scheme = str(content.get("scheme", "forward"))
    name = str(content.get("name", path.stem))
    return SplitFile(name, split, purge, data_sha256, time_range, window_bars, scheme, interval_us)


def recorded_window_bars(path: Path) -> int | None:
    """Return the length of the windows that a split file says it divides, None where it says none."""
    found = read_json(path, "a split file", ADVICE).get("window_bars")
    return found if isinstance(found, int) and found > 0 else None


def _indices(content: dict[str, Any], key: str, path: Path, optional: bool) -> np.ndarray:
    rows = content.get(key)
    if rows is None and optional:
        rows = []
    if not isinstance(rows, list) or not all(type(row) is int and abs(row) < 2**62 for row in rows):
        raise InvalidData(f"{key} must be a list of row numbers, but {path} has none that is. {ADVICE}")
    return np.array(rows, dtype=np.int64)


def write_split(path: Path, file: SplitFile, table: WindowTable) -> None:
    """Write a split with the data's hash, the rows that the purge dropped and each part's time range."""
    split = file.split
    record: dict[str, Any] = {
        "format_version": FORMAT_VERSION,
        "name": file.name,
        "purge_window": file.purge_window,
        "data_sha256": file.data_sha256,
        "window_bars": file.window_bars,
        "bar_interval_s": table.usual_interval_us / 1e6 or None,
        "scheme": file.scheme,
    }
    record |= {f"{part}_indices": split.part(part).tolist() for part in PARTS}
    record["purged"] = [
        {"row": row, "window_id": table.window_id[row], "reason": reason}
        for row, reason in sorted(split.dropped.items())
    ]
    record["time_range"] = {part: _range(table, split.part(part)) for part in PARTS}
    write_atomic(path, json_bytes(record))


def _range(table: WindowTable, rows: np.ndarray) -> list[str] | None:
    if table.start_us is None or table.end_us is None or not len(rows):
        return None
    return [utc_text(table.start_us[rows].min()), utc_text(table.end_us[rows].max())]


def verify_split(file: SplitFile, path: Path, table: WindowTable, data_sha256: str, allow_overlap: bool) -> bool | None:
    """Check a split against the windows it divides.

    Returns
    -------
    bool or None
        True when no part shares a bar with a later one, None when the windows have no times (only
        equal bars can be checked), False when there is overlap and `allow_overlap` let it pass.

    Raises
    ------
    InvalidData
        Rows out of range, repeated or shared; another data file or window length; overlap, with the
        worst pair named, unless `allow_overlap`.
    """
    if file.data_sha256 not in (None, data_sha256):
        raise InvalidData(
            f"{path} must be the split of the data given, but it was made for a file with SHA-256 "
            f"{file.data_sha256[:12]}... and this one has {data_sha256[:12]}.... Run `moola split` on this data."
        )
    if file.window_bars != table.window_bars:
        raise InvalidData(
            f"{path} must be for windows of {table.window_bars} bars, but it is for {file.window_bars}. "
            "Run `moola split` on this data."
        )
    problems = index_problems(file.split, len(table))
    if problems:
        raise InvalidData.from_problems(path, problems, ADVICE)
    intervals = table.intervals()
    if file.scheme == "combinatorial":
        leaks = sharing_problems(file.split, intervals, table.window_id)
    else:
        leaks = chain_problems(file.split, intervals, table.window_id)
    if leaks and not allow_overlap:
        raise InvalidData.from_problems(path, leaks, ADVICE)
    if leaks:
        return False
    return True if intervals.timed else None
