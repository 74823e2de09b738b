"""What a model or an encoder has learned from, against intervals."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from moola.core.bars import Bars, utc_text
from moola.core.splits import Split
from moola.errors import InvalidData
from moola.files import json_bytes, write_atomic
from moola.provenance.learned_times import (
    find_leaks,
    learned_until_us,
    records_of,
    seen_among,
    seen_sentence,
    seen_times,
    times_learned,
    usable_rows,
)
from moola.tables.cutting import BarSource
from moola.tables.split_file import read_split
from tests.made import HOUR_US, made_windows, random_walk_bars

START, END = np.array([0, 10, 20, 30]), np.array([9, 19, 29, 39])


def record(first: int, last: int) -> dict[str, list[str]]:
    return {"time_range": [utc_text(first), utc_text(last)]}


def test_an_interval_is_seen_where_it_shares_a_time() -> None:
    for first in range(-3, 42):
        for last in range(first, 42):
            expected = [any(first <= time <= last for time in range(s, e + 1)) for s, e in zip(START, END, strict=True)]
            found = seen_among(record(first, last), START, END + 1)
            assert found is not None
            assert found.tolist() == expected


def test_what_was_learned_ends_when_its_last_bar_is_over() -> None:
    """An 8-hour bar of 08:00 closes at 16:00: hours that begin before it do are seen."""
    hour = 3_600_000_000
    learned = times_learned(np.array([0, 8]) * hour, np.array([8, 16]) * hour)
    found = seen_among(learned, np.array([11, 15, 16]) * hour, np.array([12, 16, 17]) * hour)
    assert found is not None
    assert found.tolist() == [True, True, False]
    # A judged window of long bars is seen where it is not over when what was learned begins.
    later = times_learned(np.array([12]) * hour, np.array([13]) * hour)
    found = seen_among(later, np.array([0, 0]), np.array([12, 16]) * hour)
    assert found is not None
    assert found.tolist() == [False, True]
    assert times_learned(None, None) == {"time_range": None}


def test_without_times_nothing_is_known() -> None:
    assert seen_among({}, START, END) is None
    assert seen_among({"time_range": None}, START, END) is None
    assert seen_among(record(0, 9), None, None) is None


def test_the_sentence_is_there_only_where_something_was_seen() -> None:
    span = record(0, 86_400_000_000)["time_range"]
    said = seen_sentence(3, "7 events", span)
    assert said.startswith("3 of 7 events lie in the times of the labels that the model learned from (1970-01-01 to ")
    assert "1970-01-02" in said
    assert seen_sentence(0, "7 events", span) == seen_sentence(None, "7 events", None) == ""


def test_what_an_encoder_went_on_from_counts_as_seen_but_not_what_lies_between() -> None:
    first, last = record(0, 9), record(30, 39)
    for both in ({"also_learned": [first, last]}, first | {"also_learned": [last]}):
        found = seen_among(both, START, END + 1)
        assert found is not None
        assert found.tolist() == [True, False, False, True]
        assert seen_times(both) == " and ".join(" to ".join(one["time_range"]) for one in (first, last))
    deep = first | {"also_learned": [{"time_range": None, "also_learned": [last]}]}
    assert len(records_of(deep)) == 3
    found = seen_among(deep, START, END + 1)
    assert found is not None
    assert found.tolist() == [True, False, False, True]


def test_one_record_without_times_leaves_open_what_the_others_did_not_see() -> None:
    assert seen_among({"also_learned": [record(100, 200), {"time_range": None}]}, START, END + 1) is None


def test_what_was_learned_is_over_with_its_last_record_and_a_record_without_times_is_told() -> None:
    early, late, unknown = record(0, 50), record(100, 150), {"time_range": None}
    both = {"also_learned": [late, early]}
    assert learned_until_us(both) == (151, True)
    assert learned_until_us({**early, "also_learned": [late]}) == (151, True)
    assert learned_until_us({"also_learned": [early, unknown]}) == (51, False)
    assert learned_until_us(unknown) == (None, False)
    assert learned_until_us({**early, "time_range_end": "close"}) == (50, True)


N_BARS = 105


@pytest.mark.parametrize(("bar_hours", "last_begins"), [(1, 10), (2, 8), (8, 0), (24, -24)])
def test_no_bar_that_closes_after_val_begins_is_seen(tmp_path, bar_hours, last_begins):
    """Val begins 11:00: the 8-hour bar of 08:00 closes at 16:00, so the last one that may be seen is that of 00:00."""
    day, opening_us = 400 * 24 * HOUR_US, (400 * 24 + 11) * HOUR_US
    n = 140
    first_us = day - 120 * bar_hours * HOUR_US
    made = random_walk_bars(n)
    times = first_us + np.arange(n) * bar_hours * HOUR_US
    source = BarSource(Bars(times, made.ohlc, made.symbol), np.arange(n - N_BARS + 1), N_BARS)
    split = tmp_path / "split.json"
    span = [utc_text(opening_us), utc_text(opening_us + 500 * HOUR_US)]
    content = {"train_indices": [0], "val_indices": [1], "time_range": {"val": span}, "data_sha256": "another file"}
    write_atomic(split, json_bytes(content))
    rows, _ = usable_rows(split, Path("bars.parquet"), source, "this file")
    last = times[source.first_bar[rows] + N_BARS - 1].max()
    assert (int(last) - day) // HOUR_US == last_begins


@pytest.mark.parametrize(("interval_s", "embargo_hours"), [(86_400, 240), (3600, 10), (None, 10)])
def test_the_embargo_is_of_bars_of_the_labelled_windows(tmp_path, interval_s, embargo_hours):
    """A split of daily windows with ten bars of embargo, and hourly bars to learn from: ten days stay free."""
    made = random_walk_bars(600)
    source = BarSource(made, np.arange(600 - N_BARS + 1), N_BARS)
    opening = 500
    span = [utc_text(made.start_us[opening]), utc_text(made.start_us[-1])]
    content = {
        "train_indices": [0],
        "val_indices": [1],
        "time_range": {"val": span},
        "data_sha256": "another file",
        "purge_window": N_BARS - 1 + 10,
        "window_bars": N_BARS,
        "bar_interval_s": interval_s,
    }
    write_atomic(tmp_path / "split.json", json_bytes(content))
    rows, _ = usable_rows(tmp_path / "split.json", Path("bars.parquet"), source, "this file")
    # The last bar that is seen is over when the embargo begins.
    assert source.first_bar[rows].max() + N_BARS == opening - embargo_hours


@pytest.mark.parametrize("wrong", ["hourly", 0, -60, 1e12, True])
def test_an_interval_that_is_none_is_refused(tmp_path, wrong):
    content = {"train_indices": [0], "val_indices": [1], "bar_interval_s": wrong}
    (tmp_path / "split.json").write_text(json.dumps(content))
    with pytest.raises(InvalidData, match="bar_interval_s must be seconds above 0"):
        read_split(tmp_path / "split.json")


TABLE = replace(made_windows(6), start_us=None, end_us=None)

SPLIT = Split(np.array([0, 1, 2]), np.array([3]), np.array([4, 5]))


@pytest.mark.parametrize(
    ("input_sha256", "obeyed", "n_leaks", "warns"),
    [
        ("data", None, 1, False),
        ("data", "another split", 1, False),
        ("data", "this split", 0, False),
        ("other", None, 0, True),
        ("other", "this split", 0, False),
    ],
)
def test_without_times_files_and_splits_tell(input_sha256, obeyed, n_leaks, warns, caplog):
    seen = {"time_range": None, "input_sha256": input_sha256, "split_sha256": obeyed}
    encoder = SimpleNamespace(pretraining=seen)
    leaks = find_leaks(None, encoder, TABLE, SPLIT, "data", "this split")
    assert len(leaks) == n_leaks
    assert ("cannot be determined" in caplog.text) == warns
    if leaks:
        assert "3 of 3 val and test windows" in leaks[0]
