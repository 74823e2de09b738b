"""Several annotators on one window: who counts, and what they disagree on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from moola.data.contracts.label_store import WindowLabel
from moola.evaluation.agreement import TOLERANCE_BARS
from moola.pipeline.labels.places import Mark


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
        `latest`, `agree`, or the annotator who decides where several judged the window; where that one did not judge
        it, what all say alike counts.

    Returns
    -------
    list of WindowLabel or NotChosen
        One label, or those of all who judged it, all labelled and on the same bars: they must agree to count.
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
    """Say in what several labels of one window cannot be compared: other bars, or rejected by some alone."""
    if len({(one.symbol, one.start_us, one.end_us) for one in opinions}) > 1:
        return "annotators saw other bars under this id"
    rejected = sorted(one.annotator for one in opinions if one.status == "rejected")
    if rejected and len(rejected) < len(opinions):
        others = sorted(one.annotator for one in opinions if one.status != "rejected")
        return f"rejected by {' and '.join(rejected)}, labelled by {' and '.join(others)}"
    return None


def disagreement(marks: dict[str, tuple[Mark, ...]]) -> str | None:
    """Say what the annotators of one window disagree on; None where they agree.

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
