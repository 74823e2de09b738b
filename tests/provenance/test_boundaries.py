"""Windows without labels that a split lets be seen: those whose last bar is over when val begins."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from moola.core.bars import Bars, utc_text
from moola.errors import InvalidData
from moola.files import json_bytes, write_atomic
from moola.provenance.learned_times import usable_rows
from moola.tables.cutting import BarSource
from moola.tables.split_file import read_split
from tests.made import HOUR_US, random_walk_bars

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
