"""Shift by re-cutting: the window begins some bars earlier or later in the bar table."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from moola.core.windows import inner_zone
from moola.data.augmentation.checks import outside_zone, still_largest
from moola.data.augmentation.source import Source
from moola.data.augmentation.window import Window

MAX_SHIFT_BARS = 20


def recut(window: Window, source: Source, rng: np.random.Generator) -> Window | None:
    """Cut the window anew, up to 20 bars earlier or later; pointers move the other way.

    `None` where its bars are not in the bar table, or where every shift would take a pointer out of the
    inner zone, run over a long gap, or touch a bar outside the time of training rows.
    """
    row = source.row_of(window)
    if row is None or not window.has_pointers:
        return None
    assert source.bars is not None
    n_bars = len(window)
    first, last = inner_zone(n_bars)
    lowest, highest = min(first, window.start_bar), max(last - 1, window.end_bar)
    shifts = [
        shift
        for shift in range(
            max(-MAX_SHIFT_BARS, window.end_bar - highest), min(MAX_SHIFT_BARS, window.start_bar - lowest) + 1
        )
        if shift and source.may_cut(row + shift, window)
    ]
    if not shifts:
        return None
    shift = int(rng.choice(shifts))
    rows = slice(row + shift, row + shift + n_bars)
    times = source.bars.start_us[rows]
    return replace(
        window,
        ohlc=source.bars.ohlc[rows].copy(),
        start_bar=window.start_bar - shift,
        end_bar=window.end_bar - shift,
        first_us=int(times[0]),
        last_us=int(times[-1]),
    )


def recut_keeps_label(parent: Window, made: Window, source: Source) -> str | None:
    """The expansion's own bars at the moved pointers, in the zone, no long gap, no held-out bar."""
    before, after = (window.ohlc[window.start_bar : window.end_bar + 1] for window in (parent, made))
    if not np.array_equal(before, after):
        return "the expansion's bars changed"
    row = source.row_of(made)
    if row is None or not source.may_cut(row, parent):
        return "bars that may not be used"
    return outside_zone(parent, made) or still_largest(parent, made)
