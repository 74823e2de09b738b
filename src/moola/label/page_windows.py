"""Which windows are labelled, and where their bars are in the bar table: every time comes from there."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Int

from moola.core.bars import Bars, bar_interval_us
from moola.core.windows import CutWindows, inner_zone
from moola.errors import InvalidData
from moola.tables.cutting import cut_within_gaps, rows_of_bars, windows_of_bars
from moola.tables.window_file import WindowTable, read_windows

ONE_OF_SEVERAL = re.compile(r"_exp_\d+$")
ADVICE = "Give the bars that the windows were cut from."


@dataclass(frozen=True)
class WindowList:
    """Windows over one bar table, in the order in which they came.

    Attributes
    ----------
    bars
        Bars symbol by symbol, each symbol in time order.
    window_id
        Id of each window, all different.
    first_bar
        Row of each window's first bar; the window is this bar and the next `window_bars - 1` of its symbol.
    """

    bars: Bars
    window_id: list[str]
    first_bar: Int[np.ndarray, " windows"]
    window_bars: int

    def __len__(self) -> int:
        return len(self.window_id)

    def times(self, number: int) -> Int[np.ndarray, " bars"]:
        """Return the start of each bar of a window, microseconds since 1970 in UTC."""
        first = int(self.first_bar[number])
        times: np.ndarray = self.bars.start_us[first : first + self.window_bars]
        return times

    def symbol(self, number: int) -> str:
        """Return the symbol of a window; the empty string where the bars name none."""
        return str(self.bars.symbol[self.first_bar[number]])

    def bar_us(self, number: int) -> int:
        """Return the usual time of a bar of the window's symbol in microseconds; 0 where it has one bar."""
        return self._lengths[self.symbol(number)]

    @cached_property
    def _lengths(self) -> dict[str, int]:
        bars = self.bars
        return {name: bar_interval_us(bars.start_us[bars.symbol == name]) for name in bars.symbols}

    def with_context(self, number: int, n_context: int) -> tuple[int, int]:
        """Return rows `[first, last)` of a window and at most `n_context` bars of its symbol on either side."""
        first = int(self.first_bar[number])
        symbol = self.bars.symbol[first]
        low, high = max(0, first - n_context), min(len(self.bars), first + self.window_bars + n_context)
        while self.bars.symbol[low] != symbol:
            low += 1
        while self.bars.symbol[high - 1] != symbol:
            high -= 1
        return low, high

    def table(self, numbers: Int[np.ndarray, " windows"]) -> WindowTable:
        """Lay some windows out as a table without labels, prices from the bars."""
        return windows_of_bars(self.bars, CutWindows(self.first_bar[numbers], 0, self.window_bars))


def cut_window_list(bars: Bars, window_bars: int, stride: int | None, max_gap_hours: float | None) -> WindowList:
    """Cut the windows to label from the bars.

    The stride is the inner zone's length unless given: then each bar is in the inner zone of one window.

    Raises
    ------
    InvalidData
        The bars give no window.
    """
    zone_start, zone_end = inner_zone(window_bars)
    step = max(1, zone_end - zone_start) if stride is None else stride
    found = cut_within_gaps(bars, step, window_bars, max_gap_hours, "the bar file")
    return WindowList(bars, rows_of_bars(bars, found).window_id, found.first_bar, window_bars)


def window_list_of_file(bars: Bars, path: Path, window_bars: int) -> WindowList:
    """Find each window of a file among the bars; rows over the same bars are one window to label.

    Raises
    ------
    InvalidData
        The windows have no times, or some are not in the bars with just these times and prices.
    """
    table = read_windows(path, window_bars)
    if table.start_us is None or table.end_us is None:
        raise InvalidData(
            f"windows to label must have start_ts and end_ts, but none of the {len(table)} rows of {path} has. "
            "Cut them again with `moola windows`."
        )
    first = _first_bars(bars, table)
    missing = np.flatnonzero(first < 0)
    if len(missing):
        raise InvalidData(
            f"every window must be in the bars with its times and prices, but {len(missing)} of {len(table)} are not "
            f"({path}, first at row {missing[0]}: {table.window_id[missing[0]]!r}). {ADVICE}"
        )
    _, rows = np.unique(first, return_index=True)
    rows = np.sort(rows)
    names = [ONE_OF_SEVERAL.sub("", table.window_id[row]) for row in rows]
    again = [name for name, count in Counter(names).items() if count > 1]
    if again:
        raise InvalidData(
            f"windows over different bars must have different ids, but {len(again)} of {len(set(names))} ids are "
            f"repeated ({path}, first {again[0]!r}). Rename them."
        )
    return WindowList(bars, names, first[rows], window_bars)


def _first_bars(bars: Bars, table: WindowTable) -> np.ndarray:
    """Row of each window's first bar; -1 where its times or prices are not those of the bars."""
    start_us, end_us = table.times_us
    length = table.window_bars
    found = np.full(len(table), -1, dtype=np.int64)
    for symbol in bars.symbols:
        rows = np.flatnonzero(bars.symbol == symbol)
        times = bars.start_us[rows]
        # Files without symbols may name bars that have just one.
        alone = len(bars.symbols) == 1
        mine = np.flatnonzero((table.symbol == symbol) | (alone & (table.symbol == "")))
        if len(rows) < length or not len(mine):
            continue
        place = np.searchsorted(times, start_us[mine])
        fits = place + length <= len(rows)
        mine, place = mine[fits], place[fits]
        same = (times[place] == start_us[mine]) & (times[place + length - 1] == end_us[mine])
        mine, place = mine[same], place[same]
        found[mine] = rows[place]
    if table.ohlc is not None:
        for row in np.flatnonzero(found >= 0):
            there = bars.ohlc[found[row] : found[row] + length]
            if not np.allclose(there, table.ohlc[row], rtol=1e-6, atol=0.0):
                found[row] = -1
    return found
