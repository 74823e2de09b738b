"""What a scan will read, counted before it reads: windows, gaps inside and between them, bars that none has."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from moola.core.windows import cut_windows
from moola.data.contracts.bar_spool import LaidOutBars, symbol_gap_s, symbol_interval_us
from moola.pipeline.scan.reading import Sliding


@dataclass(frozen=True)
class Stretch:
    """Places `[first, last)` of a symbol's windows: what one part of a scan reads."""

    symbol: int
    first: int
    last: int


@dataclass
class WindowCounts:
    """Windows of a scan.

    Attributes
    ----------
    by_part
        Windows of each part, those over a long gap left out.
    n_dropped_gap
        Windows over a gap above the longest one allowed.
    n_over_gap
        Windows over a shorter gap: more than the symbol's usual time between bars.
    limits_s
        The longest gap allowed, a symbol.
    n_unseen, unseen
        Bars in no window, and symbols that have no other.
    """

    by_part: list[int] = field(default_factory=list)
    n_dropped_gap: int = 0
    n_over_gap: int = 0
    limits_s: list[float] = field(default_factory=list)
    n_unseen: int = 0
    unseen: list[str] = field(default_factory=list)

    @property
    def n_windows(self) -> int:
        """Windows of all parts."""
        return sum(self.by_part)

    def as_dict(self) -> dict[str, Any]:
        """Return the counts by the names of the command's result."""
        return {
            "n_windows": self.n_windows,
            "n_dropped_gap": self.n_dropped_gap,
            "max_gap_hours": [limit_s / 3600 for limit_s in self.limits_s],
            "n_windows_over_gap": self.n_over_gap,
            "n_bars_unseen": self.n_unseen,
            "symbols_unseen": self.unseen,
        }


def stretches(spool: LaidOutBars, sliding: Sliding, window_bars: int) -> list[Stretch]:
    """Return the parts of a scan, symbol by symbol."""
    parts = []
    for symbol, n_bars in enumerate(spool.n_bars):
        n_places = sliding.n_places(n_bars, window_bars)
        for first in range(0, n_places, sliding.batch_windows):
            parts.append(Stretch(symbol, first, min(first + sliding.batch_windows, n_places)))
    return parts


def count_windows(spool: LaidOutBars, parts: list[Stretch], sliding: Sliding, window_bars: int) -> WindowCounts:
    """Count, reading the bars of one part at a time."""
    counts = WindowCounts()
    usual_us = [symbol_interval_us(spool, symbol) for symbol in range(len(spool.symbols))]
    limit_s = [symbol_gap_s(spool, symbol, sliding.max_gap_hours) for symbol in range(len(spool.symbols))]
    counts.limits_s = limit_s
    n_seen, seen_to = np.zeros(len(spool.symbols), dtype=np.int64), np.zeros(len(spool.symbols), dtype=np.int64)
    for part in parts:
        offset = part.first * sliding.stride
        bars = spool.read(part.symbol, offset, (part.last - 1) * sliding.stride + window_bars)
        cut = cut_windows(bars, sliding.stride, window_bars, limit_s[part.symbol])
        counts.by_part.append(len(cut))
        counts.n_dropped_gap += cut.n_dropped_gap
        longer = np.concatenate([[0], np.cumsum(np.diff(bars.start_us) > usual_us[part.symbol])])
        counts.n_over_gap += int((longer[cut.first_bar + window_bars - 1] > longer[cut.first_bar]).sum())
        ends = cut.first_bar + offset + window_bars
        n_seen[part.symbol] += int(np.minimum(np.diff(ends, prepend=seen_to[part.symbol]), window_bars).sum())
        seen_to[part.symbol] = ends[-1] if len(ends) else seen_to[part.symbol]
    counts.n_unseen = int(sum(spool.n_bars) - n_seen.sum())
    counts.unseen = [name for name, n in zip(spool.symbols, n_seen.tolist(), strict=True) if not n]
    return counts
