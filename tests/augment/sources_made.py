"""Training windows for augmentations, with the bar table that they were cut from."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from moola.augment import Source, Window, windows_of
from moola.core.bars import Bars
from moola.core.seeds import generator
from moola.core.windows import take_windows
from moola.tables.window_file import WindowTable
from tests.made import random_walk_bars
from tests.planted import planted_windows

SAME = {"consolidation": "consolidation", "retracement": "retracement"}
N = 24


def planted(n: int = N, seed: int = 3) -> WindowTable:
    """Windows with a planted move: strong, and the largest of the inner zone."""
    return planted_windows(n, seed)


def source_of(table: WindowTable, bars: Bars | None = None, ranges_us: np.ndarray | None = None) -> Source:
    """What augmentations read, of the whole table."""
    ranges = ranges_us if ranges_us is not None else np.empty((0, 2), dtype=np.int64)
    return Source(tuple(windows_of(table)), SAME, bars, ranges)


def rng_of(window: Window, again: int = 0) -> np.random.Generator:
    """A generator of its own for each window."""
    return generator(1, window.window_id, again)


def scaled(table: WindowTable, factor: float) -> WindowTable:
    """The same windows at other prices."""
    assert table.ohlc is not None
    return replace(table, ohlc=table.ohlc * factor)


def pattern(window: Window) -> np.ndarray:
    """Log closes of the expansion against the close before it: what must be found at moved pointers."""
    return np.log(window.ohlc[window.start_bar : window.end_bar + 1, 3] / window.ohlc[window.start_bar - 1, 3])


def cut_table(n: int = 8, n_between: int = 40) -> tuple[WindowTable, Bars]:
    """Planted windows with `n_between` quiet bars before, between and behind them, and the bar table of all."""
    table = planted(n)
    assert table.ohlc is not None
    quiet = random_walk_bars(n_between, seed=5).ohlc ** 0.05
    pieces, last = [], 1.0
    for piece in [*(part for window in table.ohlc for part in (quiet, window)), quiet]:
        pieces.append(piece * last / piece[0, 0])
        last = pieces[-1][-1, 3]
    ohlc = np.concatenate(pieces)
    bars = Bars(random_walk_bars(len(ohlc)).start_us, ohlc, np.full(len(ohlc), "", dtype=object))
    length = table.window_bars
    first_bar = n_between + (length + n_between) * np.arange(n, dtype=np.int64)
    times = {"start_us": bars.start_us[first_bar], "end_us": bars.start_us[first_bar + length - 1]}
    return replace(table, ohlc=take_windows(ohlc, first_bar, length), **times), bars


def all_time(table: WindowTable) -> np.ndarray:
    """One range that holds every bar there is."""
    return np.array([[0, np.iinfo(np.int64).max]])
