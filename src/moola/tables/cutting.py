"""Windows cut out of bars within the longest gap, counted and labelled by the published rule, or cut and scaled a
batch at a time."""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np
import polars as pl

from moola.core.bars import Bars, allowed_gap_s, bar_lengths_us, upside_down
from moola.core.expansions import RULE_NAME, label_window
from moola.core.features import N_FEATURES, BarFeatures, relative_features
from moola.core.splits import Intervals
from moola.core.windows import WINDOW_BARS, CutWindows, cut_windows, take_windows
from moola.errors import InvalidData
from moola.tables.bar_table import bars_from_frame
from moola.tables.frames import read_frame
from moola.tables.window_file import WindowTable, piece_rows, read_windows

log = logging.getLogger(__name__)


def cut_within_gaps(
    bars: Bars, stride: int, window_bars: int, max_gap_hours: float | None, name: Path | str
) -> CutWindows:
    """Find windows without a gap above the longest one, symbol by symbol; there must be one.

    Parameters
    ----------
    max_gap_hours
        Longest time between neighbouring bars inside a window; None finds it from each symbol's bars (`allowed_gap_s`).
    name
        What messages call the bars.

    Raises
    ------
    InvalidData
        No window is left: says why, and what would keep one.
    """
    first, n_dropped, limits = [np.empty(0, dtype=np.int64)], 0, []
    for symbol in bars.symbols:
        rows = np.flatnonzero(bars.symbol == symbol)
        limits.append(allowed_gap_s(bars.start_us[rows], max_gap_hours))
        own = bars.take(rows)
        cut = cut_windows(own, stride, window_bars, limits[-1])
        first.append(cut.first_bar + rows[0])
        n_dropped += cut.n_dropped_gap
    found = CutWindows(np.concatenate(first), n_dropped, window_bars)
    if not len(found):
        steps = (np.diff(bars.start_us[bars.symbol == symbol]) for symbol in bars.symbols)
        raise InvalidData(no_window(name, len(bars), window_bars, n_dropped, limits, steps))
    if sentence := dropped_sentence(n_dropped, len(found) + n_dropped, limits):
        log.log(logging.WARNING if n_dropped > len(found) else logging.INFO, sentence)
    return found


def dropped_sentence(n_dropped: int, n_windows: int, limits_s: list[float]) -> str:
    """State how many windows were dropped for gaps, and by which option; nothing where none was."""
    if not n_dropped:
        return ""
    return f"{n_dropped} of {n_windows} windows are dropped: they hold a gap above {hours(limits_s)} (--max-gap-hours)."


def hours(limits_s: list[float]) -> str:
    """Write the longest gaps of all symbols."""
    low, high = f"{min(limits_s) / 3600:g}", f"{max(limits_s) / 3600:g}"
    return f"{low} h" if low == high else f"{low} to {high} h, by symbol,"


def no_window(
    name: Path | str,
    n_bars: int,
    window_bars: int,
    n_dropped: int,
    limits_s: list[float],
    steps_us: Iterable[np.ndarray],
) -> str:
    """State why bars give no window: they are too few, or every window holds a gap.

    Parameters
    ----------
    limits_s
        Longest gap allowed, a symbol.
    steps_us
        Times from bar to bar, symbol by symbol.
    """
    head = (
        f"{name} must have bars for a window, but {n_bars} bars give none of {window_bars} "
        f"({n_dropped} dropped for gaps)"
    )
    if not n_dropped:
        return f"{head}: no symbol has so many. Give more bars, or lower --window-bars."
    longest = [least_gap_us(step, window_bars) for step in steps_us if len(step) >= window_bars - 1]
    # Rounded up, so that the reported number does keep a window.
    least = math.ceil(min(longest) / 3.6e7) / 100
    return (
        f"{head}: each holds one above {hours(limits_s)}. "
        f"Pass --max-gap-hours {least:g} or more, or give bars without such gaps."
    )


def least_gap_us(step_us: np.ndarray, window_bars: int) -> float:
    """Return the longest gap of the window that has the shortest one; there are steps for a window."""
    if window_bars < 2:
        return 0.0
    longest = np.lib.stride_tricks.sliding_window_view(step_us, window_bars - 1).max(axis=1)
    return float(longest.min())


# `autolabel`: the published rule of `core.expansions` applied to windows cut from bars.


def windows_of_bars(bars: Bars, cut: CutWindows) -> WindowTable:
    """Lay windows cut from bars out as a table without labels."""
    return replace(rows_of_bars(bars, cut), ohlc=take_windows(bars.ohlc, cut.first_bar, cut.window_bars))


def pieces_of_bars(bars: Bars, cut: CutWindows) -> Iterator[WindowTable]:
    """Yield the same windows some at a time, so that no more are in memory."""
    rows = rows_of_bars(bars, cut)
    for piece in piece_rows(len(cut)):
        yield replace(rows.take(piece), ohlc=take_windows(bars.ohlc, cut.first_bar[piece], cut.window_bars))


def rows_of_bars(bars: Bars, cut: CutWindows) -> WindowTable:
    """Return what `windows_of_bars` does, without the prices."""
    n = len(cut)
    last = cut.first_bar + cut.window_bars - 1
    symbol = bars.symbol[cut.first_bar]
    start_us = bars.start_us[cut.first_bar]
    # Minutes name a window unless bars are shorter than that.
    length = 16 if not (start_us % 60_000_000).any() else 26
    stamp = [str(np.datetime64(int(time), "us"))[:length].replace(":", "").replace("-", "") for time in start_us]
    names = [f"{name or 'window'}_{time}" for name, time in zip(symbol, stamp, strict=True)]
    nothing = np.full(n, -1, dtype=np.int64)
    return WindowTable(
        names,
        None,
        None,
        np.full(n, None, dtype=object),
        nothing,
        nothing,
        start_us,
        bars.start_us[last],
        symbol,
        pl.DataFrame(),
    )


def label_by_rule(table: WindowTable, n_windows: int | None) -> tuple[WindowTable, dict[str, int]]:
    """Keep the windows that the rule labels, and count its answers for all of them.

    `n_windows` keeps that many, evenly spread over the labelled ones in order.

    Raises
    ------
    InvalidData
        Fewer windows can be labelled than were asked, or windows carry no prices.
    """
    if table.ohlc is None:
        raise InvalidData(
            f"the rule must see prices, but {len(table)} windows have features alone. Give windows as they were cut."
        )
    labels = [label_window(window) for window in table.ohlc]
    counts = Counter(label.label or f"unlabelled: {label.reason}" for label in labels)
    rows = np.array([i for i, label in enumerate(labels) if label.label is not None], dtype=np.int64)
    if n_windows is not None:
        # Where the rule labels none, the caller says why.
        if 0 < len(rows) < n_windows:
            raise InvalidData(
                f"--n-windows {n_windows} must be labelled, but the rule labels {len(rows)} of {len(table)} "
                "windows. Lower --n-windows or --stride."
            )
        rows = rows[np.linspace(0, len(rows) - 1, n_windows).round().astype(np.int64)] if len(rows) else rows
    kept = table.take(rows)
    chosen = [labels[row] for row in rows]
    annotator = pl.DataFrame({"annotator": [RULE_NAME] * len(rows)}, schema={"annotator": pl.String})
    labelled = WindowTable(
        kept.window_id,
        kept.ohlc,
        None,
        np.array([label.label for label in chosen], dtype=object),
        np.array([label.expansion_start for label in chosen], dtype=np.int64),
        np.array([label.expansion_end for label in chosen], dtype=np.int64),
        kept.start_us,
        kept.end_us,
        kept.symbol,
        annotator,
    )
    return labelled, dict(sorted(counts.items()))


class WindowSource(Protocol):
    """Windows by number: their times, and their features when asked for."""

    @property
    def window_bars(self) -> int:
        """Bars per window."""
        ...

    @property
    def intervals(self) -> Intervals:
        """Times of the windows, and groups of equal bars."""
        ...

    @property
    def symbols(self) -> list[str]:
        """Symbols of the bars, sorted; empty where the input names none."""
        ...

    def __len__(self) -> int: ...

    @property
    def position(self) -> np.ndarray:
        """Place in time of each window's first bar, counted in bars."""
        ...

    def features(self, rows: np.ndarray, flipped: np.ndarray | None = None) -> np.ndarray:
        """Return the eleven features `(rows, bars, 11)`, unscaled; of the mirrored bars where `flipped`."""
        ...

    def ohlc(self, rows: np.ndarray) -> np.ndarray | None:
        """Return prices `(rows, bars, 4)`, or None where a relative file carries none."""
        ...


@dataclass(frozen=True)
class BarSource:
    """Windows over one bar table; only the bars are in memory."""

    bars: Bars
    first_bar: np.ndarray
    window_bars: int

    def __len__(self) -> int:
        return len(self.first_bar)

    @property
    def intervals(self) -> Intervals:
        """When the first bar of each window begins and its last is over, by the usual distance of its symbol's bars."""
        last = self.first_bar + self.window_bars - 1
        over = self.bars.start_us[last] + bar_lengths_us(self.bars)[last]
        return Intervals(self.bars.start_us[self.first_bar], over, np.arange(len(self)))

    @property
    def symbols(self) -> list[str]:
        """Symbols of the bar table."""
        return _names(self.bars.symbol)

    @property
    def position(self) -> np.ndarray:
        """Row of the first bar in the table."""
        return self.first_bar

    @cached_property
    def _upright(self) -> BarFeatures:
        return BarFeatures(self.bars.ohlc)

    @cached_property
    def _turned(self) -> BarFeatures:
        return BarFeatures(self.bars.ohlc, turned=True)

    def features(self, rows: np.ndarray, flipped: np.ndarray | None = None) -> np.ndarray:
        """Cut these windows out of the features of all bars, which are computed once."""
        first = self.first_bar[rows]
        if flipped is None or not flipped.any():
            return self._upright.windows(first, self.window_bars)
        features = np.empty((len(rows), self.window_bars, N_FEATURES))
        for side, mine in ((self._upright, ~flipped), (self._turned, flipped)):
            features[mine] = side.windows(first[mine], self.window_bars)
        return features

    def ohlc(self, rows: np.ndarray) -> np.ndarray:
        """Cut these windows."""
        return take_windows(self.bars.ohlc, self.first_bar[rows], self.window_bars)


@dataclass(frozen=True)
class TableSource:
    """Windows of a window file."""

    table: WindowTable

    def __len__(self) -> int:
        return len(self.table)

    @property
    def window_bars(self) -> int:
        """Bars per window."""
        return self.table.window_bars

    @property
    def intervals(self) -> Intervals:
        """Times, and groups of equal bars."""
        return self.table.intervals()

    @property
    def symbols(self) -> list[str]:
        """Symbols of the windows."""
        return _names(self.table.symbol)

    @property
    def position(self) -> np.ndarray:
        """First bar's time in usual bar intervals; the row times the window's length where there are not times."""
        start_us, end_us = self.table.start_us, self.table.end_us
        if start_us is None or end_us is None or self.window_bars < 2:
            return np.arange(len(self)) * self.window_bars
        usual = max(float(np.median(end_us - start_us)) / (self.window_bars - 1), 1.0)
        return np.round((start_us - start_us.min()) / usual).astype(np.int64)

    def ohlc(self, rows: np.ndarray) -> np.ndarray | None:
        """Return stored bars."""
        return None if self.table.ohlc is None else self.table.ohlc[rows]

    def features(self, rows: np.ndarray, flipped: np.ndarray | None = None) -> np.ndarray:
        """Return stored features, or compute them from stored bars; mirrored ones need the bars."""
        if flipped is not None and flipped.any():
            ohlc = self.ohlc(rows)
            assert ohlc is not None
            return relative_features(np.where(flipped[:, None, None], upside_down(ohlc), ohlc))
        features = self.table.take(rows).with_features().features
        assert features is not None
        return features


def _names(symbol: np.ndarray) -> list[str]:
    return sorted({str(name) for name in symbol.tolist() if name})


def open_source(path: Path, stride: int, max_gap_s: float | None, window_bars: int | None) -> WindowSource:
    """Open windows or bars, distinguished by their columns.

    A longest gap of None is found from the bars; a length of None is 105.
    """
    frame = read_frame(path, "the input", "Give windows (`moola windows`) or bars (`moola bars import`).")
    if "timestamp" in frame.columns and "features" not in frame.columns:
        bars, n_bars = bars_from_frame(frame, path), window_bars or WINDOW_BARS
        cut = cut_within_gaps(bars, stride, n_bars, None if max_gap_s is None else max_gap_s / 3600, path)
        return BarSource(bars, cut.first_bar, n_bars)
    return TableSource(read_windows(path, window_bars))
