"""Whether the place of an expansion in its window tells its class: then a network would learn places, not prices."""

from __future__ import annotations

import numpy as np

from moola.core.seeds import generator
from moola.core.spans import place_in_zone
from moola.leakcheck.subject import Finding, Subject
from moola.tables.window_file import WindowTable

WHAT = "place in window"
LEAST_ROWS, N_BINS, N_SHUFFLES = 40, 5, 1000
ADVICE = "Cut windows again at random places: moola windows --spans."


def place_in_window(subject: Subject) -> list[Finding]:
    """Let a model of positions alone guess classes: it must be no better than on shuffled classes."""
    return [place_finding(subject.table, subject.options.seed)]


def place_finding(table: WindowTable, seed: int) -> Finding:
    """Judge a table: the commonest class of each fifth of the inner zone is guessed, from one half for the other.

    It is a leak where none of 1,000 shuffles of the classes is guessed so well. A span's length is no part of its
    place, for it is part of the pattern; rows of the same bars count once.
    """
    _, once = np.unique(table.equal_bars(), return_index=True)
    rows = once[(table.expansion_start[once] >= 0) & (table.label[once] != None)]  # noqa: E711
    names, label = np.unique(table.label[rows].astype(str), return_inverse=True)
    if len(rows) < LEAST_ROWS or len(names) < 2:
        return Finding(WHAT, "note", f"{len(rows)} windows of {len(names)} classes with pointers are too few to tell")
    place = place_in_zone(table.expansion_start[rows], table.expansion_end[rows], table.window_bars)
    cell = np.minimum((place * N_BINS).astype(int), N_BINS - 1)
    half = (np.arange(len(rows)) >= len(rows) // 2).astype(int)
    right = _guessed(cell, label, half, len(names))
    rng = generator(seed, "leakcheck", "place")
    shuffled = [_guessed(cell, rng.permutation(label), half, len(names)) for _ in range(N_SHUFFLES)]
    found = (
        f"a model of positions alone guesses the class of {right:.3f} of {len(rows)} windows; of shuffled classes it "
        f"guesses {np.mean(shuffled):.3f}, at most {max(shuffled):.3f}"
    )
    is_leak = right > max(shuffled)
    return Finding(WHAT, "leak" if is_leak else "ok", found, ADVICE if is_leak else "")


def _guessed(cell: np.ndarray, label: np.ndarray, half: np.ndarray, n_classes: int) -> float:
    """Return the share of rows whose class is the commonest one of their cell in the other half."""
    n_right = 0
    for part in (0, 1):
        learned, judged = half != part, half == part
        counts = np.zeros((N_BINS, n_classes), dtype=np.int64)
        np.add.at(counts, (cell[learned], label[learned]), 1)
        n_right += int((counts.argmax(axis=1)[cell[judged]] == label[judged]).sum())
    return n_right / len(cell)
