"""Checks of a split: times that overlap or come too near, and the same bars in two parts."""

from __future__ import annotations

import re

import numpy as np
from jaxtyping import Int

from moola.core.bars import utc_text
from moola.core.splits import PARTS
from moola.files import read_json
from moola.leakcheck.subject import Finding, Subject
from moola.options.option_sources import command_line, window_bars_words

TIMES_ADVICE = "Write the split again with `moola split`, which purges by time."
NO_TIMES = "the windows have no start_ts and end_ts: "
CHUNK_ROWS = 256


def split_record(subject: Subject) -> list[Finding]:
    """Return whether the split was written for this very data file, this length and these times."""
    file, findings = subject.split_file, []
    words = ("moola", "split", "--data", subject.options.data, "--output", subject.options.split)
    advice = f"Write it again: `{command_line(*words, *window_bars_words(subject.options.window_bars))}`."
    if file.data_sha256 not in (None, subject.data_sha256):
        found = (
            f"the split is of a file with SHA-256 {file.data_sha256[:12]}..., this one has "
            f"{subject.data_sha256[:12]}...: its row numbers may mean other windows"
        )
        findings.append(Finding("split record", "leak", found, advice))
    if file.window_bars != subject.table.window_bars:
        found = f"the split is of windows of {file.window_bars} bars, these have {subject.table.window_bars}"
        findings.append(Finding("split record", "leak", found, advice))
    start_us, end_us = subject.table.start_us, subject.table.end_us
    for part in PARTS:
        rows, recorded = subject.split.part(part), file.time_range_us.get(part)
        if recorded is None or start_us is None or end_us is None or not len(rows):
            continue
        outside = rows[(start_us[rows] < recorded[0]) | (end_us[rows] > recorded[1])]
        if len(outside):
            row = int(outside[0])
            found = f"{len(outside)} {part} rows are outside the times of the split, first {subject.name(row)}"
            findings.append(Finding("split record", "leak", found, advice, row))
    if not findings and file.data_sha256 is None:
        found = "the split does not record its data file"
        return [Finding("split record", "note", found, advice)]
    return findings or [Finding("split record", "ok", "the split is of this data file")]


def overlaps(subject: Subject) -> list[Finding]:
    """Windows of two parts that share time, for each pair of parts the worst; symbols do not matter."""
    if not subject.intervals.timed:
        found = NO_TIMES + "only equal bars can be looked for"
        return [Finding("overlaps", "note", found, "Cut windows again with `moola windows`, which keeps times.")]
    findings = []
    for earlier, later, before, after in subject.pairs_of_parts():
        rows, worst, twin, first_us, last_us = _shared_time(subject, before, after)
        if not rows:
            continue
        bar = _bar_at(subject, worst, first_us)
        one, other = subject.table.symbol[worst], subject.table.symbol[twin]
        across = f"; the symbols differ ({one}, {other}), and markets move together" if one != other else ""
        found = (
            f"{rows} {earlier} rows share time with {later} rows; the worst: {earlier} {subject.name(worst)} and "
            f"{later} {subject.name(twin)} both hold {utc_text(first_us)[:19]}Z to {utc_text(last_us)[:19]}Z, "
            f"from about bar {bar} of the {earlier} row{across}"
        )
        findings.append(Finding("overlaps", "leak", found, TIMES_ADVICE, worst, bar))
    return findings or [Finding("overlaps", "ok", "no time is in windows of two parts, whatever the symbol")]


def _shared_time(subject: Subject, before: np.ndarray, after: np.ndarray) -> tuple[int, int, int, int, int]:
    """Return how many earlier rows overlap, and the worst pair with the time it shares."""
    start, end = subject.intervals.start_us, subject.intervals.end_us
    assert start is not None
    assert end is not None
    n_rows, most, worst = 0, 0, (0, 0)
    for first in range(0, len(before), CHUNK_ROWS):
        some = before[first : first + CHUNK_ROWS]
        shared = np.minimum(end[some][:, None], end[after]) - np.maximum(start[some][:, None], start[after])
        n_rows += int((shared > 0).any(axis=1).sum())
        if shared.max() > most:
            most = int(shared.max())
            at, there = np.unravel_index(int(shared.argmax()), shared.shape)
            worst = int(some[at]), int(after[there])
    row, twin = worst
    return n_rows, row, twin, int(max(start[row], start[twin])), int(min(end[row], end[twin]))


def _bar_at(subject: Subject, row: int, time_us: int) -> int:
    start, end = subject.table.start_us, subject.table.end_us
    assert start is not None
    assert end is not None
    length = max(int(end[row] - start[row]), 1)
    return round((time_us - int(start[row])) / length * (subject.table.window_bars - 1))


def purge(subject: Subject) -> list[Finding]:
    """Return whether parts are as far apart as `purge_window` says."""
    if subject.intervals.start_us is None or subject.intervals.end_us is None:
        return [Finding("purge", "note", NO_TIMES + "the purge cannot be checked")]
    start, end, least = subject.intervals.start_us, subject.intervals.end_us, subject.table.window_bars - 1
    # Read again: a split that says nothing is taken at one window less one bar of this very length.
    recorded = read_json(subject.options.split, "a split file", TIMES_ADVICE).get("purge_window", least)
    findings = []
    if recorded < least:
        found = (
            f"purge_window is {recorded} bars, and windows of {subject.table.window_bars} bars need at least {least}"
        )
        findings.append(Finding("purge", "note", found, TIMES_ADVICE))
    embargo_us = max(recorded - least, 0) * int(np.median(end - start) / (least + 1))
    for earlier, later, before, after in subject.pairs_of_parts():
        opening = int(after[np.argmin(start[after])])
        near = before[(end[before] > start[opening] - embargo_us) & (start[before] < start[opening])]
        if len(near):
            row = int(near[np.argmax(end[near])])
            how = (
                f"end less than {recorded - least} bars (purge_window {recorded}) before"
                if recorded > least
                else "still run when"
            )
            found = (
                f"{len(near)} {earlier} rows {how} {later} begins; the worst: {earlier} {subject.name(row)} ends "
                f"{utc_text(end[row])[:19]}Z, {later} {subject.name(opening)} starts {utc_text(start[opening])[:19]}Z"
            )
            findings.append(Finding("purge", "leak", found, TIMES_ADVICE, row))
    n_embargo = max(recorded - least, 0)
    fine = f"every window is over when the first bar of the next part begins, with {n_embargo} bars of embargo"
    return findings or [Finding("purge", "ok", fine)]


def order(subject: Subject) -> list[Finding]:
    """Rows of an earlier part that are later in time than a later part's first."""
    start = subject.table.start_us
    if start is None:
        return [Finding("order", "note", NO_TIMES + "the order of the parts cannot be checked")]
    findings = []
    for earlier, later, before, after in subject.pairs_of_parts():
        opening = int(after[np.argmin(start[after])])
        late = before[start[before] >= start[opening]]
        if len(late):
            row = int(late[np.argmax(start[late])])
            found = (
                f"{len(late)} {earlier} rows start when or after {later} begins; the latest: {earlier} "
                f"{subject.name(row)} starts {utc_text(start[row])[:19]}Z, {later} {subject.name(opening)} starts "
                f"{utc_text(start[opening])[:19]}Z"
            )
            findings.append(Finding("order", "leak", found, TIMES_ADVICE, row))
    return findings or [Finding("order", "ok", "train is before val, and val before test")]


# The same bars in two parts: whole windows, stretches at another offset, and rows of one window.


# Five bars of equal prices in a row, of which four differ, do not come twice by chance.
RUN_BARS = 5
DISTINCT_BARS = 4
FEATURE_DECIMALS = 7
MOVE_DECIMALS = 9
EXPANSION_SUFFIX = re.compile(r"_exp_\d+$")
REPEATED_ADVICE = "Write the split again with `moola split`, which keeps equal bars on one side."


def duplicates(subject: Subject) -> list[Finding]:
    """Windows with equal bars, at any scale, in two parts, and a row listed in two parts."""
    findings, values = [], subject.table.values
    for earlier, later, before, after in subject.pairs_of_parts():
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
        findings.append(Finding("duplicates", "leak", found, REPEATED_ADVICE, row))
    return findings or [Finding("duplicates", "ok", "no window is in two parts")]


def near_duplicates(subject: Subject) -> list[Finding]:
    """Stretches of bars that windows of two parts share at any offset and scale, whatever their times."""
    findings = _shared_stretches(subject, bar_numbers(subject), "")
    if not findings and subject.table.ohlc is not None:
        findings = _shared_stretches(subject, move_numbers(subject.table.ohlc), " at another scale")
    what = "prices at any scale" if subject.table.ohlc is not None else "features (the file has no prices)"
    fine = f"no {min(RUN_BARS, subject.table.window_bars)} neighbouring bars have equal {what} in two parts"
    return findings or [Finding("near-duplicates", "ok", fine)]


def _shared_stretches(subject: Subject, bars: np.ndarray, scaled: str) -> list[Finding]:
    runs = _runs(bars)
    findings = []
    for earlier, later, before, after in subject.pairs_of_parts():
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
        findings.append(Finding("near-duplicates", "leak", found, REPEATED_ADVICE, row, at))
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
    for earlier, later, before, after in subject.pairs_of_parts():
        sides = before[np.isin(stem[before], stem[after])]
        if len(sides):
            row = int(sides[0])
            twin = int(after[np.argmax(stem[after] == stem[row])])
            found = (
                f"{len(sides)} {earlier} rows are expansions of windows that are in {later} too: {earlier} "
                f"{subject.name(row)} and {later} {subject.name(twin)}"
            )
            findings.append(Finding("one window", "leak", found, REPEATED_ADVICE, row))
    return findings or [Finding("one window", "ok", "all expansions of a window are in one part")]
