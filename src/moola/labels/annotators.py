"""Several annotators: who counts on a window, and where two of them differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from moola.evaluation.label_quality import TOLERANCE_BARS, cohens_kappa, pointer_agreement
from moola.labels.label_positions import Mark
from moola.tables.label_store import WindowLabel


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
                said = ", ".join(f"{name} at bar {getattr(ordered[name][i], what)}" for name in sorted(ordered))
                return f"{what}{where} is {max(places) - min(places)} bars apart: {said}"
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
        for name, told in zip((first, second), classes, strict=True):
            told.append(both[name].class_text)
        if both[first].class_text != both[second].class_text:
            continue
        if all((window_id, name) in marks for name in (first, second)):
            for name, compared in zip((first, second), places, strict=True):
                compared.extend(in_time_order(marks[window_id, name]))
    kappa = cohens_kappa(*classes)
    n = len(classes[0])
    same = sum(a == b for a, b in zip(*classes, strict=True))
    return {
        "first": first,
        "second": second,
        "n_windows": n,
        "kappa": kappa,
        "kappa_reason": None if kappa is not None else _why_not(n),
        "same_class": same / n if n else None,
        "start": _pointer([mark.start for mark in places[0]], [mark.start for mark in places[1]]),
        "end": _pointer([mark.end for mark in places[0]], [mark.end for mark in places[1]]),
    }


def _why_not(n: int) -> str:
    return "both gave every window the same class" if n else "no window was labelled by both"


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
