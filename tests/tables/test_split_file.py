import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moola.core.bars import time_us, utc_text
from moola.core.splits import Split
from moola.errors import InvalidData, OperationFailed
from moola.tables.split_file import SplitFile, read_split, verify_split, write_split
from tests.made import HOUR_US, made_windows

SHA = "ab" * 32
TABLE = made_windows(10)


def rows(*values):
    return np.array(values, dtype=np.int64)


SPLIT = Split(rows(0, 1, 2, 3), rows(5, 6), rows(8, 9), {4: "in the way of val", 7: "in the way of test"})


@pytest.fixture
def path(tmp_path):
    return tmp_path / "fwd_chain_v3.json"


def given_file(path, **changes):
    """An old file as a person would have it, with some of its keys changed (or dropped by None)."""
    content = {"name": "old", "train_indices": [0, 1, 2], "val_indices": [4, 5], "purge_window": 104} | changes
    path.write_text(json.dumps({key: value for key, value in content.items() if value is not None}))
    return path


def verify(path, table=TABLE, sha=SHA, allow_overlap=False):
    return verify_split(read_split(path), path, table, sha, allow_overlap)


def test_a_split_is_read_back_equal_and_written_to_the_same_bytes_twice(path):
    write_split(path, SplitFile("fwd", SPLIT, 110, SHA, {}, 105), TABLE)
    once = path.read_bytes()
    found = read_split(path)
    assert [found.split.part(part).tolist() for part in ("train", "val", "test")] == [[0, 1, 2, 3], [5, 6], [8, 9]]
    assert (found.name, found.purge_window, found.data_sha256, found.window_bars) == ("fwd", 110, SHA, 105)
    last = TABLE.end_us
    assert found.time_range_us == {
        "train": (TABLE.start_us[0], last[3]),
        "val": (TABLE.start_us[5], last[6]),
        "test": (TABLE.start_us[8], last[9]),
    }
    write_split(path, SplitFile("fwd", SPLIT, 110, SHA, {}, 105), TABLE)
    assert path.read_bytes() == once


def test_the_file_records_what_the_contract_asks(path):
    write_split(path, SplitFile("fwd", SPLIT, 104, SHA, {}, 105), TABLE)
    content = json.loads(path.read_text())
    assert content["train_indices"] == [0, 1, 2, 3]
    assert content["val_indices"] == [5, 6]
    assert content["test_indices"] == [8, 9]
    assert content["data_sha256"] == SHA
    assert content["purged"] == [
        {"row": 4, "window_id": "made_0004", "reason": "in the way of val"},
        {"row": 7, "window_id": "made_0007", "reason": "in the way of test"},
    ]
    assert content["time_range"]["train"] == ["2020-01-01T00:00:00.000000Z", "2020-01-18T11:00:00.000000Z"]


def test_a_part_without_rows_or_times_has_no_time_range(path):
    write_split(path, SplitFile("x", Split(rows(0), rows(1), rows()), 104, SHA, {}, 105), TABLE)
    assert sorted(read_split(path).time_range_us) == ["train", "val"]
    write_split(path, SplitFile("x", SPLIT, 104, SHA, {}, 105), replace(TABLE, start_us=None, end_us=None))
    assert read_split(path).time_range_us == {}


@given(st.integers(-(10**15), 4 * 10**15))
def test_times_are_written_and_read_to_the_microsecond(moment):
    assert time_us(utc_text(moment)) == moment
    assert utc_text(moment).endswith("Z")


def test_an_old_file_has_neither_hash_nor_times_nor_test(path):
    found = read_split(given_file(path, name=None, purge_window=None))
    assert (found.name, found.purge_window, found.data_sha256) == ("fwd_chain_v3", 104, None)
    assert (found.time_range_us, found.window_bars, len(found.split.test)) == ({}, 105, 0)
    assert verify(path) is True


@pytest.mark.parametrize("indices", [None, "0,1", {"0": 1}, [0, 1.0], [True, False], ["0"], [None], [2**70]])
@pytest.mark.parametrize("key", ["train_indices", "val_indices"])
def test_index_lists_hold_whole_numbers(path, key, indices):
    with pytest.raises(InvalidData, match=f"{key} must be a list of row numbers"):
        read_split(given_file(path, **{key: indices}))


@pytest.mark.parametrize("purge", [-1, 1.5, "104", [104]])
def test_the_purge_is_a_whole_number_from_0_on(path, purge):
    with pytest.raises(InvalidData, match="purge_window must be a whole number"):
        read_split(given_file(path, purge_window=purge))


def test_a_purge_of_0_is_read_as_it_is(path):
    assert read_split(given_file(path, purge_window=0)).purge_window == 0


@pytest.mark.parametrize("ranges", [["2020"], {"train": 5}, {"train": ["soon", "later"]}, {"val": ["2020-01-01Z"]}])
def test_a_time_range_is_two_times_a_part(path, ranges):
    with pytest.raises(InvalidData, match="time_range must hold two UTC times a part"):
        read_split(given_file(path, time_range=ranges))


def test_a_missing_file_failed_and_a_broken_one_is_invalid(path):
    with pytest.raises(OperationFailed, match="a split file must exist"):
        read_split(path)
    path.write_text("{")
    with pytest.raises(InvalidData, match="a split file must be JSON"):
        read_split(path)


def test_a_split_of_other_data_is_refused_with_both_hashes(path):
    given_file(path, data_sha256="cd" * 32)
    with pytest.raises(InvalidData, match=r"made for a file with SHA-256 cdcdcdcdcdcd\.\.\. and this one has abab"):
        verify(path)
    assert verify(path, sha="cd" * 32) is True


@pytest.mark.parametrize("sha", [5, ["ab"], {"sha": 1}])
def test_a_hash_that_is_no_text_is_refused(path, sha):
    given_file(path, data_sha256=sha)
    with pytest.raises(InvalidData):
        verify(path)


@pytest.mark.parametrize("window_bars", [60, "105"])
def test_a_split_for_windows_of_another_length_is_refused(path, window_bars):
    given_file(path, window_bars=window_bars)
    with pytest.raises(InvalidData, match="must be for windows of 105 bars"):
        verify(path)


def test_broken_index_lists_are_refused_even_when_overlap_is_allowed(path):
    given_file(path, train_indices=[0, 0, 10], val_indices=[0])
    with pytest.raises(InvalidData) as caught:
        verify(path, allow_overlap=True)
    assert [(problem.rule, problem.count) for problem in caught.value.problems] == [
        ("train rows must be within 0..9", 1),
        ("train rows must be listed once", 1),
        ("train and val must share no row", 1),
    ]


def test_windows_that_touch_do_not_overlap_and_one_shared_bar_does(path):
    given_file(path, train_indices=[0, 1], val_indices=[2])
    assert verify(path) is True
    later_by_a_bar = replace(TABLE, end_us=TABLE.end_us + HOUR_US)
    with pytest.raises(InvalidData, match="every train window must end before the first bar of val, but 1 does not"):
        verify(path, later_by_a_bar)


def test_overlap_is_refused_with_the_pair_named_and_marked_where_it_is_allowed(path):
    given_file(path, train_indices=[0, 1, 6], val_indices=[4, 5], test_indices=[8])
    with pytest.raises(InvalidData) as caught:
        verify(path)
    assert "train row 6 (made_0006, ends " in str(caught.value)
    assert "overlaps val row 4 (made_0004, starts " in str(caught.value)
    assert "--allow-overlap" in str(caught.value)
    assert verify(path, allow_overlap=True) is False


def test_row_numbers_near_each_other_prove_nothing_and_times_do(path):
    order = rows(*range(9, -1, -1))
    given_file(path, train_indices=[9, 8, 7], val_indices=[5, 4])
    assert verify(path, TABLE.take(order)) is True
    with pytest.raises(InvalidData, match="must end before the first bar"):
        verify(path)


def test_without_times_overlap_is_unknown_and_equal_bars_are_refused(path):
    untimed = replace(TABLE, start_us=None, end_us=None)
    assert verify(given_file(path), untimed) is None
    twins = untimed.take(rows(0, 1, 2, 3, 1, 5))
    with pytest.raises(InvalidData, match=r"train row 1 \(made_0001\) and val row 4 \(made_0001\)"):
        verify(given_file(path), twins)
    assert verify(path, twins, allow_overlap=True) is False
