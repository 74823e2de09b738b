"""A model of visible bars: the later ones change nothing, in training, in reading or in what is decoded."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from moola.core.features import RobustScaler
from moola.errors import UntrustedFile, WrongUsage
from moola.fit.fitting import predict_held_out
from moola.fit.inputs import to_examples
from moola.fit.predicting import predict_windows, read_windows_both_ways
from moola.models.model_files import read_model, write_model
from tests.fit.fits_made import N_BARS, SPLIT, TABLE, fit_inputs_of, fitted, write_split, write_unlabelled
from tests.made import made_windows
from tests.networks_made import CPU, equal_weights

SEEN = 20
ROWS = np.arange(len(TABLE))


def other_later(table):
    """The same first bars, and others after them."""
    ohlc = table.ohlc.copy()
    later = made_windows(len(table), seed=99, stride=N_BARS, window_bars=N_BARS).ohlc[:, SEEN:]
    ohlc[:, SEEN:] = later * (ohlc[:, SEEN - 1, 3] / later[:, 0, 0])[:, None, None]
    return replace(table, ohlc=ohlc, features=None)


@pytest.mark.parametrize("pretrained", [False, True])
def test_bars_that_are_not_visible_change_neither_the_network_nor_what_it_says(pretrained):
    options = {"visible_bars": SEEN, "freeze_encoder": False, "mirror_classes": ("same",)}
    one = fitted(fit_inputs_of(pretrained=pretrained), **options)
    changed = fit_inputs_of(other_later(TABLE), pretrained=pretrained)
    other = fitted(changed, **options)
    assert equal_weights(one.model.network, other.model.network)
    assert np.array_equal(one.model.scaler.scale, other.model.scaler.scale)
    assert (one.model.temperature, one.facts) == (other.model.temperature, other.facts)
    before = predict_held_out(one, fit_inputs_of(pretrained=pretrained), CPU)
    after = predict_held_out(other, changed, CPU)
    assert np.array_equal(before.class_prob, after.class_prob)
    assert np.array_equal(before.curves, after.curves)
    whole = fitted(fit_inputs_of(pretrained=pretrained), freeze_encoder=False, mirror_classes=("same",))
    assert not equal_weights(one.model.network, whole.model.network)


def test_what_is_decoded_lies_within_the_visible_bars():
    model = fitted(fit_inputs_of(), visible_bars=SEEN).model
    said = predict_windows(model, TABLE.with_features(), ROWS, np.full(len(ROWS), "new", dtype=object), CPU)
    assert said.curves.shape == (len(ROWS), N_BARS, 2)
    assert not said.curves[:, SEEN:].any()
    assert said.curves[:, :SEEN].sum(axis=1) == pytest.approx(1.0)
    assert said.predicted_bar.max() < SEEN
    features = TABLE.with_features().features
    alone = [read_windows_both_ways(model, features[:, :SEEN], CPU)[i] for i in (0, 1)]
    whole = read_windows_both_ways(model, features, CPU)
    assert np.array_equal(alone[0], whole[0])
    assert np.array_equal(alone[1], whole[1][:, :SEEN])


def test_students_learn_from_visible_bars_too(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_unlabelled(Path("unlabelled.parquet"))
    write_split(Path("split.json"))
    given = {"unlabelled": Path("unlabelled.parquet"), "n_teachers": 1, "student_epochs": 1, "visible_bars": SEEN}
    model = fitted(fit_inputs_of(), **given).model
    assert model.n_seen_bars == SEEN


def test_a_pointer_behind_the_visible_bars_is_none():
    table = TABLE.with_features()
    scaler, classes = RobustScaler.fit(table.features), sorted(set(table.label.tolist()))
    seen = to_examples(table, scaler, classes, 2.0, SEEN)
    assert seen.features.shape[1] == seen.curves.shape[1] == SEEN
    assert np.array_equal(seen.features, to_examples(table, scaler, classes, 2.0).features[:, :SEEN])
    late = table.expansion_end >= SEEN
    assert late.any()
    assert not seen.curves[late, :, 1].any()
    assert seen.curves[~late, :, 1].sum(axis=1) == pytest.approx(1.0)


def test_the_model_file_says_how_many_bars_are_visible(tmp_path):
    model = fitted(fit_inputs_of(), visible_bars=SEEN).model
    assert model.training["visible_bars"] == SEEN
    write_model(tmp_path / "model.pt", model)
    assert read_model(tmp_path / "model.pt").visible_bars == SEEN
    for wrong in (0, N_BARS + 1, True, "all"):
        write_model(tmp_path / "wrong.pt", replace(model, visible_bars=wrong))
        with pytest.raises(UntrustedFile, match="visible"):
            read_model(tmp_path / "wrong.pt")


@pytest.mark.parametrize("n", [-1, 0, 9, N_BARS + 1])
def test_a_number_of_visible_bars_that_cannot_work_is_refused(n):
    with pytest.raises(WrongUsage, match="--visible-bars must be within 10 to 30"):
        fitted(fit_inputs_of(), visible_bars=n)


def test_test_rows_are_judged_by_visible_bars():
    one = fitted(fit_inputs_of(), visible_bars=SEEN)
    assert len(predict_held_out(one, fit_inputs_of(), CPU)) == len(SPLIT.val) + len(SPLIT.test)
