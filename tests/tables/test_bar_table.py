from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moola.core.bars import Bars
from moola.errors import InvalidData, OperationFailed
from moola.tables import bar_table
from moola.tables.bar_table import (
    HeldBars,
    bars_from_frame,
    read_bars,
    rows_by_symbol,
    spool_bars,
    symbol_interval_us,
    write_bars,
)
from moola.tables.cutting import open_source
from moola.tables.frames import read_frame
from tests.made import HOUR_US, random_walk_bars
from tests.scans_made import made_bars

HEADER = "timestamp,open,high,low,close"


def same(left, right):
    equal = np.array_equal(left.start_us, right.start_us) and np.array_equal(left.ohlc, right.ohlc)
    return equal and left.symbol.tolist() == right.symbol.tolist()


def csv(tmp_path, *lines, header=HEADER):
    path = tmp_path / "bars.csv"
    path.write_text("\n".join([header, *lines]) + "\n")
    return path


def frame_of(bars):
    columns = {name: bars.ohlc[:, i] for i, name in enumerate(("open", "high", "low", "close"))}
    times = pl.Series(bars.start_us).cast(pl.Datetime("us", "UTC"))
    return pl.DataFrame({"timestamp": times, **columns})


def problems_of(frame_or_path):
    frame = frame_or_path if isinstance(frame_or_path, pl.DataFrame) else pl.read_csv(frame_or_path)
    with pytest.raises(InvalidData) as caught:
        bars_from_frame(frame, "bars")
    return {problem.rule: (problem.count, problem.first_row) for problem in caught.value.problems}


@pytest.mark.parametrize("name", ["bars.parquet", "bars.csv"])
@pytest.mark.parametrize("symbol", ["", "EURUSD"])
def test_bars_are_read_back_equal_and_written_to_the_same_bytes_twice(tmp_path, name, symbol):
    bars = random_walk_bars(40, symbol=symbol)
    write_bars(tmp_path / name, bars)
    once = (tmp_path / name).read_bytes()
    assert same(read_bars(tmp_path / name), bars)
    write_bars(tmp_path / name, read_bars(tmp_path / name))
    assert (tmp_path / name).read_bytes() == once


@given(st.lists(st.floats(1e-8, 1e12), min_size=1, max_size=10))
def test_csv_keeps_every_digit_of_a_price(prices):
    frame = frame_of(Bars(np.arange(len(prices)) * HOUR_US, np.array([[p] * 4 for p in prices]), np.array([])))
    text = frame.write_csv(datetime_format="%Y-%m-%dT%H:%M:%S%.6fZ")
    assert bars_from_frame(pl.read_csv(text.encode()), "bars").ohlc[:, 0].tolist() == prices


def test_leading_zeros_of_a_symbol_survive_csv(tmp_path):
    bars = random_walk_bars(3, symbol="000001")
    write_bars(tmp_path / "bars.csv", bars)
    assert read_bars(tmp_path / "bars.csv").symbols == ["000001"]


def test_volume_and_foreign_columns_are_kept_in_the_file_and_do_not_disturb(tmp_path):
    bars = random_walk_bars(3)
    write_bars(tmp_path / "bars.parquet", bars, volume=np.array([5.0, 0.0, 7.0]))
    assert pl.read_parquet(tmp_path / "bars.parquet")["volume"].to_list() == [5.0, 0.0, 7.0]
    assert same(read_bars(tmp_path / "bars.parquet"), bars)


def test_interleaved_symbols_are_laid_side_by_side_in_time_order():
    bars = random_walk_bars(6)
    frame = frame_of(bars).with_columns(symbol=pl.Series(["b", "a", "b", "a", "a", "b"]))
    found = bars_from_frame(frame, "bars")
    assert found.symbol.tolist() == ["b"] * 3 + ["a"] * 3
    assert np.array_equal(found.start_us, bars.start_us[[0, 2, 5, 1, 3, 4]])
    assert np.array_equal(found.ohlc, bars.ohlc[[0, 2, 5, 1, 3, 4]])


@pytest.mark.parametrize(
    ("text", "hour"),
    [("1970-01-01T05:00:00Z", 5), ("1970-01-01 05:00:00", 5), ("1970-01-01T05:00:00+02:00", 3)],
)
def test_times_in_text_are_utc_unless_they_carry_an_offset(tmp_path, text, hour):
    assert read_bars(csv(tmp_path, f"{text},1,2,1,1")).start_us.tolist() == [hour * HOUR_US]


@pytest.mark.parametrize("dtype", [pl.Datetime("ms"), pl.Datetime("ns", "UTC"), pl.Datetime("us", "America/New_York")])
def test_times_of_any_unit_and_zone_are_the_same_moments(dtype):
    bars = random_walk_bars(5)
    frame = frame_of(bars)
    moments = frame["timestamp"]
    if dtype.time_zone is None:
        moments = moments.dt.replace_time_zone(None)
    elif dtype.time_zone != "UTC":
        moments = moments.dt.convert_time_zone(dtype.time_zone)
    assert same(bars_from_frame(frame.with_columns(moments.cast(dtype)), "bars"), bars)


def test_every_broken_rule_is_told_at_once_with_count_and_first_row(tmp_path):
    path = csv(
        tmp_path,
        "2020-01-01T00:00:00Z,NaN,2,1,1",
        "2020-01-01T01:00:00Z,1,2,1,1",
        "2020-01-01T01:00:00Z,1,2,1,-1",
        "2020-01-01T04:00:00Z,3,2,1,1",
        "2020-01-01T03:00:00Z,1,2,1.5,1",
        "2020-01-01T05:00:00Z,,2,1,1",
    )
    assert problems_of(path) == {
        "open must be a finite number": (2, 0),
        "close must be above 0": (1, 2),
        "high must be at least max(open, close)": (1, 3),
        "low must be at most min(open, close)": (1, 4),
        "timestamps must increase within a symbol": (1, 4),
        "a symbol and timestamp must have one bar": (1, 2),
    }


def test_unreadable_times_do_not_hide_broken_prices(tmp_path):
    path = csv(tmp_path, "2020-01-01T00:00:00Z,1,2,1,1", "soon,1,2,1,1", "2020-01-01T02:00:00Z,3,2,1,1")
    assert problems_of(path) == {
        "timestamp must be there and readable as UTC": (1, 1),
        "high must be at least max(open, close)": (1, 2),
    }


def test_a_missing_symbol_is_told_with_the_other_rules():
    bars = random_walk_bars(4)
    frame = frame_of(bars).with_columns(symbol=pl.Series(["a", None, "a", None]))
    frame = frame.with_columns(close=pl.Series([-1.0, *bars.ohlc[1:, 3]]))
    found = problems_of(frame)
    assert found["symbol must be there where the file has one"] == (2, 1)
    assert found["close must be above 0"] == (1, 0)


def test_one_price_that_is_a_word_is_counted_where_it_stands(tmp_path):
    path = csv(tmp_path, "2020-01-01T00:00:00Z,1,2,1,1", "2020-01-01T01:00:00Z,abc,2,1,1")
    ((count, first_row),) = problems_of(path).values()
    assert (count, first_row) == (1, 1)


@pytest.mark.parametrize("missing", [[0], [1, 3]])
def test_missing_times_are_counted_with_the_first(missing):
    frame = frame_of(random_walk_bars(4))
    times = [None if i in missing else time for i, time in enumerate(frame["timestamp"])]
    found = problems_of(frame.with_columns(timestamp=pl.Series(times, dtype=pl.Datetime("us", "UTC"))))
    assert found["timestamp must be there and readable as UTC"] == (len(missing), missing[0])


@pytest.mark.parametrize(
    "column",
    [[True] * 3, [datetime(2020, 1, 1)] * 3, [[1.0]] * 3, [{"a": 1.0}] * 3],
    ids=["flag", "time", "list", "struct"],
)
def test_prices_that_are_no_numbers_at_all_are_refused(column):
    frame = frame_of(random_walk_bars(3)).with_columns(pl.Series("open", column))
    frame = frame.with_columns(high=pl.lit(1e18), low=pl.lit(0.5), close=pl.lit(1.0))
    ((count, first_row),) = problems_of(frame).values()
    assert (count, first_row) == (3, 0)


def test_times_that_are_numbers_are_refused():
    frame = frame_of(random_walk_bars(3)).with_columns(timestamp=pl.Series([1, 2, 3]))
    assert problems_of(frame) == {"timestamp must be a time in UTC": (3, 0)}


def test_missing_columns_are_named_beside_those_that_are_there(tmp_path):
    with pytest.raises(InvalidData, match=r"lacks timestamp, close \(it has date, open, high, low\)"):
        read_bars(csv(tmp_path, "2020,1,2,1", header="date,open,high,low"))


def test_a_table_without_bars_is_refused():
    assert "a bar file must have bars" in problems_of(frame_of(random_walk_bars(0)))


def test_the_message_names_the_file_and_one_next_step(tmp_path):
    with pytest.raises(InvalidData) as caught:
        read_bars(csv(tmp_path, "2020-01-01T00:00:00Z,0,2,1,1"))
    assert str(caught.value).startswith(f"{tmp_path / 'bars.csv'} breaks 1 rule:\n  - open must be above 0")
    assert str(caught.value).endswith("or map it with `moola bars import`.")


TWO = pl.concat(
    [made_bars(60, [], 1).with_columns(symbol=pl.lit("A")), made_bars(40, [], 2).with_columns(symbol=pl.lit("B"))]
)


def write(path, frame):
    frame.write_parquet(path) if path.suffix == ".parquet" else frame.write_csv(
        path, datetime_format="%Y-%m-%dT%H:%M:%S%.6fZ"
    )
    return path


@pytest.fixture(params=[7, 1000])
def piece(request, monkeypatch):
    monkeypatch.setattr(bar_table, "PIECE_ROWS", request.param)
    monkeypatch.setattr(bar_table, "PIECE_BYTES", 90 * request.param)
    return request.param


@pytest.mark.parametrize("name", ["bars.parquet", "bars.csv"])
@pytest.mark.parametrize("order", ["symbol", "timestamp"])
def test_the_bars_of_a_file_are_laid_out_symbol_by_symbol(tmp_path, piece, name, order):
    path = write(tmp_path / name, TWO.sort(order, maintain_order=True))
    whole = read_bars(path)
    for spool in (spool_bars(path, tmp_path / "spool"), HeldBars(whole)):
        laid_out(spool, whole)


def laid_out(spool, whole):
    assert (spool.symbols, spool.n_bars) == (["A", "B"], [60, 40])
    for symbol, first in enumerate((0, 60)):
        found = spool.read(symbol, 3, 33)
        assert np.array_equal(found.ohlc, whole.ohlc[first + 3 : first + 33])
        assert np.array_equal(found.start_us, whole.start_us[first + 3 : first + 33])
        assert found.symbols == [spool.symbols[symbol]]
    assert len(spool.read(1, -5, 1000)) == 40
    assert len(spool.read(1, 50, 60)) == 0
    assert symbol_interval_us(spool, 0) == 3_600_000_000


@pytest.mark.parametrize("name", ["bars.parquet", "bars.csv"])
def test_every_broken_rule_is_told_with_its_count_and_its_row_in_the_file(tmp_path, piece, name):
    high, low = TWO["high"].to_numpy().copy(), TWO["low"].to_numpy().copy()
    high[[41, 55]], low[3] = 0.5, -1.0
    time = TWO["timestamp"].to_list()
    time[70], time[90] = time[69], time[60]
    path = write(
        tmp_path / name, TWO.with_columns(high=high, low=low, timestamp=pl.Series(time, dtype=TWO.schema["timestamp"]))
    )
    with pytest.raises(InvalidData) as caught:
        spool_bars(path, tmp_path / "spool")
    assert {problem.rule: (problem.count, problem.first_row) for problem in caught.value.problems} == {
        "high must be at least max(open, close)": (2, 41),
        "low must be above 0": (1, 3),
        "timestamps must increase within a symbol": (1, 90),
        "a symbol and timestamp must have one bar": (1, 70),
    }


def test_what_is_no_bar_file_is_refused(tmp_path):
    for name, content, said in (
        ("empty.csv", b"", "empty"),
        ("header.csv", b"timestamp,open,high,low,close\n", "must have bars"),
        ("other.csv", b"a,b\n1,2\n", "lacks timestamp"),
        ("torn.parquet", b"PAR1 and no more", "could not be read|damaged"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InvalidData, match=said):
            spool_bars(tmp_path / name, tmp_path / "spool")
    with pytest.raises(OperationFailed, match="no file"):
        spool_bars(tmp_path / "none.csv", tmp_path / "spool")


@given(st.lists(st.sampled_from(["a", "b", "", "ü"]), min_size=1, max_size=12))
def test_rows_by_symbol_keep_order(names):
    bars = Bars(np.arange(len(names)), np.ones((len(names), 4)), np.array(names, dtype=object))
    found = [(name, rows.tolist()) for name, rows in rows_by_symbol(bars)]
    assert found == [(name, [i for i, one in enumerate(names) if one == name]) for name in dict.fromkeys(names)]


GOOD = "2024-03-04T10:00:00Z,1,2,1,1.5"


def message_of(read):
    with pytest.raises(InvalidData) as error:
        read()
    return str(error.value)


READERS = {
    "read_bars": lambda path, _folder: read_bars(path),
    "spool_bars": spool_bars,
    "open_source": lambda path, _folder: open_source(path, 1, 3600.0, 5),
}


@pytest.mark.parametrize("read", READERS.values(), ids=READERS)
@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (["{h}", GOOD, "2024-03-04T11:00:00Z,1,2,0,1.5"], "first at line 3 (2024-03-04T11:00:00.000000Z): found 0.0"),
        (
            ["{h}", GOOD, "2024-03-04T11:00:00Z,1,1.5,1,1.75"],
            "first at line 3 (2024-03-04T11:00:00.000000Z): found open 1.0, high 1.5, low 1.0, close 1.75",
        ),
        (["{h}", GOOD, GOOD], "first at line 3 (2024-03-04T10:00:00.000000Z)"),
        (["", "", "{h}", GOOD, "2024-03-04T11:00:00Z,1,2,abc,1.5"], "first at line 5"),
        (["{h}", "soon,1,2,1,1"], "first at line 2: found 'soon'"),
    ],
)
def test_a_broken_rule_of_csv_names_the_line_of_the_file(tmp_path, read, lines, said):
    path = tmp_path / "bars.csv"
    path.write_text("\n".join(lines).format(h="timestamp,open,high,low,close") + "\n")
    if lines[0] == "" and read is READERS["spool_bars"]:
        pytest.skip("the reader in pieces takes the first line as the header")
    assert said in message_of(lambda: read(path, tmp_path / "spool"))


def test_a_quoted_cell_over_two_lines_moves_the_lines_behind_it(tmp_path):
    path = tmp_path / "bars.csv"
    path.write_text(f'timestamp,open,high,low,close,note\n{GOOD},"a\nb"\n2024-03-04T11:00:00Z,1,2,0,1.5,c\n')
    assert "first at line 4 (" in message_of(lambda: read_bars(path))


@pytest.mark.parametrize("read", READERS.values(), ids=READERS)
def test_a_broken_rule_of_parquet_names_the_row(tmp_path, read):
    times = [datetime(2024, 3, 4, hour, tzinfo=UTC) for hour in (10, 11)]
    frame = pl.DataFrame({"timestamp": times, "open": 1.0, "high": 2.0, "low": [1.0, 0.0], "close": 1.5})
    frame.write_parquet(tmp_path / "bars.parquet")
    said = "first at row 1 (2024-03-04T11:00:00.000000Z): found 0.0"
    assert said in message_of(lambda: read(tmp_path / "bars.parquet", tmp_path / "spool"))


@pytest.mark.parametrize("header", ["a,b,a", 'a,b,"a"', "\ufeffa,b,a"])
def test_two_columns_of_one_name_are_refused_wherever_csv_is_read(tmp_path, header):
    path = tmp_path / "table.csv"
    path.write_text(f"{header}\n1,2,3\n")
    assert "2 columns are named 'a'" in message_of(lambda: read_frame(path, "a window file", "Fix it."))
    path.write_text("timestamp,open,high,low,close,close\n" + GOOD + ",1.5\n")
    assert "2 columns are named 'close'" in message_of(lambda: spool_bars(path, tmp_path / "spool"))
