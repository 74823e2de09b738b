"""Messages about rows of a file name its lines, the time and what was found there."""

from datetime import UTC, datetime

import polars as pl
import pytest

from moola.errors import InvalidData
from moola.tables.bar_table import read_bars, spool_bars
from moola.tables.cutting import open_source
from moola.tables.frames import read_frame

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
