from dataclasses import fields, replace

import numpy as np
import polars as pl
import pytest

from moola.errors import InvalidData, MoolaError
from moola.tables.prediction_table import Predictions, predictions_frame, read_predictions, write_predictions


def made_predictions(n=6, curves=True):
    rng = np.random.default_rng(0)
    return Predictions(
        [f"w{i}" for i in range(n)],
        np.arange(n) + 100,
        np.array(["val", "test"] * (n // 2), dtype=object),
        np.array([50, 10, 40, 30, 20, 10]) * 1_000_000,
        np.array([50, 10, 40, 30, 20, 10]) * 1_000_000 + 999,
        ["consolidation", "retracement"],
        np.array([0, 1, -1, 1, 0, 1]),
        rng.dirichlet([1, 1], n),
        np.array([[40, 50], [-1, -1], [0, 104], [41, 41], [30, 74], [33, 60]]),
        np.array([[41, 50], [39, 44], [-1, -1], [41, 42], [30, 70], [0, 0]]),
        rng.random((n, 2)),
        rng.dirichlet(np.ones(5), (n, 2)).transpose(0, 2, 1) if curves else None,
    )


def same(left, right):
    for field in fields(Predictions):
        a, b = getattr(left, field.name), getattr(right, field.name)
        if isinstance(a, np.ndarray):
            if b is None or not np.array_equal(a, b):
                return False
        elif a != b:
            return False
    return True


PREDICTIONS = made_predictions()
NO_POINTERS = replace(made_predictions(curves=False), predicted_bar=np.full((6, 2), -1), pointer_prob=np.zeros((6, 2)))
KINDS = {
    "curves": PREDICTIONS,
    "no curves": made_predictions(curves=False),
    "no pointers": NO_POINTERS,
    "annotators": replace(PREDICTIONS, annotator=np.array(["ann", None, "bob"] * 2, dtype=object)),
    "shared bars": replace(PREDICTIONS, shared_bars=np.array(["a1", "a1", "", "b2", "b2", ""], dtype=object)),
    "no times": replace(PREDICTIONS, start_us=None, end_us=None),
}


@pytest.mark.parametrize("kind", KINDS)
def test_predictions_are_read_back_equal_and_written_to_the_same_bytes_twice(tmp_path, kind):
    path = tmp_path / "p.parquet"
    write_predictions(path, KINDS[kind])
    once = path.read_bytes()
    found = read_predictions(path)
    assert same(found, KINDS[kind])
    write_predictions(path, found)
    assert path.read_bytes() == once


def test_shared_bars_are_a_column_only_where_rows_share_them():
    assert "shared_bars" not in predictions_frame(PREDICTIONS).columns
    shared = predictions_frame(KINDS["shared bars"])["shared_bars"].to_list()
    assert shared == ["a1", "a1", "", "b2", "b2", ""]
    both = PREDICTIONS.joined(KINDS["shared bars"])
    assert both.shared_bars.tolist() == [""] * 6 + shared


def test_truth_stands_beside_prediction():
    frame = predictions_frame(PREDICTIONS)
    assert frame["label"].to_list() == [
        *("consolidation", "retracement", None, "retracement", "consolidation", "retracement")
    ]
    top = PREDICTIONS.class_prob.argmax(axis=1)
    assert frame["predicted_label"].to_list() == [PREDICTIONS.class_names[i] for i in top]
    assert frame["expansion_start"].to_list() == [40, None, 0, 41, 30, 33]
    assert frame["predicted_end"].to_list() == [50, 44, None, 42, 70, 0]
    assert np.array_equal(frame["prob_retracement"], PREDICTIONS.class_prob[:, 1])
    assert np.array_equal(frame["start_prob"], PREDICTIONS.pointer_prob[:, 0])


def test_columns_of_pointers_are_there_only_when_any_was_predicted():
    assert {"predicted_start", "start_prob", "end_curve"} <= set(predictions_frame(PREDICTIONS).columns)
    assert not {"predicted_start", "start_prob", "start_curve"} & set(predictions_frame(NO_POINTERS).columns)


def test_a_pointer_on_the_first_bar_is_a_prediction(tmp_path):
    first_bars = replace(PREDICTIONS, predicted_bar=np.zeros((6, 2), int))
    assert (first_bars.predicts_pointers, NO_POINTERS.predicts_pointers) == (True, False)
    write_predictions(tmp_path / "p.parquet", first_bars)
    assert same(read_predictions(tmp_path / "p.parquet"), first_bars)


def test_some_rows_in_another_order():
    some = PREDICTIONS.take(np.array([4, 1]))
    assert some.window_id == ["w4", "w1"]
    for name in ("row", "part", "start_us", "end_us", "class_index", "class_prob", "true_bar", "predicted_bar"):
        assert np.array_equal(getattr(some, name), getattr(PREDICTIONS, name)[[4, 1]])
    assert np.array_equal(some.curves, PREDICTIONS.curves[[4, 1]])
    assert np.array_equal(some.pointer_prob, PREDICTIONS.pointer_prob[[4, 1]])


def test_a_part_comes_in_time_order_with_ties_as_they_stand():
    assert PREDICTIONS.of_part("test").window_id == ["w1", "w5", "w3"]
    assert PREDICTIONS.of_part("val").window_id == ["w4", "w2", "w0"]
    assert len(PREDICTIONS.of_part("train")) == 0


def test_a_part_without_times_comes_in_row_order():
    shuffled = replace(PREDICTIONS, start_us=None, end_us=None, row=np.array([5, 4, 3, 2, 1, 0]))
    assert shuffled.of_part("val").window_id == ["w4", "w2", "w0"]


@pytest.mark.parametrize("name", ["window_id", "row", "part", "label"])
def test_a_missing_column_is_named(tmp_path, name):
    predictions_frame(PREDICTIONS).drop(name).write_parquet(tmp_path / "p.parquet")
    with pytest.raises(InvalidData, match=f"lacks {name}"):
        read_predictions(tmp_path / "p.parquet")


def test_a_table_without_probabilities_is_refused(tmp_path):
    frame = predictions_frame(PREDICTIONS)
    frame.select(pl.exclude("^prob_.*$")).write_parquet(tmp_path / "p.parquet")
    with pytest.raises(InvalidData, match="lacks class probabilities"):
        read_predictions(tmp_path / "p.parquet")


@pytest.mark.parametrize("name", ["expansion_start", "expansion_end", "end_ts"])
def test_a_missing_half_of_a_pair_of_columns_is_an_error_of_the_family(tmp_path, name):
    predictions_frame(PREDICTIONS).drop(name).write_parquet(tmp_path / "p.parquet")
    with pytest.raises(MoolaError):
        read_predictions(tmp_path / "p.parquet")


def test_a_damaged_table_is_invalid(tmp_path):
    write_predictions(tmp_path / "p.parquet", PREDICTIONS)
    content = (tmp_path / "p.parquet").read_bytes()
    (tmp_path / "p.parquet").write_bytes(content[:-20])
    with pytest.raises(InvalidData, match="a prediction table must be"):
        read_predictions(tmp_path / "p.parquet")


@pytest.mark.parametrize("kind", KINDS)
def test_tables_joined_are_one_behind_the_other(kind):
    whole = KINDS[kind]
    joined = whole.take(np.arange(2)).joined(whole.take(np.arange(2, 6)))
    assert same(joined, whole)
    assert same(whole.take(np.arange(0)).joined(whole), whole)
    assert same(whole.joined(whole.take(np.arange(0))), whole)


def test_joining_leaves_both_as_they_were():
    left, right = PREDICTIONS.take(np.arange(3)), PREDICTIONS.take(np.arange(3, 6))
    left.joined(right)
    assert same(left, PREDICTIONS.take(np.arange(3)))
    assert same(right, PREDICTIONS.take(np.arange(3, 6)))


@pytest.mark.parametrize("lacking", ["curves", "no times"])
def test_a_column_that_one_table_lacks_is_left_out(lacking):
    other = NO_POINTERS if lacking == "curves" else KINDS["no times"]
    names = ("curves",) if lacking == "curves" else ("start_us", "end_us")
    for joined in (PREDICTIONS.joined(other), other.joined(PREDICTIONS)):
        assert len(joined) == 12
        assert all(getattr(joined, name) is None for name in names)
        assert sorted(joined.window_id) == sorted(PREDICTIONS.window_id * 2)
    assert PREDICTIONS.joined(NO_POINTERS).predicts_pointers


@pytest.mark.parametrize("bad", [float("nan"), 1.5, -0.1, None, "high"])
def test_probabilities_that_are_none_are_refused(tmp_path, bad):
    path = tmp_path / "predictions.parquet"
    frame = predictions_frame(PREDICTIONS)
    name = next(column for column in frame.columns if column.startswith("prob_"))
    values = [*frame[name].to_list()[:-1], bad]
    frame = frame.with_columns(pl.Series(name, [str(v) for v in values] if isinstance(bad, str) else values))
    frame.write_parquet(path)
    with pytest.raises(InvalidData, match=f"from 0 to 1.*column {name}"):
        read_predictions(path)
