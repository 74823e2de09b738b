"""Parts that overlap, come too near or stand in the wrong order."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from moola.leakcheck.split_checks import order, overlaps, purge, split_record
from tests.leakcheck.subjects import only_leak, states, subject_of, without_times
from tests.planted import HOUR_US, planted_windows

CHECKS = (split_record, overlaps, purge, order)


def moved(rows: list[int], hours: int, symbol: bool = False):
    table = planted_windows(40, seed=3)
    shift = np.zeros(40, dtype=np.int64)
    shift[rows] = hours * HOUR_US
    names = table.symbol.copy()
    if symbol:
        names[:] = "EURUSD"
        names[rows] = "GBPUSD"
    return replace(table, start_us=table.start_us + shift, end_us=table.end_us + shift, symbol=names)


def test_clean_windows_pass(tmp_path):
    for check in CHECKS:
        assert states(check(subject_of(tmp_path, planted_windows(40, seed=3)))) == {"ok"}


def test_without_times_it_says_what_cannot_be_checked(tmp_path):
    subject = subject_of(tmp_path, without_times(planted_windows(40, seed=3)))
    for check in (overlaps, purge, order):
        findings = check(subject)
        assert states(findings) == {"note"}
        assert "no start_ts" in findings[0].found


def test_a_train_window_that_runs_ten_bars_into_val(tmp_path):
    subject = subject_of(tmp_path, moved([19], 10))
    leak = only_leak(overlaps(subject))
    assert (leak.row, leak.bar) == (19, 95)
    assert "1 train rows share time with val rows" in leak.found
    assert "val row 20 (planted_20)" in leak.found
    assert only_leak(purge(subject)).row == 19
    assert states(order(subject)) == {"ok"}


def test_the_same_time_in_another_symbol_is_an_overlap(tmp_path):
    leak = only_leak(overlaps(subject_of(tmp_path, moved([29], 100, symbol=True))))
    assert leak.row == 29
    assert "the symbols differ (GBPUSD, EURUSD)" in leak.found


def test_train_rows_after_the_test(tmp_path):
    subject = subject_of(tmp_path, moved([4], 105 * 60))
    found = [leak for leak in order(subject) if leak.state == "leak"]
    assert [leak.row for leak in found] == [4, 4]
    assert "test row 30" in found[1].found


def test_an_embargo_that_the_parts_do_not_keep(tmp_path):
    table = planted_windows(40, seed=3)
    found = [leak for leak in purge(subject_of(tmp_path, table, purge_window=124)) if leak.state == "leak"]
    assert [leak.row for leak in found] == [19, 29]
    assert "less than 20 bars" in found[0].found
    kept = {"train": range(19), "val": range(20, 29)}
    fine = purge(subject_of(tmp_path, table, purge_window=124, **kept))
    assert states(fine) == {"ok"}
    assert "20 bars of embargo" in fine[0].found


def test_a_purge_window_below_one_window_is_noted(tmp_path):
    assert states(purge(subject_of(tmp_path, planted_windows(40, seed=3), purge_window=3))) == {"note"}


def test_the_split_of_another_file(tmp_path):
    table = planted_windows(40, seed=3)
    assert "abababababab..." in only_leak(split_record(subject_of(tmp_path, table, data_sha256="ab" * 32))).found
    assert states(split_record(subject_of(tmp_path, table, data_sha256=None))) == {"note"}
    span = {"train": ["2017-07-14T02:40:00Z", "2017-08-14T02:40:00Z"]}
    assert only_leak(split_record(subject_of(tmp_path, table, time_range=span))).row == 7
