"""Training windows with their labels, and the bars that synthetic windows may be made of."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise

import numpy as np
from jaxtyping import Float, Int

from moola.core.bars import Bars
from moola.core.windows import INNER_ZONE, WINDOW_BARS
from moola.tables.window_file import WindowTable


@dataclass(frozen=True)
class Window:
    """A window as augmentations see it.

    Attributes
    ----------
    ohlc
        Prices above 0, bar by bar.
    start_bar, end_bar
        Pointers, inclusive bar positions; -1 where there is none.
    first_us, last_us
        Times of the first and last bar, microseconds since 1970 in UTC; `None` where the file has none.
    """

    window_id: str
    ohlc: Float[np.ndarray, "bars 4"]
    label: str
    start_bar: int
    end_bar: int
    first_us: int | None
    last_us: int | None
    symbol: str

    def __len__(self) -> int:
        return len(self.ohlc)

    @property
    def has_pointers(self) -> bool:
        """Return whether the expansion is known."""
        return self.start_bar >= 0

    @property
    def n_expansion_bars(self) -> int:
        """Bars of the expansion, both ends included; 0 without pointers."""
        return self.end_bar - self.start_bar + 1 if self.has_pointers else 0

    @property
    def prior_bars(self) -> int:
        """Bars before the expansion that its class may depend on: the inner zone's 30 of 105, to scale."""
        return round(INNER_ZONE[0] * len(self) / WINDOW_BARS)


def windows_of(table: WindowTable) -> list[Window]:
    """Return the labelled rows of a table that carries its bars, in its order."""
    assert table.ohlc is not None
    return [
        Window(
            table.window_id[row],
            table.ohlc[row],
            table.label[row],
            int(table.expansion_start[row]),
            int(table.expansion_end[row]),
            int(table.start_us[row]) if table.start_us is not None else None,
            int(table.end_us[row]) if table.end_us is not None else None,
            str(table.symbol[row]),
        )
        for row in np.flatnonzero(np.array([name is not None for name in table.label], dtype=bool))
    ]


def from_logs(log_ohlc: Float[np.ndarray, "bars 4"]) -> Float[np.ndarray, "bars 4"]:
    """Turn log prices into bars; high and low are widened by the rounding of `exp`, never narrowed."""
    ohlc = np.exp(log_ohlc)
    ohlc[:, 1] = ohlc.max(axis=1)
    ohlc[:, 2] = ohlc.min(axis=1)
    return ohlc


# What synthetic windows may be made of: training rows, and bars inside the time of training rows.


# The longest gap that `moola windows` allows inside a window.
MAX_GAP_US = 72 * 3_600_000_000


@dataclass(frozen=True)
class Source:
    """Training windows and what is known beside them; nothing of a val or test window.

    Attributes
    ----------
    windows
        Training windows, sorted by name so that the order of rows changes nothing.
    swaps
        The class that the mirror gives each class; classes that are not here have no mirror.
    bars
        The table that windows were cut from; `None` where none was named.
    ranges_us
        Closed time ranges `[first, last]` of training windows between which held-out windows stand: bars
        outside them are never used. Empty allows none.
    """

    windows: tuple[Window, ...]
    swaps: dict[str, str]
    bars: Bars | None = None
    ranges_us: Int[np.ndarray, "ranges 2"] = field(default_factory=lambda: np.empty((0, 2), dtype=np.int64))

    def expansion_bars(self) -> tuple[int, int]:
        """Return the shortest and the longest expansion of training rows, (0, 0) without pointers."""
        lengths = [window.n_expansion_bars for window in self.windows if window.has_pointers]
        return (min(lengths), max(lengths)) if lengths else (0, 0)

    def row_of(self, window: Window) -> int | None:
        """Return the row of the window's first bar in the bar table, where exactly its bars are there."""
        if self.bars is None or window.first_us is None:
            return None
        first, stop = self._block_of(window.symbol)
        row = first + int(np.searchsorted(self.bars.start_us[first:stop], window.first_us))
        if row + len(window) > stop or self.bars.start_us[row] != window.first_us:
            return None
        same = np.array_equal(self.bars.ohlc[row : row + len(window)], window.ohlc)
        return row if same else None

    def _block_of(self, symbol: str) -> tuple[int, int]:
        """First row of a symbol and the row behind its last; a table that names none serves all."""
        return self._blocks.get(symbol, self._blocks.get("", (0, 0)))

    @cached_property
    def _blocks(self) -> dict[str, tuple[int, int]]:
        """Rows of each symbol: adjacent, as in every bar table that was read."""
        if self.bars is None or not len(self.bars):
            return {}
        symbol = self.bars.symbol.astype(str)
        edges = [0, *(np.flatnonzero(symbol[1:] != symbol[:-1]) + 1).tolist(), len(symbol)]
        return {str(symbol[first]): (first, stop) for first, stop in pairwise(edges)}

    def may_cut(self, row: int, window: Window) -> bool:
        """Return whether a window of this length and symbol may be cut from this row of the bar table on.

        Its bars must be of one symbol, have no gap longer than `MAX_GAP_US`, and lie inside the one range
        of training windows that its parent lies in.
        """
        assert self.bars is not None
        first_row, stop = self._block_of(window.symbol)
        if row < first_row or row + len(window) > stop:
            return False
        times = self.bars.start_us[row : row + len(window)]
        if len(times) > 1 and int(np.diff(times).max()) > MAX_GAP_US:
            return False
        if window.first_us is None or window.last_us is None:
            return False
        first, last = min(int(times[0]), window.first_us), max(int(times[-1]), window.last_us)
        return bool(((self.ranges_us[:, 0] <= first) & (last <= self.ranges_us[:, 1])).any())


def training_ranges(
    train_us: Int[np.ndarray, "train 2"], held_out_us: Int[np.ndarray, "held 2"]
) -> Int[np.ndarray, "ranges 2"]:
    """Return the time that training windows cover, cut wherever a held-out window is.

    Parameters
    ----------
    train_us, held_out_us
        First and last bar time of training windows, and of val and test windows together.

    Returns
    -------
    numpy.ndarray
        Closed ranges in time order, none of which shares a bar with a held-out window. In a forward chain
        there is one, and it ends before the first bar of val. A training window that itself shares bars
        with a held-out one (`--allow-overlap`) is in no range.
    """
    held_out = held_out_us[np.argsort(held_out_us[:, 0], kind="stable")]
    ranges: list[list[int]] = []
    for first, last in train_us[np.argsort(train_us[:, 0], kind="stable")].tolist():
        if _meets(first, last, held_out):
            continue
        if ranges and not _meets(ranges[-1][0], max(ranges[-1][1], last), held_out):
            ranges[-1][1] = max(ranges[-1][1], last)
        else:
            ranges.append([first, last])
    return np.array(ranges, dtype=np.int64).reshape(-1, 2)


def _meets(first_us: int, last_us: int, held_out: np.ndarray) -> bool:
    return bool(((held_out[:, 0] <= last_us) & (held_out[:, 1] >= first_us)).any())
