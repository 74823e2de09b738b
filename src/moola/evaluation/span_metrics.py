"""Events on a chart evaluated against the spans that a person marked on it (specification 13), and people against
each other."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import combinations

import numpy as np
from jaxtyping import Bool, Float, Int

from moola.evaluation.class_metrics import (
    Values,
    Weights,
    expected_calibration_error,
    weighted_quantile,
    weighted_share,
    width_bin,
)
from moola.evaluation.pointer_metrics import precision_area

IOUS = (0.3, 0.5, 0.7)
# An event is right, for all figures that name no overlap.
RIGHT_IOU = 0.5
PER_BARS = 1000
# A block of time holds several of the longest span, so that hardly any lies in two.
MAX_BLOCKS, SPANS_A_BLOCK = 100, 4
ENDS = ("start", "end")
# Weights of all resamples and events at once would not fit memory on a long scan.
MAX_WEIGHTS = 20_000_000


@dataclass(frozen=True)
class Pieces:
    """Pieces of a chart: spans that a person marked, or events that a model found.

    Attributes
    ----------
    bar
        Rows of the first and the last bar, both inclusive, in a table of bars that goes symbol by symbol: pieces of two
        symbols never overlap.
    label
        Number of the class.
    prob
        Probability that a person would have marked the piece, in [0, 1]; 1 for spans.
    known_after
        Bars from its last one until it was known, of events that were reported as bars came.
    """

    bar: Int[np.ndarray, "pieces 2"]
    label: Int[np.ndarray, " pieces"]
    prob: Float[np.ndarray, " pieces"]
    known_after: Int[np.ndarray, " pieces"] | None = None

    def __len__(self) -> int:
        return len(self.bar)

    @property
    def length(self) -> Int[np.ndarray, " pieces"]:
        """Bars of each piece, at least 1."""
        return np.asarray(self.bar[:, 1] - self.bar[:, 0] + 1)

    def take(self, rows: np.ndarray) -> Pieces:
        """Return some pieces, by their numbers or a mask."""
        known_after = None if self.known_after is None else self.known_after[rows]
        return Pieces(self.bar[rows], self.label[rows], self.prob[rows], known_after)


@dataclass(frozen=True)
class Chart:
    """Bars in time, and which of them were looked at.

    Attributes
    ----------
    start_us
        Start of each bar, symbol by symbol.
    symbol
        Number of the symbol of each bar.
    inside
        Whether a stretch holds the bar.
    block_bars
        Least moments (bars of one symbol) that a block of time holds.
    """

    start_us: Int[np.ndarray, " bars"]
    symbol: Int[np.ndarray, " bars"]
    inside: Bool[np.ndarray, " bars"]
    block_bars: int

    @cached_property
    def _before(self) -> Int[np.ndarray, " edges"]:
        return np.concatenate([[0], np.cumsum(self.inside)])

    @property
    def n_bars(self) -> int:
        """Bars that were looked at."""
        return int(self._before[-1])

    def counts(self, bar: Int[np.ndarray, "pieces 2"]) -> Bool[np.ndarray, " pieces"]:
        """Return which pieces have at least half of their bars inside stretches."""
        seen = self._before[bar[:, 1] + 1] - self._before[bar[:, 0]]
        return np.asarray(2 * seen >= bar[:, 1] - bar[:, 0] + 1)

    @cached_property
    def block(self) -> Int[np.ndarray, " bars"]:
        """Number of the block of time of each bar; bars of several symbols at one time are in one block."""
        times = np.unique(self.start_us[self.inside])
        n_blocks = int(np.clip(len(times) // max(self.block_bars, 1), 1, MAX_BLOCKS))
        first = times[np.arange(1, n_blocks) * len(times) // n_blocks]
        return np.searchsorted(first, self.start_us, side="right")

    @cached_property
    def bars_of_block(self) -> Float[np.ndarray, " blocks"]:
        """Bars inside stretches of each block."""
        return np.bincount(self.block[self.inside]).astype(np.float64)

    def of_symbol(self, number: int) -> Chart:
        """Return the chart of which only one symbol was looked at."""
        return replace(self, inside=self.inside & (self.symbol == number))

    def seen_by(self, looked: Mapping[str, Bool[np.ndarray, " bars"]] | None, *people: str) -> Chart:
        """Return the chart of which only what all of some people looked at counts."""
        inside = self.inside
        if looked:
            for name in people:
                inside = inside & looked[name]
        return replace(self, inside=inside)


def make_chart(
    start_us: Int[np.ndarray, " bars"],
    symbol: Int[np.ndarray, " bars"],
    inside: Bool[np.ndarray, " bars"],
    spans: Pieces,
) -> Chart:
    """Return a chart whose blocks of time suit these spans."""
    return Chart(start_us, symbol, inside, SPANS_A_BLOCK * int(spans.length.max(initial=1)))


@dataclass(frozen=True)
class JudgedEvents:
    """Events and spans that count, on one chart; spans marked twice alike are one."""

    events: Pieces
    spans: Pieces
    chart: Chart
    _found: dict[tuple[float, bool], np.ndarray] = field(default_factory=dict, compare=False, repr=False)

    def found(self, least_iou: float, with_class: bool) -> Int[np.ndarray, " events"]:
        """Return the span that each event found, -1 where it is a false alarm."""
        key = (least_iou, with_class)
        if key not in self._found:
            self._found[key] = match_events(self.events, self.spans, least_iou, with_class)
        return self._found[key]

    @cached_property
    def span_block(self) -> Int[np.ndarray, " spans"]:
        """Block of time of each span, by its middle."""
        return self.chart.block[self.spans.bar.sum(axis=1) // 2]

    def event_block(self, found: Int[np.ndarray, " events"]) -> Int[np.ndarray, " events"]:
        """Block of time of each event: that of the span it found, so that both count together, else by its middle."""
        own = self.chart.block[self.events.bar.sum(axis=1) // 2]
        return np.where(found >= 0, self.span_block[found] if len(self.spans) else own, own)

    def of_symbol(self, number: int) -> JudgedEvents:
        """Return what is evaluated of one symbol."""
        return judged_events(self.events, self.spans, self.chart.of_symbol(number))


SpanMetric = Callable[[JudgedEvents, Weights], Values]


def judged_events(events: Pieces, spans: Pieces, chart: Chart) -> JudgedEvents:
    """Leave out what does not count, and repeated spans."""
    spans = spans.take(chart.counts(spans.bar))
    _, first = np.unique(np.column_stack([spans.bar, spans.label]), axis=0, return_index=True)
    return JudgedEvents(events.take(chart.counts(events.bar)), spans.take(np.sort(first)), chart)


def piece_iou(one: Int[np.ndarray, "pairs 2"], other: Int[np.ndarray, "pairs 2"]) -> Float[np.ndarray, " pairs"]:
    """Bars in both pieces of each pair over bars in either, in [0, 1]."""
    both = np.minimum(one[:, 1], other[:, 1]) - np.maximum(one[:, 0], other[:, 0]) + 1
    both = np.maximum(both, 0)
    lengths = one[:, 1] - one[:, 0] + other[:, 1] - other[:, 0] + 2
    return np.asarray(both / (lengths - both))


def _overlapping(events: Pieces, spans: Pieces) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of an event and a span that share a bar, without looking at all pairs."""
    order = np.argsort(spans.bar[:, 0], kind="stable")
    start, last = spans.bar[order, 0], np.maximum.accumulate(spans.bar[order, 1])
    low = np.searchsorted(last, events.bar[:, 0], side="left")
    high = np.maximum(np.searchsorted(start, events.bar[:, 1], side="right"), low)
    event = np.repeat(np.arange(len(events)), high - low)
    place = np.arange(len(event)) - np.repeat(np.cumsum(high - low) - (high - low), high - low) + low[event]
    span = order[place]
    shares = spans.bar[span, 1] >= events.bar[event, 0]
    return event[shares], span[shares]


def match_events(
    events: Pieces, spans: Pieces, least_iou: float, with_class: bool = False
) -> Int[np.ndarray, " events"]:
    """Match events with spans one to one, the most probable event first.

    Each event takes the span that it overlaps most of those that no earlier event took, whose overlap is at least
    `least_iou` and, where asked, whose class is the event's. Of equal probabilities the event that starts first goes
    first, of equal overlaps the span that starts first: the order of rows never matters.

    Returns
    -------
    Int[np.ndarray, " events"]
        Number of the span, -1 for none.
    """
    event, span = _overlapping(events, spans)
    iou = piece_iou(events.bar[event], spans.bar[span])
    fits = iou >= least_iou - 1e-12
    if with_class:
        fits &= events.label[event] == spans.label[span]
    event, span, iou = event[fits], span[fits], iou[fits]
    rank = np.empty(len(events), dtype=np.int64)
    rank[np.lexsort((events.label, events.bar[:, 1], events.bar[:, 0], -events.prob))] = np.arange(len(events))
    order = np.lexsort((spans.label[span], spans.bar[span, 1], spans.bar[span, 0], -iou, rank[event]))
    found, is_free = np.full(len(events), -1, dtype=np.int64), np.ones(len(spans), dtype=bool)
    for one, other in zip(event[order].tolist(), span[order].tolist(), strict=True):
        if found[one] < 0 and is_free[other]:
            found[one], is_free[other] = other, False
    return found


def _by_part(metric: SpanMetric) -> SpanMetric:
    """Take resamples a few at a time."""

    def parted(judged: JudgedEvents, weights: Weights) -> Values:
        rows = max(MAX_WEIGHTS // max(len(judged.events), 1), 1)
        parts = [metric(judged, weights[first : first + rows]) for first in range(0, len(weights), rows)]
        return np.concatenate(parts)

    return parted


def average_precision_at(least_iou: float, with_class: bool) -> SpanMetric:
    """Average precision of events over descending distinct probabilities, without interpolation.

    AP = sum_k (R_k - R_{k-1}) P_k, as over overlaps in temporal action detection (Caba Heilbron et al., CVPR 2015),
    all classes in one ranking. A span without an event is never found; a second event of one span is a false alarm. NaN
    without any span, 0 where there are spans and no event.
    """

    def metric(judged: JudgedEvents, weights: Weights) -> Values:
        found = judged.found(least_iou, with_class)
        counts = weights[:, judged.event_block(found)]
        return precision_area(judged.events.prob, found >= 0, counts, weights[:, judged.span_block].sum(axis=1))

    return _by_part(metric)


def recall_at_alarms(alarms: float, with_class: bool, least_iou: float = RIGHT_IOU) -> SpanMetric:
    """Share of spans found at the lowest threshold with at most so many false alarms per 1,000 bars looked at.

    Events of equal probability enter together. NaN without any span.
    """

    def metric(judged: JudgedEvents, weights: Weights) -> Values:
        found = judged.found(least_iou, with_class)
        n_spans = weights[:, judged.span_block].sum(axis=1)
        order = np.argsort(-judged.events.prob, kind="stable")
        ranked = judged.events.prob[order]
        last = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], np.ones(min(len(ranked), 1), dtype=bool)))
        counts = weights[:, judged.event_block(found)][:, order]
        right = (found >= 0)[order]
        false = np.cumsum(counts * ~right, axis=1)[:, last]
        hits = np.concatenate([np.zeros((len(weights), 1)), np.cumsum(counts * right, axis=1)[:, last]], axis=1)
        allowed = alarms / PER_BARS * (weights @ judged.chart.bars_of_block)
        n_allowed = (false <= allowed[:, None] + 1e-9).sum(axis=1)
        return weighted_share(hits[np.arange(len(hits)), n_allowed], n_spans)

    return _by_part(metric)


def _reported(judged: JudgedEvents, threshold: float, with_class: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Right and false events at or above a threshold, as shares of a count of 1, and the block of each."""
    found = judged.found(RIGHT_IOU, with_class)
    is_told = judged.events.prob >= threshold
    right = (found >= 0) & is_told
    return right.astype(np.float64), (is_told & ~right).astype(np.float64), judged.event_block(found)


def precision_at(threshold: float, with_class: bool) -> SpanMetric:
    """Share of events at or above the threshold that are right; NaN without any."""

    def metric(judged: JudgedEvents, weights: Weights) -> Values:
        right, false, block = _reported(judged, threshold, with_class)
        return weighted_share(weights[:, block] @ right, weights[:, block] @ (right + false))

    return _by_part(metric)


def recall_at(threshold: float, with_class: bool) -> SpanMetric:
    """Share of spans that an event at or above the threshold found; NaN without any span."""

    def metric(judged: JudgedEvents, weights: Weights) -> Values:
        right, _, block = _reported(judged, threshold, with_class)
        return weighted_share(weights[:, block] @ right, weights[:, judged.span_block].sum(axis=1))

    return _by_part(metric)


def alarms_at(threshold: float, with_class: bool) -> SpanMetric:
    """Events at or above the threshold that are not right, per 1,000 bars looked at."""

    def metric(judged: JudgedEvents, weights: Weights) -> Values:
        _, false, block = _reported(judged, threshold, with_class)
        return PER_BARS * weighted_share(weights[:, block] @ false, weights @ judged.chart.bars_of_block)

    return _by_part(metric)


def late_bars(which: str, quantile: float) -> SpanMetric:
    """Quantile of signed bars early (-) or late (+) of `start` or `end` of events that are right, whatever the class.

    The smallest error with at least this share at or below it, so a whole bar. NaN where no event is right. `known` is
    the bar with which an event was known against the span's end; NaN where that is not known.
    """

    def metric(judged: JudgedEvents, weights: Weights) -> Values:
        found = judged.found(RIGHT_IOU, with_class=False)
        right = np.flatnonzero(found >= 0)
        end = ENDS.index("end" if which == "known" else which)
        late = judged.events.bar[right, end] - judged.spans.bar[found[right], end]
        if which == "known":
            if judged.events.known_after is None:
                return np.full(len(weights), np.nan)
            late = late + judged.events.known_after[right]
        return weighted_quantile(late.astype(np.float64), weights[:, judged.span_block[found[right]]], quantile)

    return metric


def event_outcomes(judged: JudgedEvents) -> tuple[Float[np.ndarray, " events"], Bool[np.ndarray, " events"]]:
    """Return `event_prob` of each event, and whether it is right, whatever its class."""
    return judged.events.prob, judged.found(RIGHT_IOU, with_class=False) >= 0


def event_ece(judged: JudgedEvents, weights: Weights) -> Values:
    """Mean over events of |share right - mean `event_prob`| in 10 equal-width bins; NaN without events."""
    prob, right = event_outcomes(judged)
    if not len(prob):
        return np.full(len(weights), np.nan)
    block = judged.event_block(judged.found(RIGHT_IOU, with_class=False))

    def metric(_: JudgedEvents, some: Weights) -> Values:
        return expected_calibration_error(prob, right, width_bin(prob), some[:, block])

    return _by_part(metric)(judged, weights)


def event_brier(judged: JudgedEvents, weights: Weights) -> Values:
    """Mean over events of the squared distance of `event_prob` from 1 where right, from 0 where not; NaN without."""
    prob, right = event_outcomes(judged)
    block = judged.event_block(judged.found(RIGHT_IOU, with_class=False))
    n_blocks = weights.shape[1]
    n_events = np.bincount(block, minlength=n_blocks).astype(np.float64)
    distance = np.bincount(block, weights=(prob - right) ** 2, minlength=n_blocks)
    return weighted_share(weights @ distance, weights @ n_events)


@dataclass(frozen=True)
class EventCurve:
    """Precision, recall and false alarms per 1,000 bars at each distinct threshold, descending."""

    threshold: Float[np.ndarray, " thresholds"]
    precision: Float[np.ndarray, " thresholds"]
    recall: Float[np.ndarray, " thresholds"]
    alarms: Float[np.ndarray, " thresholds"]


def event_curve(judged: JudgedEvents, with_class: bool) -> EventCurve:
    """Return the curve of which `average_precision_at` is the area; empty without events or spans."""
    found = judged.found(RIGHT_IOU, with_class)
    if not len(judged.events) or not len(judged.spans):
        nothing = np.zeros(0)
        return EventCurve(nothing, nothing, nothing, nothing)
    order = np.argsort(-judged.events.prob, kind="stable")
    ranked = judged.events.prob[order]
    last = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))
    hits = np.cumsum(found[order] >= 0)[last]
    false = last + 1 - hits
    return EventCurve(
        ranked[last],
        hits / (last + 1),
        hits / len(judged.spans),
        PER_BARS * false / max(judged.chart.n_bars, 1),
    )


@dataclass(frozen=True)
class SpanAgreement:
    """Spans of two people matched one to one at IoU 0.5, class counted.

    Attributes
    ----------
    n_first, n_second
        Spans of each on bars that were looked at.
    n_same
        Pairs of spans, one of each, that overlap by at least half of the bars in either and have one class.
    ap
        Average precision of the first one's spans against the second one's: as none is surer than another, the share
        of the first one's that are paired times that of the second one's, the same both ways. None where one has none.
    mean_iou
        Over pairs, None without.
    """

    first: str
    second: str
    n_first: int
    n_second: int
    n_same: int
    ap: float | None
    mean_iou: float | None


def span_agreement(
    people: Mapping[str, Pieces], chart: Chart, looked: Mapping[str, Bool[np.ndarray, " bars"]] | None = None
) -> list[SpanAgreement]:
    """Compare every two people on the bars of one chart that both looked at: all of its bars unless `looked` says."""
    return [
        _pair(first, second, judged_events(people[first], people[second], chart.seen_by(looked, first, second)))
        for first, second in combinations(sorted(people), 2)
    ]


def _pair(first: str, second: str, judged: JudgedEvents) -> SpanAgreement:
    found = judged.found(RIGHT_IOU, with_class=True)
    same = np.flatnonzero(found >= 0)
    iou = piece_iou(judged.events.bar[same], judged.spans.bar[found[same]])
    ap = None
    if len(judged.events) and len(judged.spans):
        ap = float(average_precision_at(RIGHT_IOU, True)(judged, np.ones((1, len(judged.chart.bars_of_block))))[0])
    return SpanAgreement(
        first,
        second,
        len(judged.events),
        len(judged.spans),
        len(same),
        ap,
        float(iou.mean()) if len(same) else None,
    )


def by_person(
    events: Pieces,
    people: Mapping[str, Pieces],
    chart: Chart,
    looked: Mapping[str, Bool[np.ndarray, " bars"]] | None = None,
) -> dict[str, float | None]:
    """Return the average precision (IoU 0.5, class counted) of events against each person's spans, where he looked."""
    found = {}
    for name, spans in sorted(people.items()):
        judged = judged_events(events, spans, chart.seen_by(looked, name))
        ones = np.ones((1, len(judged.chart.bars_of_block)))
        value = float(average_precision_at(RIGHT_IOU, True)(judged, ones)[0])
        found[name] = None if np.isnan(value) else value
    return found
