"""Windows and times as callers give them: taken alike in every form, refused by the rules of files."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from moola.api.input_tables import table_of, time_us_of, with_labels
from moola.errors import InvalidData
from tests.api.faced import LABELS, TABLE, WINDOWS

TIMES = np.stack([TABLE.start_us, TABLE.end_us], axis=1)


def test_a_frame_is_the_table_it_was_laid_out_from():
    found = table_of(WINDOWS)
    assert np.array_equal(found.ohlc, TABLE.ohlc)
    assert found.window_id == TABLE.window_id
    assert found.expansion_end.tolist() == TABLE.expansion_end.tolist()
    assert np.array_equal(found.start_us, TABLE.start_us)


def test_an_array_is_prices_or_features_by_its_width():
    features = table_of(TABLE.ohlc).with_features().features
    assert np.array_equal(features, TABLE.with_features().features)
    assert np.array_equal(table_of(features).features, features)
    assert table_of(features).start_us is None


@pytest.mark.parametrize("shape", [(4,), (40, 30), (40, 30, 5), (0, 30, 4)])
def test_another_shape_is_refused(shape):
    with pytest.raises(InvalidData, match=rf"X must be a window table or an array .* its shape is \({shape[0]}"):
        table_of(np.ones(shape))


def test_broken_prices_are_refused_with_their_count_and_row():
    ohlc = TABLE.ohlc.copy()
    ohlc[[3, 7], 2, 1] = 0.5
    with pytest.raises(
        InvalidData, match=r"high must be at least max\(open, close\), but 2 do not, first at row 3: bar 2"
    ):
        table_of(ohlc)
    features = TABLE.with_features().features.copy()
    features[5, 1, 4] = np.nan
    with pytest.raises(InvalidData, match="body_ratio must be a finite number"):
        table_of(features)


def test_a_frame_without_its_columns_is_refused():
    with pytest.raises(InvalidData, match="windows must have the columns window_id and features, but X lacks features"):
        table_of(WINDOWS.drop("features"))
    with pytest.raises(InvalidData, match="features must be nested lists of numbers"):
        table_of(WINDOWS.with_columns(features=pl.lit("no")))


FORMS = {
    "frame": WINDOWS.select("start_ts", "end_ts"),
    "datetimes": WINDOWS.select("start_ts", "end_ts").to_numpy(),
    "seconds": TIMES.astype("datetime64[us]").astype("datetime64[s]"),
    "microseconds": TIMES,
}


@pytest.mark.parametrize("form", FORMS)
def test_times_are_the_same_in_every_form(form):
    assert np.array_equal(time_us_of(FORMS[form], 40), TIMES)
    assert np.array_equal(table_of(TABLE.ohlc, FORMS[form]).end_us, TABLE.end_us)


def broken(row, column, value):
    times = FORMS["datetimes"].copy()
    times[row, column] = value
    return times


@pytest.mark.parametrize(
    ("times", "says"),
    [
        (TIMES[:-1], r"of each of 40 windows, but they are int64 of shape \(39, 2\)"),
        (TIMES[:, 0], r"int64 of shape \(40,\)"),
        (TIMES.astype(float), "float64"),
        (WINDOWS.select("start_ts"), "times must have start_ts and end_ts, but end_ts is not there"),
        (broken(6, 0, np.datetime64("NaT")), r"but 1 do not hold \(times, first row 6\)"),
        (broken(9, 1, np.datetime64("1999-01-01")), r"but 1 do not hold \(times, first row 9\)"),
    ],
)
def test_times_that_tell_nothing_are_refused(times, says):
    with pytest.raises(InvalidData, match=says):
        time_us_of(times, 40)


def test_classes_come_back_as_they_were_given():
    numbers = (LABELS == "retracement").astype(int) + 9
    table, classes = with_labels(TABLE, numbers, None)
    assert classes.tolist() == [9, 10]
    assert set(table.label) == {"9", "10"}


@pytest.mark.parametrize(
    ("y", "pointers", "says"),
    [
        (LABELS[:-1], None, r"y must be a class for each of 40 windows, but its shape is \(39,\)"),
        ([None, *LABELS[1:]], None, r"1 of 40 have none \(y, first row 0\)"),
        ([*[0.0] * 39, np.nan], None, r"1 of 40 have none \(y, first row 39\)"),
        (LABELS, np.zeros((40, 2)), r"two whole numbers for each of 40 windows, but they are float64"),
        (LABELS, np.full((40, 2), 30), r"expansion_start must be within 0..29, but 40 do not"),
        (LABELS, np.tile([9, 8], (40, 1)), "expansion_start must be at most expansion_end, but 40 do not"),
    ],
)
def test_labels_that_break_a_rule_are_refused(y, pointers, says):
    with pytest.raises(InvalidData, match=says):
        with_labels(TABLE, np.asarray(y, dtype=object if None in list(y) else None), pointers)
