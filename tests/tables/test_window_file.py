from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from moola.core.features import relative_features
from moola.errors import InvalidData, MoolaError
from moola.tables import window_file
from moola.tables.window_file import WindowFile, WindowTable, read_windows, write_window_pieces, write_windows
from tests.made import HOUR_US, made_windows


def same(left: WindowTable, right: WindowTable) -> bool:
    pairs = [(getattr(left, name), getattr(right, name)) for name in ("ohlc", "features", "start_us", "end_us")]
    pairs += [(getattr(left, name), getattr(right, name)) for name in ("expansion_start", "expansion_end")]
    arrays = all((a is None) == (b is None) and (a is None or np.array_equal(a, b)) for a, b in pairs)
    words = left.window_id == right.window_id and left.label.tolist() == right.label.tolist()
    return arrays and words and left.symbol.tolist() == right.symbol.tolist() and left.extra.equals(right.extra)


def unlabelled(table):
    nothing = np.full(len(table), -1)
    return replace(table, label=np.full(len(table), None, dtype=object), expansion_start=nothing, expansion_end=nothing)


TABLE = made_windows(5)
EXTRA = pl.DataFrame({"annotator": ["ann", None, "bob", "ann", "ann"], "quality": [1, 2, 3, 4, 5]})
TABLES = {
    "4-D": TABLE,
    "relative with bars": TABLE.with_features(),
    "relative alone": replace(TABLE.with_features(), ohlc=None),
    "unlabelled": unlabelled(TABLE),
    "with symbols and annotators": replace(TABLE, symbol=np.array(list("ababa"), dtype=object), extra=EXTRA),
    "partly labelled": replace(
        TABLE,
        label=np.array(["a", None, "b", "a", None], dtype=object),
        expansion_start=np.array([40, -1, 41, -1, 50]),
        expansion_end=np.array([45, -1, 41, -1, 60]),
    ),
    "pointers on the first and the last bar": replace(
        TABLE, expansion_start=np.array([0, 0, 104, 0, 0]), expansion_end=np.array([0, 104, 104, 0, 50])
    ),
    "of 60 bars": made_windows(3, window_bars=60, stride=20),
}


@pytest.mark.parametrize("kind", TABLES)
def test_windows_are_read_back_equal_and_written_to_the_same_bytes_twice(tmp_path, kind):
    table, path = TABLES[kind], tmp_path / "w.parquet"
    write_windows(path, table)
    once = path.read_bytes()
    found = read_windows(path, table.window_bars)
    assert same(found, table)
    write_windows(path, found)
    assert path.read_bytes() == once


def test_the_file_has_the_columns_of_the_contract(tmp_path):
    write_windows(tmp_path / "w.parquet", TABLE)
    frame = pl.read_parquet(tmp_path / "w.parquet")
    assert frame.schema == {
        "window_id": pl.String,
        "start_ts": pl.Datetime("us", "UTC"),
        "end_ts": pl.Datetime("us", "UTC"),
        "label": pl.String,
        "expansion_start": pl.Int64,
        "expansion_end": pl.Int64,
        "features": pl.List(pl.List(pl.Float64)),
    }
    assert np.array(frame["features"].to_list()).shape == (5, 105, 4)


def test_rows_without_labels_leave_label_and_pointers_out(tmp_path):
    write_windows(tmp_path / "w.parquet", TABLES["unlabelled"])
    assert pl.read_parquet(tmp_path / "w.parquet").columns == ["window_id", "start_ts", "end_ts", "features"]


def test_a_relative_file_says_its_feature_type_in_every_row(tmp_path):
    write_windows(tmp_path / "w.parquet", TABLES["relative alone"])
    frame = pl.read_parquet(tmp_path / "w.parquet")
    assert frame["feature_type"].to_list() == ["relative_11d"] * 5
    assert np.array(frame["features"].to_list()).shape == (5, 105, 11)
    assert "ohlc" not in frame.columns


def test_a_name_ending_in_csv_is_refused_as_an_error_of_the_family(tmp_path):
    with pytest.raises(MoolaError):
        write_windows(tmp_path / "w.csv", TABLE)
    assert list(tmp_path.iterdir()) == []


def test_features_are_computed_once_and_kept():
    with_features = TABLE.with_features()
    assert np.array_equal(with_features.features, relative_features(TABLE.ohlc))
    assert with_features.with_features() is with_features


def test_some_rows_in_another_order():
    table = TABLES["with symbols and annotators"].with_features()
    some = table.take(np.array([3, 1]))
    assert some.window_id == ["made_0003", "made_0001"]
    assert some.label.tolist() == ["retracement", "retracement"]
    for name in ("ohlc", "features", "expansion_start", "expansion_end", "start_us", "end_us", "symbol"):
        assert np.array_equal(getattr(some, name), getattr(table, name)[[3, 1]])
    assert some.extra["annotator"].to_list() == ["ann", None]
    assert TABLE.take(np.array([2])).features is None


def test_what_a_table_says_of_itself():
    table = TABLES["partly labelled"]
    assert table.classes == ["a", "b"]
    assert (table.has_pointers, TABLES["unlabelled"].has_pointers) == (True, False)
    first_bars = replace(TABLE, expansion_start=np.zeros(5, int), expansion_end=np.zeros(5, int))
    assert first_bars.has_pointers
    assert table.window_bars == 105
    assert replace(TABLES["relative alone"]).window_bars == 105
    assert TABLES["with symbols and annotators"].annotators == ["ann", "bob"]
    assert table.annotators == []


def test_a_table_without_prices_and_features_is_no_table():
    with pytest.raises(ValueError, match="holds prices, features or both"):
        _ = replace(TABLE, ohlc=None).window_bars


@pytest.mark.parametrize("kind", ["4-D", "relative with bars", "relative alone"])
def test_rows_with_the_same_bars_are_one_group(kind):
    table = TABLES[kind].take(np.array([0, 1, 0, 2, 1]))
    intervals = table.intervals()
    assert intervals.group.tolist() == [0, 1, 0, 2, 1]
    assert np.array_equal(intervals.start_us, table.start_us)
    assert np.array_equal(intervals.end_us, table.end_us + HOUR_US)


def test_a_file_of_60_bars_is_refused_where_105_must_hold(tmp_path):
    write_windows(tmp_path / "w.parquet", TABLES["of 60 bars"])
    with pytest.raises(InvalidData, match=r"must have 105 bars per window .* found 60 bars"):
        read_windows(tmp_path / "w.parquet", 105)


def test_an_older_file_with_an_array_column_and_naive_times_is_read(tmp_path):
    path = tmp_path / "w.parquet"
    write_windows(path, TABLE)
    frame = pl.read_parquet(path)
    array = pl.Series("features", TABLE.ohlc, dtype=pl.Array(pl.Float64, (105, 4)))
    times = [frame[name].dt.replace_time_zone(None).dt.cast_time_unit("ns") for name in ("start_ts", "end_ts")]
    frame.with_columns(array, *times).write_parquet(path)
    assert same(read_windows(path), TABLE)


@pytest.fixture
def pieces_of_two(monkeypatch):
    monkeypatch.setattr(window_file, "PIECE_WINDOWS", 2)


@pytest.mark.parametrize("kind", TABLES)
def test_a_file_read_in_pieces_is_the_table_and_no_piece_is_larger_than_told(tmp_path, pieces_of_two, kind):
    table = TABLES[kind]
    write_windows(tmp_path / "w.parquet", table)
    file = WindowFile.open(tmp_path / "w.parquet", table.window_bars)
    pieces = list(file.pieces())
    assert [len(piece) for piece in pieces] == [2] * (len(table) // 2) + [1] * (len(table) % 2)
    assert all(same(piece, table.take(np.arange(i * 2, i * 2 + len(piece)))) for i, piece in enumerate(pieces))
    assert same(read_windows(tmp_path / "w.parquet", table.window_bars), table)
    assert (file.rows.ohlc, file.rows.features) == (None, None)


@pytest.mark.parametrize("kind", ["4-D", "unlabelled", "with symbols and annotators", "partly labelled"])
def test_features_added_piece_by_piece_give_the_bytes_of_the_whole_table(tmp_path, pieces_of_two, kind):
    write_windows(tmp_path / "in.parquet", TABLES[kind])
    file = WindowFile.open(tmp_path / "in.parquet")
    write_window_pieces(tmp_path / "out.parquet", file.rows, (piece.with_features() for piece in file.pieces()))
    write_windows(tmp_path / "whole.parquet", TABLES[kind].with_features())
    assert (tmp_path / "out.parquet").read_bytes() == (tmp_path / "whole.parquet").read_bytes()
    assert same(read_windows(tmp_path / "out.parquet"), TABLES[kind].with_features())


def test_a_column_that_only_the_last_piece_fills_is_in_the_file(tmp_path, pieces_of_two):
    labels, symbols = (np.array([nothing] * 4 + ["late"], dtype=object) for nothing in (None, ""))
    table = replace(unlabelled(TABLE), label=labels, symbol=symbols)
    write_windows(tmp_path / "w.parquet", table)
    assert same(read_windows(tmp_path / "w.parquet"), table)


def test_a_table_without_rows_is_written_with_its_columns(tmp_path):
    write_windows(tmp_path / "w.parquet", TABLE.take(np.array([], dtype=np.int64)))
    assert pl.read_parquet(tmp_path / "w.parquet").schema["features"] == pl.List(pl.List(pl.Float64))


def test_what_is_broken_late_in_a_file_leaves_the_old_output_and_nothing_else(tmp_path, pieces_of_two):
    source, target = tmp_path / "in.parquet", tmp_path / "out.parquet"
    low_above_high = TABLE.ohlc.copy()
    low_above_high[3:, 7, 2] *= 2
    write_windows(source, replace(TABLE, ohlc=low_above_high, window_id=["a", "b", "c", "d", "a"]))
    target.write_bytes(b"old")
    file = WindowFile.open(source)
    with pytest.raises(InvalidData) as caught:
        write_window_pieces(target, file.rows, (piece.with_features() for piece in file.pieces()))
    said = {problem.rule: (problem.count, problem.first_row, problem.detail) for problem in caught.value.problems}
    assert said == {
        "low must be at most min(open, close)": (2, 3, "bar 7 of that window"),
        "window_id must be there and name one row each": (1, 4, "'a' is row 0 already"),
    }
    assert str(source) in str(caught.value)
    assert target.read_bytes() == b"old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.parquet", "out.parquet"]


def test_a_file_that_is_cut_off_anywhere_is_invalid(tmp_path):
    write_windows(tmp_path / "w.parquet", TABLE)
    content = (tmp_path / "w.parquet").read_bytes()
    for n_bytes in range(0, len(content), 997):
        (tmp_path / "w.parquet").write_bytes(content[:n_bytes])
        with pytest.raises(InvalidData):
            read_windows(tmp_path / "w.parquet")


def test_a_flipped_byte_is_read_or_refused_and_never_another_error(tmp_path):
    write_windows(tmp_path / "w.parquet", TABLE)
    content = (tmp_path / "w.parquet").read_bytes()
    refused = 0
    for place in range(4, len(content) - 4, 331):
        (tmp_path / "w.parquet").write_bytes(content[:place] + bytes([content[place] ^ 0x10]) + content[place + 1 :])
        try:
            assert len(read_windows(tmp_path / "w.parquet")) == 5
        except InvalidData:
            refused += 1
    assert refused > 0
