"""Columns of times as other tools write them, and the UTC times that they mean."""

from __future__ import annotations

import logging
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moola.errors import WrongUsage
from moola.options.table_options import ImportOptions
from moola.tables.foreign.bar_times import utc_times


def read(column, symbols=None, **options):
    """Return the times as text, `None` where one is lost, and the problems."""
    column = column if isinstance(column, pl.Series) else pl.Series("timestamp", column)
    problems = []
    where = {"input": Path("x.csv"), "output": Path("y.parquet")}
    times = utc_times(column, ImportOptions(**where, **options), problems, symbols)
    assert times.dtype == pl.Datetime("us", "UTC")
    assert len(times) == len(column)
    texts = [None if time is None else time.strftime("%Y-%m-%d %H:%M:%S.%f").removesuffix(".000000") for time in times]
    return texts, problems


def clean(column, symbols=None, **options):
    times, problems = read(column, symbols, **options)
    assert problems == []
    return times


TEN = "2024-03-04 10:00:00"
MIDNIGHT = "2024-03-04 00:00:00"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (20240304, MIDNIGHT),
        (20240304.0, MIDNIGHT),
        ("20240304", MIDNIGHT),
        (2024030410, TEN),
        (202403041030, "2024-03-04 10:30:00"),
        (20240304100000, TEN),
        ("20240304100000", TEN),
        ("20240304100000250", "2024-03-04 10:00:00.250000"),
        (1709546400, TEN),
        (1709546400.0, TEN),
        ("1709546400", TEN),
        (1709546400.25, "2024-03-04 10:00:00.250000"),
        (1709546400000, TEN),
        (1709546400000000, TEN),
        (1709546400000000000, TEN),
        (1.7095464e18, TEN),
        ("1709546400000000000", TEN),
        ("1.7095464E12", TEN),
        (date(2024, 3, 4), MIDNIGHT),
        (datetime(2024, 3, 4, 10), TEN),
        ("2024-03-04", MIDNIGHT),
        ("2024.03.04 10:00", TEN),
        ("2024/3/4 10:00:00.5", "2024-03-04 10:00:00.500000"),
        ("20240304 100000", TEN),
        ("20240304 000000", MIDNIGHT),
        ("20240304 1000", TEN),
        ("20240304  10:00:00", TEN),
        ("20240304 100000250", "2024-03-04 10:00:00.250000"),
        ("20240304T100000Z", TEN),
        ("2024-03-04T10:00:00.123456789Z", "2024-03-04 10:00:00.123456"),
        ("2024-03-04T11:00:00+01:00", TEN),
        ("2024-03-04 05:00:00-0500", TEN),
        ("2024-03-04 05:00 EST", TEN),
        ("2024-03-04 10:00 UTC", TEN),
        ("2024-03-04 10:00:00 US/Eastern", "2024-03-04 15:00:00"),
        ("2024-03-04T11:00:00+01:00[Europe/Berlin]", TEN),
        ("Mon Mar 04 2024 11:00:00 GMT+0100 (CET)", TEN),
        ("4 Mar 2024 10:00 AM", TEN),
        ("Mar 4, 2024 10:00 p.m.", "2024-03-04 22:00:00"),
        ("04-Mar-24", MIDNIGHT),
        ("2024-03-04 10-AM", TEN),
        ("2024-03-04 12:00 am", MIDNIGHT),
        (" 2024-03-04 10:00 ", TEN),
    ],
)
def test_a_time_of_each_form(value, expected):
    assert clean([value]) == [expected]


@pytest.mark.parametrize(
    ("values", "options", "expected"),
    [
        (["2024-03-04 10:00 EST"], {"timestamp_format": "%Y-%m-%d %H:%M %Z"}, ["2024-03-04 15:00:00"]),
        (["EST 2024-03-04 10:00"], {"timestamp_format": "%Z %Y-%m-%d %H:%M"}, ["2024-03-04 15:00:00"]),
        (["2024-07-04 10:00 America/New_York"], {"timestamp_format": "%Y-%m-%d %H:%M %Z"}, ["2024-07-04 14:00:00"]),
        (["2024-03-04 10:00 +0200"], {"timestamp_format": "%Y-%m-%d %H:%M %z"}, ["2024-03-04 08:00:00"]),
        (["2024-07-04 10:00 BST"], {"timestamp_format": "%Y-%m-%d %H:%M BST", "timezone": "Europe/London"},
         ["2024-07-04 09:00:00"]),
        (["2024-03-06 10-AM", "2024-03-06 01-PM"], {"timestamp_format": "%Y-%m-%d %I-%p"},
         ["2024-03-06 10:00:00", "2024-03-06 13:00:00"]),
        (["06.03.2024 10:00:00.250"], {"timestamp_format": "%d.%m.%Y %H:%M:%S.%f"}, ["2024-03-06 10:00:00.250000"]),
        ([4032024, 14032024], {"timestamp_format": "%d%m%Y"}, [MIDNIGHT, "2024-03-14 00:00:00"]),
        (["01/02/2024"], {"day_first": True}, ["2024-02-01 00:00:00"]),
        (["01/02/2024"], {"day_first": False}, ["2024-01-02 00:00:00"]),
        (["01/02/2024", "13/02/2024"], {}, ["2024-02-01 00:00:00", "2024-02-13 00:00:00"]),
        (["01/02/2024", "02/13/2024"], {}, ["2024-01-02 00:00:00", "2024-02-13 00:00:00"]),
        (["02/02/2024 09:30"], {}, ["2024-02-02 09:30:00"]),
        (["03/15/98", "03/16/98"], {}, ["1998-03-15 00:00:00", "1998-03-16 00:00:00"]),
        (["15/02/24", "16/02/24"], {}, ["2024-02-15 00:00:00", "2024-02-16 00:00:00"]),
        (["24-03-30", "24-03-31", "24-04-01"], {},
         ["2024-03-30 00:00:00", "2024-03-31 00:00:00", "2024-04-01 00:00:00"]),
        (["20240304 0", "20240304 93000", "20240304 100000"], {}, [MIDNIGHT, "2024-03-04 09:30:00", TEN]),
        ([45355.0, 45355.5], {"timestamp_unit": "excel"}, [MIDNIGHT, "2024-03-04 12:00:00"]),
        # What a sheet shows of 08:00 and 10:00 on a broker's clock.
        ([45355.33333, 45355.41667], {"timestamp_unit": "excel", "timezone": "EET"},
         ["2024-03-04 06:00:00", "2024-03-04 08:00:00"]),
        ([1709546400], {"timestamp_unit": "s"}, [TEN]),
        (["2024-03-12 10:00"], {"timezone": "America/New_York+7"}, ["2024-03-12 07:00:00"]),
        (["2024-03-12 10:00"], {"timezone": "+02:00"}, ["2024-03-12 08:00:00"]),
        (["2024-03-12 10:00"], {"timezone": "Etc/GMT+5"}, ["2024-03-12 15:00:00"]),
        (["2024-01-15 10:00", "2024-07-15 10:00"], {"timezone": "EET"}, ["2024-01-15 08:00:00", "2024-07-15 07:00:00"]),
        (["2024-01-15 10:00 EET", "2024-07-15 10:00 EET"], {}, ["2024-01-15 08:00:00", "2024-07-15 08:00:00"]),
        (["2024-03-30T10:00:00+01:00", "2024-04-01T10:00:00+02:00"], {},
         ["2024-03-30 09:00:00", "2024-04-01 08:00:00"]),
        (["1950-01-03", "1950-01-04"], {}, ["1950-01-03 00:00:00", "1950-01-04 00:00:00"]),
    ],
)  # fmt: skip
def test_columns_with_options(values, options, expected):
    assert clean(values, **options) == expected


@pytest.mark.parametrize(
    ("values", "options", "said"),
    [
        (
            [1709546400, 1709550000],
            {"timestamp_unit": "ms"},
            "as s they run from 2024-03-04 10:00 UTC to 2024-03-04 11:00",
        ),
        ([1709546400000], {"timestamp_unit": "s"}, "pass ms"),
        ([1709546400000000000], {"timestamp_unit": "us"}, "pass ns"),
        ([20240304, 20240305], {"timestamp_unit": "s"}, "20240304 is a date as YYYYMMDD"),
        ([45355.5, 45356.5], {}, "(Excel) it is 2024-03-04: set --timestamp-unit excel"),
        ([0, 1, 2], {}, "--columns timestamp=<column>"),
        ([1709546400000, 1709546400001], {}, "bars of a tenth of a second or more"),
        ([4e18], {}, "to tomorrow"),
        (["01/02/2024 09:30", "03/02/2024 09:30"], {}, "2024-02-01 (day first) or 2024-01-02 (month first)"),
        (["02/02/2024", "01/02/2024"], {}, "found '01/02/2024'"),
        (["13/02/2024", "02/13/2024"], {}, "no order fits every row"),
        (["01/02/24"], {}, "2001-02-24 (year first)"),
        (["13/13/2024"], {"day_first": True}, "timestamp must be readable as a time"),
        (["2024-03-04 10:00 BST"], {}, "must have one known meaning ('BST')"),
        (["2024-03-04 10:00 XYZ"], {"timestamp_format": "%Y-%m-%d %H:%M %Z"}, "('XYZ')"),
        (["2024-03-04T10:00:00Z", "2024-03-04 11:00"], {}, "a time with its zone in every row, or in none"),
        (["2024-03-06 10:00"], {"timestamp_format": "%Y-%m-%d %I:%M"}, "specify both 12-hour directive and meridiem"),
        (["2024-03-06 10"], {"timestamp_format": "%d/%m/%Y %H"}, "specify both hour and minute"),
        (["2024-02-30"], {}, "found '2024-02-30'"),
        (["2024-03-04 25:00"], {}, "found '2024-03-04 25:00'"),
        (["2024-03-04 13:00 AM"], {}, "timestamp must be readable"),
        (["1970-01-01 00:00"], {}, "another day than 1970-01-01"),
        ([datetime(1970, 1, 1, 0, 28, 29)], {}, "another day than 1970-01-01"),
        ([(datetime.now(UTC) + timedelta(days=3)).strftime("%Y-%m-%d")], {}, "must begin by tomorrow"),
        ([None, None], {}, "timestamp must be readable as a time, but 2 do not"),
        ([True], {}, "found True"),
    ],
)
def test_what_is_no_time_of_a_bar_is_a_problem_and_says_a_way_on(values, options, said):
    _, problems = read(values, **options)
    assert len(problems) == 1, problems
    assert said in str(problems[0])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"timezone": "Mars/Olympus"}, "--timezone must be a name"),
        ({"timezone": ""}, "--timezone must be a name"),
        ({"timezone": "UTC+99"}, "--timezone must be a name"),
        ({"timestamp_format": "%H:%M"}, "must read a day with its year"),
        ({"timestamp_format": "%Y-%m-%d", "day_first": True}, "--day-first must come without"),
    ],
)
def test_options_that_cannot_work_are_wrong_usage(options, said):
    with pytest.raises(WrongUsage, match=said):
        read(["2024-03-04"], **options)


def test_the_unit_the_order_and_the_zone_that_were_found_are_said(caplog):
    caplog.set_level(logging.INFO, "moola")
    for column in ([1709546400000], [20240304], ["13/02/2024"], ["2024-03-04 10:00 EST"]):
        clean(column)
    said = "\n".join(caplog.messages)
    assert "Times are counts of ms since 1970 (--timestamp-unit): 2024-03-04 10:00 UTC" in said
    assert "Times are numbers of the form YYYYMMDD" in said
    assert "Dates such as '13/02/2024' are read day first" in said
    assert "Times carry their zone (EST as UTC-05:00)" in said


BACK = [f"2024-10-27 {clock}" for clock in ("01:30", "02:30", "02:30", "03:30")]
BACK_UTC = [f"2024-10-{day}:30:00" for day in ("26 23", "27 00", "27 01", "27 02")]


def test_the_hour_that_comes_twice_is_told_by_the_order_of_rows():
    assert clean(BACK, timezone="Europe/Berlin") == BACK_UTC
    assert clean(BACK[::-1], timezone="Europe/Berlin") == BACK_UTC[::-1]


def test_the_order_is_that_of_each_symbol():
    symbols = pl.Series(["A", "B"] * 4)
    doubled = [time for time in BACK for _ in "AB"]
    assert clean(doubled, symbols, timezone="Europe/Berlin") == [time for time in BACK_UTC for _ in "AB"]
    blocks = pl.Series(["A"] * 4 + ["B"] * 4)
    assert clean(BACK * 2, blocks, timezone="Europe/Berlin") == BACK_UTC * 2


@pytest.mark.parametrize(
    ("clocks", "expected"),
    [
        # The distance to a neighbour tells the one of the two that is there.
        (["10-26 22:00", "10-27 02:00", "10-27 05:00"], "2024-10-27 00:00:00"),
        (["10-26 23:00", "10-27 02:00", "10-27 06:00", "10-27 10:00"], "2024-10-27 01:00:00"),
        (["10-27 00:30", "10-27 01:30", "10-27 02:30"], "2024-10-27 00:30:00"),
        # A bar longer than both hours begins with the first.
        (["10-26 02:30", "10-27 02:30", "10-28 02:30"], "2024-10-27 00:30:00"),
    ],
)
def test_one_hour_alone_is_told_by_its_neighbours(clocks, expected):
    assert expected in clean([f"2024-{clock}" for clock in clocks], timezone="Europe/Berlin")


@pytest.mark.parametrize(
    "clocks",
    [
        ["01:30", "02:30", "03:30"],
        ["01:30", "02:30", "02:30", "02:30", "03:30"],
        ["02:30", "01:30", "03:30", "02:30"],
        ["01:00", "01:30", "02:00", "02:30", "03:00"],
    ],
)
def test_an_hour_that_nothing_tells_is_asked_for(clocks):
    times = [f"2024-10-27 {clock}" for clock in clocks]
    _, (problem,) = read(times, timezone="Europe/Berlin")
    assert "see --ambiguous" in problem.rule
    assert problem.detail == "found 2024-10-27 02:00:00" if "02:00" in clocks else "found 2024-10-27 02:30:00"
    assert clean(times, timezone="Europe/Berlin", ambiguous="earliest")


@pytest.mark.parametrize("ambiguous", ["infer", "raise", "earliest", "latest"])
def test_a_time_that_clocks_skip_does_not_exist_and_points_at_the_zone(ambiguous):
    times = ["2024-03-31 01:30", "2024-03-31 02:30", "2024-03-31 03:30"]
    _, (problem,) = read(times, timezone="Europe/Berlin", ambiguous=ambiguous)
    assert "no such time" in problem.rule
    assert "see --timezone" in problem.rule
    assert "--ambiguous" not in str(problem)
    assert (problem.count, problem.first_row) == (1, 1)


def test_days_begin_with_their_first_moment_where_midnight_is_skipped_or_comes_twice():
    assert clean(["2018-11-03", "2018-11-04", "2018-11-05"], timezone="America/Sao_Paulo") == [
        "2018-11-03 03:00:00", "2018-11-04 03:00:00", "2018-11-05 02:00:00"
    ]  # fmt: skip
    assert clean(["2024-11-02", "2024-11-03", "2024-11-04"], timezone="America/Havana") == [
        "2024-11-02 04:00:00", "2024-11-03 04:00:00", "2024-11-04 05:00:00"
    ]  # fmt: skip


ZONES = ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata", "America/New_York+7", "UTC"]
moments = st.datetimes(datetime(1975, 1, 1), datetime(2025, 12, 31))


@given(moments, st.sampled_from([1, 60, 3600, 14_400, 86_400]), st.sampled_from(["s", "ms", "us", "ns"]), st.booleans())
def test_counts_of_every_unit_go_there_and_back(first, step_s, unit, as_text):
    first = first.replace(microsecond=0, tzinfo=UTC)
    times = [first + timedelta(seconds=step_s * bar) for bar in range(5)]
    per_s = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[unit]
    counts = pl.Series([int(time.timestamp()) * per_s for time in times])
    assert clean(counts.cast(pl.String) if as_text else counts) == [
        time.strftime("%Y-%m-%d %H:%M:%S") for time in times
    ]


@given(moments, st.sampled_from([5, 15, 30, 60]), st.sampled_from(ZONES), st.booleans(), st.integers(0, 200))
def test_the_clock_of_a_zone_goes_there_and_back_over_both_changes(first, minutes, zone, reverse, before):
    """Whole bars over every change of clocks, so that the order of rows tells each of them."""
    name, _, ahead = zone.partition("+")
    # Half of the series are drawn over a change of clocks.
    start = datetime(2024, 11, 3, 5) - timedelta(minutes=minutes * before) if before % 2 else first
    start = start.replace(minute=0, second=0, microsecond=0)
    times = pl.Series("t", [start + timedelta(minutes=minutes * bar) for bar in range(300)], dtype=pl.Datetime("us"))
    local = times.dt.replace_time_zone("UTC").dt.convert_time_zone(name).dt.replace_time_zone(None)
    local = local + timedelta(hours=int(ahead or 0))
    expected = times.dt.strftime("%Y-%m-%d %H:%M:%S")
    local, expected = (local.reverse(), expected.reverse()) if reverse else (local, expected)
    lost_ends = [local[0], local[-1]]
    found, problems = read(local, timezone=zone)
    if not problems:
        assert found == expected.to_list()
    else:
        # A series that begins or ends within the hour that comes twice cannot be told apart.
        assert "--ambiguous" in problems[0].rule
        assert any((local == end).sum() == 1 for end in lost_ends)
