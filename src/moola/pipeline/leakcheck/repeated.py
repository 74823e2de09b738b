"""The same bars in two parts: whole windows, stretches at another offset, and rows of one window."""

from __future__ import annotations

import re

import numpy as np
from jaxtyping import Int

from moola.pipeline.leakcheck.findings import Finding
from moola.pipeline.leakcheck.subject import PAIRS, Subject

# Five bars of equal prices in a row, of which four differ, do not come twice by chance.
RUN_BARS = 5
DISTINCT_BARS = 4
FEATURE_DECIMALS = 7
MOVE_DECIMALS = 9
EXPANSION_SUFFIX = re.compile(r"_exp_\d+$")
ADVICE = "Write the split anew with `moola split`, which keeps equal bars on one side."


def duplicates(subject: Subject) -> list[Finding]:
    """Windows with equal bars, at any scale, in two parts, and a row listed in two parts."""
    findings, values = [], subject.table.values
    for earlier, later in PAIRS:
        before, after = subject.split.part(earlier), subject.split.part(later)
        group = subject.intervals.group
        twice = before[np.isin(group[before], group[after])]
        if not len(twice):
            continue
        row = int(twice[0])
        twin = int(after[np.argmax(group[after] == group[row])])
        scaled = "" if (values[row] == values[twin]).all() else " at another scale"
        found = f"{len(twice)} {earlier} rows have the very bars of {later} rows{scaled}: " + (
            f"{subject.name(row)} is listed in both"
            if row == twin
            else f"{earlier} {subject.name(row)} and {later} {subject.name(twin)}"
        )
        findings.append(Finding("duplicates", "leak", found, ADVICE, row))
    return findings or [Finding("duplicates", "ok", "no window stands in two parts")]


def near_duplicates(subject: Subject) -> list[Finding]:
    """Stretches of bars that windows of two parts share at any offset and scale, whatever their times say."""
    findings = _shared_stretches(subject, bar_numbers(subject), "")
    if not findings and subject.table.ohlc is not None:
        findings = _shared_stretches(subject, move_numbers(subject.table.ohlc), " at another scale")
    what = "prices at any scale" if subject.table.ohlc is not None else "features (the file has no prices)"
    fine = f"no {min(RUN_BARS, subject.table.window_bars)} neighbouring bars have equal {what} in two parts"
    return findings or [Finding("near-duplicates", "ok", fine)]


def _shared_stretches(subject: Subject, bars: np.ndarray, scaled: str) -> list[Finding]:
    runs = _runs(bars)
    findings = []
    for earlier, later in PAIRS:
        before, after = subject.split.part(earlier), subject.split.part(later)
        shared = np.intersect1d(runs[before], runs[after])
        shared = shared[shared >= 0]
        if not len(shared):
            continue
        pairs, touched = _pairs(subject, runs, before, after, shared)
        if not pairs:
            continue
        longest = max((*_longest_run(bars[row], bars[twin]), row, twin) for row, twin in pairs)
        length, at, there, row, twin = longest
        found = (
            f"{touched} {earlier} rows share stretches of bars with {later} rows; the longest: {length} bars of "
            f"{earlier} {subject.name(row)} from bar {at} are those of {later} {subject.name(twin)} from bar {there}"
            f"{scaled}"
        )
        findings.append(Finding("near-duplicates", "leak", found, ADVICE, row, at))
    return findings


def move_numbers(ohlc: np.ndarray) -> Int[np.ndarray, "windows bars"]:
    """Number each bar so that bars with equal prices as shares of the close before have equal numbers.

    Shares are compared to 9 decimals: far below a tick, and far above what a factor does to the last digit. A window's
    first bar has no close before, and a number of its own.
    """
    before = np.concatenate([np.full_like(ohlc[:, :1, 3:], np.nan), ohlc[:, :-1, 3:]], axis=1)
    moves = np.round(ohlc / before, MOVE_DECIMALS)
    moves[:, 0] = -1.0 - np.arange(len(ohlc))[:, None]
    return _numbers(moves)


def bar_numbers(subject: Subject) -> Int[np.ndarray, "windows bars"]:
    """Number each bar so that equal bars have equal numbers; features are compared to 7 decimals."""
    table = subject.table
    values = table.ohlc if table.ohlc is not None else np.round(subject.features, FEATURE_DECIMALS) + 0.0
    return _numbers(values)


def _numbers(values: np.ndarray) -> np.ndarray:
    flat = np.ascontiguousarray(values).reshape(-1, values.shape[-1])
    keys = flat.view(np.dtype((np.void, flat.dtype.itemsize * flat.shape[1]))).ravel()
    numbers: np.ndarray = np.unique(keys, return_inverse=True)[1].reshape(values.shape[:-1])
    return numbers


def _runs(bars: np.ndarray) -> np.ndarray:
    """Number the runs of `RUN_BARS` bars from each bar on; -1 where too few of them differ."""
    length = min(RUN_BARS, bars.shape[1])
    views = np.lib.stride_tricks.sliding_window_view(bars, length, axis=1)
    ordered = np.sort(views, axis=-1)
    n_distinct = 1 + (np.diff(ordered, axis=-1) != 0).sum(axis=-1)
    return np.where(n_distinct >= min(DISTINCT_BARS, length), _numbers(views), -1)


def _pairs(
    subject: Subject, runs: np.ndarray, before: np.ndarray, after: np.ndarray, shared: np.ndarray
) -> tuple[list[tuple[int, int]], int]:
    """Pairs of windows that share most runs, windows that are wholly equal left to `duplicates`."""
    group = subject.intervals.group
    first: dict[int, int] = {}
    for row, place in zip(*np.nonzero(np.isin(runs[after], shared)), strict=True):
        first.setdefault(int(runs[after[row], place]), int(after[row]))
    counts: dict[tuple[int, int], int] = {}
    for row, place in zip(*np.nonzero(np.isin(runs[before], shared)), strict=True):
        pair = int(before[row]), first[int(runs[before[row], place])]
        if group[pair[0]] != group[pair[1]]:
            counts[pair] = counts.get(pair, 0) + 1
    return sorted(counts, key=lambda pair: -counts[pair])[:20], len({row for row, _ in counts})


def _longest_run(one: np.ndarray, other: np.ndarray) -> tuple[int, int, int]:
    """Return length and both first bars of the longest stretch that two windows share."""
    equal = one[:, None] == other[None, :]
    length = np.zeros((len(one) + 1, len(other) + 1), dtype=np.int64)
    for bar in range(len(one)):
        length[bar + 1, 1:] = np.where(equal[bar], length[bar, :-1] + 1, 0)
    last, there = np.unravel_index(int(length.argmax()), length.shape)
    longest = int(length[last, there])
    return longest, int(last) - longest, int(there) - longest


def one_window(subject: Subject) -> list[Finding]:
    """Several expansions of one window (`<window>_exp_1`, `<window>_exp_2`) in two parts."""
    stem = np.array([EXPANSION_SUFFIX.sub("", name) for name in subject.table.window_id])
    findings = []
    for earlier, later in PAIRS:
        before, after = subject.split.part(earlier), subject.split.part(later)
        sides = before[np.isin(stem[before], stem[after])]
        if len(sides):
            row = int(sides[0])
            twin = int(after[np.argmax(stem[after] == stem[row])])
            found = (
                f"{len(sides)} {earlier} rows are expansions of windows that stand in {later} too: {earlier} "
                f"{subject.name(row)} and {later} {subject.name(twin)}"
            )
            findings.append(Finding("one window", "leak", found, ADVICE, row))
    return findings or [Finding("one window", "ok", "all expansions of a window are in one part")]
