"""Which windows are labelled: every time and price is that of the bars."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from moola.core.bars import Bars
from moola.core.windows import cut_windows
from moola.errors import InvalidData
from moola.label.page_windows import cut_window_list, window_list_of_file
from moola.tables.cutting import windows_of_bars
from moola.tables.window_file import write_windows
from tests.label.test_queue import two_symbols
from tests.made import random_walk_bars


def test_each_bar_is_in_one_inner_zone():
    window_list = cut_window_list(random_walk_bars(500), 105, None, None)
    assert np.diff(window_list.first_bar).tolist() == [45] * (len(window_list) - 1)


def test_context_ends_where_the_symbol_does():
    window_list = cut_window_list(two_symbols(), 105, 195, None)
    assert [window_list.with_context(i, 30) for i in range(4)] == [(0, 135), (165, 300), (300, 435), (465, 600)]


def test_windows_of_a_file_are_found_by_symbol_and_time(tmp_path):
    bars = two_symbols()
    table = windows_of_bars(bars, cut_windows(bars, 45))
    rows = np.array([7, 2, 2])
    chosen = replace(table.take(rows), window_id=["w7", "w2_exp_1", "w2_exp_2"])
    write_windows(tmp_path / "w.parquet", chosen)
    window_list = window_list_of_file(bars, tmp_path / "w.parquet", 105)
    assert window_list.window_id == ["w7", "w2"]
    assert window_list.first_bar.tolist() == cut_windows(bars, 45).first_bar[[7, 2]].tolist()
    assert window_list.symbol(0) == "B"


@pytest.mark.parametrize("change", ["price", "time", "bars"])
def test_windows_of_other_bars_are_refused_with_their_row(tmp_path, change):
    bars = random_walk_bars(300)
    table = windows_of_bars(bars, cut_windows(bars, 45))
    if change == "price":
        table.ohlc[1] *= 1.01
    if change == "time":
        table.start_us[1] += 1
    write_windows(tmp_path / "w.parquet", table)
    given = Bars(bars.start_us[:140], bars.ohlc[:140], bars.symbol[:140]) if change == "bars" else bars
    with pytest.raises(InvalidData, match="first at row 1"):
        window_list_of_file(given, tmp_path / "w.parquet", 105)


def test_what_gives_no_window_is_refused():
    with pytest.raises(InvalidData, match="none of 105"):
        cut_window_list(random_walk_bars(100), 105, None, None)
