"""Splits and folds forward in time, purged by the bars that windows share (specification 2), and repeated windows."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from itertools import combinations

import numpy as np
from jaxtyping import Bool, Float, Int

from moola.errors import InvalidData, Problem

PARTS = ("train", "val", "test")


@dataclass(frozen=True)
class Split:
    """Row numbers of each part, and the rows that the purge dropped with the reason."""

    train: Int[np.ndarray, " train"]
    val: Int[np.ndarray, " val"]
    test: Int[np.ndarray, " test"]
    dropped: dict[int, str] = field(default_factory=dict)

    def part(self, name: str) -> Int[np.ndarray, " part"]:
        """Return the rows of `train`, `val` or `test`."""
        return {"train": self.train, "val": self.val, "test": self.test}[name]


@dataclass(frozen=True)
class Intervals:
    """When each window's first bar begins and its last bar is over `[start, end)`, and its group of equal bars."""

    start_us: Int[np.ndarray, " windows"] | None
    end_us: Int[np.ndarray, " windows"] | None
    group: Int[np.ndarray, " windows"]

    @property
    def timed(self) -> bool:
        """Return whether overlap can be checked at all."""
        return self.start_us is not None and self.end_us is not None


def content_hashes(values: np.ndarray) -> list[bytes]:
    """Return a hash of each row's bytes."""
    return [hashlib.blake2b(row, digest_size=16).digest() for row in np.ascontiguousarray(values)]


def groups_of_equal(hashes: list[bytes]) -> np.ndarray:
    """Number rows so that equal ones have the same number, in order of first appearance."""
    number: dict[bytes, int] = {}
    return np.array([number.setdefault(key, len(number)) for key in hashes], dtype=np.int64)


def forward_chain(intervals: Intervals, val_fraction: float, test_fraction: float, embargo_us: int = 0) -> Split:
    """Cut windows into train, val and test in time order, dropping what straddles a boundary.

    The boundaries are the first bars of the windows at the ranks that the fractions give. A window
    belongs to the last part whose boundary it starts at or after, and is dropped when it still runs
    at the next boundary (less `embargo_us`): purging is by time, not by row number. Without times,
    rows are taken in order and only groups of equal bars are kept whole.
    """
    n = len(intervals.group)
    if intervals.start_us is not None and intervals.end_us is not None:
        start, end = intervals.start_us, intervals.end_us
    else:
        start, end = _group_spans(intervals.group)
        embargo_us = 0
    ordered = np.sort(start)
    n_test, n_val = round(n * test_fraction), round(n * val_fraction)
    edges = [ordered[n - n_test - n_val]] if n_val else []
    if n_test:
        edges.append(ordered[n - n_test])
    bounds = np.array([*edges, np.iinfo(np.int64).max])
    slot = np.searchsorted(bounds, start, side="right")
    straddles = np.asarray(end > bounds[slot] - embargo_us)
    names = ["train", *(["val"] if n_val else []), *(["test"] if n_test else [])]
    dropped = {
        int(row): f"starts in {names[slot[row]]} and still runs when {names[slot[row] + 1]} begins"
        for row in np.flatnonzero(straddles)
    }
    last_slot = np.zeros(intervals.group.max() + 1, dtype=np.int64)
    np.maximum.at(last_slot, intervals.group[~straddles], slot[~straddles])
    repeated = ~straddles & (slot < last_slot[intervals.group])
    dropped |= {
        int(row): f"the same bars are in {names[last_slot[intervals.group[row]]]} too"
        for row in np.flatnonzero(repeated)
    }
    kept = ~straddles & ~repeated
    rows = {name: np.flatnonzero((slot == i) & kept) for i, name in enumerate(names)}
    empty = np.empty(0, dtype=np.int64)
    return Split(rows["train"], rows.get("val", empty), rows.get("test", empty), dropped)


def _group_spans(group: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Row order as time: a group of equal bars spans from its first row to behind its last."""
    rows = np.arange(len(group))
    first = np.full(group.max() + 1, len(group))
    last = np.zeros(group.max() + 1, dtype=np.int64)
    np.minimum.at(first, group, rows)
    np.maximum.at(last, group, rows)
    return first[group].astype(np.int64), last[group] + 1


def index_problems(split: Split, n_rows: int) -> list[Problem]:
    """Return broken rules of the index lists themselves: range, repeats, empty parts, sharing."""
    problems = []
    for name in PARTS:
        rows = split.part(name)
        if name != "test" and not len(rows):
            problems.append(Problem(f"{name} must have rows", 1))
        outside = (rows < 0) | (rows >= n_rows)
        if outside.any():
            bad = int(rows[np.argmax(outside)])
            rule = f"{name} rows must be within 0..{n_rows - 1}"
            problems.append(Problem(rule, int(outside.sum()), None, f"found {bad}"))
        n_repeated = len(rows) - len(np.unique(rows))
        if n_repeated:
            problems.append(Problem(f"{name} rows must be listed once", n_repeated))
    for earlier, later in (("train", "val"), ("train", "test"), ("val", "test")):
        shared = np.intersect1d(split.part(earlier), split.part(later))
        if len(shared):
            rule = f"{earlier} and {later} must share no row"
            problems.append(Problem(rule, len(shared), int(shared[0])))
    return problems


def chain_problems(split: Split, intervals: Intervals, window_id: list[str]) -> list[Problem]:
    """Return leaks between parts: equal bars on two sides, or a window not over before the next part.

    Each problem names the worst pair of windows (the latest end before, the earliest start after).
    """
    problems = []
    for earlier, later in (("train", "val"), ("train", "test"), ("val", "test")):
        before, after = split.part(earlier), split.part(later)
        if not len(before) or not len(after):
            continue
        shared = before[np.isin(intervals.group[before], intervals.group[after])]
        if len(shared):
            first = int(shared[0])
            twin = int(after[np.argmax(intervals.group[after] == intervals.group[first])])
            detail = f"{earlier} row {first} ({window_id[first]}) and {later} row {twin} ({window_id[twin]})"
            rule = f"the same bars must not be in {earlier} and {later}"
            problems.append(Problem(rule, len(shared), first, detail))
        if intervals.start_us is not None and intervals.end_us is not None:
            opening = int(after[np.argmin(intervals.start_us[after])])
            late = before[intervals.end_us[before] > intervals.start_us[opening]]
            if len(late):
                worst = int(late[np.argmax(intervals.end_us[late])])
                detail = (
                    f"{earlier} row {worst} ({window_id[worst]}, ends {_utc(int(intervals.end_us[worst]))}) overlaps "
                    f"{later} row {opening} ({window_id[opening]}, starts {_utc(int(intervals.start_us[opening]))})"
                )
                rule = f"every {earlier} window must end before the first bar of {later}"
                problems.append(Problem(rule, len(late), worst, detail))
    return problems


def _utc(time_us: int) -> str:
    return str(np.datetime64(int(time_us), "us"))[:19] + "Z"


# Folds for cross-validation in time: walk-forward and combinatorial, purged and embargoed by bars.


N_TEST_GROUPS = 2


def near_any(
    intervals: Intervals, rows: Int[np.ndarray, " rows"], held: Int[np.ndarray, " held"], embargo_us: int
) -> Bool[np.ndarray, " rows"]:
    """Return which rows share time with a held window, or lie within the embargo before or after one.

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
            "cross-validation must have windows with times, but the data has no start_ts and end_ts. "
            "Cut the windows again with `moola windows`."
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


# Windows that are the same but for their scale: prices times any factor, and perhaps rounded after it.


# Prices rounded to 5 decimals near 0.3, or to 2 near 300, change a return by some 3e-5 at most.
TOLERANCE = 5e-5
# A window that hardly moves is like others by chance: moves must be this many tolerances.
LEAST_MOVE = 20
PLACES = 8


def same_but_for_scale(
    values: Float[np.ndarray, "windows bars values"],
) -> Int[np.ndarray, " windows"]:
    """Number windows so that those with equal bars, or with equal bars at another scale, have the same number.

    Parameters
    ----------
    values
        Prices (4 a bar), or the eleven features, whose first four determine the prices up to their scale.

    Notes
    -----
    Two windows are the same where the logarithm of every price, counted from the window's first, is within 5e-5 of the
    other's. Distances are compared and not rounded values, which would fall apart where rounding goes two ways. Windows
    in which no price moves by 0.1 % are the same only where they are equal.
    """
    group = groups_of_equal(content_hashes(values))
    _, first = np.unique(group, return_index=True)
    shape = _shape(values[first])
    moving = np.flatnonzero(np.ptp(shape, axis=(1, 2)) >= LEAST_MOVE * TOLERANCE)
    joined = np.arange(len(first))
    for one, other in _near_pairs(shape[moving].reshape(len(moving), shape[0].size)):
        low, high = sorted((joined[moving[one]], joined[moving[other]]))
        joined[joined == high] = low
    return groups_of_equal([int(number).to_bytes(8, "little") for number in joined[group]])


def _shape(values: np.ndarray) -> np.ndarray:
    """Logarithm of each price, counted from the first of its kind."""
    if values.shape[-1] == 4:
        return np.asarray(np.log(values / values[:, :1]))
    returns = values[:, :, :4].copy()
    returns[:, 0] = 0.0
    return np.cumsum(returns, axis=1)


def _near_pairs(shape: np.ndarray) -> list[tuple[int, int]]:
    """Pairs of rows that are nowhere further apart than the tolerance: neighbours in the order of one value."""
    if len(shape) < 2:
        return []
    places = np.linspace(0, shape.shape[1] - 1, PLACES).round().astype(np.int64)
    order = np.argsort(shape[:, places[-1]], kind="stable")
    last, few = shape[order, places[-1]], shape[order][:, places]
    pairs = []
    for step in range(1, len(order)):
        near = np.flatnonzero(last[step:] - last[:-step] <= TOLERANCE)
        if not len(near):
            break
        near = near[(np.abs(few[near + step] - few[near]) <= TOLERANCE).all(axis=1)]
        for place in near.tolist():
            one, other = int(order[place]), int(order[place + step])
            if (np.abs(shape[one] - shape[other]) <= TOLERANCE).all():
                pairs.append((one, other))
    return pairs
