"""Stage `scan --follow`: bars that are appended are read as they come, and each event is told once."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from moola.config.scan_options import ScanOptions
from moola.core.bars import Bars, price_problems
from moola.core.merging import MergedEvents
from moola.core.windows import allowed_gap_s, cut_windows
from moola.data.contracts.bar_pieces import Place, bar_frames
from moola.data.contracts.bar_spool import rows_by_symbol
from moola.data.contracts.bar_table import ADVICE, columns_of
from moola.data.contracts.event_table import events_frame, events_of, frame_text
from moola.data.cutting import dropped_sentence
from moola.errors import InvalidData, OperationFailed, Problem
from moola.files import sha256_file
from moola.pipeline.scan.follow_state import FollowFolder, FollowState, SymbolState
from moola.pipeline.scan.parts import NO_BARS
from moola.pipeline.scan.proposals import open_judging, open_reader

log = logging.getLogger(__name__)
SUFFIXES = (".parquet", ".csv")
DECIDING = ("stride", "max_gap_hours", "max_overlap", "live_windows", "threads")
OnEvents = Callable[[pl.DataFrame], None]


class Follower:
    """One model over one file or folder that grows."""

    def __init__(self, options: ScanOptions) -> None:
        options.check()
        assert options.follow is not None
        self.options, self.source = options, options.follow
        self.reader = open_reader(options)
        self.judging = open_judging(options, self.reader.model)
        if not self.source.exists():
            raise OperationFailed(
                f"--follow must name a file or a folder, but there is no {self.source}. Check the path."
            )
        self.folder = FollowFolder(options.output, self._deciding())
        self.state = FollowState()
        # What a file was when it was last read to its end: nothing is read again until it is another.
        self.signatures: dict[str, tuple[int, int]] = {}
        self.n_skipped = 0
        self.n_dropped = 0

    def run(self, on_events: OnEvents, on_begun: Callable[[], None] = lambda: None) -> dict[str, Any]:
        """Look at the source again and again; `on_events` gets the table of events just told."""
        try:
            self.state = self.folder.open()
            on_begun()
            if not self.state.n_bytes and not self.state.pending:
                none = MergedEvents.none(len(self.reader.model.class_names))
                self._tell(self.state, [self._frame(none, _no_bars(), 0)], lambda _: None, is_first=True)
            n_looks = 0
            while True:
                self.look(on_events)
                n_looks += 1
                if n_looks == self.options.polls:
                    return self._result()
                time.sleep(self.options.poll_s)
        finally:
            self.folder.close()

    def look(self, on_events: OnEvents) -> None:
        """Read what was appended since the last look, a piece at a time."""
        for path in self._files():
            status = path.stat()
            signature = (status.st_size, status.st_mtime_ns)
            if self.signatures.get(path.name) == signature:
                continue
            for frame, place in self._pieces(path):
                state, frames = self._read(path, frame)
                places = {**state.places, path.name: place}
                self._tell(replace(state, places=places), frames, on_events)
            self.signatures[path.name] = signature

    def _files(self) -> list[Path]:
        if not self.source.is_dir():
            return [self.source]
        return sorted(path for path in self.source.iterdir() if path.suffix in SUFFIXES and path.is_file())

    def _pieces(self, path: Path) -> Iterator[tuple[pl.DataFrame, Place]]:
        place = self.state.places.get(path.name, Place())
        if place.n_bytes > path.stat().st_size:
            log.warning("%s became shorter: it is read anew, and bars that were read are skipped.", path)
            place = Place()
        try:
            yield from bar_frames(path, place, finished=False)
        except InvalidData as error:
            # Whoever writes parquet writes it whole; until then there is nothing to read.
            log.warning("%s is looked at again when it changes: %s", path, str(error).splitlines()[0])

    def _read(self, path: Path, frame: pl.DataFrame) -> tuple[FollowState, list[pl.DataFrame]]:
        """Read a piece's new bars, symbol by symbol."""
        problems: list[Problem] = []
        bars, _ = columns_of(frame, path, problems)
        problems += price_problems(bars.ohlc) if not problems else []
        if problems:
            raise InvalidData.from_problems(f"{path} (rows counted from the first new one)", problems, ADVICE)
        symbols, frames, n_old = dict(self.state.symbols), [], 0
        for name, rows in rows_by_symbol(bars):
            before = symbols.get(name, SymbolState(_no_bars(), 0, NO_BARS))
            new = rows[_newer(bars.start_us[rows], before)]
            n_old += len(rows) - len(new)
            if len(new):
                symbols[name], told = self._slide(before, Bars(bars.start_us[new], bars.ohlc[new], bars.symbol[new]))
                frames += told
        if n_old:
            self.n_skipped += n_old
            log.warning("%d bars of %s are not after the last bar of their symbol: skipped.", n_old, path)
        return replace(self.state, symbols=symbols), frames

    def _slide(self, before: SymbolState, new: Bars) -> tuple[SymbolState, list[pl.DataFrame]]:
        """Slide over a symbol's new windows, and keep the bars that later ones need."""
        sliding, n_seen = self.reader.sliding, self.reader.n_bars
        bars, offset, told, frames = _joined(before.bars, new), before.offset, before.told, []
        first, end = (sliding.n_places(n, n_seen) for n in (before.n_bars, offset + len(bars)))
        reach = sliding.reach(n_seen)
        max_gap_s = allowed_gap_s(bars.start_us, sliding.max_gap_hours)
        self.n_dropped += self._over_gaps(bars, offset, first, end, max_gap_s)
        for place in range(first, end, sliding.batch_windows):
            stop = min(place + sliding.batch_windows, end)
            start_bar, stop_bar = max(place - reach, 0) * sliding.stride, (stop - 1) * sliding.stride + n_seen
            said = self.reader.read(_part(bars, start_bar - offset, stop_bar - offset), start_bar, max_gap_s)
            ripe = self.judging.as_known(said, slice(place * sliding.stride, stop * sliding.stride))
            found = self.judging.untold(ripe, told)
            told = np.concatenate([told, found.bar])
            told = told[told[:, 1] >= stop * sliding.stride - n_seen]
            if len(found):
                frames.append(self._frame(found, bars, offset))
        kept = max(end - reach, 0) * sliding.stride
        return SymbolState(_part(bars, kept - offset, len(bars)), kept, told), frames

    def _over_gaps(self, bars: Bars, offset: int, first: int, end: int, max_gap_s: float) -> int:
        """Count and tell the new windows that hold a gap above the longest one."""
        stride, n_seen = self.reader.sliding.stride, self.reader.n_bars
        new = _part(bars, first * stride - offset, len(bars))
        n_dropped = cut_windows(new, stride, n_seen, max_gap_s).n_dropped_gap if end > first else 0
        if n_dropped:
            log.warning("%s", dropped_sentence(n_dropped, end - first, [max_gap_s]))
        return n_dropped

    def _frame(self, found: MergedEvents, bars: Bars, offset: int) -> pl.DataFrame:
        return events_frame(events_of(found, bars, self.reader.model.class_names, offset))

    def _tell(
        self, state: FollowState, frames: list[pl.DataFrame], on_events: OnEvents, is_first: bool = False
    ) -> None:
        """Keep the state and append the events, over all symbols in the order in which they became known."""
        frame = pl.concat(frames).sort("known_ts", maintain_order=True) if frames else None
        text = "" if frame is None else frame_text(frame, self.options.output.suffix, is_first).decode()
        self.state = state.told(text, 0 if frame is None else len(frame))
        self.folder.keep(self.state)
        if frame is not None and len(frame):
            on_events(frame)

    def _deciding(self) -> dict[str, Any]:
        chosen = {name: value for name, value in asdict(self.options).items() if name in DECIDING}
        own = {"model": sha256_file(self.options.model), "min_prob": self.judging.min_prob}
        return chosen | own | {"device": self.reader.device.type, "suffix": self.options.output.suffix}

    def _result(self) -> dict[str, Any]:
        return {
            "output": str(self.options.output),
            "n_events": self.state.n_events,
            "n_bars": sum(one.n_bars for one in self.state.symbols.values()),
            "n_symbols": len(self.state.symbols),
            "n_skipped": self.n_skipped,
            "n_dropped_gap": self.n_dropped,
            "min_prob": float(self.judging.min_prob),
            "device": self.reader.device.type,
            "labelled_by": self.reader.model.training.get("annotators"),
        }


def _newer(start_us: np.ndarray, before: SymbolState) -> np.ndarray:
    """Tell which bars are after all bars before them."""
    earlier = np.concatenate([[before.last_us] if len(before.bars) else [start_us[0] - 1], start_us[:-1]])
    return np.asarray(start_us > np.maximum.accumulate(earlier))


def _no_bars() -> Bars:
    return Bars(np.zeros(0, dtype=np.int64), np.zeros((0, 4)), np.zeros(0, dtype=object))


def _joined(one: Bars, other: Bars) -> Bars:
    pairs = ((one.start_us, other.start_us), (one.ohlc, other.ohlc), (one.symbol, other.symbol))
    return Bars(*(np.concatenate(pair) for pair in pairs))


def _part(bars: Bars, first: int, stop: int) -> Bars:
    return Bars(bars.start_us[first:stop], bars.ohlc[first:stop], bars.symbol[first:stop])
