"""Events of a scan with what they are drawn from: bars, times, and the merged curves."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from moola.core.merging import seen_by
from moola.pipeline.scanning import Scan


@dataclass(frozen=True)
class EventPicture:
    """One event over the bars of a window, or of more where the event is longer.

    Attributes
    ----------
    rank
        1 for the most probable event.
    start_us
        Start of every bar.
    curves
        Mean start and end curve `(bars, 2)` of the windows that saw the event; 0 at bars that none has.
    bar, low, high
        Pointers and the edges of their intervals, counted from the first bar shown.
    """

    rank: int
    symbol: str
    start_us: np.ndarray
    ohlc: np.ndarray
    curves: np.ndarray
    bar: np.ndarray
    low: np.ndarray
    high: np.ndarray
    predicted_label: str
    class_prob: float
    event_prob: float
    n_agree: int
    n_saw: int
    cut: bool


def pictures(scan: Scan, limit: int) -> Iterator[EventPicture]:
    """Yield the most probable events of a scan that has run, reading their windows again one event at a time."""
    n_bars, first_bar = scan.model.window_bars, scan.cut.first_bar
    for rank, row in enumerate(scan.events.ranked()[:limit], 1):
        event = scan.events.take(np.array([row]))
        first, last, _ = seen_by(first_bar, event.bar, n_bars)
        said = scan.read(first_bar[first[0] : last[0]])
        around = slice(int(said.first_bar[0]), int(said.first_bar[-1]) + n_bars)
        curves, seen = np.zeros((around.stop - around.start, 2)), np.zeros((around.stop - around.start, 1))
        for offset, curve in zip(said.first_bar - around.start, said.curves, strict=True):
            curves[offset : offset + n_bars] += curve
            seen[offset : offset + n_bars] += 1
        start, end = (int(bar) for bar in event.bar[0])
        # A window's bars with the event in the middle, as far as the windows that saw it go.
        spare = max((n_bars - (end - start + 1)) // 2, 0)
        shown = slice(max(start - spare, around.start), min(end + spare + 1, around.stop))
        label = int(event.class_prob[0].argmax())
        yield EventPicture(
            rank,
            str(scan.bars.symbol[start]),
            scan.bars.start_us[shown],
            scan.bars.ohlc[shown],
            (curves / seen)[shown.start - around.start : shown.stop - around.start],
            event.bar[0] - shown.start,
            event.low[0] - shown.start,
            event.high[0] - shown.start,
            scan.model.class_names[label],
            float(event.class_prob[0, label]),
            float(event.event_prob[0]),
            int(event.n_agree[0]),
            int(event.n_saw[0]),
            bool(event.cut[0]),
        )
