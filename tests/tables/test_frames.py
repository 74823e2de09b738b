import bz2
import gzip
import lzma
import zlib

import numpy as np
import polars as pl
import pytest

from moola.core.windows import rows_of
from moola.errors import InvalidData, OperationFailed
from moola.tables import frames
from moola.tables.bar_table import read_bars, spool_bars, write_bars
from moola.tables.frames import nested_column, read_frame, scan_frame, utc_series, write_frame, write_frames
from tests.made import random_walk_bars

FRAME = pl.DataFrame({"a": [1, 2], "b": [0.1, None], "c": ["x", "y,z"]})


def read(path):
    return read_frame(path, "the input", "Check it.")


@pytest.mark.parametrize("name", ["t.parquet", "t.csv"])
def test_a_table_is_read_back_equal_and_written_to_the_same_bytes_twice(tmp_path, name):
    write_frame(tmp_path / name, FRAME)
    once = (tmp_path / name).read_bytes()
    assert read(tmp_path / name).equals(FRAME)
    write_frame(tmp_path / name, FRAME)
    assert (tmp_path / name).read_bytes() == once


def test_content_and_not_the_name_tells_parquet_from_csv(tmp_path):
    write_frame(tmp_path / "t.parquet", FRAME)
    write_frame(tmp_path / "t.csv", FRAME)
    (tmp_path / "t.parquet").rename(tmp_path / "swap")
    (tmp_path / "t.csv").rename(tmp_path / "t.parquet")
    (tmp_path / "swap").rename(tmp_path / "t.csv")
    assert read(tmp_path / "t.parquet").equals(FRAME)
    assert read(tmp_path / "t.csv").equals(FRAME)


def test_times_keep_their_microseconds_in_csv(tmp_path):
    write_frame(tmp_path / "t.csv", pl.DataFrame({"timestamp": utc_series(np.array([0, 1_500_000_000_123_456]))}))
    assert (tmp_path / "t.csv").read_text().splitlines() == [
        "timestamp",
        "1970-01-01T00:00:00.000000Z",
        "2017-07-14T02:40:00.123456Z",
    ]


@pytest.mark.parametrize("name", ["t.json", "t", "t.parquet.gz"])
def test_another_ending_is_refused_before_the_disk_is_touched(tmp_path, name):
    with pytest.raises(OperationFailed, match=r"must end in \.parquet or \.csv"):
        write_frame(tmp_path / name, FRAME)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_file_failed_and_an_empty_one_is_invalid(tmp_path):
    with pytest.raises(OperationFailed, match="the input must exist"):
        read(tmp_path / "none.parquet")
    (tmp_path / "t.parquet").touch()
    with pytest.raises(InvalidData, match=r"is empty \(0 bytes\)"):
        read(tmp_path / "t.parquet")


@pytest.mark.parametrize(
    "content", [b"PAR1", b"PAR1" + b"\0" * 50 + b"PAR1", b"a,b\n1,2\n1,2,3\n", b"\xff\xfe,b\n\x80,2\n", b"a\n\xff\n"]
)
def test_what_is_neither_parquet_nor_csv_is_invalid(tmp_path, content):
    (tmp_path / "t").write_bytes(content)
    with pytest.raises(InvalidData, match="the input must be"):
        read(tmp_path / "t")


def test_parquet_that_is_cut_off_anywhere_is_invalid(tmp_path):
    write_bars(tmp_path / "t.parquet", random_walk_bars(20))
    content = (tmp_path / "t.parquet").read_bytes()
    for n_bytes in range(4, len(content), 97):
        (tmp_path / "t.parquet").write_bytes(content[:n_bytes])
        with pytest.raises(InvalidData, match="the input must be"):
            read(tmp_path / "t.parquet")


def test_a_panic_of_the_reader_is_invalid_data_and_an_interrupt_stays_one(tmp_path, monkeypatch):
    write_frame(tmp_path / "t.parquet", FRAME)
    panic = type("PanicException", (BaseException,), {})

    def fail_with(error):
        def fail(_source):
            raise error

        monkeypatch.setattr(pl, "scan_parquet", fail)

    fail_with(panic("index out of bounds"))
    with pytest.raises(InvalidData, match=r"must be complete parquet, but .* is damaged"):
        read(tmp_path / "t.parquet")
    fail_with(KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        read(tmp_path / "t.parquet")


def test_a_column_of_whole_numbers_with_a_late_fraction_is_read(tmp_path):
    lines = ["price", *["100"] * 10_001, "100.5"]
    (tmp_path / "t.csv").write_text("\n".join(lines) + "\n")
    assert read(tmp_path / "t.csv")["price"].to_list()[-1] == 100.5


def test_nested_columns_hold_the_array(tmp_path):
    values = np.random.default_rng(0).normal(size=(3, 5, 4))
    column = nested_column(values)
    assert column.dtype == pl.List(pl.List(pl.Float64))
    assert np.array_equal(np.array(column.to_list()), values)
    assert nested_column(values[:0]).dtype == column.dtype


def test_rows_of_a_missing_array_are_missing():
    assert rows_of(None, np.array([0])) is None
    assert rows_of(np.array([5, 6, 7]), np.array([2, 0])).tolist() == [7, 5]


def test_frames_give_the_same_bytes_however_the_rows_are_spread_over_them(tmp_path):
    whole = pl.DataFrame({"number": range(10), "list": [[float(i)] for i in range(10)]})
    written = []
    for n_rows in (1, 3, 10):
        write_frames(tmp_path / "t.parquet", whole.iter_slices(n_rows), 4)
        written.append((tmp_path / "t.parquet").read_bytes())
    assert written[0] == written[1] == written[2]
    assert scan_frame(tmp_path / "t.parquet", "the input", "Check it.").collect().equals(whole)


@pytest.mark.parametrize("error", [InvalidData("broken"), KeyboardInterrupt()])
def test_frames_that_end_in_an_error_leave_the_old_file_and_nothing_else(tmp_path, error):
    def frames():
        yield FRAME
        raise error

    (tmp_path / "t.parquet").write_bytes(b"old")
    with pytest.raises(type(error)):
        write_frames(tmp_path / "t.parquet", frames(), 1)
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"old"]


def test_a_disk_that_fills_while_frames_are_written_leaves_the_old_file(tmp_path, monkeypatch):
    def no_space(_file, _content):
        raise OSError(28, "No space left on device")

    (tmp_path / "t.parquet").write_bytes(b"old")
    monkeypatch.setattr("moola.files._HashedFile.write", no_space)
    with pytest.raises(OperationFailed, match="No space left on device"):
        write_frames(tmp_path / "t.parquet", iter([FRAME]), 1)
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"old"]


def test_frames_are_written_as_parquet_alone(tmp_path):
    with pytest.raises(OperationFailed, match="must be parquet"):
        write_frames(tmp_path / "t.csv", iter([FRAME]), 1)
    assert list(tmp_path.iterdir()) == []


def test_a_csv_is_scanned_as_it_is_read(tmp_path):
    write_frame(tmp_path / "t.csv", FRAME)
    assert scan_frame(tmp_path / "t.csv", "the input", "Check it.").collect().equals(read(tmp_path / "t.csv"))


@pytest.mark.parametrize("pack", [gzip.compress, zlib.compress, bz2.compress, lzma.compress])
def test_compressed_tables_are_refused_with_the_way_to_unpack_them(tmp_path, pack):
    (tmp_path / "t.csv").write_bytes(pack(b"a,b\n1,2\n"))
    for use in (read, read_bars, lambda path: spool_bars(path, tmp_path / "spool")):
        with pytest.raises(InvalidData, match=r"is packed with .* Unpack it first"):
            use(tmp_path / "t.csv")


def test_long_text_is_refused(tmp_path):
    pl.DataFrame({"symbol": ["x" * 20_000] * 3000}).write_parquet(tmp_path / "t.parquet")
    with pytest.raises(InvalidData, match="at most 64 bytes of text in a cell"):
        read(tmp_path / "t.parquet")
    with pytest.raises(InvalidData, match="at most 64 bytes of text in a cell"):
        spool_bars(tmp_path / "t.parquet", tmp_path / "spool")


def test_two_million_bars_of_one_symbol_are_read(tmp_path):
    n = 2_000_000
    frame = pl.DataFrame({"n": pl.int_range(n, eager=True), "symbol": pl.repeat("EURUSD", n, eager=True)})
    frame.write_parquet(tmp_path / "t.parquet")
    assert len(read(tmp_path / "t.parquet")) == n


def test_a_csv_of_a_million_columns_is_refused(tmp_path):
    (tmp_path / "t.csv").write_text("a," * 1_000_000 + "\n1\n")
    with pytest.raises(InvalidData, match="at most 10,000 columns"):
        read(tmp_path / "t.csv")


@pytest.mark.parametrize("read", [frames.read_frame, frames.scan_frame])
@pytest.mark.parametrize(("column", "n_text"), [("symbol", 65), ("labels", 9_000)])
def test_text_multiplied_by_its_dictionary_is_refused(tmp_path, read, column, n_text):
    path = tmp_path / "many.parquet"
    pl.DataFrame({"row": range(20_000)}).with_columns(pl.lit("A" * n_text).alias(column)).write_parquet(path)
    with pytest.raises(InvalidData, match="bytes of text in"):
        read(path, "a table", "Check the file.")


@pytest.mark.parametrize("read", [frames.read_frame, frames.scan_frame])
@pytest.mark.parametrize(("n_rows", "n_values"), [(40_000_000, 0), (400, 100_000)])
def test_numbers_that_would_fill_memory_are_refused_unread(tmp_path, monkeypatch, read, n_rows, n_values):
    path = tmp_path / "bomb.parquet"
    one = pl.repeat(1.0, n_values or n_rows, eager=True)
    cells = [one.to_frame("x")] if not n_values else [pl.DataFrame({"x": [one]})] * n_rows
    pl.concat(cells).write_parquet(path)
    monkeypatch.setattr(frames, "_pieces", lambda *_: pytest.fail("read"))
    with pytest.raises(InvalidData, match=r"at most 100 times its size .* would grow to 320,"):
        read(path, "a table", "Check the file.")


@pytest.mark.parametrize("read", [frames.read_frame, frames.scan_frame])
@pytest.mark.parametrize("letter", ["x", "\N{EURO SIGN}"])
def test_a_cell_holds_10_000_bytes_and_not_one_more(tmp_path, read, letter):
    path, n_letters = tmp_path / "cell.parquet", 10_000 // len(letter.encode())
    whole = letter * n_letters + "x" * (10_000 - n_letters * len(letter.encode()))
    pl.DataFrame({"note": ["short", whole]}).write_parquet(path)
    assert read(path, "a table", "Check the file.").lazy().collect()["note"].to_list() == ["short", whole]
    pl.DataFrame({"note": ["short", whole + "x"]}).write_parquet(path)
    with pytest.raises(InvalidData, match=r"at most 10,000 bytes of text in a cell, but .* has 10,001 in .*'note'"):
        read(path, "a table", "Check the file.")


@pytest.mark.parametrize("read", [frames.read_frame, frames.scan_frame])
def test_a_symbol_of_64_bytes_in_many_rows_is_read(tmp_path, read):
    path = tmp_path / "many.parquet"
    pl.DataFrame({"row": range(100_000)}).with_columns(symbol=pl.lit("A" * 64)).write_parquet(path)
    assert read(path, "a table", "Check the file.").lazy().collect().height == 100_000
