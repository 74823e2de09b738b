import logging
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from moola.errors import InvalidData
from moola.tables import window_file
from moola.tables.window_file import label_problems, pointer_warning, read_windows, write_windows
from tests.made import made_windows

TABLE = made_windows(4)


@pytest.fixture(autouse=True, params=[512, 1], ids=["all at once", "one at a time"])
def piece(request, monkeypatch):
    """What is said of a file must not depend on the pieces that it is read in."""
    monkeypatch.setattr(window_file, "PIECE_WINDOWS", request.param)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "w.parquet"


def rewritten(path, table=TABLE, drop=(), **columns):
    """Write a table, change columns of the file and return what its refusal says."""
    write_windows(path, table)
    pl.read_parquet(path).with_columns(**columns).drop(drop).write_parquet(path)
    return path


def refusal(path, window_bars=None):
    with pytest.raises(InvalidData) as caught:
        read_windows(path, window_bars)
    return {problem.rule: (problem.count, problem.first_row, problem.detail) for problem in caught.value.problems}


def features(change):
    rows = TABLE.ohlc.tolist()
    change(rows)
    return pl.Series(rows, dtype=pl.List(pl.List(pl.Float64)))


def test_windows_of_104_and_106_bars_are_refused(path):
    column = features(lambda rows: (rows[1].pop(), rows[3].append(rows[3][0])))
    assert refusal(rewritten(path, features=column)) == {
        "features must have 105 bars per window (--window-bars)": (2, 1, "found 104 bars")
    }


def test_a_bar_of_three_values_is_refused_with_its_window(path):
    column = features(lambda rows: rows[2][7].pop())
    assert refusal(rewritten(path, features=column)) == {"features must have 4 values a bar": (1, 2, "found 3 values")}


@pytest.mark.parametrize("empty", [None, [], [None] * 105])
def test_a_window_without_bars_is_refused(path, empty):
    column = features(lambda rows: rows.__setitem__(1, empty))
    ((count, first_row, _),) = refusal(rewritten(path, features=column)).values()
    assert first_row == 1
    assert count == (105 if empty else 1)


@pytest.mark.parametrize("value", ["x", 1.0, [1.0, 2.0], [{"a": 1.0}], [[[1.0]]]])
def test_features_that_are_no_nested_lists_are_refused(path, value):
    found = refusal(rewritten(path, features=pl.Series([value] * 4)))
    assert found["features must be nested lists of numbers"][:2] == (4, 0)


@pytest.mark.parametrize(
    ("bar", "rule"),
    [
        ([np.nan, 3.0, 1.0, 2.0], "open must be a finite number"),
        ([2.0, 3.0, 1.0, None], "close must be a finite number"),
        ([2.0, 3.0, -1.0, 2.0], "low must be above 0"),
        ([2.0, 1.5, 1.0, 1.2], "high must be at least max(open, close)"),
        ([2.0, 3.0, 2.5, 2.9], "low must be at most min(open, close)"),
    ],
)
def test_a_bar_that_breaks_a_rule_is_found_by_window_and_bar(path, bar, rule):
    column = features(lambda rows: rows[2].__setitem__(104, bar))
    assert refusal(rewritten(path, features=column)) == {rule: (1, 2, "bar 104 of that window")}


@pytest.mark.parametrize(
    ("feature", "name", "value", "bounds"),
    [
        (0, "log_return_open", 10.1, "-10..10"),
        (5, "upper_wick_ratio", -0.01, "0..1"),
        (10, "zscore_close", -10.5, "-10..10"),
        (4, "body_ratio", np.nan, "0..1"),
    ],
)
def test_a_feature_out_of_its_range_is_found_by_window_and_bar(path, feature, name, value, bounds):
    table = replace(TABLE.with_features(), ohlc=None)
    table.features[3, 9, feature] = value
    assert refusal(rewritten(path, table)) == {
        f"{name} must be a finite number within {bounds}": (1, 3, "bar 9 of that window")
    }


def test_features_at_their_bounds_are_valid(path):
    table = replace(TABLE.with_features(), ohlc=None)
    table.features[:, 1] = [10, -10, 10, -10, 1, 0, 1, 10, -10, 10, -10]
    assert np.array_equal(read_windows(rewritten(path, table)).features, table.features)


def test_a_four_column_file_may_say_its_feature_type(path):
    assert read_windows(rewritten(path, feature_type=pl.Series(["ohlc"] * 4))).features is None


@pytest.mark.parametrize(("value", "count"), [(105, 1), (-2, 1), (10**9, 1)])
@pytest.mark.parametrize("name", ["expansion_start", "expansion_end"])
def test_a_pointer_outside_the_window_is_refused(path, name, value, count):
    column = getattr(TABLE, name).tolist()
    column[2] = value
    found = refusal(rewritten(path, **{name: pl.Series(column)}))
    assert found[f"{name} must be within 0..104"] == (count, 2, f"found {value}")


def test_pointers_0_and_104_are_inside(path):
    ends = {"expansion_start": pl.Series([0] * 4), "expansion_end": pl.Series([104] * 4)}
    assert read_windows(rewritten(path, **ends)).expansion_end.tolist() == [104] * 4


def test_lone_and_crossed_pointers_are_refused(path):
    start, end = TABLE.expansion_start.tolist(), TABLE.expansion_end.tolist()
    start[1], end[2], start[3] = None, None, end[3] + 1
    found = refusal(rewritten(path, expansion_start=pl.Series(start), expansion_end=pl.Series(end)))
    assert found == {
        "expansion_start and expansion_end must come together": (2, 1, ""),
        "expansion_start must be at most expansion_end": (1, 3, ""),
    }


def test_an_end_on_the_first_bar_is_a_pointer_like_others(path):
    found = refusal(rewritten(path, expansion_end=pl.Series([0] * 4)))
    assert found == {"expansion_start must be at most expansion_end": (4, 0, "")}


def test_a_column_of_start_pointers_alone_is_refused(path):
    found = refusal(rewritten(path, drop=["expansion_end"]))
    assert found == {"expansion_start and expansion_end must come together": (4, 0, "")}


def test_pointers_are_whole_numbers(path):
    start = TABLE.expansion_start.astype(float)
    assert read_windows(rewritten(path, expansion_start=pl.Series(start))).expansion_start.tolist() == start.tolist()
    start[3] = np.nan
    end = pl.Series([*TABLE.expansion_end[:3].tolist(), None])
    missing = rewritten(path, expansion_start=pl.Series(start), expansion_end=end)
    assert read_windows(missing).expansion_start.tolist() == [*start[:3], -1]
    start[[1, 2]] += 0.5
    found = refusal(rewritten(path, expansion_start=pl.Series(start)))
    assert found["expansion_start must be whole numbers"] == (2, 1, "")


def test_rows_with_equal_bars_and_pointers_but_other_labels_are_refused(path):
    table = TABLE.take(np.array([0, 1, 0, 0]))
    table = replace(table, window_id=list("abcd"), label=np.array(["x", "x", "y", "x"], dtype=object))
    assert refusal(rewritten(path, table)) == {
        "rows with the same bars and pointers must have the same label": (1, 0, "rows 0 (x) and 2 (y)")
    }


def test_two_expansions_in_one_window_may_differ_in_label(path):
    table = TABLE.take(np.array([0, 0]))
    table = replace(table, window_id=["w_exp_1", "w_exp_2"], label=np.array(["x", "y"], dtype=object))
    table.expansion_start[1] -= 1
    assert len(read_windows(rewritten(path, table))) == 2


def test_every_broken_rule_is_told_at_once(path):
    column = features(lambda rows: rows[0].__setitem__(3, [5.0, 4.0, 1.0, 0.0]))
    changes = {
        "features": column,
        "expansion_start": pl.Series([105, 40, None, 40]),
        "window_id": pl.Series(["a", "b", "b", "d"]),
        "label": pl.Series(["x", " ", "x", "x"]),
        "end_ts": pl.Series(TABLE.start_us - 1).cast(pl.Datetime("us", "UTC")),
    }
    assert {rule: found[:2] for rule, found in refusal(rewritten(path, **changes)).items()} == {
        "close must be above 0": (1, 0),
        "window_id must be there and name one row each": (1, 2),
        "end_ts must not be before start_ts": (4, 0),
        "expansion_start must be within 0..104": (1, 0),
        "expansion_start and expansion_end must come together": (1, 2),
        "expansion_start must be at most expansion_end": (1, 0),
        "label must be a word or missing": (1, 1),
    }


def test_a_missing_name_is_found_in_its_row(path):
    found = refusal(rewritten(path, window_id=pl.Series(["a", "b", None, "d"])))
    assert found["window_id must be there and name one row each"][:2] == (1, 2)


def test_times_that_are_missing_in_some_rows_are_counted_with_the_first(path):
    start = pl.Series(TABLE.start_us.tolist()).cast(pl.Datetime("us", "UTC")).to_list()
    start[1] = start[3] = None
    found = refusal(rewritten(path, start_ts=pl.Series(start, dtype=pl.Datetime("us", "UTC"))))
    assert found["start_ts must be a time in every row or in none"][:2] == (2, 1)


def test_times_that_are_text_are_refused(path):
    found = refusal(rewritten(path, start_ts=pl.Series(["2020"] * 4)))
    assert "start_ts must be a time in every row or in none" in found


def test_one_of_the_two_times_alone_is_refused(path):
    assert "start_ts and end_ts must come together" in refusal(rewritten(path, drop=["end_ts"]))


@pytest.mark.parametrize("kinds", [["relative_12d"] * 4, ["ohlc", "relative_11d", "ohlc", "ohlc"], [None] * 4])
def test_another_or_a_mixed_feature_type_is_refused(path, kinds):
    rewritten(path, feature_type=pl.Series(kinds, dtype=pl.String))
    with pytest.raises(InvalidData, match="feature_type must be relative_11d or ohlc in every row"):
        read_windows(path)


@pytest.mark.parametrize("name", ["window_id", "features"])
def test_a_missing_column_is_named(path, name):
    with pytest.raises(InvalidData, match=f"lacks {name} "):
        read_windows(rewritten(path, drop=[name]))


def test_a_file_without_rows_is_refused(path):
    write_windows(path, TABLE)
    pl.read_parquet(path).head(0).write_parquet(path)
    with pytest.raises(InvalidData, match=r"must have windows, but .* has none"):
        read_windows(path)


@pytest.fixture
def warnings(caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("moola"), "propagate", True)
    caplog.set_level(logging.WARNING, "moola")
    return caplog


def test_a_file_without_times_is_read_with_a_warning(path, warnings):
    table = read_windows(rewritten(path, drop=["start_ts", "end_ts"]))
    assert (table.start_us, table.end_us, table.intervals().timed) == (None, None, False)
    (message,) = warnings.messages
    assert message.endswith("has no start_ts and end_ts: overlap between parts cannot be checked.")


def test_a_pointer_outside_the_inner_zone_is_a_warning_with_its_row(path, warnings):
    table = replace(TABLE, expansion_start=np.array([30, 29, 30, 0]), expansion_end=np.array([74, 74, 75, 74]))
    read_windows(rewritten(path, table))
    (message,) = warnings.messages
    assert "3 of 4 windows have a pointer outside the inner zone [30, 75), first at row 1 (made_0001)." in message


def test_a_clean_file_warns_of_nothing(path, warnings):
    read_windows(rewritten(path))
    assert warnings.messages == []


def test_no_pointer_is_outside_no_zone():
    nothing = np.full(4, -1)
    table = replace(TABLE, expansion_start=nothing, expansion_end=nothing)
    assert pointer_warning(table, 105) == ""
    assert label_problems(table, 105, table.intervals().group) == []
