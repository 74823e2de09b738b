"""Which windows without labels may be seen: those over before the split's val and test begin."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np

from moola.core.splits import PARTS, Intervals, index_problems
from moola.data.contracts.split_file import SplitFile, read_split, utc_text
from moola.data.sources import TableSource, WindowSource
from moola.errors import InvalidData

log = logging.getLogger(__name__)


def usable_rows(split: Path | None, path: Path, source: WindowSource, input_sha256: str) -> tuple[np.ndarray, str]:
    """Rows that may be seen: all, or those over before the split's val and test begin."""
    everything = np.arange(len(source))
    if split is None:
        if isinstance(source, TableSource) and source.table.classes:
            log.warning(
                "Without --split all %d labelled windows are seen, also those that a split holds out: "
                "runs that use this encoder will be marked as not leak-proof where it saw their bars.",
                len(source),
            )
        return everything, ""
    file = read_split(split)
    intervals = source.intervals
    boundary = _first_held_out_us(file, source, input_sha256)
    if boundary is None or intervals.end_us is None:
        if file.data_sha256 not in (None, input_sha256):
            raise InvalidData(
                f"--split must tell which times it holds out, but {split} and {path} do not both have "
                "times. Write the split anew with `moola split`, on windows with start_ts and end_ts."
            )
        if problems := index_problems(file.split, len(source)):
            raise InvalidData.from_problems(split, problems, "Write the split anew with `moola split`.")
        return file.split.train, "the split's train rows alone"
    boundary -= _embargo_us(file, intervals, source.window_bars)
    rows = everything[intervals.end_us <= boundary]
    if not len(rows):
        raise InvalidData(
            f"some windows must be over when the split's val and test begin ({utc_text(boundary)}), but none of "
            f"{len(source)} does. Give earlier bars."
        )
    return rows, f"windows that run into or follow {utc_text(boundary)}, where the split's val and test begin"


def _embargo_us(file: SplitFile, intervals: Intervals, window_bars: int) -> int:
    """Return the time of the bars that the split purges beyond one window.

    They are bars of the data that was divided: ten days of embargo stay ten days where hourly bars are learned from. A
    split that does not say how far its bars are apart is taken to be of bars like these.
    """
    n_bars = max(file.purge_window - (file.window_bars - 1), 0)
    if file.bar_interval_us is not None:
        return n_bars * file.bar_interval_us
    if intervals.start_us is None or intervals.end_us is None or window_bars < 2:
        return 0
    # From the first bar's start to the last one's end.
    usual = float(np.median(intervals.end_us - intervals.start_us)) / window_bars
    return round(n_bars * usual)


def _first_held_out_us(file: SplitFile, source: WindowSource, input_sha256: str) -> int | None:
    """Return when the first held-out bar is, from the split's record or from the windows it divides."""
    starts = [file.time_range_us[part][0] for part in PARTS[1:] if part in file.time_range_us]
    if starts:
        return min(starts)
    start_us = source.intervals.start_us
    held_out = np.concatenate([file.split.val, file.split.test])
    fits = file.data_sha256 in (None, input_sha256) and len(held_out) and held_out.max() < len(source)
    return int(start_us[held_out].min()) if fits and start_us is not None else None


def spread(rows: np.ndarray, most: int) -> np.ndarray:
    """Return at most this many rows, evenly spread, in order."""
    if len(rows) <= most:
        return rows
    chosen: np.ndarray = rows[np.linspace(0, len(rows) - 1, most).round().astype(np.int64)]
    return chosen
