"""A scan in parts: what one part proposes, what neighbours do to each other, and finished parts on disk."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Int

from moola.core.bars import GAP_BARS, Bars, allowed_gap_s, bar_interval_us, join_bars
from moola.core.event_merging import MergedEvents, WindowCurves, suppress, unreported
from moola.core.span_shapes import LOOK_AHEAD, LOOK_BACK, PACE_BARS
from moola.errors import InvalidData, OperationFailed, WrongUsage
from moola.files import json_bytes, read_json, remove_leftovers, sha256_bytes, sha256_file, write_atomic
from moola.fit.predicting import BarVectors, sums_for
from moola.fit.presence import at_scale, chart_stride, read_chart_of
from moola.models.model_files import ModelFile, read_model
from moola.models.presence_part import RIVAL_BARS, SIDE_BARS, Chart, Presence, chart_of, read_chart
from moola.options.scan_options import ScanOptions
from moola.scan.window_reading import Judging, Sliding, Stretch, WindowCounts, WindowReader, count_windows, stretches
from moola.tables.bar_table import INTERVAL_BARS, LaidOutBars, SpooledBars, symbol_gap_s
from moola.tables.cutting import no_window
from moola.tables.event_table import Events, events_of
from moola.training.device import prepare_device
from moola.training.finetune import PASS_WINDOWS

PLAN = "plan.json"
PART = "part_{:06d}.json"
ADVICE = "Leave --resume out to start over."
NOTHING_REPORTED = np.zeros((0, 2), dtype=np.int64)


@dataclass(frozen=True)
class ScanPart:
    """What is settled after some windows of a symbol; bars count from the symbol's first.

    Attributes
    ----------
    final
        Events to write, in their order; no later part has one that goes before them.
    waiting
        Events kept, which an event that is still open may go before.
    open
        Events that later windows may still beat.
    reported
        Bars of kept events, of this part or before, that may still overlap others.
    n_events
        Events kept so far, over all symbols.
    """

    final: MergedEvents
    waiting: MergedEvents
    open: MergedEvents
    reported: np.ndarray = field(default_factory=lambda: NOTHING_REPORTED)
    n_events: int = 0

    @classmethod
    def before_all(cls, n_classes: int, n_events: int = 0) -> ScanPart:
        """Return what is before a symbol's first part."""
        none = MergedEvents.none(n_classes)
        return cls(none, none, none, NOTHING_REPORTED, n_events)


class ScanParts:
    """The folder `<output>.checkpoint`: a digest of everything that decides the events, and a file a part."""

    def __init__(self, output: Path, deciding: dict[str, Any]) -> None:
        self.output, self.folder = output, checkpoint_of(output)
        self.plan = {"plan": sha256_bytes(json_bytes(deciding))}

    def begin(self, resume: bool) -> int:
        """Return how many parts are done: none, unless asked to continue with the same scan."""
        if not resume:
            self.clear()
        elif (self.folder / PLAN).is_file():
            if read_json(self.folder / PLAN, "a scan's plan", ADVICE) != self.plan:
                raise WrongUsage(
                    f"--resume must continue with the model, bars and options it was started with, but {self.folder} "
                    f"was written with others. Give the same, or leave --resume out to start over."
                )
            n_done = 0
            while (self.folder / PART.format(n_done)).is_file():
                n_done += 1
            return n_done
        write_atomic(self.folder / PLAN, json_bytes(self.plan))
        return 0

    def write(self, number: int, part: ScanPart) -> None:
        """Keep a finished part."""
        content: dict[str, Any] = {name: events_to_json(getattr(part, name)) for name in ("final", "waiting", "open")}
        content |= {"told": part.reported.tolist(), "n_events": part.n_events}
        write_atomic(self.folder / PART.format(number), json_bytes(content))

    def read(self, number: int) -> ScanPart:
        """Return a finished part, to the bit."""
        path = self.folder / PART.format(number)
        content = read_json(path, "a scan's part", ADVICE)
        try:
            final, waiting, still = (events_from_json(content[name]) for name in ("final", "waiting", "open"))
            reported = np.array(content["told"], dtype=np.int64).reshape(-1, 2)
            return ScanPart(final, waiting, still, reported, int(content["n_events"]))
        except (KeyError, TypeError, ValueError) as error:
            raise InvalidData(f"a scan's part must be intact, but {path} is not ({error}). {ADVICE}") from error

    def clear(self) -> None:
        """Remove all parts and what was laid out beside them, and the folder unless it holds something else."""
        try:
            for pattern in ("part_*.json", "bars_*.bin", "events_*.parquet", PLAN):
                for path in self.folder.glob(pattern):
                    path.unlink(missing_ok=True)
            remove_leftovers(self.folder, self.output)
            if self.folder.is_dir() and not any(self.folder.iterdir()):
                self.folder.rmdir()
        except OSError as error:
            raise OperationFailed(f"{self.folder} must be removable, but {error.strerror}. Remove it.") from error


def checkpoint_of(output: Path) -> Path:
    """Return the folder of a scan's finished parts, beside its output."""
    return output.with_name(output.name + ".checkpoint")


def events_to_json(events: MergedEvents) -> dict[str, Any]:
    """Turn events into plain values; a float is written with as many digits as it needs to come back to the bit."""
    arrays = {field.name: getattr(events, field.name).tolist() for field in fields(events)}
    return arrays | {"n_classes": events.class_prob.shape[1]}


def events_from_json(stored: dict[str, Any]) -> MergedEvents:
    """Return the events that `events_to_json` wrote."""
    empty = MergedEvents.none(stored["n_classes"])
    arrays = []
    for column in fields(empty):
        like = getattr(empty, column.name)
        arrays.append(np.array(stored[column.name]).astype(like.dtype).reshape(-1, *like.shape[1:]))
    if len({len(array) for array in arrays}) != 1:
        raise ValueError("columns of several lengths")
    return MergedEvents(*arrays)


# What one part of a scan proposes: it depends on the part's own windows and their neighbours alone, in any process.


# A threshold chosen where every window has an expansion can be next to nothing; between them most windows have none.
LEAST_PROB = 0.1
# Bars from one window to the next where no presence says how charts were read.
STRIDE = 5
# Bars before and after those whose shapes are read, on which the shapes depend.
SHAPE_BACK, SHAPE_AHEAD = LOOK_BACK + PACE_BARS, LOOK_AHEAD + 1
SumsOf = Callable[[int, int], BarVectors]


@dataclass(frozen=True)
class PartReader:
    """A model over bars that are laid out, a part at a time."""

    reader: WindowReader
    judging: Judging
    spool: LaidOutBars
    live: bool

    def read_windows(
        self, symbol: int, first: int, last: int, sums_of: SumsOf | None = None
    ) -> tuple[WindowCurves, Bars, int]:
        """Read the windows at the places `[first, last)` of a symbol; return them, their bars and the bars' place.

        `sums_of` gives, for these bars and their place, what their vectors are added to.
        """
        stride = self.reader.sliding.stride
        n_places = self.reader.sliding.n_places(self.spool.n_bars[symbol], self.reader.n_bars)
        first, last = max(first, 0), min(last, n_places)
        bars = self.spool.read(symbol, first * stride, (last - 1) * stride + self.reader.n_bars)
        max_gap_s = symbol_gap_s(self.spool, symbol, self.reader.sliding.max_gap_hours)
        sums = None if sums_of is None else sums_of(len(bars), first * stride)
        return self.reader.read(bars, first * stride, max_gap_s, sums), bars, first * stride

    def proposed(self, stretch: Stretch) -> MergedEvents:
        """Return the events of a part: in hindsight all that are probable enough, live all that can be reported."""
        sliding = self.reader.sliding
        reach = sliding.reach(self.reader.n_bars)
        own = slice(stretch.first * sliding.stride, stretch.last * sliding.stride)
        presence = self.reader.model.presence
        if presence is not None and self.live:
            return self.known_between(stretch.symbol, *self._known_bars(stretch), presence)
        if presence is not None:
            return self._present(stretch.symbol, own, stretch.last, presence)
        if self.live:
            windows, _, _ = self.read_windows(stretch.symbol, stretch.first - reach, stretch.last)
            return self.judging.as_known(windows, own)
        windows, _, _ = self.read_windows(stretch.symbol, stretch.first - reach, stretch.last + reach)
        return self.judging.in_hindsight(windows, own)

    def _known_bars(self, stretch: Stretch) -> tuple[int, int]:
        """Return the bars `[first, stop)` that come with a part's windows."""
        stride, n_seen, n_bars = self.reader.sliding.stride, self.reader.n_bars, self.spool.n_bars[stretch.symbol]
        is_last = stretch.last == self.reader.sliding.n_places(n_bars, n_seen)
        first = stretch.first * stride + n_seen - 1 if stretch.first else 0
        return first, n_bars if is_last else stretch.last * stride + n_seen - 1

    def known_since(self, presence: Presence, first: int) -> int:
        """Return the first bar that `known_between` reads where it begins with a bar; a multiple of the stride."""
        stride = self.reader.sliding.stride
        start = first - presence.lag - presence.longest - SIDE_BARS - RIVAL_BARS
        return max(min(start - self.reader.n_bars - stride, start - SHAPE_BACK), 0) // stride * stride

    def known_between(self, symbol: int, first: int, stop: int, presence: Presence) -> MergedEvents:
        """Return the events that become known with the bars `[first, stop)`, in that order: `lag` bars after each."""
        stride, n_seen, lag = self.reader.sliding.stride, self.reader.n_bars, presence.lag
        start = first - lag - presence.longest - SIDE_BARS - RIVAL_BARS
        sums: list[BarVectors] = []

        def sums_of(n_bars: int, _: int) -> BarVectors:
            sums.append(sums_for(self.reader.model, n_bars, presence.ahead))
            return sums[0]

        last_place = max(stop - n_seen, -1) // stride + 1
        windows, _, place = self.read_windows(symbol, (start - n_seen) // stride, last_place, sums_of)
        vectors, seen = sums[0].means()
        chart, offset = self._chart(symbol, slice(start, stop), vectors, seen, place, stop)
        bar, prob = read_chart(presence, chart, len(self.reader.model.class_names), 0, len(chart))
        known = bar[:, 1] + offset + lag
        # Where no window has a bar, as after a gap, there is no event.
        inside = (known >= first) & (known < stop) & chart.seen[bar].all(axis=1)
        inside &= self._within_gaps(symbol, bar + offset)
        return self.judging.present_live(windows, bar[inside] + offset, prob[inside], known[inside])

    def _present(self, symbol: int, own: slice, last: int, presence: Presence) -> MergedEvents:
        """Return the events of a part that begin at its own bars, by a model that knows where nothing is."""
        stride, n_seen = self.reader.sliding.stride, self.reader.n_bars
        if last == self.reader.sliding.n_places(self.spool.n_bars[symbol], n_seen):
            own = slice(own.start, self.spool.n_bars[symbol])
        # All windows that have a bar of which either stage reads the vector.
        need = slice(own.start - SIDE_BARS - RIVAL_BARS, own.stop + presence.longest + SIDE_BARS + RIVAL_BARS)
        sums: list[BarVectors] = []

        def sums_of(n_bars: int, _: int) -> BarVectors:
            sums.append(sums_for(self.reader.model, n_bars, None))
            return sums[0]

        first_place, last_place = (need.start - n_seen) // stride, need.stop // stride + 1
        windows, _, place = self.read_windows(symbol, first_place, last_place, sums_of)
        vectors, seen = sums[0].means()
        chart, offset = self._chart(symbol, need, vectors, seen, place)
        coarser = {scale: self._coarser_chart(symbol, need, scale) for scale in presence.scales if scale > 1}
        chart = replace(chart, coarser={scale: (one, first - offset) for scale, (one, first) in coarser.items()})
        bar, prob = read_chart(
            presence, chart, len(self.reader.model.class_names), own.start - offset, own.stop - offset
        )
        bar = bar + offset
        whole = self._within_gaps(symbol, bar)
        return self.judging.present(windows, bar[whole], prob[whole])

    def _within_gaps(self, symbol: int, bar: Int[np.ndarray, "spans 2"]) -> Bool[np.ndarray, " spans"]:
        """Tell which pieces hold no gap above the longest one: of those longer than a window no window says it."""
        if not len(bar):
            return np.zeros(0, dtype=bool)
        first = int(bar.min())
        times = self.spool.read(symbol, first, int(bar.max()) + 1).start_us
        is_long = np.diff(times) > symbol_gap_s(self.spool, symbol, self.reader.sliding.max_gap_hours) * 1e6
        n_long = np.concatenate([[0], np.cumsum(is_long)])
        return np.asarray(n_long[bar[:, 1] - first] == n_long[bar[:, 0] - first])

    def _coarser_chart(self, symbol: int, need: slice, scale: int) -> tuple[Chart, int]:
        """Read the needed bars `scale` in one, by all windows that have one of them; return also where they begin."""
        model = at_scale(self.reader.model, scale)
        assert self.reader.model.presence is not None
        stride = min(self.reader.model.presence.stride, chart_stride(model))
        around = max(SHAPE_BACK, SHAPE_AHEAD, model.n_seen_bars) + SIDE_BARS + RIVAL_BARS
        first = max(need.start // scale - around, 0) // stride * stride
        stop = -(-need.stop // scale) + around
        bars = join_bars(self.spool.read(symbol, first * scale, stop * scale), scale)
        usual = join_bars(self.spool.read(symbol, 0, INTERVAL_BARS), scale).start_us
        asked = self.reader.sliding.max_gap_hours
        max_gap_s = allowed_gap_s(usual)
        if asked is not None:
            # A gap that was asked for is no less than what long bars have between them.
            max_gap_s = max(asked * 3600, GAP_BARS * bar_interval_us(usual) / 1e6)
        return read_chart_of(model, bars, self.reader.device, None, max_gap_s, stride), first * scale

    def _chart(
        self,
        symbol: int,
        need: slice,
        vectors: tuple[np.ndarray, ...],
        seen: np.ndarray,
        place: int,
        stop: int | None = None,
    ) -> tuple[Chart, int]:
        """Put vectors beside all bars on which shapes of the needed ones depend; bars without a window have zeros.

        Live no bar from `stop` on is read.
        """
        first = max(need.start - SHAPE_BACK, 0)
        bars = self.spool.read(symbol, first, need.stop + SHAPE_AHEAD if stop is None else stop)
        row = np.arange(len(bars)) + first - place
        known = (row >= 0) & (row < len(seen))
        spread = tuple(np.where(known[:, None], one[np.clip(row, 0, len(seen) - 1)], 0.0) for one in vectors)
        ahead = None if stop is None else self.reader.model.presence.ahead  # type: ignore[union-attr]
        return chart_of(bars.ohlc, spread, known & seen[np.clip(row, 0, len(seen) - 1)], ahead), first


def propose(
    options: ScanOptions, model_sha256: str, spool: SpooledBars, number: int, stretch: Stretch
) -> tuple[int, MergedEvents]:
    """Return a part's number and what it proposes, in a process that knows nothing of the scan yet.

    Raises
    ------
    InvalidData
        The model file is not the one of the scan.
    """
    reader, judging = _opened(options, model_sha256)
    return number, PartReader(reader, judging, spool, options.live).proposed(stretch)


@lru_cache(maxsize=1)
def _opened(options: ScanOptions, model_sha256: str) -> tuple[WindowReader, Judging]:
    """Open the model once a process."""
    if sha256_file(options.model) != model_sha256:
        raise InvalidData(
            f"all processes of a scan must read one model file, but {options.model} is another for 1 of them. "
            "Give every node the same file under the same path."
        )
    return reader_and_judging(read_model(options.model), options)


def reader_and_judging(model: ModelFile, options: ScanOptions) -> tuple[WindowReader, Judging]:
    """Let a model that points slide as the options say, and say what an event must have.

    Raises
    ------
    WrongUsage
        The model predicts no pointers.
    """
    device = prepare_device(options.device, options.threads)
    if not model.network.predict_pointers:
        raise WrongUsage(
            f"a scan must have a model that predicts pointers, but {options.model} was trained without. "
            "Train one with --predict-pointers true."
        )
    if model.presence is not None and (options.live or options.follow is not None):
        model = _as_bars_come(model, options)
    if options.annotator is not None:
        if model.presence is None:
            raise WrongUsage(
                f"--annotator must come with a model that learned presence, but {options.model} did not. Leave it out."
            )
        model = replace(model, presence=model.presence.of_person(options.annotator))
    stride = options.stride or (STRIDE if model.presence is None else model.presence.stride)
    batch = options.batch_windows if model.presence is None else _batch_of_presence(model, stride, options)
    reader = WindowReader(model, device, Sliding(stride, options.max_gap_hours, batch))
    least = least_prob(model) if options.min_prob is None else options.min_prob
    return reader, Judging(least, options.max_overlap, options.live_windows)


def _batch_of_presence(model: ModelFile, stride: int, options: ScanOptions) -> int:
    """Return how many windows a part has: as many bars as without presence, for memory, and no pass half empty."""
    assert model.presence is not None
    n_beside = (model.n_seen_bars + model.presence.longest + 2 * (SIDE_BARS + RIVAL_BARS)) // stride + 2
    n_windows = max(options.batch_windows * min(STRIDE, stride) // stride, 1)
    n_passes = -(-(n_windows + n_beside) // PASS_WINDOWS)
    return n_windows if n_windows < PASS_WINDOWS else n_passes * PASS_WINDOWS - n_beside


def least_prob(model: ModelFile) -> float:
    """Return the least probability of an event where none is asked for."""
    if model.presence is not None:
        return model.presence.threshold
    # The model's threshold is one pointer's; an event has two, and its probability is of both.
    return max((model.pointer_threshold or 0.0) ** 2, LEAST_PROB)


def _as_bars_come(model: ModelFile, options: ScanOptions) -> ModelFile:
    """Let live presence stand for the one that looks ahead."""
    live = model.live_presence
    if live is None or live.ahead is None:
        raise WrongUsage(
            f"--live and --follow must have a model whose presence looks no further than the bars known, but "
            f"{options.model} learned from spans without --live-presence. Train it with that, or scan without them."
        )
    if options.stride is not None and options.stride > live.ahead + 1:
        raise WrongUsage(
            f"--stride must be at most {live.ahead + 1} where a model with presence scans as bars come, but it is "
            f"{options.stride}: some bars would be in no window in time. Lower it."
        )
    return replace(model, presence=live)


# What proposals of neighbouring parts of a scan do to each other, settled part by part in their order.


def finish_part(
    reading: PartReader, plan: list[Stretch], number: int, found: MergedEvents, last: ScanPart | None
) -> ScanPart:
    """Settle what a part proposes; `last` is the part before it, None for the first."""
    stretch, reader = plan[number], reading.reader
    if last is None or plan[number - 1].symbol != stretch.symbol:
        # Nothing of another symbol stands before a part but the count.
        last = ScanPart.before_all(len(reader.model.class_names), last.n_events if last else 0)
    sliding, window_bars, judging = reader.sliding, reader.n_bars, reading.judging
    stop = stretch.last * sliding.stride
    if reading.live:
        found = unreported(found, last.reported, judging.max_overlap)
        return live_part(found, last, stop - window_bars)
    n_bars = reading.spool.n_bars[stretch.symbol]
    is_last = stretch.last == sliding.n_places(n_bars, window_bars)
    return hindsight_part(found, last, n_bars if is_last else stop, judging.max_overlap)


def scan_held(reading: PartReader, name: str) -> Iterator[Events]:
    """Yield the events of bars in memory, in the order of the file that a scan on disk writes."""
    plan = stretches(reading.spool, reading.reader.sliding, reading.reader.n_bars)
    counted_windows(reading, plan, name)
    last = None
    for number, stretch in enumerate(plan):
        last = finish_part(reading, plan, number, reading.proposed(stretch), last)
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


def hindsight_part(found: MergedEvents, before: ScanPart, horizon: int, max_overlap: float) -> ScanPart:
    """Settle what no window that begins at `horizon` or later can change; the rest is left open."""
    found = MergedEvents.joined([before.open, found])
    kept, still = suppress(found, before.reported, max_overlap, horizon)
    # Of the events reported, those that an open or a coming one may overlap are all that the next part must know.
    reach = min(horizon, int(found.bar[still, 0].min(initial=horizon)))
    reported = np.concatenate([before.reported, found.bar[kept]])
    ready = MergedEvents.joined([before.waiting, found.take(np.flatnonzero(kept))])
    ready = ready.take(np.lexsort((ready.bar[:, 1], ready.bar[:, 0])))
    # Only what begins before all that may still come is in its place.
    n_final = int(np.searchsorted(ready.bar[:, 0], reach))
    rows = np.arange(len(ready))
    return ScanPart(
        ready.take(rows[:n_final]),
        ready.take(rows[n_final:]),
        found.take(np.flatnonzero(still)),
        reported[reported[:, 1] >= reach],
        before.n_events + int(kept.sum()),
    )


def live_part(found: MergedEvents, before: ScanPart, reach: int) -> ScanPart:
    """Events as they became known, with the bars that events to come, which begin at `reach` or later, may overlap."""
    reported = np.concatenate([before.reported, found.bar])
    return replace(
        before, final=found, reported=reported[reported[:, 1] >= reach], n_events=before.n_events + len(found)
    )
