"""Slow twins of events judged against spans: bars counted one by one, plain loops, written for reading."""

from __future__ import annotations

import math
from dataclasses import dataclass

NAN = math.nan


@dataclass(frozen=True)
class SlowPiece:
    """A piece of a chart: first and last bar, class, probability."""

    first: int
    last: int
    label: int
    prob: float = 1.0

    @property
    def bars(self) -> set[int]:
        return set(range(self.first, self.last + 1))


def slow_piece_iou(one: SlowPiece, other: SlowPiece) -> float:
    return len(one.bars & other.bars) / len(one.bars | other.bars)


def slow_counted(pieces: list[SlowPiece], inside: set[int]) -> list[SlowPiece]:
    """Those with at least half of their bars inside."""
    return [piece for piece in pieces if len(piece.bars & inside) >= len(piece.bars) / 2]


def slow_spans(pieces: list[SlowPiece], inside: set[int]) -> list[SlowPiece]:
    """The counted ones, each once."""
    kept: list[SlowPiece] = []
    for piece in slow_counted(pieces, inside):
        if piece not in kept:
            kept.append(piece)
    return kept


Judged = list[tuple[SlowPiece, SlowPiece | None]]


def slow_judged(events: list[SlowPiece], spans: list[SlowPiece], least: float, with_class: bool) -> Judged:
    """Each event, the most probable first, with the span it takes."""
    free = list(spans)
    judged: Judged = []
    for event in sorted(events, key=lambda one: (-one.prob, one.first, one.last, one.label)):
        fitting = [
            span
            for span in free
            if slow_piece_iou(event, span) >= least and (not with_class or span.label == event.label)
        ]
        best = min(
            fitting,
            key=lambda span: (-slow_piece_iou(event, span), span.first, span.last, span.label),
            default=None,
        )
        if best is not None:
            free.remove(best)
        judged.append((event, best))
    return judged


def slow_span_ap(judged: Judged, n_spans: int) -> float:
    """Walk down the distinct probabilities; each gain in recall counts with the precision there."""
    if not n_spans:
        return NAN
    area, before = 0.0, 0.0
    for threshold in sorted({event.prob for event, _ in judged}, reverse=True):
        told = [span for event, span in judged if event.prob >= threshold]
        right = sum(span is not None for span in told)
        area += (right / n_spans - before) * right / len(told)
        before = right / n_spans
    return area


def slow_recall_at_alarms(judged: Judged, n_spans: int, n_bars: int, alarms: float) -> float:
    """Lower the threshold as long as there are not too many false alarms."""
    if not n_spans:
        return NAN
    best = 0.0
    for threshold in sorted({event.prob for event, _ in judged}, reverse=True):
        told = [span for event, span in judged if event.prob >= threshold]
        false = sum(span is None for span in told)
        if false * 1000 > alarms * n_bars:
            break
        best = (len(told) - false) / n_spans
    return best


def slow_event_ece(judged: Judged) -> float:
    """Ten bins `(k/10, (k+1)/10]`, 0 in the first."""
    if not judged:
        return NAN
    total = 0.0
    for k in range(10):
        of_bin = [(e.prob, s is not None) for e, s in judged if k / 10 < e.prob <= (k + 1) / 10 or (k == 0 == e.prob)]
        total += abs(sum(right - prob for prob, right in of_bin))
    return total / len(judged)
