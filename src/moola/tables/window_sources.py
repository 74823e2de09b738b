"""Windows for learning, cut and scaled a batch at a time: bars stay bars."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np

from moola.core.bars import Bars, bar_lengths_us, upside_down
from moola.core.features import N_FEATURES, BarFeatures, relative_features
from moola.core.splits import Intervals
from moola.core.windows import WINDOW_BARS, take_windows
from moola.tables.bar_table import bars_from_frame
from moola.tables.cutting import cut_within_gaps
from moola.tables.frames import read_frame
from moola.tables.window_file import WindowTable, read_windows


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
