"""What a label store holds, how far its annotators agree, whether it is intact, and a copy of it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from moola.core.windows import HOUR_US
from moola.labels.annotators import Marks, agreement, conflicts
from moola.labels.label_positions import BarPlaces, Mark, learn_bars, read_named_bars, require_same_bars
from moola.options.label_options import LabelsStatsOptions
from moola.tables.label_store import GRADES, STATUSES, LabelStore, WindowLabel

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
        where classes agree), `conflicts` (window and reason), `charts` (spans and annotated stretches of each symbol
        and annotator), and `pointers_from`: `bars` or `times`.
    """
    with LabelStore(options.store, must_exist=True) as store:
        labels, charts = store.all(), store.charts()
        places = None
        if options.bars is not None:
            places = BarPlaces(read_named_bars(options.bars, options.symbol), options.window_bars)
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
        "pointers_from": "times" if options.bars is None else "bars",
    }


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
