"""Files with a planted leak, opened as the checks see them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from moola.files import sha256_file
from moola.leakcheck.subject import Finding, Subject, open_subject
from moola.options.judging_options import LeakcheckOptions
from moola.tables.window_file import WindowTable, write_windows

TRAIN, VAL, TEST = range(20), range(20, 30), range(30, 40)


def write_files(
    folder: Path, table: WindowTable, train: Any = TRAIN, val: Any = VAL, test: Any = TEST, **record: Any
) -> LeakcheckOptions:
    data, split = folder / "windows.parquet", folder / "split.json"
    write_windows(data, table)
    rows = {"train_indices": list(train), "val_indices": list(val), "test_indices": list(test)}
    content = {"name": "made", "purge_window": 104, "data_sha256": sha256_file(data), **rows} | record
    split.write_text(json.dumps(content))
    return LeakcheckOptions(data=data, split=split, device="cpu")


def subject_of(folder: Path, table: WindowTable, **made: Any) -> Subject:
    return open_subject(write_files(folder, table, **made))


def without_times(table: WindowTable) -> WindowTable:
    return replace(table, start_us=None, end_us=None)


def features_alone(table: WindowTable) -> WindowTable:
    """As relative files that do not keep their bars."""
    return replace(table.with_features(), ohlc=None)


def with_bars_of(table: WindowTable, row: int, other: int) -> WindowTable:
    """Give `row` the bars, the pointers and the label of `other`."""
    rows = np.arange(len(table))
    rows[row] = other
    taken = table.take(rows)
    return replace(taken, window_id=table.window_id, start_us=table.start_us, end_us=table.end_us)


def leaks(findings: list[Finding]) -> list[Finding]:
    return [finding for finding in findings if finding.state == "leak"]


def only_leak(findings: list[Finding]) -> Finding:
    found = leaks(findings)
    assert len(found) == 1, found
    return found[0]


def states(findings: list[Finding]) -> set[str]:
    return {finding.state for finding in findings}
