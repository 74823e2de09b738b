"""A scan's events over its latest bars: what the overview page is drawn from."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from moola.core.bars import Bars
from moola.core.merging import MergedEvents
from moola.data.contracts.event_table import HINDSIGHT, Events, events_of
from moola.pipeline.scan.scanning import Scan


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
    """

    name: str
    bars: Bars
    first_bar: int
    merged: MergedEvents
    events: Events


@dataclass(frozen=True)
class Overview:
    """What the page shows, and how much of the scan that is."""

    title: str
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


def overview(scan: Scan, max_bars: int) -> Overview:
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
    return SymbolOverview(
        scan.spool.symbols[symbol], bars, first_bar, merged, events_of(merged, bars, scan.class_names)
    )
