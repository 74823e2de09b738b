"""Windows and times as callers give them: taken alike in every form, refused by the rules of files."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from moola.api.input_tables import table_of, time_us_of, with_labels
from moola.errors import InvalidData
from tests.api.faced import LABELS, TABLE, WINDOWS

TIMES = np.stack([TABLE.start_us, TABLE.end_us], axis=1)


def test_a_frame_is_the_table_it_was_laid_out_from_and_an_array_prices_or_features_by_its_width():
    found = table_of(WINDOWS)
    assert np.array_equal(found.ohlc, TABLE.ohlc)
    assert found.window_id == TABLE.window_id
    assert found.expansion_end.tolist() == TABLE.expansion_end.tolist()
    assert np.array_equal(found.start_us, TABLE.start_us)
    features = table_of(TABLE.ohlc).with_features().features
    assert np.array_equal(features, TABLE.with_features().features)
    assert np.array_equal(table_of(features).features, features)
    assert table_of(features).start_us is None


def test_what_is_no_table_of_windows_is_refused_with_its_place():
    for shape in ((4,), (40, 30), (40, 30, 5), (0, 30, 4)):
        with pytest.raises(InvalidData, match=rf"X must be a window table or an array .* its shape is \({shape[0]}"):
            table_of(np.ones(shape))
    ohlc, features = TABLE.ohlc.copy(), TABLE.with_features().features.copy()
    ohlc[[3, 7], 2, 1], features[5, 1, 4] = 0.5, np.nan
    for given, says in (
        (ohlc, r"high must be at least max\(open, close\), but 2 do not, first at row 3: bar 2"),
        (features, "body_ratio must be a finite number"),
        (WINDOWS.drop("features"), "must have the columns window_id and features, but X lacks features"),
        (WINDOWS.with_columns(features=pl.lit("no")), "features must be nested lists of numbers"),
    ):
        with pytest.raises(InvalidData, match=says):
            table_of(given)


FORMS = {
    "frame": WINDOWS.select("start_ts", "end_ts"),
    "datetimes": WINDOWS.select("start_ts", "end_ts").to_numpy(),
    "seconds": TIMES.astype("datetime64[us]").astype("datetime64[s]"),
    "microseconds": TIMES,
}


def test_times_are_the_same_in_every_form():
    for given in FORMS.values():
        assert np.array_equal(time_us_of(given, 40), TIMES)
        assert np.array_equal(table_of(TABLE.ohlc, given).end_us, TABLE.end_us)


def broken(row, column, value):
    times = FORMS["datetimes"].copy()
    times[row, column] = value
    return times


def test_times_that_tell_nothing_are_refused():
    for times, says in (
        (TIMES[:-1], r"of each of 40 windows, but they are int64 of shape \(39, 2\)"),
        (TIMES[:, 0], r"int64 of shape \(40,\)"),
        (TIMES.astype(float), "float64"),
        (WINDOWS.select("start_ts"), "times must have start_ts and end_ts, but end_ts is not there"),
        (broken(6, 0, np.datetime64("NaT")), r"but 1 do not hold \(times, first row 6\)"),
        (broken(9, 1, np.datetime64("1999-01-01")), r"but 1 do not hold \(times, first row 9\)"),
    ):
        with pytest.raises(InvalidData, match=says):
            time_us_of(times, 40)


def test_classes_come_back_as_they_were_given_and_labels_that_break_a_rule_are_refused():
    table, classes = with_labels(TABLE, (LABELS == "retracement").astype(int) + 9, None)
    assert classes.tolist() == [9, 10]
    assert set(table.label) == {"9", "10"}
    for y, pointers, says in (
        (LABELS[:-1], None, r"y must be a class for each of 40 windows, but its shape is \(39,\)"),
        ([None, *LABELS[1:]], None, r"1 of 40 have none \(y, first row 0\)"),
        ([*[0.0] * 39, np.nan], None, r"1 of 40 have none \(y, first row 39\)"),
        (LABELS, np.zeros((40, 2)), r"two whole numbers for each of 40 windows, but they are float64"),
        (LABELS, np.full((40, 2), 30), r"expansion_start must be within 0..29, but 40 do not"),
        (LABELS, np.tile([9, 8], (40, 1)), "expansion_start must be at most expansion_end, but 40 do not"),
    ):
        with pytest.raises(InvalidData, match=says):
            with_labels(TABLE, np.asarray(y, dtype=object if None in list(y) else None), pointers)
