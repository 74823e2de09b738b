"""What a label store holds, how far its annotators agree, whether it is intact, and a copy of it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from moola.core.bars import Bars
from moola.core.windows import HOUR_US
from moola.evaluation.span_agreement import span_agreement
from moola.evaluation.span_metrics import Pieces, make_chart
from moola.labels.annotators import Marks, agreement, conflicts
from moola.labels.label_positions import BarPlaces, Mark, learn_bars, read_named_bars, require_same_bars
from moola.options.label_options import LabelsStatsOptions
from moola.tables.label_store import GRADES, STATUSES, ChartLabels, LabelStore, WindowLabel

# First hour (UTC, no summer time) of each session of the currency market.
SESSIONS = ((0, "Asia"), (7, "London"), (12, "London and New York"), (16, "New York"), (21, "Asia"))


def stats(options: LabelsStatsOptions) -> dict[str, Any]:
    """Count the labels of a store, and compare its annotators pair by pair.

    Sessions and hours are those of the first bar of each marked expansion, in UTC.

    Returns
    -------
    dict
        Counts over current labels (one per window and annotator), `annotators` (the same for each), `agreement` (each
        pair: Cohen's kappa and share of equal classes over windows that both labelled, distances of the pointers
        where classes agree), `span_agreement` (each pair over the stretches that both annotated, with bars),
        `conflicts` (window and reason), `charts` (spans and annotated stretches of each symbol
        and annotator), and `pointers_from`: `bars` or `times`.
    """
    with LabelStore(options.store, must_exist=True) as store:
        labels, charts = store.all(), store.charts()
        places = bars = None
        if options.bars is not None:
            bars = read_named_bars(options.bars, options.symbol)
            places = BarPlaces(bars, options.window_bars)
            require_same_bars(store, places, options.bars)
            learn_bars(store, places, options.bars)
    names = sorted({label.annotator for label in labels})
    marks = _marks(labels, places, options.window_bars)
    return {
        "store": str(options.store),
        "n_windows": len({label.window_id for label in labels}),
        **_counts(labels),
        "annotators": [
            {"annotator": name, **_counts([label for label in labels if label.annotator == name])} for name in names
        ],
        "agreement": agreement(labels, marks),
        "conflicts": conflicts(labels, marks),
        "charts": [
            {
                "symbol": chart.symbol,
                "annotator": chart.annotator,
                "n_spans": len(chart.spans),
                "classes": dict(sorted(Counter(span.label for span in chart.spans).items())),
                "n_stretches": len(chart.stretches),
            }
            for chart in charts
        ],
        "span_agreement": [] if bars is None else _span_agreement(charts, bars),
        "pointers_from": "times" if options.bars is None else "bars",
    }


def _span_agreement(charts: Sequence[ChartLabels], bars: Bars) -> list[dict[str, Any]]:
    """Compare the spans of every two annotators of a symbol on the bars that both of them looked at."""
    found = []
    for one, other in combinations(charts, 2):
        rows = np.flatnonzero(bars.symbol == one.symbol) if one.symbol in bars.symbols else np.arange(0)
        if one.symbol != other.symbol or not len(rows):
            continue
        own = bars.take(rows)
        inside = _looked_at(one, own) & _looked_at(other, own)
        names = sorted({span.label for chart in (one, other) for span in chart.spans})
        people = {chart.annotator: _pieces(chart, own, names) for chart in (one, other)}
        if inside.any():
            both = Pieces(*(np.concatenate([getattr(p, f) for p in people.values()]) for f in ("bar", "label", "prob")))
            chart = make_chart(own.start_us, np.zeros(len(own), dtype=np.int64), inside, both)
            found += [{"symbol": one.symbol, **pair.as_dict()} for pair in span_agreement(people, chart)]
    return found


def _looked_at(chart: ChartLabels, bars: Bars) -> np.ndarray:
    inside = np.zeros(len(bars), dtype=bool)
    for first, last in chart.stretches:
        inside |= (bars.start_us >= first) & (bars.start_us <= last)
    return inside


def _pieces(chart: ChartLabels, bars: Bars, names: list[str]) -> Pieces:
    """Put spans on bars: a moment inside a bar means that bar."""
    times = np.array([(span.start_us, span.end_us) for span in chart.spans], dtype=np.int64).reshape(-1, 2)
    bar = np.searchsorted(bars.start_us, times, side="right") - 1
    label = np.array([names.index(span.label) for span in chart.spans], dtype=np.int64)
    on_bars = (bar >= 0).all(axis=1)
    return Pieces(bar[on_bars], label[on_bars], np.ones(int(on_bars.sum())))


def session_of(hour: int) -> str:
    """Return the session of an hour of the day (UTC, 0 to 23)."""
    return next(name for first, name in reversed(SESSIONS) if hour >= first)


def _counts(labels: Sequence[WindowLabel]) -> dict[str, Any]:
    labelled = [label for label in labels if label.status == "labelled"]
    expansions = [expansion for label in labelled for expansion in label.expansions]
    status = Counter(label.status for label in labels)
    grade = Counter(label.grade or "none" for label in labels if label.status != "skipped")
    hours = Counter(expansion.start_us // HOUR_US % 24 for expansion in expansions)
    sessions: Counter[str] = Counter()
    for hour, count in hours.items():
        sessions[session_of(hour)] += count
    return {
        "n_labels": len(labels),
        "status": {name: status[name] for name in STATUSES},
        "grades": {name: grade[name] for name in (*GRADES, "none")},
        "n_expansions": len(expansions),
        "classes": dict(sorted(Counter(expansion.label for expansion in expansions).items())),
        "without_expansion": sum(not label.expansions for label in labelled),
        "sessions": {name: sessions[name] for name in dict.fromkeys(name for _, name in SESSIONS)},
        "hours": {str(hour): hours[hour] for hour in range(24)},
    }


def _marks(labels: Sequence[WindowLabel], places: BarPlaces | None, window_bars: int) -> Marks:
    """Return each labelled window's expansions as bars, by window and annotator; those not placed are left out."""
    labelled = [label for label in labels if label.status == "labelled"]
    if places is not None:
        placed = [places.place(label) for label in labelled]
        return {(one.label.window_id, one.label.annotator): one.marks for one in placed if not isinstance(one, str)}
    # The shortest window has no gap in it, if any has none.
    usual: dict[str, float] = defaultdict(lambda: float("inf"))
    for label in labelled:
        usual[label.symbol] = min(usual[label.symbol], (label.end_us - label.start_us) / max(window_bars - 1, 1))
    marks = {}
    for label in labelled:
        bar_us = max(usual[label.symbol], 1.0)
        marks[label.window_id, label.annotator] = tuple(
            Mark(
                round((one.start_us - label.start_us) / bar_us),
                round((one.end_us - label.start_us) / bar_us),
                one.label,
            )
            for one in label.expansions
        )
    return marks


# `labels check` and `labels backup`: whether a store is whole, and a copy of it while it is in use.


def check(path: Path) -> dict[str, Any]:
    """Open a store, which checks all of it, and count what it holds.

    Raises
    ------
    UntrustedFile
        It is damaged, foreign, or of a later version.
    """
    with LabelStore(path, must_exist=True) as store:
        return {"store": str(path), **_row_counts(store)}


def back_up(path: Path, to: Path) -> dict[str, Any]:
    """Copy a store and check the copy.

    Raises
    ------
    WrongUsage
        There is a file of that name already.
    UntrustedFile
        The store is damaged: a copy of it would be too.
    """
    with LabelStore(path, must_exist=True) as store:
        store.backup(to)
    with LabelStore(to, must_exist=True) as copy:
        return {"store": str(path), "to": str(to), **_row_counts(copy)}


def _row_counts(store: LabelStore) -> dict[str, int]:
    return {"n_labels": len(store.all()), "n_revisions": store.n_revisions(), "n_with_bars": len(store.bars())}
