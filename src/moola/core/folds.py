"""Folds for cross-validation in time: walk-forward and combinatorial, purged and embargoed by bars.

Every fold is a `Split` whose test rows are judged, whose val rows choose the epoch, and whose train rows
share no bar with either. Purging is by time and blind to symbols: another market at the same time tells too.
"""

from __future__ import annotations

from itertools import combinations

import numpy as np
from jaxtyping import Bool, Int

from moola.core.splits import PARTS, Intervals, Split
from moola.errors import InvalidData, Problem

N_TEST_GROUPS = 2


def near_any(
    intervals: Intervals, rows: Int[np.ndarray, " rows"], held: Int[np.ndarray, " held"], embargo_us: int
) -> Bool[np.ndarray, " rows"]:
    """Tell which rows share time with a held window, or lie within the embargo before or after one.

    Counts, for each row, the held windows that start before it ends less those that are over when it starts.
    """
    start_us, end_us = _times(intervals)
    started = np.searchsorted(np.sort(start_us[held]), end_us[rows] + embargo_us, side="left")
    ended = np.searchsorted(np.sort(end_us[held]), start_us[rows] - embargo_us, side="right")
    same_bars = np.isin(intervals.group[rows], intervals.group[held])
    near: np.ndarray = (started > ended) | same_bars
    return near


def _times(intervals: Intervals) -> tuple[np.ndarray, np.ndarray]:
    if intervals.start_us is None or intervals.end_us is None:
        raise InvalidData(
            "cross-validation must know when windows are, but the data has no start_ts and end_ts. "
            "Cut the windows anew with `moola windows`."
        )
    return intervals.start_us, intervals.end_us


def make_folds(
    intervals: Intervals, scheme: str, n_folds: int, initial_fraction: float, val_fraction: float, embargo_us: int
) -> list[Split]:
    """Cut windows into folds.

    Parameters
    ----------
    scheme
        `expanding`: each fold trains on all that was before its test block. `rolling`: on as many of the
        latest as the first fold has. `combinatorial`: windows in `n_folds` blocks, every pair of blocks is
        a test set once (Lopez de Prado 2018, ch. 12), training on what is left on both sides.
    initial_fraction
        Share of the windows before the first test block (walk-forward only).
    val_fraction
        Share of each fold's training windows, the latest, that choose its epoch; 0 for folds without val windows.
    embargo_us
        Time around a held-out window in which no window may train, beyond sharing no bar.

    Returns
    -------
    list of Split
        Folds in time order. A window at a boundary is dropped with its reason, never moved.

    Raises
    ------
    InvalidData
        No times, or a fold that has no train, test or (where they are asked) val windows left.
    """
    start_us, _ = _times(intervals)
    order = np.argsort(start_us, kind="stable")
    candidates = (
        _combinatorial(order, n_folds) if scheme == "combinatorial" else _walk(order, scheme, n_folds, initial_fraction)
    )
    folds = [_fold(intervals, before, test, val_fraction, embargo_us) for before, test in candidates]
    for number, fold in enumerate(folds, start=1):
        for part in PARTS:
            if not len(fold.part(part)) and (part != "val" or val_fraction):
                raise InvalidData(
                    f"every fold must have train, val and test windows, but fold {number} of {len(folds)} has no "
                    f"{part} after the purge. Lower --folds or --embargo, or label more windows."
                )
    return folds


def _walk(order: np.ndarray, scheme: str, n_folds: int, initial_fraction: float) -> list[tuple[np.ndarray, np.ndarray]]:
    n_initial = round(len(order) * initial_fraction)
    edges = np.linspace(n_initial, len(order), n_folds + 1).round().astype(int)
    first = [0 if scheme == "expanding" else edge - n_initial for edge in edges[:-1]]
    return [(order[start:edge], order[edge:end]) for start, edge, end in zip(first, edges[:-1], edges[1:], strict=True)]


def _combinatorial(order: np.ndarray, n_folds: int) -> list[tuple[np.ndarray, np.ndarray]]:
    groups = np.array_split(order, n_folds)
    pairs = []
    for chosen in combinations(range(n_folds), min(N_TEST_GROUPS, n_folds - 1)):
        test = np.concatenate([groups[i] for i in chosen])
        rest = np.concatenate([groups[i] for i in range(n_folds) if i not in chosen])
        pairs.append((rest, test))
    return pairs


def _fold(
    intervals: Intervals, candidates: np.ndarray, test: np.ndarray, val_fraction: float, embargo_us: int
) -> Split:
    """Purge the candidates (in time order) against test, then give the latest to val and purge train against it."""
    near_test = near_any(intervals, candidates, test, embargo_us)
    dropped = {int(row): "shares a bar or the embargo with a test window" for row in candidates[near_test]}
    free = candidates[~near_test]
    n_val = round(len(free) * val_fraction)
    val, train = free[len(free) - n_val :], free[: len(free) - n_val]
    near_val = near_any(intervals, train, val, embargo_us)
    dropped |= {int(row): "shares a bar or the embargo with a val window" for row in train[near_val]}
    return Split(np.sort(train[~near_val]), np.sort(val), np.sort(test), dropped)


def sharing_problems(split: Split, intervals: Intervals, window_id: list[str]) -> list[Problem]:
    """Return pairs of parts of a combinatorial split that share a bar; order in time is not asked of it."""
    problems = []
    for one, other in (("train", "val"), ("train", "test"), ("val", "test")):
        rows = split.part(one)
        near = rows[near_any(intervals, rows, split.part(other), 0)]
        if len(near):
            rule = f"no {one} window may share a bar with {other}"
            problems.append(Problem(rule, len(near), int(near[0]), f"{one} row {near[0]} ({window_id[near[0]]})"))
    return problems
