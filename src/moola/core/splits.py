"""Splits: forward chaining in time, purged by the bars that windows share (SPEC.md 2)."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Int

from moola.errors import Problem

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

    @property
    def judged_part(self) -> str:
        """Return the part that figures come from: test where there is one, else val."""
        return "test" if len(self.test) else "val"


@dataclass(frozen=True)
class Intervals:
    """When each window's first bar begins and its last bar is over `[start, end)`, and its group of equal bars."""

    start_us: Int[np.ndarray, " windows"] | None
    end_us: Int[np.ndarray, " windows"] | None
    group: Int[np.ndarray, " windows"]

    @property
    def timed(self) -> bool:
        """Tell whether overlap can be checked at all."""
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
        int(row): f"the same bars stand in {names[last_slot[intervals.group[row]]]} too"
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
            rule = f"the same bars must not stand in {earlier} and {later}"
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
