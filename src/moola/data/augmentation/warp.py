"""Time warp: the expansion, and what stands before and after it, take more or fewer bars."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from jaxtyping import Float, Int

from moola.core.windows import inner_zone
from moola.data.augmentation.checks import move_of, outside_zone, still_largest
from moola.data.augmentation.source import Source
from moola.data.augmentation.window import Window, from_logs

# Shares of the parent's bars: inside, where the class says nothing of the pace, more than outside.
INSIDE = (0.7, 1.4)
BEFORE = (0.85, 1.18)
AFTER = (0.7, 1.4)


def warp(window: Window, _source: Source, rng: np.random.Generator) -> Window | None:
    """Move both pointers, and stretch or squeeze the bars between the window's ends and them to fit.

    Closes are read off the parent's path of log closes, which the expansion's first and last bar and the
    window's ends keep; gaps and wicks are those of the nearest bar of the parent. `None` where the window
    has no pointers, or none that could move inside the inner zone.
    """
    pairs = _places(window)
    if not len(pairs):
        return None
    start, end = (int(bar) for bar in pairs[rng.integers(len(pairs))])
    n_bars = len(window)
    # The move runs from the close before the expansion to the close of its last bar.
    place = np.interp(
        np.arange(n_bars), [0, start - 1, end, n_bars - 1], [0, window.start_bar - 1, window.end_bar, n_bars - 1]
    )
    return replace(window, ohlc=_read_at(window.ohlc, place), start_bar=start, end_bar=end)


def _places(window: Window) -> Int[np.ndarray, "pairs 2"]:
    """Every pair of new pointers that the limits allow, the parent's own left out."""
    n_bars = len(window)
    first, last = inner_zone(n_bars)
    empty = np.empty((0, 2), dtype=np.int64)
    # Without two closes before it, or a bar after it, there is nothing to stretch.
    if window.start_bar < 2 or window.end_bar >= n_bars - 1:
        return empty
    # A pointer that the trader set outside the zone may stay outside, but is not pushed further.
    lowest, highest = min(first, window.start_bar), max(last - 1, window.end_bar)
    starts = range(
        max(math.ceil(BEFORE[0] * window.start_bar), lowest, 2),
        min(math.floor(BEFORE[1] * window.start_bar), highest) + 1,
    )
    length, after = window.n_expansion_bars, n_bars - 1 - window.end_bar
    pairs = [
        (start, start + n - 1)
        for start in starts
        for n in range(max(math.ceil(INSIDE[0] * length), 1), math.floor(INSIDE[1] * length) + 1)
        if start + n - 1 <= highest and AFTER[0] <= (n_bars - start - n) / after <= AFTER[1]
    ]
    moved = [pair for pair in pairs if pair != (window.start_bar, window.end_bar)]
    return np.array(moved, dtype=np.int64).reshape(-1, 2) if moved else empty


def _read_at(ohlc: Float[np.ndarray, "bars 4"], place: Float[np.ndarray, " bars"]) -> Float[np.ndarray, "bars 4"]:
    open_, high, low, close = np.log(ohlc).T
    gap = np.concatenate([[0.0], open_[1:] - close[:-1]])
    upper, lower = high - np.maximum(open_, close), np.minimum(open_, close) - low
    near = np.rint(place).astype(np.int64)
    close = np.interp(place, np.arange(len(ohlc)), close)
    open_ = np.concatenate([open_[:1], close[:-1] + gap[near][1:]])
    top, bottom = np.maximum(open_, close), np.minimum(open_, close)
    return from_logs(np.stack([open_, top + upper[near], bottom - lower[near], close], axis=1))


def warp_keeps_label(parent: Window, made: Window, _source: Source) -> str | None:
    """Pointers in order and in the zone, a length within limits, the same move, still the largest one."""
    if not 0 < made.start_bar <= made.end_bar < len(made):
        return "pointers out of order"
    share = made.n_expansion_bars / parent.n_expansion_bars
    if not INSIDE[0] <= share <= INSIDE[1]:
        return "expansion stretched too far"
    if not np.isclose(move_of(made), move_of(parent), rtol=1e-6, atol=1e-12):
        return "the move changed"
    return outside_zone(parent, made) or still_largest(parent, made)
