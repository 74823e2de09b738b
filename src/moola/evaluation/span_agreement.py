"""How far people agree on spans of one chart: the ceiling of what a model of them can reach."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any

import numpy as np

from moola.evaluation.span_metrics import (
    RIGHT_IOU,
    Chart,
    JudgedEvents,
    Pieces,
    average_precision_at,
    judged_events,
    piece_iou,
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

    def as_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)


def span_agreement(people: Mapping[str, Pieces], chart: Chart) -> list[SpanAgreement]:
    """Compare every two people on the bars of one chart that were looked at."""
    return [
        _pair(first, second, judged_events(people[first], people[second], chart))
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


def by_person(events: Pieces, people: Mapping[str, Pieces], chart: Chart) -> dict[str, float | None]:
    """Return the average precision (IoU 0.5, class counted) of events against the spans of each person alone."""
    found = {}
    for name, spans in sorted(people.items()):
        judged = judged_events(events, spans, chart)
        ones = np.ones((1, len(chart.bars_of_block)))
        value = float(average_precision_at(RIGHT_IOU, True)(judged, ones)[0])
        found[name] = None if np.isnan(value) else value
    return found
