"""Frames of pandas, polars and numpy: the same answers of each, in the kind that came."""

from __future__ import annotations

import numpy as np
import pandas as pd
import polars as pl
import pytest

import moola
from moola.errors import InvalidData, MoolaError
from tests.api.faced import LABELS, TABLE, WINDOWS, tiny

BARS = moola.sample_bars()[:900]
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
    return tiny().fit(WINDOWS[:28], LABELS[:28]).model_


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


@pytest.mark.parametrize("kind", KINDS)
def test_windows_are_cut_and_labelled_in_the_kind_of_the_bars(kind):
    cut = moola.windows(as_kind(BARS, kind), stride=20)
    assert type(cut) is KINDS[kind]
    same(cut, CUT)
    labelled = moola.autolabel(cut)
    assert type(labelled) is KINDS[kind]
    same(labelled, moola.autolabel(CUT))
    assert np.array_equal(moola.relative_features(labelled), moola.relative_features(moola.autolabel(CUT)))


@pytest.mark.parametrize("kind", KINDS)
def test_windows_of_any_kind_are_split_fitted_and_predicted(kind, model):
    windows = as_kind(WINDOWS, kind)
    assert [part.tolist() for part in (moola.split(windows).train, moola.split(windows).test)] == [
        part.tolist() for part in (moola.split(WINDOWS).train, moola.split(WINDOWS).test)
    ]
    said = model.predict(windows)
    assert type(said) is KINDS[kind]
    same(said, model.predict(WINDOWS))
    fitted = tiny().fit(windows, pd.Series(LABELS) if kind == "pandas" else LABELS)
    assert np.array_equal(fitted.predict_proba(windows), tiny().fit(WINDOWS, LABELS).predict_proba(WINDOWS))
    folds = [test.tolist() for _, test in moola.ForwardChaining(2).split(windows)]
    assert folds == [test.tolist() for _, test in moola.ForwardChaining(2).split(WINDOWS)]


@pytest.mark.parametrize("kind", KINDS)
def test_predictions_of_any_kind_are_evaluated(kind, model, tmp_path):
    said, train = as_kind(model.predict(WINDOWS[28:]), kind), as_kind(WINDOWS[:28], kind)
    few = {"metrics": ("brier",), "event_metrics": ("hit_at_pm3",)}
    figures = moola.evaluate(said, train, **few)
    assert type(figures) is KINDS[kind]
    same(figures, moola.evaluate(model.predict(WINDOWS[28:]), WINDOWS[:28], **few))
    pages = [
        moola.report(tmp_path / name, one, two, three).read_bytes()
        for name, one, two, three in (
            ("a.html", said, train, as_kind(WINDOWS[28:], kind)),
            ("b.html", model.predict(WINDOWS[28:]), WINDOWS[:28], WINDOWS[28:]),
        )
    ]
    assert pages[0] == pages[1]


@pytest.mark.parametrize("kind", KINDS)
def test_events_are_found_in_bars_of_any_kind(kind, model):
    bars = as_kind(BARS.with_columns(symbol=pl.lit("EURUSD")), kind)
    events = model.scan(bars, min_prob=0.0)
    assert type(events) is KINDS[kind]
    expected = model.scan(BARS.with_columns(symbol=pl.lit("EURUSD")), min_prob=0.0)
    assert len(expected)
    same(events, expected)


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
    import sys

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


@pytest.mark.parametrize("read", [moola.read_bars, moola.read_windows, moola.Model.load])
def test_a_reader_of_files_names_what_takes_frames(read):
    with pytest.raises(InvalidData, match="must be the path of a file, but it is DataFrame"):
        read(BARS)


def test_an_odd_column_is_named():
    odd = BARS.to_pandas()
    odd["open"] = [1.0, "a"] * (len(odd) // 2)
    with pytest.raises(InvalidData, match="open of the bars is object"):
        moola.windows(odd)
    twice = pd.concat([BARS.to_pandas(), BARS.to_pandas()[["open"]]], axis=1)
    with pytest.raises(InvalidData, match="the bars has two named 'open'"):
        moola.windows(twice)
