"""Marks that a window may have and that are often a slip: said where they are saved and where they are exported."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from moola.core.windows import inner_zone
from moola.pipeline.labels.places import Mark

# What is said of each kind.
OUTSIDE, ONE_BAR, OVERLAPPING = "outside_inner_zone", "one_bar", "overlapping"


def mark_warnings(marks: Sequence[Mark], window_bars: int) -> list[tuple[str, str]]:
    """Return kind and sentence of what is unusual about each expansion of one window.

    An expansion is outside the inner zone where either pointer is; overlapping ones share a bar.
    """
    first, stop = inner_zone(window_bars)
    found = []
    for i, mark in enumerate(marks):
        name = f"expansion {i + 1} (bars {mark.start} to {mark.end})"
        if mark.start < first or mark.end >= stop:
            found.append((OUTSIDE, f"{name} is not inside the inner zone, bars {first} to {stop - 1}"))
        if mark.start == mark.end:
            found.append((ONE_BAR, f"{name} has one bar"))
        others = [k + 1 for k, one in enumerate(marks) if k != i and one.start <= mark.end and mark.start <= one.end]
        if others:
            found.append((OVERLAPPING, f"{name} shares bars with expansion {', '.join(map(str, others))}"))
    return found


def count_warnings(windows: Sequence[Sequence[Mark]], window_bars: int) -> dict[str, int]:
    """Count the expansions of several windows by kind of warning, 0 included."""
    counted = Counter(kind for marks in windows for kind, _ in mark_warnings(marks, window_bars))
    return {kind: counted[kind] for kind in (OUTSIDE, ONE_BAR, OVERLAPPING)}
