"""Windows of a stretch of bars, counted and read by a model; events evaluated from them, in hindsight or live."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch

from moola.core.bars import Bars
from moola.core.event_merging import MergedEvents, WindowCurves, judge, live_events, merge_windows, seen_by
from moola.core.features import relative_features
from moola.core.windows import cut_windows, take_windows
from moola.evaluation.calibration import calibrated
from moola.evaluation.pointer_metrics import HIT_BARS
from moola.fit.predicting import (
    BarVectors,
    decode,
    read_windows_both_ways,
    recorded_vectors,
    trusted_zone,
    vectors_by_orientation,
)
from moola.models.model_files import ModelFile
from moola.models.presence_part import PROBABILITY, RANK
from moola.tables.bar_table import LaidOutBars, symbol_gap_s, symbol_interval_us
from moola.training.finetune import PASS_WINDOWS

POINTERS = "probability that both pointers are near"


@dataclass(frozen=True)
class Sliding:
    """How windows slide: `stride` bars apart, none over a gap above the longest one, `batch_windows` at a time."""

    stride: int
    max_gap_hours: float | None
    batch_windows: int

    def n_places(self, n_bars: int, window_bars: int) -> int:
        """Count the places of windows of a length over so many bars, those over a gap included."""
        return max((n_bars - window_bars) // self.stride + 1, 0)

    def reach(self, window_bars: int) -> int:
        """Places on each side whose windows share a bar with a window."""
        return (window_bars - 1) // self.stride


@dataclass(frozen=True)
class WindowReader:
    """A model and how it slides."""

    model: ModelFile
    device: torch.device
    sliding: Sliding

    @property
    def n_bars(self) -> int:
        """Bars that a window must have: those that the model sees, for later ones may not be there yet."""
        return self.model.n_seen_bars

    @property
    def zone(self) -> tuple[int, int]:
        """Bars of a window in which its pointers are trusted: the inner zone, as far as the model sees it."""
        return trusted_zone(self.model)

    @property
    def event_prob(self) -> str:
        """What the probability of an event is, in words."""
        presence = self.model.presence
        return POINTERS if presence is None else RANK if presence.is_rank else PROBABILITY

    def read(self, bars: Bars, offset: int, max_gap_s: float, sums: BarVectors | None = None) -> WindowCurves:
        """Read the windows of one symbol's bars.

        Parameters
        ----------
        bars
            Consecutive bars of one symbol.
        offset
            Place of the first of them among the symbol's bars, a multiple of the stride; what is read counts from
            the symbol's first bar.
        max_gap_s
            Longest gap inside a window, the same for all bars of the symbol.
        sums
            Where vectors of these bars are added up, if they are wanted.
        """
        cut = cut_windows(bars, self.sliding.stride, self.n_bars, max_gap_s)
        pieces = [
            (np.zeros((0, self.n_bars, 2)), np.zeros((0, len(self.model.class_names))), np.zeros((0, 2), np.int64))
        ]
        # Whole passes, for each is filled up.
        at_a_time = -(-self.sliding.batch_windows // PASS_WINDOWS) * PASS_WINDOWS
        for i in range(0, len(cut), at_a_time):
            rows = cut.first_bar[i : i + at_a_time]
            # Features look back only, so those of the bars that the model sees need no others.
            features = relative_features(take_windows(bars.ohlc, rows, self.n_bars))
            with recorded_vectors(self.model.network.encoder) as vectors:
                logits, curves = read_windows_both_ways(self.model, features, self.device)
            if sums is not None:
                sums.add(rows, vectors_by_orientation(vectors, len(rows), self.model))
            assert curves is not None
            pair, _ = decode(curves, len(curves), self.model.length_weight)
            pieces.append((curves, calibrated(logits, self.model.temperature), pair))
        curves, class_prob, pair = (np.concatenate(column) for column in zip(*pieces, strict=True))
        return WindowCurves(cut.first_bar + offset, curves, class_prob, pair, self.zone)


@dataclass(frozen=True)
class Judging:
    """What an event must have: the least probability, little overlap, and, live, windows enough."""

    min_prob: float
    max_overlap: float
    min_windows: int

    def in_hindsight(self, windows: WindowCurves, own: slice) -> MergedEvents:
        """Evaluate what windows that begin at the bars of `own` propose; they may overlap still."""
        found = merge_windows(windows, _begin_in(windows, own), HIT_BARS)
        return found.take(np.flatnonzero(found.event_prob >= self.min_prob))

    def present(self, windows: WindowCurves, bar: np.ndarray, prob: np.ndarray) -> MergedEvents:
        """Judge candidates with the probability of each class that a person would have marked them so.

        Windows say where their ends are and how sure that is. A candidate that no window has is left out, unless no
        window could have it: one that is longer than they are has the pointer probabilities 0, by 0 windows.
        """
        first, last, cut = seen_by(windows.first_bar, bar, windows.n_seen, windows.zone)
        is_long = bar[:, 1] - bar[:, 0] >= windows.n_seen
        last = np.where(is_long, first, last)
        rows = np.flatnonzero((prob.max(axis=1, initial=0.0) >= self.min_prob) & ((last > first) | is_long))
        found = judge(windows, bar[rows], first[rows], last[rows], cut[rows], HIT_BARS)
        prob = prob[rows]
        total = np.maximum(prob.sum(axis=1, keepdims=True), np.finfo(float).tiny)
        return replace(found, event_prob=prob.max(axis=1, initial=0.0), class_prob=prob / total)

    def present_live(
        self, windows: WindowCurves, bar: np.ndarray, prob: np.ndarray, known_bar: np.ndarray
    ) -> MergedEvents:
        """The same as each event becomes known, by windows that were complete then; in the order of that."""
        n_seen = windows.n_seen
        first = np.searchsorted(windows.first_bar, bar[:, 1] - n_seen + 1, side="left")
        complete = np.searchsorted(windows.first_bar, known_bar - n_seen + 1, side="right")
        last = np.minimum(np.searchsorted(windows.first_bar, bar[:, 0], side="right"), complete)
        is_long = bar[:, 1] - bar[:, 0] >= n_seen
        last = np.where(is_long, first, last)
        rows = np.flatnonzero((prob.max(axis=1, initial=0.0) >= self.min_prob) & ((last > first) | is_long))
        # That no window has the whole event in its inner zone yet is no cut.
        found = judge(windows, bar[rows], first[rows], last[rows], np.zeros(len(rows), dtype=bool), HIT_BARS)
        prob = prob[rows]
        total = np.maximum(prob.sum(axis=1, keepdims=True), np.finfo(float).tiny)
        found = replace(
            found, event_prob=prob.max(axis=1, initial=0.0), class_prob=prob / total, known_bar=known_bar[rows]
        )
        return found.take(np.lexsort((found.bar[:, 1], found.bar[:, 0], -found.event_prob, found.known_bar)))

    def as_known(self, windows: WindowCurves, own: slice) -> MergedEvents:
        """Find the events that can be reported with the windows that begin at the bars of `own`."""
        return live_events(windows, _begin_in(windows, own), HIT_BARS, self.min_prob, self.min_windows)


def _begin_in(windows: WindowCurves, own: slice) -> np.ndarray:
    return (windows.first_bar >= own.start) & (windows.first_bar < own.stop)


# What a scan will read, counted before it reads: windows, gaps inside and between them, bars that none has.


@dataclass(frozen=True)
class Stretch:
    """Places `[first, last)` of a symbol's windows: what one part of a scan reads."""

    symbol: int
    first: int
    last: int


@dataclass
class WindowCounts:
    """Windows of a scan.

    Attributes
    ----------
    by_part
        Windows of each part, those over a long gap left out.
    n_dropped_gap
        Windows over a gap above the longest one allowed.
    n_over_gap
        Windows over a shorter gap: more than the symbol's usual time between bars.
    limits_s
        The longest gap allowed, a symbol.
    n_unseen, unseen
        Bars in no window, and symbols that have no other.
    """

    by_part: list[int] = field(default_factory=list)
    n_dropped_gap: int = 0
    n_over_gap: int = 0
    limits_s: list[float] = field(default_factory=list)
    n_unseen: int = 0
    unseen: list[str] = field(default_factory=list)

    @property
    def n_windows(self) -> int:
        """Windows of all parts."""
        return sum(self.by_part)

    def as_dict(self) -> dict[str, Any]:
        """Return the counts by the names of the command's result."""
        return {
            "n_windows": self.n_windows,
            "n_dropped_gap": self.n_dropped_gap,
            "max_gap_hours": [limit_s / 3600 for limit_s in self.limits_s],
            "n_windows_over_gap": self.n_over_gap,
            "n_bars_unseen": self.n_unseen,
            "symbols_unseen": self.unseen,
        }


def stretches(spool: LaidOutBars, sliding: Sliding, window_bars: int) -> list[Stretch]:
    """Return the parts of a scan, symbol by symbol."""
    parts = []
    for symbol, n_bars in enumerate(spool.n_bars):
        n_places = sliding.n_places(n_bars, window_bars)
        for first in range(0, n_places, sliding.batch_windows):
            parts.append(Stretch(symbol, first, min(first + sliding.batch_windows, n_places)))
    return parts


def count_windows(spool: LaidOutBars, parts: list[Stretch], sliding: Sliding, window_bars: int) -> WindowCounts:
    """Count, reading the bars of one part at a time."""
    counts = WindowCounts()
    usual_us = [symbol_interval_us(spool, symbol) for symbol in range(len(spool.symbols))]
    limit_s = [symbol_gap_s(spool, symbol, sliding.max_gap_hours) for symbol in range(len(spool.symbols))]
    counts.limits_s = limit_s
    n_seen, seen_to = np.zeros(len(spool.symbols), dtype=np.int64), np.zeros(len(spool.symbols), dtype=np.int64)
    for part in parts:
        offset = part.first * sliding.stride
        bars = spool.read(part.symbol, offset, (part.last - 1) * sliding.stride + window_bars)
        cut = cut_windows(bars, sliding.stride, window_bars, limit_s[part.symbol])
        counts.by_part.append(len(cut))
        counts.n_dropped_gap += cut.n_dropped_gap
        longer = np.concatenate([[0], np.cumsum(np.diff(bars.start_us) > usual_us[part.symbol])])
        counts.n_over_gap += int((longer[cut.first_bar + window_bars - 1] > longer[cut.first_bar]).sum())
        ends = cut.first_bar + offset + window_bars
        n_seen[part.symbol] += int(np.minimum(np.diff(ends, prepend=seen_to[part.symbol]), window_bars).sum())
        seen_to[part.symbol] = ends[-1] if len(ends) else seen_to[part.symbol]
    counts.n_unseen = int(sum(spool.n_bars) - n_seen.sum())
    counts.unseen = [name for name, n in zip(spool.symbols, n_seen.tolist(), strict=True) if not n]
    return counts
