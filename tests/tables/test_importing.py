import gzip
import pickle
from datetime import UTC, datetime

import polars as pl
import pytest

from moola.errors import InvalidData, MoolaError, OperationFailed, WrongUsage
from moola.options.table_options import ImportOptions
from moola.tables.bar_table import bars_from_frame
from moola.tables.foreign.importing import import_frame
from moola.tables.frames import read_frame
from tests.tables.foreign_files_made import FILES, START
from tests.tables.foreign_files_made import PRICES as EXACT

HEADER = "timestamp,open,high,low,close"
PRICES = "1.5,2,1,1.25"


@pytest.fixture
def imported(tmp_path):
    def read(*lines, **options):
        path = tmp_path / "foreign.csv"
        path.write_text("\n".join(lines) + "\n")
        return import_frame(ImportOptions(input=path, output=tmp_path / "bars.parquet", **options))

    return read


def rows(*times, header=HEADER):
    return [header, *(f"{time},{PRICES}" for time in times)]


def times_of(frame):
    assert frame.schema["timestamp"] == pl.Datetime("us", "UTC")
    return [time.strftime("%Y-%m-%d %H:%M:%S") for time in frame["timestamp"]]


@pytest.mark.parametrize(
    "header",
    [
        "Date,Open,High,Low,Close",
        "<DATE>,<OPEN>,<HIGH>,<LOW>,<CLOSE>",
        "Gmt time,o,h,l,c",
        " Time , OPEN,high,Low ,CLOSE",
    ],
)
def test_names_that_match_without_case_need_no_pair(imported, header):
    frame = imported(*rows("2020-01-01 05:00:00", header=header))
    assert frame.columns == ["timestamp", "open", "high", "low", "close"]
    assert frame.row(0) == (datetime(2020, 1, 1, 5, tzinfo=UTC), 1.5, 2.0, 1.0, 1.25)


def test_pairs_map_any_names_and_win_over_names_that_match(imported):
    lines = ["when,open,o2,high,low,close,qty", "2020-01-01 00:00:00,9,1.5,2,1,1.25,300"]
    frame = imported(*lines, columns=("timestamp=when", "open=o2", "volume=qty"))
    assert frame.columns == ["timestamp", "open", "high", "low", "close", "volume"]
    assert frame.row(0)[1:] == (1.5, 2.0, 1.0, 1.25, 300.0)


@pytest.mark.parametrize(
    ("pair", "why"),
    [("price=close", "'price' is none of timestamp"), ("open=Opening", "there is no column 'Opening'"), ("open", "''")],
)
def test_a_pair_that_maps_nothing_is_wrong_usage(imported, pair, why):
    with pytest.raises(WrongUsage, match=why):
        imported(*rows("2020-01-01"), columns=(pair,))


def test_missing_columns_are_named_with_the_option_that_mends_them(imported):
    with pytest.raises(
        InvalidData, match=r"names no timestamp, high .* Set --columns timestamp=<column> high=<column>"
    ):
        imported("when,open,low,close", "2020,1,1,1")


def test_a_symbol_is_taken_from_the_file_or_from_the_option(imported):
    lines = ["ticker," + HEADER, f"b,2020-01-01 01:00:00,{PRICES}", f"a,2020-01-01 02:00:00,{PRICES}"]
    assert imported(*lines)["symbol"].to_list() == ["a", "b"]
    assert imported(*lines, symbol="EURUSD")["symbol"].to_list() == ["EURUSD"] * 2
    assert imported(*rows("2020-01-01"), symbol="X")["symbol"].to_list() == ["X"]


@pytest.mark.parametrize(
    ("name", "pairs"), [("symbol", ()), ("Ticker", ()), ("<TICKER>", ()), ("Code", ("symbol=Code",))]
)
def test_leading_zeros_of_a_symbol_survive(imported, name, pairs):
    frame = imported(f"{name},{HEADER}", f"000001,2020-01-01 00:00:00,{PRICES}", columns=pairs)
    assert frame["symbol"].to_list() == ["000001"]


def test_rows_are_sorted_in_time_and_obey_the_contract(imported):
    frame = imported(*rows("2020-01-01 02:00:00", "2020-01-01 00:00:00", "2020-01-01 01:00:00"))
    assert times_of(frame) == ["2020-01-01 00:00:00", "2020-01-01 01:00:00", "2020-01-01 02:00:00"]
    assert len(bars_from_frame(frame, "bars")) == 3


AUTUMN = rows("2020-11-01 00:30:00", "2020-11-01 01:30:00", "2020-11-01 02:30:00")


@pytest.mark.parametrize(("ambiguous", "hour"), [("earliest", "05"), ("latest", "06")])
def test_a_time_that_comes_twice_is_the_one_asked_for(imported, ambiguous, hour):
    frame = imported(*AUTUMN, timezone="America/New_York", ambiguous=ambiguous)
    assert times_of(frame) == ["2020-11-01 04:30:00", f"2020-11-01 {hour}:30:00", "2020-11-01 07:30:00"]


def test_prices_and_times_that_cannot_be_read_are_told_at_once(imported):
    with pytest.raises(InvalidData) as error:
        imported(HEADER, "2020-01-01 00:00:00,1,2,1,1", "soon,1,2,low,1", "2020-01-01 02:00:00,,2,n/a,1")
    assert {p.rule: (p.count, p.first_row, p.detail) for p in error.value.problems} == {
        "timestamp must be readable as a time": (1, 1, "found 'soon'; see --timestamp-format"),
        "open must be a number": (1, 2, "found None"),
        "low must be a number": (2, 1, "found 'low'"),
    }


def test_a_volume_that_is_no_number_is_empty_and_no_error(imported):
    frame = imported(HEADER + ",volume", f"2020-01-01 00:00:00,{PRICES},-", f"2020-01-01 01:00:00,{PRICES},7")
    assert frame["volume"].to_list() == [None, 7.0]


@pytest.mark.parametrize("separator", [";", "\t", "|"])
def test_another_separator(imported, separator):
    lines = [line.replace(",", separator) for line in rows("2020-01-01 00:00:00")]
    assert imported(*lines, separator=separator).row(0)[1:] == (1.5, 2.0, 1.0, 1.25)


@pytest.mark.parametrize("separator", ["||", ""])
def test_a_separator_that_is_not_one_character_is_an_error_of_the_family(imported, separator):
    with pytest.raises(MoolaError, match="separator"):
        imported(*rows("2020-01-01"), separator=separator)


def test_parquet_is_read_whatever_the_separator_and_an_empty_file_is_invalid(tmp_path):
    path = tmp_path / "foreign"
    times = pl.Series([datetime(2020, 11, 1, 6, 30, tzinfo=UTC)]).dt.convert_time_zone("America/New_York")
    pl.DataFrame({"Date": times, "O": [1.0], "H": [1.0], "L": [1.0], "C": [1.0]}).write_parquet(path)
    options = ImportOptions(input=path, output=path, separator=";")
    assert times_of(import_frame(options)) == ["2020-11-01 06:30:00"]
    path.write_bytes(b"")
    with pytest.raises(InvalidData):
        import_frame(options)
    path.unlink()
    with pytest.raises(OperationFailed, match="the input must exist"):
        import_frame(options)


@pytest.fixture
def read_bytes(tmp_path, caplog):
    """Import a file of these bytes; what is logged is one text."""

    def read(content, **options):
        caplog.clear()
        caplog.set_level("INFO", logger="moola")
        path = tmp_path / "foreign"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        frame = import_frame(ImportOptions(input=path, output=tmp_path / "bars.parquet", **options))
        return frame, caplog.text

    return read


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_a_file_of_another_program_is_read_to_the_digit(read_bytes, file):
    frame, said = read_bytes(file.as_bytes, **file.options)
    assert frame.select("open", "high", "low", "close").rows() == file.prices
    assert frame["timestamp"].to_list() == file.times
    assert frame.columns[5:] == [
        name for name, value in (("volume", file.volume), ("symbol", file.symbols)) if value is not None
    ]
    assert file.volume is None or frame["volume"].to_list() == file.volume
    assert file.symbols is None or frame["symbol"].to_list() == file.symbols
    for text in file.says:
        assert text in said
    assert len(bars_from_frame(frame, "bars")) == len(file.prices)


@pytest.mark.parametrize("as_index", ["Date", "__index_level_0__"])
@pytest.mark.parametrize("kind", ["parquet", "feather"])
def test_tables_of_pandas_are_read_with_their_index(read_bytes, tmp_path, as_index, kind):
    frame = pl.DataFrame(EXACT, schema=["Open", "High", "Low", "Close"], orient="row")
    frame = frame.with_columns(pl.Series(as_index, [START, START.replace(hour=11)]))
    path = tmp_path / "table"
    frame.write_parquet(path) if kind == "parquet" else frame.write_ipc(path)
    found, _ = read_bytes(path.read_bytes())
    assert found.select("open", "high", "low", "close").rows() == EXACT
    assert times_of(found) == ["2024-03-04 10:00:00", "2024-03-04 11:00:00"]


BAR = "2024-03-04 10:00:00,1.085,1.0875,1.0825,1.086\n"
JSON_BAR = '"open":1,"high":2,"low":1,"close":2'


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (f"{HEADER},close\n{BAR}", "has 2 columns named 'close'"),
        (f"{HEADER},Close\n{BAR[:-1]},9\n", r"has 2 that may be \('close', 'Close'\). Set --columns close="),
        ('[{"time":"2024-03-04",' + JSON_BAR + ',"open":2}]', "two values named 'open'"),
        ("2024-03-04,1,1.5,2,1.7\n2024-03-05,1,1.5,2,1.7\n", "columns without names must be a time, open"),
        (f"{BAR}{HEADER}\n{BAR}", r"has 1 above it \(header at line 2, first bar at line 1\). Set --skip-rows 1"),
        ("timestamp;open;high;low;close\n2024-03-04;1,085;1,087;1,082;1,086\n", r"'1,082' .* fits two: .*--decimal"),
        ("timestamp;open;high;low;close\n2024-03-04;1,5;1.75;1,25;1,6\n", "has both: '1.75' at line 2 and '1,25'"),
        (f'{HEADER}\n"2024-03-04,1,1,1,1\n', "a quoted cell must end on its line, but 1 do not .* first at line 2"),
        ('{"a":[{"o":1}],"b":[{"o":1}]}', r"it has 2 lists \(a, b\)"),
        ('{"a":1}', "it has no list of bars"),
        ("\n \n;;;\n", "has no line with any"),
        (HEADER + "\n2024-03-04,1,1,1\x00,1\n", "has 1 NUL characters"),
        (
            '{"candles":[{"time":"2024-03-04","bid":{"o":1,"h":1,"l":1,"c":1},"ask":{"o":1,"h":1,"l":1,"c":1}}]}',
            r"'bid.o', 'ask.o'",
        ),
    ],
)
def test_what_fits_two_readings_is_refused_with_what_decides(read_bytes, content, why):
    with pytest.raises(InvalidData, match=why):
        read_bytes(content)


@pytest.mark.parametrize(
    ("content", "name", "way"),
    [
        (b"PK\x03\x04" + bytes(40), "a zip archive", "unzip"),
        (b"PK\x03\x04" + bytes(20) + b"xl/workbook.xml", "an Excel workbook", "CSV"),
        (gzip.compress(b"a,b\n", mtime=0), "packed with gzip", "gunzip"),
        (pickle.dumps({"a": 1}), "a Python pickle", "to_parquet"),
        (pickle.dumps({"a": 1}, protocol=0), "a Python pickle", "to_parquet"),
        (b"\x89HDF\r\n\x1a\n" + bytes(9), "an HDF5 file", "read_hdf"),
        (b"DBN\x02" + bytes(9), "a Databento file", "DBNStore"),
        (b"\x28\xb5\x2f\xfd" + bytes(9), "packed with zstd", "unzstd"),
        (b"<!DOCTYPE html><html>", "a web page", "browser"),
        (b"SQLite format 3\0", "an SQLite database", "CSV"),
    ],
)
def test_a_kind_of_file_that_is_not_read_is_named_with_a_way_on(read_bytes, tmp_path, content, name, way):
    with pytest.raises(InvalidData, match=f"is {name}.*{way}"):
        read_bytes(content)
    with pytest.raises(InvalidData, match=f"is {name}.*{way}"):
        read_frame(tmp_path / "foreign", "a bar file", "Look.")


def test_letters_that_begin_as_another_kind_does_are_a_header(read_bytes):
    frame, _ = read_bytes("DBNTIME,open,high,low,close\n" + BAR, columns=("timestamp=DBNTIME",))
    assert frame.row(0)[1:] == EXACT[0]


SPOILT = (
    f"note\n{HEADER}\n{BAR}"
    "2024-03-04 11:00:00,null,null,null,null\n"
    "2024-03-04 12:00:00,1.085,,1.0825,1.086\n"
    "2024-03-04 13:00:00,1.085,1.085,1.0825,1.0850000001\n"
    "\n"
    "2024-03-04 14:00:00,1.085,1.05,1.0825,1.086\n"
    f"{BAR}"
    "2024-03-04 15:00:00,1.085,1.0875\n"
    "2024-03-04 16:00:00,1.085,1.0875,1.0825,1.086\n"
    "2024-03-04 17:00:00,1.085,1.0875,1.0825,1.086\n"
    "2024-03-04 18:00:00,1.085,1.0875,1.0825,1.086\n"
    "2024-03-04 19:00:00,1.085,1.0875,1.0825,1.086\n"
)


def test_repair_drops_or_fixes_each_kind_and_says_how_many(read_bytes):
    frame, said = read_bytes(SPOILT, repair=True)
    assert [time.hour for time in frame["timestamp"]] == [10, 13, 16, 17, 18, 19]
    assert frame.row(1)[1:] == (1.085, 1.0850000001, 1.0825, 1.0850000001)
    assert [line.partition("Repair: ")[2] for line in said.splitlines() if "Repair: " in line] == [
        "dropped 1 lines with another number of columns, first at line 10 (2024-03-04 15:00:00).",
        "dropped 1 rows without a price, first at line 4 (2024-03-04 11:00:00).",
        "dropped 1 rows with a price that is missing or no number, first at line 5 (2024-03-04 12:00:00).",
        "dropped 1 bars with impossible prices, first at line 8 (2024-03-04 14:00:00).",
        "fixed 1 bars whose high or low was rounded off by up to 1e-06 of the price, first at line 6 "
        "(2024-03-04 13:00:00).",
        "dropped 1 bars that repeat an earlier one in every value, first at line 9 (2024-03-04 10:00:00).",
    ]


def test_without_repair_each_kind_is_named_with_its_line_time_and_value(read_bytes):
    with pytest.raises(InvalidData) as error:
        read_bytes(SPOILT)
    message = str(error.value)
    assert "every line must have as many columns as the header, but 1 does not, first at line 10" in message
    assert "open must be a number, but 1 does not, first at line 4 (2024-03-04 11:00:00): found 'null'" in message
    assert "high must be a number, but 2 do not, first at line 4" in message
    assert (
        "high must be at least max(open, close), but 2 do not, first at line 6 (2024-03-04 13:00:00): "
        "found open 1.085, high 1.085, low 1.0825, close 1.0850000001" in message
    )
    assert "must have one bar, but 1 does not, first at line 9 (2024-03-04 10:00:00): it repeats line 3" in message
    assert message.endswith("--repair drops or fixes rows that are not bars, and counts them.")


@pytest.mark.parametrize("repair", [False, True])
def test_one_time_with_other_prices_is_refused_whatever_is_asked(read_bytes, repair):
    other = BAR.replace("1.086", "1.0861")
    with pytest.raises(InvalidData, match=r"one set of prices.*first at line 3 .*1.0861, and .*1.086 at line 2"):
        read_bytes(f"{HEADER}\n{BAR}{other}", repair=repair)


def test_repair_keeps_a_bar_of_another_symbol_and_refuses_to_drop_most_rows(read_bytes):
    lines = "".join(f"{symbol},{BAR}" for symbol in "ABA")
    assert len(read_bytes(f"symbol,{HEADER}\n{lines}", repair=True)[0]) == 2
    with pytest.raises(InvalidData, match="at least half of the rows, but 2 of 3"):
        read_bytes(f"{HEADER}\n{BAR}2024-03-05,1,0,1,1\n2024-03-06,1,0,1,1\n", repair=True)


def test_rows_of_json_are_counted_and_those_of_json_lines_are_lines(read_bytes):
    bad = '{"time":"2024-03-04",' + JSON_BAR.replace('"low":1', '"low":3') + "}"
    with pytest.raises(InvalidData, match="first at row 0"):
        read_bytes(f"[{bad}]")
    with pytest.raises(InvalidData, match="first at line 3"):
        read_bytes(f"\n\n{bad}\n{bad.replace('04', '05')}\n")
