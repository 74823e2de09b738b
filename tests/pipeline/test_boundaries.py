"""Windows without labels that a split lets be seen: those whose last bar is over when val begins."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from moola.core.bars import Bars
from moola.data.contracts.split_file import utc_text
from moola.data.sources import BarSource
from moola.files import json_bytes, write_atomic
from moola.pipeline.boundaries import usable_rows
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
