"""What the chart of the page is made of: bars at every level of detail, spans and stretches given in bars and kept in
times."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from moola.core.bars import Bars, bar_interval_us
from moola.core.label_rules import ChartLabels, ChartSpan
from moola.errors import LabelConflict, WrongUsage
from moola.labels.label_positions import on_bars
from moola.tables.label_store import LabelStore

# Points that one request may ask for, and bars that one point may stand for.
MOST_POINTS, MOST_EACH = 6000, 1 << 24


@dataclass(frozen=True)
class Level:
    """Bars of a symbol, `each` of them joined to one: the first open, highest high, lowest low, last close.

    Attributes
    ----------
    start_us
        Start of the first bar of each.
    volume
        The sum; None where bars have no volume.
    """

    start_us: Int[np.ndarray, " points"]
    ohlc: Float[np.ndarray, "points 4"]
    volume: Float[np.ndarray, " points"] | None

    def __len__(self) -> int:
        return len(self.start_us)

    def halved(self) -> Level:
        """Join every two points."""
        n = len(self)
        low = np.arange(0, n, 2)
        high = np.minimum(low + 1, n - 1)
        one, other = self.ohlc[low], self.ohlc[high]
        ohlc = np.stack(
            [one[:, 0], np.maximum(one[:, 1], other[:, 1]), np.minimum(one[:, 2], other[:, 2]), other[:, 3]], axis=1
        )
        volume = None if self.volume is None else np.add.reduceat(self.volume, low)
        return Level(self.start_us[low], ohlc, volume)


@dataclass
class ChartBars:
    """Bars by symbol; bar 0 of a symbol is its first one.

    Attributes
    ----------
    bars
        Bars symbol by symbol, each symbol in time order.
    volume
        Volume of each; None where bars have none.
    """

    bars: Bars
    volume: np.ndarray | None = None
    _rows: dict[str, slice] = field(init=False)
    _levels: dict[tuple[str, int], Level] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        edges = np.flatnonzero(self.bars.symbol[1:] != self.bars.symbol[:-1]) + 1
        starts = [0, *edges.tolist(), len(self.bars)]
        self._rows = {str(self.bars.symbol[first]): slice(first, stop) for first, stop in pairwise(starts)}

    def of(self, symbol: str) -> Bars:
        """Return a symbol's bars."""
        return self.bars.take(self.rows(symbol))

    def rows(self, symbol: str) -> slice:
        """Return the rows of a symbol's bars; `WrongUsage` where there is no such symbol."""
        if symbol not in self._rows:
            raise WrongUsage(
                f"a symbol must be one of {', '.join(map(repr, list(self._rows)[:10]))}, but it is {symbol[:40]!r}. "
                "Load the page again."
            )
        return self._rows[symbol]

    def times(self, symbol: str) -> Int[np.ndarray, " bars"]:
        """Return the start of each of a symbol's bars."""
        found: np.ndarray = self.bars.start_us[self.rows(symbol)]
        return found

    def symbols(self) -> list[dict[str, Any]]:
        """Return what the page shows of each symbol."""
        found = []
        for symbol in self._rows:
            times = self.times(symbol)
            ends = {"from_us": int(times[0]), "to_us": int(times[-1]), "bar_us": bar_interval_us(times)}
            found.append({"symbol": symbol, "n_bars": len(times), **ends})
        return found

    def level(self, symbol: str, each: int) -> Level:
        """Return all of a symbol's bars, `each` (a power of two) to a point; made once."""
        if (symbol, each) not in self._levels:
            if each == 1:
                rows = self.rows(symbol)
                volume = None if self.volume is None else self.volume[rows]
                made = Level(self.bars.start_us[rows], self.bars.ohlc[rows], volume)
            else:
                made = self.level(symbol, each // 2).halved()
            self._levels[symbol, each] = made
        return self._levels[symbol, each]

    def piece(self, symbol: str, first: int, last: int, each: int) -> dict[str, Any]:
        """Return the points from the one that has bar `first` to the one that has bar `last`.

        Returns
        -------
        dict
            `first` (bar with which the first point begins), `each`, `times_us`, `ohlc` (rows of four), `volume`.

        Raises
        ------
        WrongUsage
            There is no such symbol, `each` is no power of two, or too many points are asked for.
        """
        self.rows(symbol)
        if not 1 <= each <= MOST_EACH or each & (each - 1):
            raise WrongUsage(f"each must be a power of two to {MOST_EACH}, but it is {each}. Load the page again.")
        from_point, to_point = first // each, last // each + 1
        if not 0 <= to_point - from_point <= MOST_POINTS:
            raise WrongUsage(
                f"a piece must have at most {MOST_POINTS} points, but {first} to {last} by {each} has "
                f"{to_point - from_point}. Ask for less."
            )
        level = self.level(symbol, each)
        cut = slice(from_point, to_point)
        return {
            "first": from_point * each,
            "each": each,
            "times_us": level.start_us[cut].tolist(),
            "ohlc": level.ohlc[cut].tolist(),
            "volume": None if level.volume is None else level.volume[cut].tolist(),
        }

    def bar_at(self, symbol: str, time_us: int) -> int:
        """Return the bar that is open at a time, or the nearest one that is there."""
        times = self.times(symbol)
        return int(np.clip(np.searchsorted(times, time_us, side="right") - 1, 0, len(times) - 1))


Piece = tuple[int, int]


@dataclass(frozen=True)
class BarSpan:
    """A span by its first and last bar of a symbol, inclusive."""

    start: int
    end: int
    label: str
    note: str = ""
    source: str = ""


@dataclass(frozen=True)
class Change:
    """What one save takes away and adds; taken away first. Pieces are of bars, inclusive."""

    remove: tuple[Piece, ...] = ()
    add: tuple[BarSpan, ...] = ()
    unsee: tuple[Piece, ...] = ()
    see: tuple[Piece, ...] = ()
    unreject: tuple[Piece, ...] = ()
    reject: tuple[BarSpan, ...] = ()


@dataclass
class ChartState:
    """Every annotator's spans on every chart."""

    bars: ChartBars
    store: LabelStore

    def labels(self, symbol: str, annotator: str) -> dict[str, Any]:
        """Return an annotator's spans on a chart, and how many spans others have there."""
        self.bars.rows(symbol)
        charts = [one for one in self.store.charts() if one.symbol == symbol]
        mine = next((one for one in charts if one.annotator == annotator), ChartLabels(symbol, annotator, ()))
        return self._span_row(mine) | {"others": {one.annotator: len(one.spans) for one in charts if one is not mine}}

    def _span_row(self, chart: ChartLabels) -> dict[str, Any]:
        times = self.bars.times(chart.symbol)
        spans = [_span_row(times, one) for one in chart.spans]
        return {
            "revision": chart.revision,
            "spans": [one for one in spans if one is not None],
            "n_elsewhere": sum(one is None for one in spans),
            "stretches": [_bars_within(times, *one) for one in chart.stretches],
            "rejected": [one for one in (_span_row(times, each) for each in chart.rejected) if one is not None],
        }

    def classes(self) -> list[str]:
        """Return the classes of all spans in the store, sorted."""
        return sorted({span.label for chart in self.store.charts() for span in chart.spans})

    def change(self, symbol: str, annotator: str, expected: int, change: Change) -> dict[str, Any]:
        """Save what a person changed, provided that they saw the last revision.

        Returns
        -------
        dict
            The labels as they are now on disk, as `labels` returns them.

        Raises
        ------
        WrongUsage
            A piece lies outside the bars, what is taken away is not there, or a span has the ends of another.
        LabelConflict
            Another save came first; nothing was changed.
        """
        times = self.bars.times(symbol)
        charts = {(one.symbol, one.annotator): one for one in self.store.charts()}
        held = charts.get((symbol, annotator), ChartLabels(symbol, annotator, ()))
        if held.revision != expected:
            raise LabelConflict(
                None,
                f"spans of {annotator} on {symbol or 'the chart'} must still be at revision {expected}, but they are "
                f"at {held.revision}: another save was first. They are loaded again.",
            )
        added, rejected = (_stored(times, each) for each in (change.add, change.reject))
        spans = _without(held.spans, _pieces(times, change.remove), "span")
        kept = _without(held.rejected, _pieces(times, change.unreject), "rejected proposal")
        seen = [one for one in held.stretches if _bars_within(times, *one) not in {tuple(p) for p in change.unsee}]
        if len(held.stretches) - len(seen) < len(set(change.unsee)):
            raise WrongUsage("a stretch must be there to be taken away, but one is not. Load the page again.")
        new = replace(
            held,
            spans=_ordered((*spans, *added)),
            rejected=_ordered((*kept, *rejected)),
            stretches=tuple(sorted({*seen, *_pieces(times, change.see)})),
        )
        tied, known = on_bars(new, self.bars.of(new.symbol))
        return self._span_row(self.store.save_charts([tied], known)[0])

    def rename(self, annotator: str, old: str, new: str) -> int:
        """Give all of an annotator's spans of a class another one, on every chart in one save; returns how many."""
        charts, n = [], 0
        for chart in self.store.charts():
            count = sum(span.label == old for span in chart.spans)
            if chart.annotator == annotator and count:
                spans = tuple(replace(span, label=new) if span.label == old else span for span in chart.spans)
                charts.append(replace(chart, spans=spans))
                n += count
        if charts:
            self.store.save_charts(charts)
        return n

    def all(self) -> list[dict[str, Any]]:
        """Return every span of everybody on every chart, for the list."""
        known = {one["symbol"] for one in self.bars.symbols()}
        rows = []
        for chart in self.store.charts():
            times = self.bars.times(chart.symbol) if chart.symbol in known else np.zeros(0, dtype=np.int64)
            for span in chart.spans:
                row = _span_row(times, span) or {"start": None, "end": None, "label": span.label, "note": span.note}
                where = {"symbol": chart.symbol, "annotator": chart.annotator}
                rows.append(row | where | {"start_us": span.start_us, "end_us": span.end_us, "source": span.source})
        return rows


def _span_row(times: np.ndarray, span: ChartSpan) -> dict[str, Any] | None:
    """Return a span in bars; None where its ends are no bars of this chart."""
    start, end = np.searchsorted(times, [span.start_us, span.end_us]).tolist()
    if end >= len(times) or times[start] != span.start_us or times[end] != span.end_us:
        return None
    return {"start": start, "end": end, "label": span.label, "note": span.note, "source": span.source}


def _bars_within(times: np.ndarray, from_us: int, to_us: int) -> Piece:
    """Return the first and last bar that begin within a stretch."""
    first = int(np.searchsorted(times, from_us))
    return first, int(np.searchsorted(times, to_us, side="right")) - 1


def _check(times: np.ndarray, start: int, end: int) -> None:
    if not 0 <= start <= end < len(times):
        raise WrongUsage(
            f"0 <= start <= end <= {len(times) - 1} must hold for every piece, but one is {start} to {end}. Mark it "
            "again."
        )


def _pieces(times: np.ndarray, pieces: Iterable[Piece]) -> list[Piece]:
    found = []
    for start, end in pieces:
        _check(times, start, end)
        found.append((int(times[start]), int(times[end])))
    return found


def _stored(times: np.ndarray, spans: Iterable[BarSpan]) -> list[ChartSpan]:
    found = []
    for span in spans:
        _check(times, span.start, span.end)
        found.append(ChartSpan(int(times[span.start]), int(times[span.end]), span.label, span.note, span.source))
    return found


def _without(held: tuple[ChartSpan, ...], pieces: list[Piece], what: str) -> list[ChartSpan]:
    known = {(one.start_us, one.end_us) for one in held}
    if missing := [piece for piece in pieces if piece not in known]:
        raise WrongUsage(f"a {what} must be there to be taken away, but {len(missing)} is not. Load the page again.")
    return [one for one in held if (one.start_us, one.end_us) not in set(pieces)]


def _ordered(spans: tuple[ChartSpan, ...]) -> tuple[ChartSpan, ...]:
    if len({(one.start_us, one.end_us) for one in spans}) < len(spans):
        raise WrongUsage("two spans must not have the same first and last bar. Move an end, or change its class.")
    return tuple(sorted(spans, key=lambda one: (one.start_us, one.end_us)))
