"""Frames of pandas, polars and numpy: the same answers of each, in the kind that came."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import numpy as np
import pandas as pd
import polars as pl
import pytest

import moola
from moola.errors import InvalidData, MoolaError
from tests.api.faced import LABELS, TABLE, WINDOWS, model_of_28, tiny

BARS = moola.sample_bars()[:600]
CUT = moola.windows(BARS, stride=20)
KINDS = {"polars": pl.DataFrame, "lazy": pl.LazyFrame, "pandas": pd.DataFrame, "numpy": np.ndarray}


def as_kind(frame, kind):
    """Return a polars frame in another kind, by other ways than moola's own."""
    if kind == "polars":
        return frame
    if kind == "lazy":
        return frame.lazy()
    if kind == "pandas":
        return frame.to_pandas()
    columns = {}
    for column in frame:
        if column.dtype.is_nested():
            columns[column.name] = np.array(column.to_list())
        elif column.dtype == pl.String:
            columns[column.name] = np.array([text or "" for text in column])
        elif column.dtype.is_temporal():
            columns[column.name] = column.dt.replace_time_zone(None).to_numpy()
        else:
            columns[column.name] = column.to_numpy()
    types = [(name, values.dtype, values.shape[1:]) for name, values in columns.items()]
    array = np.empty(len(frame), dtype=types)
    for name, values in columns.items():
        array[name] = values
    return array


@pytest.fixture(scope="module")
def model():
    return model_of_28()


def same(found, expected):
    """Compare a table of any kind with the polars one."""
    back = moola.to_pandas(found)
    assert list(back.columns) == expected.columns
    for name in expected.columns:
        mine, wanted = back[name].to_list(), expected[name].to_list()
        if expected[name].dtype.is_nested():
            assert np.array_equal(np.array(mine), np.array(wanted))
        elif expected[name].dtype.is_temporal():
            assert [None if time is pd.NaT else time.replace(tzinfo=None) for time in mine] == [
                None if time is None else time.replace(tzinfo=None) for time in wanted
            ]
        else:
            nothing = (-1, "", None)
            one, other = ([None if x is pd.NA or x in nothing or x != x else x for x in xs] for xs in (mine, wanted))
            assert one == other, name


NAMED = BARS.with_columns(symbol=pl.lit("EURUSD"))
FEW = {"metrics": ("brier",), "event_metrics": ("hit_at_pm3",)}


@pytest.fixture(scope="module")
def of_polars(model, tmp_path_factory):
    """What each function answers to polars frames."""
    said, events = model.predict(WINDOWS[28:]), model.scan(NAMED, min_prob=0.0)
    assert len(events)
    page = moola.report(tmp_path_factory.mktemp("page") / "a.html", said, WINDOWS[:28], WINDOWS[28:])
    fitted = tiny().fit(WINDOWS, LABELS).predict_proba(WINDOWS)
    return SimpleNamespace(
        said=said,
        events=events,
        page=page.read_bytes(),
        fitted=fitted,
        labelled=moola.autolabel(CUT),
        figures=moola.evaluate(said, WINDOWS[:28], **FEW),
    )


@pytest.mark.parametrize("kind", KINDS)
def test_tables_of_any_kind_give_the_same_answers_in_that_kind(kind, model, of_polars, tmp_path):
    def same_kind(found, expected):
        assert type(found) is KINDS[kind]
        same(found, expected)

    cut = moola.windows(as_kind(BARS, kind), stride=20)
    same_kind(cut, CUT)
    same_kind(moola.autolabel(cut), of_polars.labelled)
    assert np.array_equal(moola.relative_features(cut), moola.relative_features(CUT))
    windows, train, held = (as_kind(table, kind) for table in (WINDOWS, WINDOWS[:28], WINDOWS[28:]))
    found, expected = moola.split(windows), moola.split(WINDOWS)
    for part in ("train", "test"):
        assert getattr(found, part).tolist() == getattr(expected, part).tolist()
    fitted = tiny().fit(windows, pd.Series(LABELS) if kind == "pandas" else LABELS)
    assert np.array_equal(fitted.predict_proba(windows), of_polars.fitted)
    folds = [test.tolist() for _, test in moola.ForwardChaining(2).split(windows)]
    assert folds == [test.tolist() for _, test in moola.ForwardChaining(2).split(WINDOWS)]
    said = model.predict(held)
    same_kind(said, of_polars.said)
    same_kind(moola.evaluate(said, train, **FEW), of_polars.figures)
    assert moola.report(tmp_path / "a.html", said, train, held).read_bytes() == of_polars.page
    same_kind(model.scan(as_kind(NAMED, kind), min_prob=0.0), of_polars.events)


def test_arrays_of_prices_give_structured_arrays(model):
    said = model.predict(TABLE.ohlc)
    assert np.array_equal(said["prob_retracement"], model.predict(WINDOWS)["prob_retracement"].to_numpy())
    assert moola.autolabel(np.stack(CUT["features"].to_list())).dtype["features"].shape == (105, 4)


def test_pandas_windows_of_a_parquet_file_are_read(tmp_path):
    # pandas gives nested columns as arrays of arrays.
    CUT.write_parquet(tmp_path / "windows.parquet")
    read = pd.read_parquet(tmp_path / "windows.parquet")
    assert np.array_equal(moola.relative_features(read), moola.relative_features(CUT))


def test_a_table_goes_to_pandas_without_pyarrow(monkeypatch, model):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    said = moola.to_pandas(model.predict(WINDOWS))
    assert str(said.dtypes["start_ts"]) == "datetime64[us, UTC]"
    assert said["start_curve"][0].shape == (30,)
    same(model.predict(moola.to_pandas(WINDOWS)), model.predict(WINDOWS))


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ([1, 2], r"the bars must be a pandas or polars frame, or a structured numpy array, but it is list"),
        ("mine.csv", "but it is str. Give a frame .* or read a file with `moola.read_bars`"),
        (pd.Series([1.0]), r"but it is pandas.Series"),
        (BARS.to_arrow(), r"but it is pyarrow.Table. Give a frame \(`frame.to_pandas\(\)`"),
        (np.ones((5, 4)), r"named columns, but it is an array of float64 of shape \(5, 4\).*rec.fromarrays"),
        (None, "but it is NoneType"),
    ],
)
def test_anything_else_is_refused_with_a_way_on(given, says):
    with pytest.raises(InvalidData, match=says):
        moola.windows(given)


def test_every_function_refuses_what_is_no_table(model, tmp_path):
    calls = (
        moola.autolabel, moola.relative_features, moola.split, model.predict, model.scan, moola.import_bars,
        moola.plot, moola.to_pandas, lambda given: moola.evaluate(given, WINDOWS),
        lambda given: moola.report(tmp_path / "page.html", given, WINDOWS),
        lambda given: moola.pretrain(given, tmp_path / "encoder.pt"), lambda given: tiny().fit(given, LABELS),
        lambda given: moola.read_spans(tmp_path / "spans.csv", given),
    )  # fmt: skip
    for call in calls:
        with pytest.raises(MoolaError, match="must be"):
            call({"a": [1]})


def test_a_reader_of_files_names_what_takes_frames_and_an_odd_column_is_named():
    for read in (moola.read_bars, moola.read_windows, moola.Model.load):
        with pytest.raises(InvalidData, match="must be the path of a file, but it is DataFrame"):
            read(BARS)
    odd = BARS.to_pandas()
    odd["open"] = [1.0, "a"] * (len(odd) // 2)
    with pytest.raises(InvalidData, match="open of the bars is object"):
        moola.windows(odd)
    twice = pd.concat([BARS.to_pandas(), BARS.to_pandas()[["open"]]], axis=1)
    with pytest.raises(InvalidData, match="the bars has two named 'open'"):
        moola.windows(twice)
