"""Windows of a stretch of one symbol's bars, read by a model; events judged from them, in hindsight or as known."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from moola.core.bars import Bars
from moola.core.features import relative_features
from moola.core.live import live_events, not_yet_told
from moola.core.merging import MergedEvents, WindowCurves, merge_windows
from moola.core.windows import cut_windows, inner_zone, take_windows
from moola.evaluation.calibration import calibrated
from moola.evaluation.event_metrics import HIT_BARS
from moola.models.files import ModelFile
from moola.pipeline.predicting import decode, read_windows_both_ways


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
        first, last = inner_zone(self.model.window_bars)
        return first, min(last, self.n_bars)

    def read(self, bars: Bars, offset: int, max_gap_s: float) -> WindowCurves:
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
        """
        cut = cut_windows(bars, self.sliding.stride, self.n_bars, max_gap_s)
        pieces = [
            (np.zeros((0, self.n_bars, 2)), np.zeros((0, len(self.model.class_names))), np.zeros((0, 2), np.int64))
        ]
        for i in range(0, len(cut), self.sliding.batch_windows):
            rows = cut.first_bar[i : i + self.sliding.batch_windows]
            # Features look back only, so those of the bars that the model sees need no others.
            features = relative_features(take_windows(bars.ohlc, rows, self.n_bars))
            logits, curves = read_windows_both_ways(self.model, features, self.device)
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

    def in_hindsight(self, said: WindowCurves, own: slice) -> MergedEvents:
        """Judge what windows that begin at the bars of `own` propose; they may overlap still."""
        found = merge_windows(said, _begin_in(said, own), HIT_BARS)
        return found.take(np.flatnonzero(found.event_prob >= self.min_prob))

    def as_known(self, said: WindowCurves, own: slice) -> MergedEvents:
        """Find the events that can be told with the windows that begin at the bars of `own`."""
        return live_events(said, _begin_in(said, own), HIT_BARS, self.min_prob, self.min_windows)

    def untold(self, found: MergedEvents, told: np.ndarray) -> MergedEvents:
        """Return those of `as_known` that are told: none that overlaps one told before."""
        return not_yet_told(found, told, self.max_overlap)


def _begin_in(said: WindowCurves, own: slice) -> np.ndarray:
    return (said.first_bar >= own.start) & (said.first_bar < own.stop)
