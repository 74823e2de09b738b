"""Stage `scan`: a model slid over bars, part by part; what its windows say becomes events."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import AbstractContextManager, closing
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from moola import __version__
from moola.config.scan_options import ScanOptions
from moola.core.merging import MergedEvents, suppress
from moola.data.contracts.bar_spool import SpooledBars, spool_bars
from moola.data.contracts.event_table import Events, events_of, write_event_pieces
from moola.errors import InvalidData
from moola.files import sha256_file
from moola.locks import alone, lock_beside
from moola.pipeline.engines.processes import results
from moola.pipeline.scan.counts import Stretch, WindowCounts, count_windows, stretches
from moola.pipeline.scan.parts import ScanPart, ScanParts
from moola.pipeline.scan.proposals import PartReader, open_judging, open_reader, propose

OnPart = Callable[[int, int, int], None]
DECIDING = ("stride", "max_gap_hours", "max_overlap", "batch_windows", "threads", "live", "live_windows")


class Scan:
    """One model over one bar file.

    Bars are laid out on disk symbol by symbol, and read, like their windows, a part at a time: memory hangs on
    the size of a part alone. In hindsight a part is read together with the windows beside it that share bars
    with it, live with those before it, so that what it proposes hangs on nothing else that was read: any process
    may read it. What proposals of neighbouring parts do to each other is settled here, in order, and a scan can go
    on after any part.
    """

    def __init__(self, options: ScanOptions) -> None:
        options.check()
        assert options.bars is not None
        self.options = options
        self.reader = open_reader(options)
        self.judging = open_judging(options, self.reader.model)
        self.parts = ScanParts(options.output, self._deciding(options.bars))
        self.spool: SpooledBars
        self.plan: list[Stretch] = []

    @property
    def class_names(self) -> list[str]:
        """The model's classes."""
        return self.reader.model.class_names

    def alone(self) -> AbstractContextManager[None]:
        """Hold the output, so that no other scan writes its parts or it."""
        return alone(lock_beside(self.options.output), f"scan into {self.options.output}")

    def run(self, on_part: OnPart) -> dict[str, Any]:
        """Read every window, write the events, and say what was seen; `on_part` gets windows done, all, events.

        What it laid out stays, for pictures, until `finish`.
        """
        assert self.options.bars is not None
        n_done = self.parts.begin(self.options.resume)
        try:
            self.spool = spool_bars(self.options.bars, self.parts.folder)
        except InvalidData:
            self.finish()
            raise
        self.plan = stretches(self.spool, self.reader.sliding, self.reader.n_bars)
        counts = self._counted()
        read = np.cumsum(counts.by_part)
        with closing(self._proposals(n_done)) as proposals:
            for number, found in in_order(proposals, n_done):
                part = self._part(self.plan[number], found, self._before(number))
                self.parts.write(number, part)
                on_part(int(read[number]), counts.n_windows, part.n_events)
        said: Counter[str] = Counter()
        n_cut = 0

        def counted() -> Iterator[Events]:
            nonlocal n_cut
            for events in self.events():
                said.update(np.array(self.class_names)[events.class_prob.argmax(axis=1)].tolist())
                n_cut += int(events.cut.sum())
                yield events

        write_event_pieces(self.options.output, counted(), self.class_names)
        return {
            "output": str(self.options.output),
            "n_events": said.total(),
            "n_cut": n_cut,
            "predicted": dict(sorted(said.items())),
            "min_prob": float(self.judging.min_prob),
            "n_bars": sum(self.spool.n_bars),
            "n_symbols": len(self.spool.symbols),
            "resumed_parts": n_done,
            "device": str(self.reader.device),
            "labelled_by": self.reader.model.training.get("annotators"),
        } | counts.as_dict()

    def finish(self) -> None:
        """Remove what the scan laid out beside its output."""
        self.parts.clear()

    def settled(self) -> Iterator[tuple[int, MergedEvents]]:
        """Yield each part's events with their symbol, after `run`, in the order of the output."""
        for number, stretch in enumerate(self.plan):
            if len(found := self.parts.read(number).final):
                yield stretch.symbol, found

    def events(self) -> Iterator[Events]:
        """Yield each part's events with their times, after `run`, in the order of the output."""
        for symbol, found in self.settled():
            first = int(min(found.low.min(), found.bar.min()))
            last = int(max(found.high.max(), found.bar.max(), found.known_bar.max()))
            yield events_of(found, self.spool.read(symbol, first, last + 1), self.class_names, first)

    @property
    def reading(self) -> PartReader:
        """The model over the bars, once `run` has laid them out."""
        return PartReader(self.reader, self.judging, self.spool, self.options.live)

    def _proposals(self, n_done: int) -> Generator[tuple[int, MergedEvents]]:
        """Yield the number of each part to be read and what it proposes, as they end."""
        options = self.options
        if options.engine == "processes" and options.processes == 1:
            for number in range(n_done, len(self.plan)):
                yield number, self.reading.proposed(self.plan[number])
            return
        # All compute on what this process does: the bytes hang on it.
        options = replace(options, device="cuda" if self.reader.device.type == "cuda" else "cpu")
        given = (options, sha256_file(options.model), self.spool)
        jobs = [(*given, number, self.plan[number]) for number in range(n_done, len(self.plan))]
        with closing(results(propose, jobs, options.processes, options.engine)) as found:
            yield from found

    def _counted(self) -> WindowCounts:
        window_bars = self.reader.n_bars
        counts = count_windows(self.spool, self.plan, self.reader.sliding, window_bars)
        if not counts.n_windows:
            self.finish()
            raise InvalidData(
                f"{self.options.bars} must have bars for a window, but {sum(self.spool.n_bars)} bars give none of "
                f"{window_bars} ({counts.n_dropped_gap} dropped for gaps). Give more bars or raise --max-gap-hours."
            )
        return counts

    def _before(self, number: int) -> ScanPart:
        """Return what stands before a part: nothing of another symbol but the count."""
        last = self.parts.read(number - 1) if number else None
        if last is not None and self.plan[number - 1].symbol == self.plan[number].symbol:
            return last
        return ScanPart.before_all(len(self.class_names), last.n_events if last else 0)

    def _part(self, stretch: Stretch, found: MergedEvents, before: ScanPart) -> ScanPart:
        sliding, window_bars = self.reader.sliding, self.reader.n_bars
        stop = stretch.last * sliding.stride
        if self.options.live:
            return known_part(self.judging.untold(found, before.told), before, stop - window_bars)
        n_bars = self.spool.n_bars[stretch.symbol]
        is_last = stretch.last == sliding.n_places(n_bars, window_bars)
        return settled_part(found, before, n_bars if is_last else stop, self.judging.max_overlap)

    def _deciding(self, bars: Path) -> dict[str, Any]:
        """Everything that the events hang on."""
        options = asdict(self.options)
        files = {"model": sha256_file(self.options.model), "bars": sha256_file(bars)}
        chosen = {name: options[name] for name in DECIDING}
        own = {"min_prob": self.judging.min_prob, "device": str(self.reader.device), "version": __version__}
        return files | chosen | own


def in_order(proposals: Iterable[tuple[int, MergedEvents]], first: int) -> Iterator[tuple[int, MergedEvents]]:
    """Yield parts by their numbers from `first` on; one that ends before its turn waits."""
    waiting: dict[int, MergedEvents] = {}
    for number, found in proposals:
        waiting[number] = found
        while first in waiting:
            yield first, waiting.pop(first)
            first += 1


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
