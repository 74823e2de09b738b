"""What a label store holds, who counts on a window, how far annotators agree, whether the store is intact, and a
copy of it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from moola.core.bars import HOUR_US, Bars
from moola.core.label_rules import GRADES, STATUSES, ChartLabels, WindowLabel
from moola.evaluation.label_quality import TOLERANCE_BARS, cohens_kappa, pointer_agreement
from moola.evaluation.span_metrics import Pieces, make_chart, span_agreement
from moola.labels.label_positions import BarPlaces, Mark, learn_bars, read_named_bars, require_same_bars
from moola.options.label_options import LabelsStatsOptions
from moola.tables.label_store import LabelStore


@dataclass(frozen=True)
class NotChosen:
    """A window that is left out, and why; `conflict` where annotators disagree on it."""

    reason: str
    conflict: bool = False


def by_window(labels: Sequence[WindowLabel]) -> dict[str, list[WindowLabel]]:
    """Group labels by window, keeping their order."""
    groups: dict[str, list[WindowLabel]] = {}
    for label in labels:
        groups.setdefault(label.window_id, []).append(label)
    return groups


def choose(labels: Sequence[WindowLabel], resolve: str) -> list[WindowLabel] | NotChosen:
    """Pick the labels of one window that count.

    Parameters
    ----------
    labels
        Current labels of one window, the last saved at the end.
    resolve
        `latest`, `agree`, or the annotator who decides where several labelled the window; where that one did not label
        it, what all say alike counts.

    Returns
    -------
    list of WindowLabel or NotChosen
        One label, or those of all who labelled it, all labelled and on the same bars: they must agree to count.
    """
    opinions = [label for label in labels if label.status != "skipped"]
    if not opinions:
        return NotChosen("skipped")
    if resolve != "agree" and len(opinions) > 1:
        deciding = opinions[-1:] if resolve == "latest" else [one for one in opinions if one.annotator == resolve]
        opinions = deciding or opinions
    rejected = [one for one in opinions if one.status == "rejected"]
    if rejected and len(rejected) == len(opinions):
        return NotChosen(f"rejected: {rejected[-1].reason}" if rejected[-1].reason else "rejected")
    if reason := unlike(opinions):
        return NotChosen(reason, conflict=True)
    return opinions


def unlike(opinions: Sequence[WindowLabel]) -> str | None:
    """Report in what several labels of one window cannot be compared: other bars, or rejected by some alone."""
    if len({(one.symbol, one.start_us, one.end_us) for one in opinions}) > 1:
        return "annotators saw other bars under this id"
    rejected = sorted(one.annotator for one in opinions if one.status == "rejected")
    if rejected and len(rejected) < len(opinions):
        others = sorted(one.annotator for one in opinions if one.status != "rejected")
        return f"rejected by {' and '.join(rejected)}, labelled by {' and '.join(others)}"
    return None


def disagreement(marks: dict[str, tuple[Mark, ...]]) -> str | None:
    """State what the annotators of one window disagree on; None where they agree.

    Parameters
    ----------
    marks
        Expansions by annotator. Compared in time order: as many, of the same classes, and pointers of which no two
        are more than 3 bars apart.
    """
    ordered = {name: in_time_order(found) for name, found in marks.items()}
    classes = {name: "+".join(mark.label for mark in found) or "none" for name, found in ordered.items()}
    if len(set(classes.values())) > 1:
        return "class: " + ", ".join(f"{name} says {text}" for name, text in sorted(classes.items()))
    for i, same in enumerate(zip(*ordered.values(), strict=True)):
        for what in ("start", "end"):
            places = [getattr(mark, what) for mark in same]
            if max(places) - min(places) > TOLERANCE_BARS:
                where = f" of expansion {i + 1}" if len(next(iter(ordered.values()))) > 1 else ""
                marked = ", ".join(f"{name} at bar {getattr(ordered[name][i], what)}" for name in sorted(ordered))
                return f"{what}{where} is {max(places) - min(places)} bars apart: {marked}"
    return None


def in_time_order(marks: Sequence[Mark]) -> list[Mark]:
    """Sort expansions by their first and last bar."""
    return sorted(marks, key=lambda mark: (mark.start, mark.end))


def mean_marks(marks: Sequence[tuple[Mark, ...]]) -> tuple[Mark, ...]:
    """Return the mean of expansions that agree, in time order, halves rounded up to the later bar."""
    if len(marks) == 1:
        return marks[0]
    return tuple(
        Mark(_mean([one.start for one in same]), _mean([one.end for one in same]), same[0].label)
        for same in zip(*(in_time_order(found) for found in marks), strict=True)
    )


def _mean(places: list[int]) -> int:
    return (2 * sum(places) + len(places)) // (2 * len(places))


# Annotators compared: pair by pair over a whole store, and the windows on which they differ.


# Expansions as bars, by window and annotator.
Marks = Mapping[tuple[str, str], tuple[Mark, ...]]


def agreement(labels: Sequence[WindowLabel], marks: Marks) -> list[dict[str, Any]]:
    """Compare every two annotators over the windows that both labelled.

    Parameters
    ----------
    labels
        Current labels, one per window and annotator.
    marks
        Their expansions as bars; pointers of labels that are not in it are not compared.

    Returns
    -------
    list of dict
        A pair each: `n_windows`, `kappa` (None with `kappa_reason`), `same_class`, and for `start` and `end` the
        distances of the pointers where classes agree.
    """
    names = sorted({label.annotator for label in labels})
    return [_pair(first, second, labels, marks) for first, second in combinations(names, 2)]


def _pair(first: str, second: str, labels: Sequence[WindowLabel], marks: Marks) -> dict[str, Any]:
    classes: tuple[list[str], list[str]] = ([], [])
    places: tuple[list[Mark], list[Mark]] = ([], [])
    for window_id, found in by_window(labels).items():
        both = {label.annotator: label for label in found if label.annotator in (first, second)}
        if len(both) < 2 or any(label.status != "labelled" for label in both.values()) or unlike(list(both.values())):
            continue
        for name, texts in zip((first, second), classes, strict=True):
            texts.append(both[name].class_text)
        if both[first].class_text != both[second].class_text:
            continue
        if all((window_id, name) in marks for name in (first, second)):
            for name, compared in zip((first, second), places, strict=True):
                compared.extend(in_time_order(marks[window_id, name]))
    kappa = cohens_kappa(*classes)
    n = len(classes[0])
    why = "both gave every window the same class" if n else "no window was labelled by both"
    same = sum(a == b for a, b in zip(*classes, strict=True))
    return {
        "first": first,
        "second": second,
        "n_windows": n,
        "kappa": kappa,
        "kappa_reason": None if kappa is not None else why,
        "same_class": same / n if n else None,
        "start": _pointer([mark.start for mark in places[0]], [mark.start for mark in places[1]]),
        "end": _pointer([mark.end for mark in places[0]], [mark.end for mark in places[1]]),
    }


def _pointer(first: list[int], second: list[int]) -> dict[str, Any]:
    found = pointer_agreement(np.array(first, dtype=np.int64), np.array(second, dtype=np.int64))
    return {"n": found.n, "median_abs_bars": found.median_abs_bars, f"within_{TOLERANCE_BARS}": found.share_within}


def conflicts(labels: Sequence[WindowLabel], marks: Marks) -> list[dict[str, str]]:
    """List the windows on which annotators differ, each with the reason."""
    found_conflicts = []
    for window_id, found in by_window(labels).items():
        opinions = [label for label in found if label.status != "skipped"]
        reason = unlike(opinions)
        if reason is None and len(opinions) > 1:
            judged = {
                one.annotator: marks[window_id, one.annotator]
                for one in opinions
                if (window_id, one.annotator) in marks
            }
            reason = disagreement(judged) if judged else None
        if reason is not None:
            found_conflicts.append({"window_id": window_id, "reason": reason})
    return found_conflicts


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
    symbols = sorted({one.symbol for one in charts})
    if bars.symbols == [""] and len(symbols) == 1:
        # Bars that name no symbol are those of the spans.
        bars = replace(bars, symbol=np.full(len(bars), symbols[0], dtype=object))
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
            found += [{"symbol": one.symbol, **asdict(pair)} for pair in span_agreement(people, chart)]
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
