import logging

import polars as pl
import pytest

from moola.errors import InvalidData
from moola.options.table_options import ImportOptions, WindowsOptions
from moola.stages.make_tables import check_bars, cut, import_bars
from moola.tables.bar_table import write_bars
from tests.made import random_walk_bars

PRICES = "1.5,2,1,1.25"


def write(tmp_path, header, *times):
    path = tmp_path / "foreign.csv"
    path.write_text("\n".join([header, *(f"{time},{PRICES}" for time in times)]) + "\n")
    return ImportOptions(input=path, output=tmp_path / "bars.parquet")


@pytest.mark.parametrize(
    "name",
    ["t", "ts", "open_time", "ts_event", "timestamp_utc", "Local time", "Gmt time", "", "Unnamed: 0",
     "__index_level_0__", "Date", "datetime", "TIME"],
)  # fmt: skip
def test_columns_of_times_are_found_by_their_names_and_read_by_their_values(tmp_path, name):
    found = import_bars(write(tmp_path, f"{name},open,high,low,close", 1709546400000, 1709550000000))
    assert found["symbols"][0]["first_ts"].startswith("2024-03-04T10:00:00")
    assert found["symbols"][0]["bar_interval_s"] == 3600
    assert found["warnings"] == []


def test_an_index_without_a_name_gives_way_to_a_column_of_times(tmp_path):
    found = import_bars(write(tmp_path, ",Date,open,high,low,close", "0,2024-03-04", "1,2024-03-05"))
    assert found["symbols"][0]["first_ts"].startswith("2024-03-04")


def test_a_split_is_warned_of_with_its_row_and_time(tmp_path, caplog):
    path = tmp_path / "bars.parquet"
    bars = random_walk_bars(200)
    bars.ohlc[120:] /= 4
    write_bars(path, bars)
    with caplog.at_level(logging.WARNING, "moola"):
        found = check_bars(path)
    (said,) = found["warnings"]
    assert caplog.messages == [said]
    when = pl.read_parquet(path)["timestamp"][120]
    assert f"row 120 ({when:%Y-%m-%dT%H:%M:%S}" in said
    assert "as after a split of 4:1" in said


def test_bars_of_a_month_are_warned_of(tmp_path):
    times = [f"2024-{month:02d}-01" for month in range(1, 10)]
    (said,) = import_bars(write(tmp_path, "date,open,high,low,close", *times))["warnings"]
    assert "31 days, more than a week" in said


def test_windows_of_daily_bars_cross_a_holiday_weekend_and_an_explicit_gap_holds(tmp_path):
    days = [day for day in pl.date_range(pl.date(2023, 1, 2), pl.date(2024, 6, 1), eager=True) if day.isoweekday() < 6]
    days = [day for day in days if str(day) not in ("2023-05-29", "2023-09-04", "2024-01-01")]
    options = write(tmp_path, "date,open,high,low,close", *days)
    import_bars(options)
    windows = WindowsOptions(bars=options.output, output=tmp_path / "windows.parquet", stride=1)
    found = cut(windows)
    assert (found["n_windows"], found["n_dropped_gap"]) == (len(days) - 104, 0)
    with pytest.raises(InvalidData, match=r"each holds one above 50 h. Pass --max-gap-hours 72 or more"):
        cut(WindowsOptions(bars=options.output, output=tmp_path / "windows.parquet", max_gap_hours=50))


@pytest.mark.parametrize("time", ["01/02/2024 09:30", "04.03.2024", "4 Mar 2024"])
def test_a_bar_file_has_the_year_first(tmp_path, time):
    path = write(tmp_path, "timestamp,open,high,low,close", time).input
    with pytest.raises(InvalidData, match=rf"timestamp must be there and readable as UTC.*found '{time}'"):
        check_bars(path)
