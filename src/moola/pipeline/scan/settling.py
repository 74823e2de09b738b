"""What proposals of neighbouring parts of a scan do to each other, settled part by part in their order."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from moola.core.merging import MergedEvents, suppress
from moola.data.contracts.event_table import Events, events_of
from moola.data.cutting import no_window
from moola.errors import InvalidData
from moola.pipeline.scan.counts import Stretch, WindowCounts, count_windows, stretches
from moola.pipeline.scan.parts import ScanPart
from moola.pipeline.scan.proposals import PartReader


@dataclass(frozen=True)
class Settling:
    """The parts of one scan; each is settled knowing the one before it."""

    reading: PartReader
    plan: list[Stretch]

    def part(self, number: int, found: MergedEvents, last: ScanPart | None) -> ScanPart:
        """Settle what a part proposes; `last` is the part before it, None for the first."""
        stretch, reader = self.plan[number], self.reading.reader
        if last is None or self.plan[number - 1].symbol != stretch.symbol:
            # Nothing of another symbol stands before a part but the count.
            last = ScanPart.before_all(len(reader.model.class_names), last.n_events if last else 0)
        sliding, window_bars, judging = reader.sliding, reader.n_bars, self.reading.judging
        stop = stretch.last * sliding.stride
        if self.reading.live:
            return known_part(judging.untold(found, last.told), last, stop - window_bars)
        n_bars = self.reading.spool.n_bars[stretch.symbol]
        is_last = stretch.last == sliding.n_places(n_bars, window_bars)
        return settled_part(found, last, n_bars if is_last else stop, judging.max_overlap)


def scan_held(reading: PartReader, name: str) -> Iterator[Events]:
    """Yield the events of bars in memory, in the order of the file that a scan on disk writes."""
    plan = stretches(reading.spool, reading.reader.sliding, reading.reader.n_bars)
    counted_windows(reading, plan, name)
    settling, last = Settling(reading, plan), None
    for number, stretch in enumerate(plan):
        last = settling.part(number, reading.proposed(stretch), last)
        if len(last.final):
            yield timed(last.final, stretch.symbol, reading)


def counted_windows(reading: PartReader, plan: list[Stretch], name: str) -> WindowCounts:
    """Count the windows of a scan; there must be one."""
    window_bars = reading.reader.n_bars
    counts = count_windows(reading.spool, plan, reading.reader.sliding, window_bars)
    if not counts.n_windows:
        spool = reading.spool
        steps = (np.diff(spool.read(symbol, 0, n).start_us) for symbol, n in enumerate(spool.n_bars))
        raise InvalidData(no_window(name, sum(spool.n_bars), window_bars, counts.n_dropped_gap, counts.limits_s, steps))
    return counts


def timed(found: MergedEvents, symbol: int, reading: PartReader) -> Events:
    """Give a symbol's events the times of their bars; there is one at least."""
    first = int(min(found.low.min(), found.bar.min()))
    last = int(max(found.high.max(), found.bar.max(), found.known_bar.max()))
    return events_of(found, reading.spool.read(symbol, first, last + 1), reading.reader.model.class_names, first)


def settled_part(found: MergedEvents, before: ScanPart, horizon: int, max_overlap: float) -> ScanPart:
    """Settle what no window that begins at `horizon` or later can change; the rest is left open."""
    found = MergedEvents.joined([before.open, found])
    kept, still = suppress(found, before.told, max_overlap, horizon)
    # Of the events told, those that an open or a coming one may overlap are all that the next part must know.
    reach = min(horizon, int(found.bar[still, 0].min(initial=horizon)))
    told = np.concatenate([before.told, found.bar[kept]])
    ready = MergedEvents.joined([before.waiting, found.take(np.flatnonzero(kept))])
    ready = ready.take(np.lexsort((ready.bar[:, 1], ready.bar[:, 0])))
    # Only what begins before all that may still come is in its place.
    n_final = int(np.searchsorted(ready.bar[:, 0], reach))
    rows = np.arange(len(ready))
    return ScanPart(
        ready.take(rows[:n_final]),
        ready.take(rows[n_final:]),
        found.take(np.flatnonzero(still)),
        told[told[:, 1] >= reach],
        before.n_events + int(kept.sum()),
    )


def known_part(found: MergedEvents, before: ScanPart, reach: int) -> ScanPart:
    """Events as they became known, with the bars that events to come, which begin at `reach` or later, may overlap."""
    told = np.concatenate([before.told, found.bar])
    return replace(before, final=found, told=told[told[:, 1] >= reach], n_events=before.n_events + len(found))
