"""Windows: runs of consecutive bars, cut as views of one bar table and never copied up front."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy.lib.stride_tricks import sliding_window_view

from moola.core.bars import Bars

WINDOW_BARS = 105
INNER_ZONE = (30, 75)


def inner_zone(window_bars: int) -> tuple[int, int]:
    """Return `[first, last)` of the zone where expansions are sought, scaled with the length."""
    first, last = (round(edge * window_bars / WINDOW_BARS) for edge in INNER_ZONE)
    return first, last


@dataclass(frozen=True)
class CutWindows:
    """Windows of one length over one bar table: first bars, and why others were not cut."""

    first_bar: Int[np.ndarray, " windows"]
    n_dropped_gap: int
    window_bars: int

    def __len__(self) -> int:
        return len(self.first_bar)


def cut_windows(bars: Bars, stride: int, window_bars: int = WINDOW_BARS, max_gap_s: float | None = None) -> CutWindows:
    """Find the first bars of windows at a stride, symbol by symbol.

    Parameters
    ----------
    bars
        Bars that obey `bar_problems`.
    stride
        Bars from one window's first bar to the next one's, at least 1.
    max_gap_s
        Longest time between two neighbouring bars inside a window, in seconds; `None` allows any.
        A window over a longer gap is dropped and counted, never shortened.

    Returns
    -------
    CutWindows
        First bars ascending within each symbol; none where a symbol has too few bars.
    """
    kept: list[np.ndarray] = []
    n_dropped = 0
    for symbol in bars.symbols:
        rows = np.flatnonzero(bars.symbol == symbol)
        # A view over the table needs adjacent bars, which symbol by symbol tables have.
        if rows[-1] - rows[0] + 1 != len(rows):
            raise ValueError(f"bars of symbol {symbol!r} must be contiguous in the table")
        first = np.arange(rows[0], rows[-1] + 2 - window_bars, stride, dtype=np.int64)
        if max_gap_s is not None and len(first):
            first, dropped = _without_gaps(bars.start_us, first, window_bars, max_gap_s)
            n_dropped += dropped
        kept.append(first)
    first_bar = np.concatenate(kept) if kept else np.empty(0, dtype=np.int64)
    return CutWindows(first_bar, n_dropped, window_bars)


def _without_gaps(
    start_us: np.ndarray, first: np.ndarray, window_bars: int, max_gap_s: float
) -> tuple[np.ndarray, int]:
    too_long = np.diff(start_us) > max_gap_s * 1e6
    n_before = np.concatenate([[0], np.cumsum(too_long)])
    whole = n_before[first + window_bars - 1] == n_before[first]
    return first[whole], int((~whole).sum())


def take_windows(
    by_bar: Float[np.ndarray, "bars values"], first_bar: Int[np.ndarray, " windows"], window_bars: int
) -> Float[np.ndarray, "windows window_bars values"]:
    """Copy these windows, and no others, out of a table of prices (or of anything else a bar)."""
    by_bar = np.ascontiguousarray(by_bar)
    if not len(first_bar):
        return np.empty((0, window_bars, by_bar.shape[1]), dtype=by_bar.dtype)
    # A window is one run of memory, so that each is copied at once.
    n_values = by_bar.shape[1]
    runs = sliding_window_view(by_bar.reshape(-1), window_bars * n_values)[::n_values]
    return runs[first_bar].reshape(len(first_bar), window_bars, n_values)


def intersects(
    start_us: Int[np.ndarray, " windows"],
    end_us: Int[np.ndarray, " windows"],
    first_us: int,
    until_us: int,
) -> Bool[np.ndarray, " windows"]:
    """Return which intervals `[start, end)` share time with `[first_us, until_us)`."""
    return (start_us < until_us) & (end_us > first_us)


def rows_of(values: np.ndarray | None, rows: np.ndarray) -> np.ndarray | None:
    """Return some rows of an array that may be missing."""
    return None if values is None else values[rows]
