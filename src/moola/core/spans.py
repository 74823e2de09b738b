"""Spans: pieces of a chart with a class, annotated stretches, where both lie on bars, and where windows are cut."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Int

from moola.core.bars import Bars, bar_interval_us, between_text
from moola.core.windows import WINDOW_BARS, inner_zone
from moola.errors import Problem

# Where a span came from: a person alone, or a model's proposal that a person took as it was or changed.
MARKED, ACCEPTED, CORRECTED = "marked", "accepted", "corrected"
# The class of windows in which nothing is.
BACKGROUND = "background"


def bare_symbol(symbol: str) -> str:
    """Return a symbol without case and marks: EUR/USD is eurusd."""
    return "".join(one for one in symbol.lower() if one.isalnum()) or symbol


def symbol_among(name: str, symbols: list[str]) -> str | None:
    """Return the symbol that a name means, None for none of them.

    It is the one of the same letters, else the one without what sources put around it: an exchange before a colon
    (`FX:EURUSD`), Yahoo's `=X`, or a broker's ending in small letters (`EURUSD.r`, `EURUSDm`).
    """
    plain = re.sub(r"=X$", "", name.rpartition(":")[2])
    endless = re.sub(r"(?<=[A-Z])([._#-][a-z]{1,4}|[a-z]{1,2})$", "", plain)
    for text in (name, plain, endless):
        for symbol in symbols:
            if symbol and text and bare_symbol(text) == bare_symbol(symbol):
                return symbol
    return None


def is_one_line(text: str) -> bool:
    """Tell whether a class is one printable line; the joiner of emoji is printed as a part of them."""
    return text.replace("\u200d", "").isprintable()


@dataclass(frozen=True)
class Spans:
    """Pieces of charts with a class, one row a span.

    Attributes
    ----------
    start_us, end_us
        First and last moment, both included, microseconds since 1970 in UTC.
    label
        Class of each span.
    symbol, annotator, note
        What is known besides; the empty string where nothing is.
    place
        Where each span stands in its file, from 0 (or its line, from 1, where `is_line`).
    is_line
        Whether `place` counts the lines of a text.
    source
        `marked` by a person alone, or what a model proposed and a person `accepted` or `corrected`; the empty string
        where that is not known. None where nothing says it.
    """

    start_us: Int[np.ndarray, " spans"]
    end_us: Int[np.ndarray, " spans"]
    label: np.ndarray
    symbol: np.ndarray
    annotator: np.ndarray
    note: np.ndarray
    place: Int[np.ndarray, " spans"]
    is_line: bool = False
    source: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.start_us)

    @property
    def annotators(self) -> list[str]:
        """Who marked the spans, sorted."""
        return sorted(set(self.annotator.tolist()))

    @property
    def symbols(self) -> list[str]:
        """Symbols of the spans, sorted."""
        return sorted(set(self.symbol.tolist()))

    def take(self, rows: np.ndarray) -> Spans:
        """Return some spans, in this order."""
        return Spans(
            self.start_us[rows],
            self.end_us[rows],
            self.label[rows],
            self.symbol[rows],
            self.annotator[rows],
            self.note[rows],
            self.place[rows],
            self.is_line,
            None if self.source is None else self.source[rows],
        )

    def problem(self, rule: str, broken: np.ndarray, detail: str = "") -> list[Problem]:
        """Return a rule with the spans that break it, the first by its place in the file and its times; else nothing.

        `detail` stands in place of the times.
        """
        if not broken.any():
            return []
        row = int(broken.argmax())
        place = int(self.place[row])
        detail = detail or between_text(self.start_us[row], self.end_us[row])
        return [Problem(rule, int(broken.sum()), place, detail, place if self.is_line else None)]

    def on_bars(self, bars: Bars, placed: PlacedSpans) -> Spans:
        """Return the spans with the times of the bars that they mean; each must have met bars."""
        return replace(
            self,
            start_us=bars.start_us[placed.first],
            end_us=bars.start_us[placed.last],
            symbol=bars.symbol[placed.first],
        )


@dataclass(frozen=True)
class PlacedSpans:
    """Spans as rows of a bar table.

    Attributes
    ----------
    first, last
        Row of the first and of the last bar, inclusive; -1 where no bar was met.
    moved_us
        How far the ends lie from the starts of their bars: the farther one of the two.
    nearest
        Row of the bar nearest to the span's middle, for messages; -1 where its symbol has no bars.
    outside
        Whether a span begins before the first bar or ends after the last one is over.
    """

    first: Int[np.ndarray, " spans"]
    last: Int[np.ndarray, " spans"]
    moved_us: Int[np.ndarray, " spans"]
    nearest: Int[np.ndarray, " spans"]
    outside: Bool[np.ndarray, " spans"]

    @property
    def met(self) -> Bool[np.ndarray, " spans"]:
        """Return which spans lie on bars, whole."""
        return self.first >= 0

    @property
    def exact(self) -> Bool[np.ndarray, " spans"]:
        """Return which spans begin and end with the very times of bars."""
        return self.met & (self.moved_us == 0)

    def take(self, rows: np.ndarray) -> PlacedSpans:
        """Return some spans, in this order."""
        return PlacedSpans(
            self.first[rows], self.last[rows], self.moved_us[rows], self.nearest[rows], self.outside[rows]
        )


def place_spans(spans: Spans, bars: Bars) -> PlacedSpans:
    """Find the bars that spans mean.

    A moment inside a bar means that bar, the last moment included. A span that begins between bars, as in a weekend,
    begins with the next bar, and one that ends there ends with the bar before.

    Parameters
    ----------
    spans
        Spans whose symbols are those of the bars.
    bars
        Bars that obey `bar_problems`, symbol by symbol.

    Returns
    -------
    PlacedSpans
        Rows of the bar table. A span outside the bars, wholly or in part, or without a bar between its ends, met none.
    """
    n = len(spans)
    first, last, nearest = (np.full(n, -1, dtype=np.int64) for _ in range(3))
    moved, outside = np.zeros(n, dtype=np.int64), np.ones(n, dtype=bool)
    for symbol in bars.symbols:
        mine = np.flatnonzero(spans.symbol == symbol)
        rows = np.flatnonzero(bars.symbol == symbol)
        times = bars.start_us[rows]
        length = max(bar_interval_us(times), 1)
        start, end = spans.start_us[mine], spans.end_us[mine]
        begun = np.searchsorted(times, start, side="right") - 1
        # Where that bar had ended before, the span begins in a gap.
        is_over = (begun < 0) | (start - times[begun.clip(min=0)] >= length)
        from_bar = begun + is_over
        to_bar = np.searchsorted(times, end, side="right") - 1
        beyond = (start < times[0]) | (end - times[-1] >= length)
        met = ~beyond & (from_bar <= to_bar) & (from_bar < len(times))
        nearest[mine] = rows[_nearest(times, start + (end - start) // 2)]
        outside[mine] = beyond
        at, a, b = mine[met], from_bar[met], to_bar[met]
        first[at], last[at] = rows[a], rows[b]
        moved[at] = np.maximum(np.abs(start[met] - times[a]), end[met] - times[b])
    return PlacedSpans(first, last, moved, nearest, outside)


def _nearest(times: np.ndarray, moment: np.ndarray) -> np.ndarray:
    after = np.searchsorted(times, moment).clip(max=len(times) - 1)
    before = (after - 1).clip(min=0)
    return np.where(np.abs(times[before] - moment) <= np.abs(times[after] - moment), before, after)


def share_bars(
    first: Int[np.ndarray, " spans"],
    last: Int[np.ndarray, " spans"],
    other_first: Int[np.ndarray, " others"],
    other_last: Int[np.ndarray, " others"],
) -> Bool[np.ndarray, "spans others"]:
    """Return which pieces share a bar with which others, all given by rows of their first and last bar."""
    return (first[:, None] <= other_last[None, :]) & (other_first[None, :] <= last[:, None])


# How long windows of spans are, and where in a window a span stands.


# Of spans this share must be within this share of a window: the rest is what came before and after.
SPAN_SHARE, WINDOW_SHARE = 0.95, 0.4


def window_bars_for(n_bars: Int[np.ndarray, " spans"]) -> int:
    """Return the length of windows for spans of these lengths: 105, or more where long spans ask for it."""
    long = float(np.quantile(n_bars, SPAN_SHARE, method="inverted_cdf"))
    return max(WINDOW_BARS, math.ceil(long / WINDOW_SHARE))


def window_starts(
    first: int, last: int, window_bars: int, zone: tuple[int, int], is_whole: Bool[np.ndarray, " bars"]
) -> Int[np.ndarray, " starts"]:
    """Return every first row of a window that holds a span whole.

    Parameters
    ----------
    first, last
        Rows of the span's first and last bar.
    zone
        Bars `[from, to)` of a window that hold the span; where no such window is there (the span is longer, or stands
        too near to a gap or an end of the bars) any place in the window does.
    is_whole
        Whether a row may be the first one of a window: enough bars of its symbol follow, without too long a gap.

    Returns
    -------
    numpy.ndarray
        Rows ascending; empty where no window holds the span.
    """
    starts = np.empty(0, dtype=np.int64)
    for low, high in (zone, (0, window_bars)):
        starts = np.arange(max(last + 1 - high, 0), first - low + 1)
        starts = starts[is_whole[starts]]
        if len(starts):
            break
    return starts


def place_in_zone(
    start: Int[np.ndarray, " spans"], end: Int[np.ndarray, " spans"], window_bars: int
) -> Float[np.ndarray, " spans"]:
    """Return where spans stand, from 0 (begin with the inner zone) to 1 (end with it); longer ones: in the window."""
    low, high = inner_zone(window_bars)
    length = end - start + 1
    is_long = length >= high - low
    room = np.where(is_long, window_bars, high - low) - length
    return np.clip((start - np.where(is_long, 0, low)) / np.maximum(room, 1), 0.0, 1.0)


def bars_covered(
    n_bars: int, first: Int[np.ndarray, " pieces"], last: Int[np.ndarray, " pieces"]
) -> Bool[np.ndarray, " bars"]:
    """Return which bars lie in any of some pieces, given by rows of their first and last bar."""
    change = np.zeros(n_bars + 1, dtype=np.int64)
    np.add.at(change, first, 1)
    np.add.at(change, last + 1, -1)
    return np.cumsum(change[:-1]) > 0
