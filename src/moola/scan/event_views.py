"""Events of a scan with what they are drawn from: pictures, and the overview over the latest bars."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from moola.core.bars import Bars
from moola.core.event_merging import MergedEvents, seen_by
from moola.scan.scanning import Scan
from moola.tables.event_table import HINDSIGHT, Events, events_of


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


# A scan's events over its latest bars: what the overview page is drawn from.


@dataclass(frozen=True)
class SymbolOverview:
    """One symbol's latest bars and the events among them.

    Attributes
    ----------
    first_bar
        Place of the first bar shown among all of the symbol's.
    merged
        Events whose bars are all shown, counted from the first bar shown, in order of their start.
    events
        The same events with their times.
    learned
        Which of them lie in times that the model learned from.
    """

    name: str
    bars: Bars
    first_bar: int
    merged: MergedEvents
    events: Events
    learned: np.ndarray


@dataclass(frozen=True)
class Overview:
    """What the page shows, and how much of the scan that is; `about` says what is known of the model, line by line."""

    title: str
    about: Sequence[str]
    class_names: list[str]
    symbols: list[SymbolOverview]
    min_prob: float
    is_live: bool
    n_events: int
    n_bars: int

    @property
    def n_shown(self) -> int:
        """Events on the page."""
        return sum(len(symbol.events) for symbol in self.symbols)


def overview(scan: Scan, max_bars: int, about: Sequence[str] = ()) -> Overview:
    """Collect the latest bars of each symbol, `max_bars` in all, and the events among them; the scan has run."""
    assert scan.options.bars is not None
    each = max(max_bars // len(scan.spool.symbols), 1)
    first = [max(n_bars - each, 0) for n_bars in scan.spool.n_bars]
    found = [MergedEvents.none(len(scan.class_names)) for _ in first]
    n_events = 0
    for symbol, settled in scan.settled():
        n_events += len(settled)
        inside = settled.take(np.flatnonzero(np.minimum(settled.low[:, 0], settled.bar[:, 0]) >= first[symbol]))
        found[symbol] = MergedEvents.joined([found[symbol], inside])
    return Overview(
        scan.options.bars.name,
        about,
        list(scan.class_names),
        [_symbol(scan, i, first[i], found[i]) for i in range(len(first))],
        scan.judging.min_prob,
        scan.options.live,
        n_events,
        sum(scan.spool.n_bars),
    )


def _symbol(scan: Scan, symbol: int, first_bar: int, found: MergedEvents) -> SymbolOverview:
    bars = scan.spool.read(symbol, first_bar, scan.spool.n_bars[symbol])
    found = found.take(np.lexsort((found.bar[:, 1], found.bar[:, 0])))
    known = np.where(found.known_bar == HINDSIGHT, HINDSIGHT, found.known_bar - first_bar)
    low, high, bar = found.low - first_bar, found.high - first_bar, found.bar - first_bar
    merged = replace(found, bar=bar, low=low, high=high, known_bar=known)
    events = events_of(merged, bars, scan.class_names)
    learned = scan.learned(events)
    return SymbolOverview(scan.spool.symbols[symbol], bars, first_bar, merged, events, learned)
