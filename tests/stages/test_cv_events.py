"""Blocks of `cv --spans`: the bars beside a block that a scan of it reads."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest

from moola.core.bars import Bars
from moola.stages import cv_events
from moola.stages.cv_events import Chart, Fold, scan_block
from tests.made import HOUR_US, random_walk_bars


class Stopped(Exception):
    """The scan itself is not wanted."""


@pytest.mark.parametrize(("scales", "n_beside"), [(None, 500), ([1], 500), ([1, 4], 500), ([1, 4, 16], 105 * 16)])
def test_a_scan_of_a_block_reads_what_windows_of_its_longest_bars_need(
    monkeypatch: pytest.MonkeyPatch, tmp_path, scales: list[int] | None, n_beside: int
) -> None:
    def stop(*_: object) -> None:
        raise Stopped

    model = SimpleNamespace(presence=None if scales is None else SimpleNamespace(scales=scales))
    monkeypatch.setattr(cv_events, "read_model", lambda _: model)
    monkeypatch.setattr(cv_events, "Scan", stop)
    bars: Bars = random_walk_bars(4_000)
    chart = Chart(bars, SimpleNamespace(), np.zeros((0, 2), dtype=np.int64), {"": np.ones(4_000, dtype=bool)})
    first, stop_row = 1_900, 2_100
    fold = Fold(1, int(bars.start_us[first]), int(bars.start_us[first]), int(bars.start_us[stop_row]))
    with pytest.raises(Stopped):
        scan_block(SimpleNamespace(device="cpu"), chart, fold, tmp_path)
    read = pl.read_parquet(tmp_path / "scanned.parquet")["timestamp"].dt.timestamp("us")
    assert read.min() == bars.start_us[first - n_beside]
    assert read.max() == bars.start_us[stop_row - 1 + n_beside]
    assert len(read) == (read.max() - read.min()) // HOUR_US + 1
