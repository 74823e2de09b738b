"""Stage `scan`: a model slid over bars, part by part; what its windows say becomes events."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from moola import __version__
from moola.config.scan_options import ScanOptions
from moola.core.bars import Bars, bar_interval_us
from moola.core.features import relative_features
from moola.core.merging import MergedEvents, WindowCurves, merge_windows, suppress
from moola.core.windows import CutWindows, cut_windows, take_windows
from moola.data.contracts.bar_table import read_bars
from moola.data.contracts.event_table import events_of, write_events
from moola.errors import InvalidData, WrongUsage
from moola.evaluation.calibration import calibrated
from moola.evaluation.event_metrics import HIT_BARS
from moola.files import sha256_file
from moola.models.files import ModelFile, read_model
from moola.pipeline.predicting import decode, read_windows_both_ways
from moola.pipeline.scan_parts import ScanPart, ScanParts
from moola.training.device import prepare_device

OnPart = Callable[[int, int, int], None]
DECIDING = ("stride", "max_gap_hours", "max_overlap", "batch_windows", "threads")


class Scan:
    """One model over one bar file.

    Only the bars are in memory as a whole. Windows are cut and read a part at a time, each part together
    with the windows beside it that share bars with it, so that a part's events hang on nothing that was
    read before and a scan can go on after any of them.
    """

    def __init__(self, options: ScanOptions) -> None:
        options.check()
        self.options = options
        self.device = prepare_device(options.device, options.threads)
        self.model = _pointing(read_model(options.model), options.model)
        self.bars = read_bars(options.bars)
        self.cut = cut_windows(self.bars, options.stride, self.model.window_bars, options.max_gap_hours * 3600)
        if not len(self.cut):
            raise InvalidData(
                f"{options.bars} must have bars for a window, but {len(self.bars)} bars give none of "
                f"{self.model.window_bars} ({self.cut.n_dropped_gap} dropped for gaps). Give more bars or raise "
                "--max-gap-hours."
            )
        # The model's threshold is one pointer's; an event has two, and its probability is of both.
        own = (self.model.pointer_threshold or 0.0) ** 2
        self.min_prob = own if options.min_prob is None else options.min_prob
        self.events = MergedEvents.none(len(self.model.class_names))

    @property
    def n_parts(self) -> int:
        """Parts of `batch_windows` windows."""
        return -(-len(self.cut) // self.options.batch_windows)

    def run(self, on_part: OnPart) -> dict[str, Any]:
        """Read every window, write the events, and say what was seen; `on_part` gets windows done, all, events."""
        parts = ScanParts(self.options.output, self._deciding())
        n_done = parts.begin(self.options.resume)
        for number in range(n_done, self.n_parts):
            part = self._part(number, parts.read(number - 1) if number else None)
            parts.write(number, part)
            on_part(min((number + 1) * self.options.batch_windows, len(self.cut)), len(self.cut), part.n_events)
        self.events = MergedEvents.joined([parts.read(number).kept for number in range(self.n_parts)])
        events = events_of(self.events, self.bars, self.model.class_names)
        write_events(self.options.output, events)
        parts.clear()
        said = np.array(self.model.class_names)[events.class_prob.argmax(axis=1)]
        return {
            "output": str(self.options.output),
            "n_events": len(events),
            "n_cut": int(events.cut.sum()),
            "predicted": dict(sorted(Counter(said.tolist()).items())),
            "min_prob": float(self.min_prob),
            "n_bars": len(self.bars),
            "n_symbols": len(self.bars.symbols),
            "n_windows": len(self.cut),
            "n_dropped_gap": self.cut.n_dropped_gap,
            "resumed_parts": n_done,
            "device": str(self.device),
            "labelled_by": self.model.training.get("annotators"),
        } | gaps_in(self.bars, self.cut)

    def _part(self, number: int, before: ScanPart | None) -> ScanPart:
        """Judge what the part's windows propose; what later windows may still beat is left open."""
        size, first_bar, n_bars = self.options.batch_windows, self.cut.first_bar, self.model.window_bars
        first, last = number * size, min((number + 1) * size, len(first_bar))
        beside = slice(
            int(np.searchsorted(first_bar, first_bar[first] - n_bars, side="right")),
            int(np.searchsorted(first_bar, first_bar[last - 1] + n_bars, side="left")),
        )
        own = np.arange(beside.start, beside.stop)
        found = merge_windows(self.read(first_bar[beside]), (own >= first) & (own < last), HIT_BARS)
        found = found.take(np.flatnonzero(found.event_prob >= self.min_prob))
        told, n_events = np.zeros((0, 2), dtype=np.int64), 0
        if before is not None:
            found, told, n_events = MergedEvents.joined([before.open, found]), before.told, before.n_events
        horizon = int(first_bar[last]) if last < len(first_bar) else len(self.bars)
        kept, still = suppress(found, told, self.options.max_overlap, horizon)
        # Of the events told, those that an open or a coming one may overlap are all that the next part must know.
        reach = min(horizon, int(found.bar[still, 0].min(initial=horizon)))
        told = np.concatenate([told, found.bar[kept]])
        return ScanPart(
            found.take(np.flatnonzero(kept)),
            found.take(np.flatnonzero(still)),
            told[told[:, 1] >= reach],
            n_events + int(kept.sum()),
        )

    def read(self, first_bar: np.ndarray) -> WindowCurves:
        """Read the windows that begin at these bars, at most `batch_windows` at a time."""
        pieces = []
        for i in range(0, len(first_bar), self.options.batch_windows):
            features = relative_features(
                take_windows(self.bars.ohlc, first_bar[i : i + self.options.batch_windows], self.model.window_bars)
            )
            logits, curves = read_windows_both_ways(self.model, features, self.device)
            assert curves is not None
            pair, _ = decode(curves, len(curves), self.model.length_weight)
            pieces.append((curves, calibrated(logits, self.model.temperature), pair))
        return WindowCurves(first_bar, *(np.concatenate(column) for column in zip(*pieces, strict=True)))

    def _deciding(self) -> dict[str, Any]:
        """Everything that the events hang on."""
        options = asdict(self.options)
        files = {name: sha256_file(options[name]) for name in ("model", "bars")}
        chosen = {name: options[name] for name in DECIDING}
        return files | chosen | {"min_prob": self.min_prob, "device": str(self.device), "version": __version__}


def _pointing(model: ModelFile, path: Path) -> ModelFile:
    if not model.network.predict_pointers:
        raise WrongUsage(
            f"a scan must have a model that predicts pointers, but {path} was trained without. "
            "Train one with --predict-pointers true."
        )
    return model


def gaps_in(bars: Bars, cut: CutWindows) -> dict[str, Any]:
    """Count windows over a gap (more than the symbol's usual time between bars) and bars that no window has."""
    longer = np.zeros(len(bars), dtype=np.int64)
    short = []
    seen = np.zeros(len(bars) + 1, dtype=np.int64)
    np.add.at(seen, cut.first_bar, 1)
    np.add.at(seen, cut.first_bar + cut.window_bars, -1)
    in_window = np.cumsum(seen)[:-1] > 0
    for symbol in bars.symbols:
        rows = np.flatnonzero(bars.symbol == symbol)
        longer[rows[1:]] = np.diff(bars.start_us[rows]) > bar_interval_us(bars.start_us[rows])
        if not in_window[rows].any():
            short.append(symbol)
    before = np.cumsum(longer)
    over = before[cut.first_bar + cut.window_bars - 1] > before[cut.first_bar]
    return {
        "n_windows_over_gap": int(over.sum()),
        "n_bars_unseen": int((~in_window).sum()),
        "symbols_unseen": short,
    }
