"""Events of a scan with what they are drawn from: bars, times, and the merged curves."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from moola.core.merging import MergedEvents, seen_by
from moola.data.contracts.event_table import HINDSIGHT
from moola.pipeline.scan.scanning import Scan


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
    symbols, events = most_probable(scan, limit)
    sliding, n_bars = scan.reader.sliding, scan.reader.n_bars
    for row in range(len(events)):
        event, symbol = events.take(np.array([row])), int(symbols[row])
        start, end = (int(bar) for bar in event.bar[0])
        reach = sliding.reach(n_bars) + 1
        near, bars, offset = scan.reading.said(symbol, start // sliding.stride - reach, end // sliding.stride + reach)
        first, last, _ = seen_by(near.first_bar, event.bar, near.n_seen, near.zone)
        if event.known_bar[0] != HINDSIGHT:
            last = np.minimum(last, np.searchsorted(near.first_bar + near.n_seen - 1, event.known_bar, side="right"))
        around = slice(int(near.first_bar[first[0]]), int(near.first_bar[last[0] - 1]) + near.n_seen)
        curves, seen = np.zeros((around.stop - around.start, 2)), np.zeros((around.stop - around.start, 1))
        for window in range(first[0], last[0]):
            place = near.first_bar[window] - around.start
            curves[place : place + near.n_seen] += near.curves[window]
            seen[place : place + near.n_seen] += 1
        # A window's bars with the event in the middle, as far as the windows that saw it go.
        spare = max((n_bars - (end - start + 1)) // 2, 0)
        shown = slice(max(start - spare, around.start), min(end + spare + 1, around.stop))
        label = int(event.class_prob[0].argmax())
        yield EventPicture(
            row + 1,
            scan.spool.symbols[symbol],
            bars.start_us[shown.start - offset : shown.stop - offset],
            bars.ohlc[shown.start - offset : shown.stop - offset],
            (curves / np.maximum(seen, 1))[shown.start - around.start : shown.stop - around.start],
            event.bar[0] - shown.start,
            event.low[0] - shown.start,
            event.high[0] - shown.start,
            scan.class_names[label],
            float(event.class_prob[0, label]),
            float(event.event_prob[0]),
            int(event.n_agree[0]),
            int(event.n_saw[0]),
            bool(event.cut[0]),
        )


def most_probable(scan: Scan, limit: int) -> tuple[np.ndarray, MergedEvents]:
    """Return the most probable events of all parts with their symbols; ties go to the earlier symbol, then bar."""
    symbols, best = np.zeros(0, dtype=np.int64), MergedEvents.none(len(scan.class_names))
    for symbol, found in scan.settled():
        symbols = np.concatenate([symbols, np.full(len(found), symbol)])
        best = MergedEvents.joined([best, found])
        rank = np.lexsort((best.bar[:, 1], best.bar[:, 0], symbols, -best.event_prob))[:limit]
        symbols, best = symbols[rank], best.take(rank)
    return symbols, best
