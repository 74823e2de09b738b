"""Stage `scan`: a model slid over bars, part by part; what its windows say becomes events."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from moola import __version__
from moola.config.scan_options import ScanOptions
from moola.core.bars import Bars
from moola.core.merging import MergedEvents, WindowCurves, suppress
from moola.data.contracts.bar_spool import SpooledBars, spool_bars
from moola.data.contracts.event_table import Events, events_of, write_event_pieces
from moola.errors import InvalidData, WrongUsage
from moola.files import sha256_file
from moola.locks import alone, lock_beside
from moola.models.files import ModelFile, read_model
from moola.pipeline.scan_counts import Stretch, WindowCounts, count_windows, stretches
from moola.pipeline.scan_parts import ScanPart, ScanParts
from moola.pipeline.scan_reading import Judging, Sliding, WindowReader
from moola.training.device import prepare_device

# A threshold chosen where every window has an expansion can be next to nothing; between them most windows have none.
LEAST_PROB = 0.1
OnPart = Callable[[int, int, int], None]
DECIDING = ("stride", "max_gap_hours", "max_overlap", "batch_windows", "threads", "live", "live_windows")


class Scan:
    """One model over one bar file.

    Bars are laid out on disk symbol by symbol, and read, like their windows, a part at a time: memory hangs on
    the size of a part alone. In hindsight a part is read together with the windows beside it that share bars
    with it, live with those before it, so that its events hang on nothing else that was read before and a scan
    can go on after any part.
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
        for number in range(n_done, len(self.plan)):
            part = self._part(self.plan[number], self._before(number))
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

    def said(self, symbol: int, first: int, last: int) -> tuple[WindowCurves, Bars, int]:
        """Read the windows at the places `[first, last)` of a symbol; return them, their bars and the bars' place."""
        stride = self.reader.sliding.stride
        n_places = self.reader.sliding.n_places(self.spool.n_bars[symbol], self.reader.n_bars)
        first, last = max(first, 0), min(last, n_places)
        bars = self.spool.read(symbol, first * stride, (last - 1) * stride + self.reader.n_bars)
        return self.reader.read(bars, first * stride), bars, first * stride

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

    def _part(self, stretch: Stretch, before: ScanPart) -> ScanPart:
        sliding, window_bars = self.reader.sliding, self.reader.n_bars
        reach = sliding.reach(window_bars)
        own = slice(stretch.first * sliding.stride, stretch.last * sliding.stride)
        if self.options.live:
            said, _, _ = self.said(stretch.symbol, stretch.first - reach, stretch.last)
            return known_part(self.judging.as_known(said, own, before.told), before, own.stop - window_bars)
        said, _, _ = self.said(stretch.symbol, stretch.first - reach, stretch.last + reach)
        found = self.judging.in_hindsight(said, own)
        n_bars = self.spool.n_bars[stretch.symbol]
        is_last = stretch.last == sliding.n_places(n_bars, window_bars)
        return settled_part(found, before, n_bars if is_last else own.stop, self.judging.max_overlap)

    def _deciding(self, bars: Path) -> dict[str, Any]:
        """Everything that the events hang on."""
        options = asdict(self.options)
        files = {"model": sha256_file(self.options.model), "bars": sha256_file(bars)}
        chosen = {name: options[name] for name in DECIDING}
        own = {"min_prob": self.judging.min_prob, "device": str(self.reader.device), "version": __version__}
        return files | chosen | own


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


def open_reader(options: ScanOptions) -> WindowReader:
    """Read the model, which must point.

    Raises
    ------
    WrongUsage
        The model predicts no pointers.
    """
    device = prepare_device(options.device, options.threads)
    model = read_model(options.model)
    if not model.network.predict_pointers:
        raise WrongUsage(
            f"a scan must have a model that predicts pointers, but {options.model} was trained without. "
            "Train one with --predict-pointers true."
        )
    return WindowReader(model, device, Sliding(options.stride, options.max_gap_hours * 3600, options.batch_windows))


def open_judging(options: ScanOptions, model: ModelFile) -> Judging:
    """Return what an event must have, as the options or the model say."""
    # The model's threshold is one pointer's; an event has two, and its probability is of both.
    own = max((model.pointer_threshold or 0.0) ** 2, LEAST_PROB)
    least = own if options.min_prob is None else options.min_prob
    return Judging(least, options.max_overlap, options.live_windows)
