from dataclasses import replace

import numpy as np
import pytest

from moola.core.bars import upside_down
from moola.core.features import relative_features
from moola.errors import InvalidData, OperationFailed
from moola.tables.bar_table import write_bars
from moola.tables.cutting import BarSource, TableSource, open_source
from moola.tables.window_file import write_windows
from tests.made import HOUR_US, made_windows, random_walk_bars

BARS = random_walk_bars(200)
DAY_S = 86_400.0


@pytest.fixture
def bars_path(tmp_path):
    write_bars(tmp_path / "bars.parquet", BARS)
    return tmp_path / "bars.parquet"


def test_bars_are_cut_into_windows_when_they_are_needed(bars_path):
    source = open_source(bars_path, 10, DAY_S, 105)
    assert isinstance(source, BarSource)
    assert (len(source), source.window_bars) == (10, 105)
    ohlc = np.stack([BARS.ohlc[first : first + 105] for first in (90, 0)])
    rows = np.array([9, 0])
    np.testing.assert_allclose(source.features(rows), relative_features(ohlc), rtol=1e-9, atol=1e-9)
    ohlc[1] = upside_down(ohlc[1])
    turned = source.features(rows, np.array([False, True]))
    np.testing.assert_allclose(turned, relative_features(ohlc), rtol=1e-9, atol=1e-9)


def test_windows_over_bars_know_their_times(bars_path):
    intervals = open_source(bars_path, 10, DAY_S, 105).intervals
    assert np.array_equal(intervals.start_us, BARS.start_us[:100:10])
    assert np.array_equal(intervals.end_us - intervals.start_us, np.full(10, 105 * HOUR_US))
    assert len(set(intervals.group.tolist())) == 10


def test_one_symbol_after_another_gives_the_windows_of_each(tmp_path):
    two = type(BARS)(BARS.start_us, BARS.ohlc, np.array(["a"] * 110 + ["b"] * 90, dtype=object))
    write_bars(tmp_path / "bars.csv", two)
    assert open_source(tmp_path / "bars.csv", 5, DAY_S, 105).first_bar.tolist() == [0, 5]


def test_bars_too_few_or_too_gappy_for_a_window_are_invalid(bars_path):
    with pytest.raises(InvalidData, match=r"200 bars give none of 201 \(0 dropped for gaps\)"):
        open_source(bars_path, 1, DAY_S, 201)
    with pytest.raises(InvalidData, match=r"give none of 105 \(96 dropped for gaps\)"):
        open_source(bars_path, 1, 60.0, 105)


@pytest.mark.parametrize("relative", [False, True])
def test_windows_are_told_from_bars_by_their_columns(tmp_path, relative):
    table = made_windows(4)
    write_windows(tmp_path / "w.parquet", table.with_features() if relative else table)
    source = open_source(tmp_path / "w.parquet", 1, DAY_S, 105)
    assert isinstance(source, TableSource)
    assert (len(source), source.window_bars) == (4, 105)
    assert np.array_equal(source.features(np.array([2, 0])), relative_features(table.ohlc[[2, 0]]))
    turned = np.stack([upside_down(table.ohlc[2]), table.ohlc[0]])
    assert np.array_equal(source.features(np.array([2, 0]), np.array([True, False])), relative_features(turned))
    assert np.array_equal(source.intervals.start_us, table.start_us)


def test_windows_over_bars_give_prices_and_places_by_row(bars_path):
    source = open_source(bars_path, 10, DAY_S, 105)
    expected = np.stack([BARS.ohlc[first : first + 105] for first in (90, 0)])
    assert np.array_equal(source.ohlc(np.array([9, 0])), expected)
    assert source.position.tolist() == list(range(0, 100, 10))


@pytest.mark.parametrize("stride", [105, 7])
def test_a_window_file_gives_its_prices_and_places_in_bars(tmp_path, stride):
    table = made_windows(5, stride=stride)
    write_windows(tmp_path / "w.parquet", table)
    source = open_source(tmp_path / "w.parquet", 1, DAY_S, 105)
    assert np.array_equal(source.ohlc(np.array([4, 1])), table.ohlc[[4, 1]])
    assert source.position.tolist() == [stride * row for row in range(5)]


def test_places_are_counted_in_usual_bars_whatever_gap_a_window_has(tmp_path):
    table = made_windows(5, stride=105)
    late = table.end_us.copy()
    late[1] += 60 * HOUR_US
    write_windows(tmp_path / "w.parquet", replace(table, end_us=late))
    source = open_source(tmp_path / "w.parquet", 1, DAY_S, 105)
    assert source.position.tolist() == [105 * row for row in range(5)]


def test_without_times_windows_stand_one_after_another(tmp_path):
    write_windows(tmp_path / "w.parquet", replace(made_windows(3), start_us=None, end_us=None))
    source = open_source(tmp_path / "w.parquet", 1, DAY_S, 105)
    assert source.position.tolist() == [0, 105, 210]


def test_a_file_of_features_alone_has_no_prices():
    table = made_windows(3).with_features()
    assert TableSource(replace(table, ohlc=None)).ohlc(np.array([0])) is None


def test_windows_of_another_length_are_invalid(tmp_path):
    write_windows(tmp_path / "w.parquet", made_windows(2, window_bars=60))
    with pytest.raises(InvalidData, match="found 60 bars"):
        open_source(tmp_path / "w.parquet", 1, DAY_S, 105)


def test_a_file_that_is_neither_and_a_missing_one(tmp_path):
    (tmp_path / "x.csv").write_text("a,b\n1,2\n")
    with pytest.raises(InvalidData, match="lacks window_id"):
        open_source(tmp_path / "x.csv", 1, DAY_S, 105)
    with pytest.raises(OperationFailed, match="the input must exist"):
        open_source(tmp_path / "none", 1, DAY_S, 105)
