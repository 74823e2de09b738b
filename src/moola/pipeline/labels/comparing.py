"""Annotators compared: pair by pair over a whole store, and the windows on which they differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np

from moola.data.contracts.label_store import WindowLabel
from moola.evaluation.agreement import TOLERANCE_BARS, cohens_kappa, pointer_agreement
from moola.pipeline.labels.choosing import by_window, disagreement, in_time_order, unlike
from moola.pipeline.labels.places import Mark

# Expansions as bars, by window and annotator.
Marks = Mapping[tuple[str, str], tuple[Mark, ...]]


def agreement(labels: Sequence[WindowLabel], marks: Marks) -> list[dict[str, Any]]:
    """Compare every two annotators over the windows that both labelled.

    Parameters
    ----------
    labels
        Current labels, one a window and annotator.
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
