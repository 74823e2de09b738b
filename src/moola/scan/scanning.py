"""Stage `scan`: a model slid over bars, part by part; what its windows predict becomes events, and what these are
drawn from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from moola import __version__
from moola.core.bars import Bars
from moola.core.event_merging import MergedEvents, seen_by
from moola.errors import InvalidData, WrongUsage
from moola.files import sha256_file
from moola.fit.predicting import compare_bars
from moola.fit.processes import results
from moola.locks import alone, lock_beside
from moola.models.model_files import read_model
from moola.options.scan_options import ScanOptions
from moola.provenance.learned_times import compare_with_bars, seen_among
from moola.scan.follow_state import STATE, folder_of
from moola.scan.parts import PartReader, ScanParts, counted_windows, finish_part, propose, reader_and_judging, timed
from moola.scan.window_reading import Stretch, stretches
from moola.tables.bar_table import SpooledBars, spool_bars, symbol_interval_us
from moola.tables.event_table import HINDSIGHT, Events, events_of, write_event_pieces

OnPart = Callable[[int, int, int], None]
DECIDING = ("max_gap_hours", "max_overlap", "batch_windows", "threads", "live", "live_windows", "annotator")


class Scan:
    """One model over one bar file.

    Bars are laid out on disk symbol by symbol, and read, like their windows, a part at a time: memory depends on
    the size of a part alone. In hindsight a part is read together with the windows beside it that share bars
    with it, live with those before it, so that what it proposes depends on nothing else that was read: any process
    may read it. What proposals of neighbouring parts do to each other is settled here, in order, and a scan can go
    on after any part.
    """

    def __init__(self, options: ScanOptions) -> None:
        options.check()
        assert options.bars is not None
        _refuse_replacing_record(options)
        self.options = options
        self.reader, self.judging = reader_and_judging(read_model(options.model), options)
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
        """Read every window, write the events, and report what was seen; `on_part` gets windows done, all, events.

        What it laid out stays, for pictures, until `parts.clear`.
        """
        assert self.options.bars is not None
        n_done = self.parts.begin(self.options.resume)
        try:
            self.spool = spool_bars(self.options.bars, self.parts.folder)
            self.plan = stretches(self.spool, self.reader.sliding, self.reader.n_bars)
            counts = counted_windows(self.reading, self.plan, str(self.options.bars))
        except InvalidData:
            self.parts.clear()
            raise
        longest = int(np.argmax(self.spool.n_bars))
        # No more than a part holds.
        sliding = self.reader.sliding
        beginning = self.spool.read(longest, 0, sliding.batch_windows * sliding.stride + self.reader.n_bars)
        intervals = compare_with_bars(self.reader.model, beginning.start_us)
        likeness = compare_bars(self.reader.model, self.spool, self.reader.sliding.max_gap_hours, self.reader.device)
        read = np.cumsum(counts.by_part)
        with closing(self._proposals(n_done)) as proposals:
            for number, found in in_order(proposals, n_done):
                part = finish_part(
                    self.reading, self.plan, number, found, self.parts.read(number - 1) if number else None
                )
                self.parts.write(number, part)
                on_part(int(read[number]), counts.n_windows, part.n_events)
        n_by_class: Counter[str] = Counter()
        training = self.reader.model.training
        n_cut, n_learned = 0, 0

        def counted() -> Iterator[Events]:
            nonlocal n_cut, n_learned
            for events in self.events():
                n_by_class.update(np.array(self.class_names)[events.class_prob.argmax(axis=1)].tolist())
                n_cut += int(events.cut.sum())
                n_learned += int(self.learned(events).sum())
                yield events

        write_event_pieces(self.options.output, counted(), self.class_names)
        return (
            {
                "output": str(self.options.output),
                "n_events": n_by_class.total(),
                "n_cut": n_cut,
                "predicted": dict(sorted(n_by_class.items())),
                "min_prob": float(self.judging.min_prob),
                "event_prob": self.reader.event_prob,
                "n_bars": sum(self.spool.n_bars),
                "n_symbols": len(self.spool.symbols),
                "resumed_parts": n_done,
                "device": self.reader.device.type,
                "labelled_by": training.get("annotators"),
                "learned_time_range": training.get("time_range"),
                "n_learned": n_learned if training.get("time_range") else None,
            }
            | intervals
            | likeness
            | counts.as_dict()
        )

    def final_events(self) -> Iterator[tuple[int, MergedEvents]]:
        """Yield each part's events with their symbol, after `run`, in the order of the output."""
        for number, stretch in enumerate(self.plan):
            if len(found := self.parts.read(number).final):
                yield stretch.symbol, found

    def events(self) -> Iterator[Events]:
        """Yield each part's events with their times, after `run`, in the order of the output."""
        for symbol, found in self.final_events():
            yield timed(found, symbol, self.reading)

    @property
    def reading(self) -> PartReader:
        """The model over the bars, once `run` has laid them out."""
        return PartReader(self.reader, self.judging, self.spool, self.options.live)

    def learned(self, events: Events) -> np.ndarray:
        """Return which events lie in times that the model learned from; none where these are not known."""
        seen = seen_among(self.reader.model.training, events.time_us[:, 0], self._over_us(events))
        return np.zeros(len(events), dtype=bool) if seen is None else seen

    def _over_us(self, events: Events) -> np.ndarray:
        """When the last bar of each event is over."""
        length = {name: symbol_interval_us(self.spool, place) for place, name in enumerate(self.spool.symbols)}
        return events.time_us[:, 1] + np.array([length[name] for name in events.symbol], dtype=np.int64)

    def _proposals(self, n_done: int) -> Generator[tuple[int, MergedEvents]]:
        """Yield the number of each part to be read and what it proposes, as they end."""
        options = self.options
        if options.engine == "processes" and options.processes == 1:
            for number in range(n_done, len(self.plan)):
                yield number, self.reading.proposed(self.plan[number])
            return
        # All compute on what this process does: the bytes depend on it.
        options = replace(options, device="cuda" if self.reader.device.type == "cuda" else "cpu")
        given = (options, sha256_file(options.model), self.spool)
        jobs = [(*given, number, self.plan[number]) for number in range(n_done, len(self.plan))]
        with closing(results(propose, jobs, options.processes, options.engine)) as found:
            yield from found

    def _deciding(self, bars: Path) -> dict[str, Any]:
        """Everything that the events depend on."""
        options = asdict(self.options)
        files = {"model": sha256_file(self.options.model), "bars": sha256_file(bars)}
        chosen = {name: options[name] for name in DECIDING}
        own = {"min_prob": self.judging.min_prob, "device": self.reader.device.type, "version": __version__}
        return files | chosen | own | {"stride": self.reader.sliding.stride}


def _refuse_replacing_record(options: ScanOptions) -> None:
    """Refuse to replace a record of events as they became known, which no later scan gives back.

    Raises
    ------
    WrongUsage
        A follower appends to the output, or the output of a live scan is there and is not to be replaced.
    """
    output = options.output
    if (folder_of(output) / STATE).is_file():
        raise WrongUsage(
            f"--output must not be one that a follower appends to, but {output} is: {folder_of(output)} holds its "
            "state. Name another one."
        )
    if options.live and output.exists() and not (options.overwrite or options.resume):
        raise WrongUsage(
            f"--output of a live scan must not be there yet, but {output} is. Name another one, or pass --overwrite."
        )


def in_order(proposals: Iterable[tuple[int, MergedEvents]], first: int) -> Iterator[tuple[int, MergedEvents]]:
    """Yield parts by their numbers from `first` on; one that ends before its turn waits."""
    waiting: dict[int, MergedEvents] = {}
    for number, found in proposals:
        waiting[number] = found
        while first in waiting:
            yield first, waiting.pop(first)
            first += 1


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
    meaning
        What `event_prob` is, in words.
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
    meaning: str


def pictures(scan: Scan, limit: int) -> Iterator[EventPicture]:
    """Yield the most probable events of a scan that has run, reading their windows again one event at a time."""
    symbols, events = most_probable(scan, limit)
    sliding, n_bars = scan.reader.sliding, scan.reader.n_bars
    for row in range(len(events)):
        event, symbol = events.take(np.array([row])), int(symbols[row])
        start, end = (int(bar) for bar in event.bar[0])
        reach = sliding.reach(n_bars) + 1
        near, bars, offset = scan.reading.read_windows(
            symbol, start // sliding.stride - reach, end // sliding.stride + reach
        )
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
            scan.reader.event_prob,
        )


def most_probable(scan: Scan, limit: int) -> tuple[np.ndarray, MergedEvents]:
    """Return the most probable events of all parts with their symbols; ties go to the earlier symbol, then bar."""
    symbols, best = np.zeros(0, dtype=np.int64), MergedEvents.none(len(scan.class_names))
    for symbol, found in scan.final_events():
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
    """What the page shows, and how much of the scan that is; `about` says what is known of the model, line by line.

    `meaning` is what `event_prob` is, in words.
    """

    title: str
    about: Sequence[str]
    class_names: list[str]
    symbols: list[SymbolOverview]
    min_prob: float
    is_live: bool
    n_events: int
    n_bars: int
    meaning: str

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
    for symbol, final in scan.final_events():
        n_events += len(final)
        inside = final.take(np.flatnonzero(np.minimum(final.low[:, 0], final.bar[:, 0]) >= first[symbol]))
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
        scan.reader.event_prob,
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
