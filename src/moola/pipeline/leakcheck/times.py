"""Times: parts that overlap, come too near, or stand in the wrong order."""

from __future__ import annotations

import numpy as np

from moola.config.command_lines import command_line, window_bars_words
from moola.core.splits import PARTS
from moola.data.contracts.split_file import utc_text
from moola.files import read_json
from moola.pipeline.leakcheck.findings import Finding
from moola.pipeline.leakcheck.subject import PAIRS, Subject

ADVICE = "Write the split anew with `moola split`, which purges by time."
NO_TIMES = "the windows have no start_ts and end_ts: "
CHUNK_ROWS = 256


def split_record(subject: Subject) -> list[Finding]:
    """Tell whether the split was written for this very data file, this length and these times."""
    file, findings = subject.split_file, []
    words = ("moola", "split", "--data", subject.options.data, "--output", subject.options.split)
    advice = f"Write it anew: `{command_line(*words, *window_bars_words(subject.options.window_bars))}`."
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
        rows, said = subject.split.part(part), file.time_range_us.get(part)
        if said is None or start_us is None or end_us is None or not len(rows):
            continue
        outside = rows[(start_us[rows] < said[0]) | (end_us[rows] > said[1])]
        if len(outside):
            row = int(outside[0])
            found = f"{len(outside)} {part} rows lie outside the times that the split says, first {subject.name(row)}"
            findings.append(Finding("split record", "leak", found, advice, row))
    if not findings and file.data_sha256 is None:
        found = "the split does not say which data file it is of"
        return [Finding("split record", "note", found, advice)]
    return findings or [Finding("split record", "ok", "the split is of this data file")]


def overlaps(subject: Subject) -> list[Finding]:
    """Windows of two parts that share time, for each pair of parts the worst; symbols do not matter."""
    if not subject.intervals.timed:
        found = NO_TIMES + "only equal bars can be looked for"
        return [Finding("overlaps", "note", found, "Cut windows anew with `moola windows`, which keeps times.")]
    findings = []
    for earlier, later in PAIRS:
        rows, worst, twin, first_us, last_us = _shared_time(subject, earlier, later)
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
        findings.append(Finding("overlaps", "leak", found, ADVICE, worst, bar))
    return findings or [Finding("overlaps", "ok", "no time lies in windows of two parts, whatever the symbol")]


def _shared_time(subject: Subject, earlier: str, later: str) -> tuple[int, int, int, int, int]:
    """Return how many earlier rows overlap, and the worst pair with the time it shares."""
    start, end = subject.intervals.start_us, subject.intervals.end_us
    assert start is not None
    assert end is not None
    before, after = subject.split.part(earlier), subject.split.part(later)
    n_rows, most, worst = 0, 0, (0, 0)
    for first in range(0, len(before) if len(after) else 0, CHUNK_ROWS):
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
    """Tell whether parts are as far apart as `purge_window` says."""
    if subject.intervals.start_us is None or subject.intervals.end_us is None:
        return [Finding("purge", "note", NO_TIMES + "the purge cannot be checked")]
    start, end, least = subject.intervals.start_us, subject.intervals.end_us, subject.table.window_bars - 1
    # Read anew: a split that says nothing is taken at one window less one bar of this very length.
    said = read_json(subject.options.split, "a split file", ADVICE).get("purge_window", least)
    findings = []
    if said < least:
        found = f"purge_window is {said} bars, and windows of {subject.table.window_bars} bars need at least {least}"
        findings.append(Finding("purge", "note", found, ADVICE))
    embargo_us = max(said - least, 0) * int(np.median(end - start) / (least + 1))
    for earlier, later in PAIRS:
        before, after = subject.split.part(earlier), subject.split.part(later)
        if not len(before) or not len(after):
            continue
        opening = int(after[np.argmin(start[after])])
        near = before[(end[before] > start[opening] - embargo_us) & (start[before] < start[opening])]
        if len(near):
            row = int(near[np.argmax(end[near])])
            how = (
                f"end less than {said - least} bars (purge_window {said}) before" if said > least else "still run when"
            )
            found = (
                f"{len(near)} {earlier} rows {how} {later} begins; the worst: {earlier} {subject.name(row)} ends "
                f"{utc_text(end[row])[:19]}Z, {later} {subject.name(opening)} starts {utc_text(start[opening])[:19]}Z"
            )
            findings.append(Finding("purge", "leak", found, ADVICE, row))
    fine = (
        f"every window is over when the first bar of the next part begins, with {max(said - least, 0)} bars of embargo"
    )
    return findings or [Finding("purge", "ok", fine)]


def order(subject: Subject) -> list[Finding]:
    """Rows of an earlier part that are later in time than a later part's first."""
    start = subject.table.start_us
    if start is None:
        return [Finding("order", "note", NO_TIMES + "the order of the parts cannot be checked")]
    findings = []
    for earlier, later in PAIRS:
        before, after = subject.split.part(earlier), subject.split.part(later)
        if not len(before) or not len(after):
            continue
        opening = int(after[np.argmin(start[after])])
        late = before[start[before] >= start[opening]]
        if len(late):
            row = int(late[np.argmax(start[late])])
            found = (
                f"{len(late)} {earlier} rows start when or after {later} begins; the latest: {earlier} "
                f"{subject.name(row)} starts {utc_text(start[row])[:19]}Z, {later} {subject.name(opening)} starts "
                f"{utc_text(start[opening])[:19]}Z"
            )
            findings.append(Finding("order", "leak", found, ADVICE, row))
    return findings or [Finding("order", "ok", "train is before val, and val before test")]
