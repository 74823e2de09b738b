"""`scan --follow`: bars that are appended are read as they come, checked for order; each event is reported once."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Int

from moola.core.bars import Bars, allowed_gap_s, bar_interval_us, minute_text
from moola.core.event_merging import MergedEvents, unreported
from moola.core.windows import cut_windows
from moola.errors import InvalidData, OperationFailed
from moola.files import sha256_file
from moola.models.model_files import read_model
from moola.models.presence_part import Presence
from moola.options.scan_options import ScanOptions
from moola.provenance.learned_times import compare_with_bars
from moola.scan.event_program import EventProgram, program_of
from moola.scan.follow_state import STATE, FollowFolder, FollowState, SymbolState, folder_of
from moola.scan.parts import NOTHING_REPORTED, PartReader, reader_and_judging
from moola.tables.bar_table import LastBars, rows_by_symbol
from moola.tables.cutting import dropped_sentence
from moola.tables.event_table import events_frame, events_of, frame_text
from moola.tables.growing_table import Piece, Place, good_bars, is_continued, is_parquet, new_pieces, renamed_file

# Bars that come where others are expected: read before, other than was read, out of order, or after a gap.


# Prices that were written with other digits are the same prices.
SAME = 1e-9
# A bar is missing where the next one comes later than this many usual times.
LATE_BARS = 1.5


@dataclass(frozen=True)
class Skipped:
    """Bars that are not after the last bar of their symbol.

    Attributes
    ----------
    n
        All of them.
    n_differing
        Those whose prices are not those that were read for their time.
    n_late
        Those between bars that were read: they come out of order.
    first_us
        Time of the first differing or late one.
    """

    n: int = 0
    n_differing: int = 0
    n_late: int = 0
    first_us: int | None = None

    @property
    def n_wrong(self) -> int:
        """Bars that differ from what was read."""
        return self.n_differing + self.n_late

    def __add__(self, other: Skipped) -> Skipped:
        first = other.first_us if self.first_us is None else self.first_us
        return Skipped(self.n + other.n, self.n_differing + other.n_differing, self.n_late + other.n_late, first)

    def __str__(self) -> str:
        text = f"{self.n} bars are not after the last bar of their symbol"
        if self.first_us is None:
            return text
        return (
            f"{text}; {self.n_differing} of them differ from the bar read for their time and {self.n_late} are out of "
            f"order, the first at {minute_text(self.first_us)} UTC"
        )


@dataclass(frozen=True)
class Gaps:
    """Stretches without bars: how many, and where the longest is."""

    n: int = 0
    n_bars: int = 0
    longest_us: tuple[int, int] = (0, 0)

    def __add__(self, other: Gaps) -> Gaps:
        longest = max(self.longest_us, other.longest_us, key=lambda ends: ends[1] - ends[0])
        return Gaps(self.n + other.n, self.n_bars + other.n_bars, longest)

    def __str__(self) -> str:
        first, last = (f"{minute_text(time_us)} UTC" for time_us in self.longest_us)
        return (
            f"{self.n} gap{'' if self.n == 1 else 's'} with about {self.n_bars} bars missing, the longest between "
            f"the bars of {first} and {last}"
        )


def skipped_bars(old: Bars, known: Bars) -> Skipped:
    """Compare bars that are not new with those that are known, both of one symbol; `known` is in order of time.

    Bars before the first known one cannot be compared: they count as read.
    """
    if not len(old):
        return Skipped()
    at = np.searchsorted(known.start_us, old.start_us).clip(0, len(known) - 1)
    is_known = known.start_us[at] == old.start_us
    differs = is_known & ~np.isclose(known.ohlc[at], old.ohlc, rtol=SAME, atol=0.0).all(axis=1)
    late = ~is_known & (old.start_us > known.start_us[0])
    wrong = differs | late
    first = int(old.start_us[wrong.argmax()]) if wrong.any() else None
    return Skipped(len(old), int(differs.sum()), int(late.sum()), first)


def gaps_of(start_us: Int[np.ndarray, " bars"], usual_us: int) -> Gaps:
    """Find the gaps between bars whose usual distance is known; 0 for one that is not."""
    steps = np.diff(start_us)
    wide = steps > LATE_BARS * usual_us
    if not usual_us or not wide.any():
        return Gaps()
    at = int(steps.argmax())
    missing = np.rint(steps[wide] / usual_us).astype(np.int64) - 1
    return Gaps(int(wide.sum()), int(missing.sum()), (int(start_us[at]), int(start_us[at + 1])))


log = logging.getLogger(__name__)
SUFFIXES = (".parquet", ".csv")
DECIDING = ("max_gap_hours", "max_overlap", "live_windows", "threads")
OnEvents = Callable[[pl.DataFrame], None]


class Follower:
    """One model over one file or folder that grows."""

    def __init__(self, options: ScanOptions) -> None:
        options.check()
        assert options.follow is not None
        self.options, self.source = options, options.follow
        self.reader, self.judging = reader_and_judging(read_model(options.model), options)
        self.is_folder = self.source.is_dir()
        if not self.source.exists() and not (folder_of(options.output) / STATE).is_file():
            raise OperationFailed(
                f"--follow must name a file or a folder, but there is no {self.source}. Check the path."
            )
        self.folder = FollowFolder(options.output, self._deciding())
        self.program = self._program()
        self.state = FollowState()
        # What a file was when it was last read to its end: nothing is read again until it is another.
        self.signatures: dict[str, tuple[int, int, int]] = {}
        # Of a file that was begun again, the header that it had; the last message about it.
        self.headers: dict[str, str] = {}
        self.last_message: dict[str, str] = {}
        self.n_bad_lines, self.skipped, self.gaps = 0, Skipped(), Gaps()
        # Known once there is a window.
        self.intervals: dict[str, float | str | None] | None = None
        self.n_dropped = 0

    def run(self, on_events: OnEvents, on_begun: Callable[[], None] = lambda: None) -> dict[str, Any]:
        """Look at the source again and again; `on_events` gets the table of events just reported."""
        try:
            self.state = self.folder.open()
            if self.program is not None:
                self.program.begin()
            on_begun()
            if not self.state.n_bytes and not self.state.pending:
                none = MergedEvents.none(len(self.reader.model.class_names))
                self._report(self.state, [self._frame(none, Bars.none(), 0)], lambda _: None, is_first=True)
            n_looks = 0
            while True:
                self.poll(on_events)
                n_looks += 1
                if n_looks == self.options.polls:
                    break
                time.sleep(self.options.poll_s)
            if self.program is not None:
                self.program.finish()
            return self._result()
        finally:
            if self.program is not None:
                self.program.stop()
            self.folder.close()

    def _program(self) -> EventProgram | None:
        options = self.options
        if options.on_event is None:
            return None
        words = program_of(options.on_event)
        waits = (options.on_event_timeout_s, options.on_event_retries)
        return EventProgram(words, options.output, self.folder.folder, *waits)

    def poll(self, on_events: OnEvents) -> None:
        """Read what was appended since the last look, a piece at a time."""
        for path in self._files():
            try:
                self._poll_file(path, on_events)
            except FileNotFoundError:
                self._log_once(path, "%s is not there: it is waited for.", path)
            except OSError as error:
                self._log_once(path, "%s cannot be read (%s): it is waited for.", path, error.strerror or error)

    def _files(self) -> list[Path]:
        if not self.is_folder:
            return [self.source]
        try:
            return sorted(path for path in self.source.iterdir() if path.suffix in SUFFIXES and path.is_file())
        except OSError as error:
            self._log_once(self.source, "%s cannot be read (%s): it is waited for.", self.source, error.strerror)
            return []

    def _poll_file(self, path: Path, on_events: OnEvents) -> None:
        status = path.stat()
        if not status.st_size:
            # Just begun, or emptied to be written again.
            return
        parquet = is_parquet(path)
        signature = (status.st_ino, status.st_size, status.st_mtime_ns)
        if parquet and self.signatures.get(path.name) == signature:
            return
        try:
            place = self._place(path, status)
            if place != Place() and not is_continued(path, place):
                self._read_rest(path, place, on_events)
                place = self._begin_anew(path)
            for piece in new_pieces(path, place, self.headers.get(path.name, "")):
                self._take(path, path.name, piece, on_events)
        except InvalidData as error:
            if self.options.strict or not (parquet or self.state.symbols):
                raise
            # Parquet is written whole; until then there is nothing to read.
            self._log_once(path, "%s is read again when it changes: %s", path, str(error).splitlines()[0])
        self.signatures[path.name] = signature

    def _place(self, path: Path, status: os.stat_result) -> Place:
        """Return how far a file is read, be it under another name."""
        if path.name in self.state.places or not self.is_folder:
            return self.state.places.get(path.name, Place())
        known = [one for one in self.state.places.values() if (one.device, one.inode) == (status.st_dev, status.st_ino)]
        return next((one for one in known if is_continued(path, one)), Place())

    def _read_rest(self, path: Path, place: Place, on_events: OnEvents) -> None:
        """Read what came to a file before it was rotated, where it still is."""
        rest = renamed_file(path, place)
        if rest is None or (self.is_folder and rest.name in self.state.places):
            return
        for piece in new_pieces(rest, place):
            self._take(rest, path.name, piece, on_events)
        if self.is_folder:
            # Under its new name it may be one of those that are followed.
            places = self.state.places
            self.state = replace(self.state, places={**places, rest.name: places[path.name]})

    def _begin_anew(self, path: Path) -> Place:
        self._log_once(
            path,
            "%s is another file than before (rotated, or written again): it is read from its start, and bars that were "
            "read are skipped.",
            path,
        )
        self.headers[path.name] = self.state.places[path.name].header
        return Place()

    def _log_once(self, path: Path, message: str, *values: object) -> None:
        """Warn of the state that a file is in, once until it is read again."""
        if self.last_message.get(path.name) != message:
            self.last_message[path.name] = message
            log.warning(message, *values)

    def _take(self, path: Path, name: str, piece: Piece, on_events: OnEvents) -> None:
        """Read a piece's new bars, report their events and keep the place behind it."""
        state, frames = self._read(path, piece)
        self._report(replace(state, places={**state.places, name: piece.place}), frames, on_events)
        self.last_message.pop(name, None)

    def _read(self, path: Path, piece: Piece) -> tuple[FollowState, list[pl.DataFrame]]:
        """Read a piece's new bars, symbol by symbol."""
        bars, broken = good_bars(piece.frame, path)
        bad = (*piece.bad, *broken)
        skipped, gaps = Skipped(), Gaps()
        symbols, frames = dict(self.state.symbols), []
        for name, rows in rows_by_symbol(bars):
            before = symbols.get(name, SymbolState(Bars.none(), 0, NOTHING_REPORTED))
            is_new = _newer(bars.start_us[rows], before)
            new = bars.take(rows[is_new])
            known = _joined(before.bars, new)
            skipped += skipped_bars(bars.take(rows[~is_new]), known)
            gaps += gaps_of(known.start_us[max(len(before.bars) - 1, 0) :], bar_interval_us(known.start_us))
            if len(new):
                symbols[name], new_frames = self._slide(before, new)
                frames += new_frames
        self._log_problems(path, bad, skipped, gaps)
        return replace(self.state, symbols=symbols), frames

    def _log_problems(self, path: Path, bad: tuple[str, ...], skipped: Skipped, gaps: Gaps) -> None:
        messages = [f"{path} has {len(bad)} invalid lines, the first {bad[0][:80]!r}"] if bad else []
        messages += [f"{path}: {skipped}"] if skipped.n_wrong else []
        if messages and self.options.strict:
            raise InvalidData(
                f"with --strict every line must be a new bar in order, but {'; '.join(messages)}. "
                "Correct the file, or leave --strict out."
            )
        for message in messages if skipped.n_wrong or not skipped.n else [*messages, f"{path}: {skipped}"]:
            log.warning("%s: skipped.", message)
        if gaps.n:
            log.warning("%s: %s", path, gaps)
        self.n_bad_lines += len(bad)
        self.skipped += skipped
        self.gaps += gaps

    def _slide(self, before: SymbolState, new: Bars) -> tuple[SymbolState, list[pl.DataFrame]]:
        """Slide over a symbol's new windows, and keep the bars that later ones need."""
        sliding, n_seen = self.reader.sliding, self.reader.n_bars
        if self.intervals is None and len(before.bars) + len(new) >= self.reader.model.window_bars:
            self.intervals = compare_with_bars(self.reader.model, np.concatenate([before.bars.start_us, new.start_us]))
        bars, offset, reported, frames = _joined(before.bars, new), before.offset, before.reported, []
        first, end = (sliding.n_places(n, n_seen) for n in (before.n_bars, offset + len(bars)))
        reach = sliding.reach(n_seen)
        max_gap_s = allowed_gap_s(bars.start_us, sliding.max_gap_hours)
        self.n_dropped += self._over_gaps(bars, offset, first, end, max_gap_s)
        if self.reader.model.presence is not None:
            return self._by_presence(before, bars, max_gap_s, self.reader.model.presence)
        for place in range(first, end, sliding.batch_windows):
            stop = min(place + sliding.batch_windows, end)
            start_bar, stop_bar = max(place - reach, 0) * sliding.stride, (stop - 1) * sliding.stride + n_seen
            windows = self.reader.read(bars.take(slice(start_bar - offset, stop_bar - offset)), start_bar, max_gap_s)
            ripe = self.judging.as_known(windows, slice(place * sliding.stride, stop * sliding.stride))
            found = unreported(ripe, reported, self.judging.max_overlap)
            reported = np.concatenate([reported, found.bar])
            reported = reported[reported[:, 1] >= stop * sliding.stride - n_seen]
            if len(found):
                frames.append(self._frame(found, bars, offset))
        kept = max(end - reach, 0) * sliding.stride
        return SymbolState(bars.take(slice(kept - offset, None)), kept, reported), frames

    def _by_presence(
        self, before: SymbolState, bars: Bars, max_gap_s: float, presence: Presence
    ) -> tuple[SymbolState, list[pl.DataFrame]]:
        """Report the events that become known with a symbol's new bars, and keep the bars that later ones need."""
        offset, sliding, reported = before.offset, self.reader.sliding, before.reported
        n_bars, frames = offset + len(bars), list[pl.DataFrame]()
        reading = PartReader(self.reader, self.judging, LastBars(bars, offset, max_gap_s), live=True)
        if not sliding.n_places(n_bars, self.reader.n_bars):
            return SymbolState(bars, offset, reported), frames
        step = sliding.batch_windows * sliding.stride
        for first in range(max(before.n_bars, self.reader.n_bars - 1), n_bars, step):
            stop = min(first + step, n_bars)
            found = reading.known_between(0, first, stop, presence)
            found = unreported(found, reported, self.judging.max_overlap)
            reported = np.concatenate([reported, found.bar])
            reported = reported[reported[:, 1] >= stop - presence.lag - presence.longest]
            if len(found):
                frames.append(self._frame(found, bars, offset))
        kept = reading.known_since(presence, n_bars)
        return SymbolState(bars.take(slice(max(kept - offset, 0), None)), max(kept, offset), reported), frames

    def _over_gaps(self, bars: Bars, offset: int, first: int, end: int, max_gap_s: float) -> int:
        """Count and report the new windows that hold a gap above the longest one."""
        stride, n_seen = self.reader.sliding.stride, self.reader.n_bars
        new = bars.take(slice(first * stride - offset, None))
        n_dropped = cut_windows(new, stride, n_seen, max_gap_s).n_dropped_gap if end > first else 0
        if n_dropped:
            log.warning("%s", dropped_sentence(n_dropped, end - first, [max_gap_s]))
        return n_dropped

    def _frame(self, found: MergedEvents, bars: Bars, offset: int) -> pl.DataFrame:
        return events_frame(events_of(found, bars, self.reader.model.class_names, offset))

    def _report(
        self, state: FollowState, frames: list[pl.DataFrame], on_events: OnEvents, is_first: bool = False
    ) -> None:
        """Keep the state and append the events, over all symbols in the order in which they became known."""
        frame = pl.concat(frames).sort("known_ts", maintain_order=True) if frames else None
        text = "" if frame is None else frame_text(frame, self.options.output.suffix, is_first).decode()
        self.state = state.with_pending(text, 0 if frame is None else len(frame))
        self.folder.keep(self.state)
        if frame is not None and len(frame):
            on_events(frame)
            if self.program is not None:
                self.program.notify()

    def _deciding(self) -> dict[str, Any]:
        chosen = {name: value for name, value in asdict(self.options).items() if name in DECIDING}
        own = {"model": sha256_file(self.options.model), "min_prob": self.judging.min_prob}
        own |= {"stride": self.reader.sliding.stride}
        return chosen | own | {"device": self.reader.device.type, "suffix": self.options.output.suffix}

    def _result(self) -> dict[str, Any]:
        return {
            "output": str(self.options.output),
            "n_events": self.state.n_events,
            "n_bars": sum(one.n_bars for one in self.state.symbols.values()),
            "n_symbols": len(self.state.symbols),
            "n_handed_on": None if self.program is None else self.program.n_taken,
            "n_dead": None if self.program is None else self.program.n_dead,
            "n_bad_lines": self.n_bad_lines,
            "n_skipped": self.skipped.n,
            "n_differing": self.skipped.n_differing,
            "n_out_of_order": self.skipped.n_late,
            "n_gaps": self.gaps.n,
            "n_dropped_gap": self.n_dropped,
            "min_prob": float(self.judging.min_prob),
            "device": self.reader.device.type,
            "labelled_by": self.reader.model.training.get("annotators"),
            **(self.intervals or {}),
        }


def _newer(start_us: np.ndarray, before: SymbolState) -> np.ndarray:
    """Report which bars are after all bars before them."""
    earlier = np.concatenate([[before.last_us] if len(before.bars) else [start_us[0] - 1], start_us[:-1]])
    return np.asarray(start_us > np.maximum.accumulate(earlier))


def _joined(one: Bars, other: Bars) -> Bars:
    pairs = ((one.start_us, other.start_us), (one.ohlc, other.ohlc), (one.symbol, other.symbol))
    return Bars(*(np.concatenate(pair) for pair in pairs))
