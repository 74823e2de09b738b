"""Spans marked anywhere on the page's chart, and stretches that were looked at: told in bars, kept in times."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from moola.errors import LabelConflict, WrongUsage
from moola.label.page_bars import ChartBars
from moola.tables.label_store import ChartLabels, ChartSpan, LabelStore

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

    def _held(self, symbol: str, annotator: str) -> ChartLabels:
        found = {(one.symbol, one.annotator): one for one in self.store.charts()}
        return found.get((symbol, annotator), ChartLabels(symbol, annotator, ()))

    def labels(self, symbol: str, annotator: str) -> dict[str, Any]:
        """Return an annotator's spans on a chart, and how many spans others have there."""
        self.bars.rows(symbol)
        charts = [one for one in self.store.charts() if one.symbol == symbol]
        mine = next((one for one in charts if one.annotator == annotator), ChartLabels(symbol, annotator, ()))
        return self._told(mine) | {"others": {one.annotator: len(one.spans) for one in charts if one is not mine}}

    def _told(self, chart: ChartLabels) -> dict[str, Any]:
        times = self.bars.times(chart.symbol)
        spans = [_told(times, one) for one in chart.spans]
        return {
            "revision": chart.revision,
            "spans": [one for one in spans if one is not None],
            "n_elsewhere": sum(one is None for one in spans),
            "stretches": [_bars_within(times, *one) for one in chart.stretches],
            "rejected": [one for one in (_told(times, each) for each in chart.rejected) if one is not None],
        }

    def classes(self) -> list[str]:
        """Return the classes of all spans in the store, sorted."""
        return sorted({span.label for chart in self.store.charts() for span in chart.spans})

    def change(self, symbol: str, annotator: str, expected: int, change: Change) -> dict[str, Any]:
        """Save what a person changed, provided that they saw the last revision.

        Returns
        -------
        dict
            The labels as they are now on disk, as `labels` tells them.

        Raises
        ------
        WrongUsage
            A piece lies outside the bars, what is taken away is not there, or a span has the ends of another.
        LabelConflict
            Another save came first; nothing was changed.
        """
        times = self.bars.times(symbol)
        held = self._held(symbol, annotator)
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
        saved = self.store.save_charts([new])[0]
        return self._told(saved)

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
                told = _told(times, span) or {"start": None, "end": None, "label": span.label, "note": span.note}
                where = {"symbol": chart.symbol, "annotator": chart.annotator}
                rows.append(told | where | {"start_us": span.start_us, "end_us": span.end_us, "source": span.source})
        return rows


def _told(times: np.ndarray, span: ChartSpan) -> dict[str, Any] | None:
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
