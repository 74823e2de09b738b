"""A prediction depends on the bars that a model sees of its window: not on later ones, nor on other windows."""

from __future__ import annotations

from collections.abc import Callable
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
from moola.models.references import LEARNERS
from moola.tables.prediction_table import Predictions
from moola.tables.window_file import WindowTable
from tests.fit.fits_made import (
    N_BARS,
    SPLIT,
    TABLE,
    fit_inputs_of,
    fitted,
    once,
    other_later,
    write_split,
    write_unlabelled,
)
from tests.made import made_windows
from tests.networks_made import CPU, equal_weights

# More than one pass of the network, and a last pass that is not full.
JUDGED = made_windows(70, seed=11, stride=N_BARS, window_bars=N_BARS)
KINDS = {
    "frozen": {"freeze_encoder": True},
    "unfrozen, augmented": {"freeze_encoder": False, "frozen_epochs": 0, "augment_data": True, "cpsa_ratio": 0.5},
    "from scratch, three heads": {"pretrained": False, "hidden_dim": 4, "n_heads": 3, "mirror_average": False},
    "live without pointers": {"head": "mlp", "n_heads": 1, "visible_bars": 21, "predict_pointers": False},
    "live, linear": {"visible_bars": 21},
}


def of_rows(predict: Callable[[np.ndarray], Predictions], rows: np.ndarray) -> list[np.ndarray]:
    """Return every number that is said of these rows."""
    said = predict(rows)
    assert said.row.tolist() == rows.tolist()
    numbers = [said.class_prob, said.predicted_bar, said.pointer_prob]
    return numbers if said.curves is None else [*numbers, said.curves]


def judge_alike(predict: Callable[[np.ndarray], list[np.ndarray]], n_windows: int) -> None:
    together = predict(np.arange(n_windows))
    some = np.unique(np.linspace(0, n_windows - 1, 6).astype(int))
    one_by_one = [predict(np.array([row])) for row in some]
    order = np.random.default_rng(5).permutation(n_windows)
    shuffled = predict(order)
    assert np.ptp(together[0], axis=0).max() > 1e-3, "a model that says the same of all would pass"
    for part, values in enumerate(together):
        np.testing.assert_allclose(
            np.concatenate([alone[part] for alone in one_by_one]), values[some], rtol=0, atol=1e-6
        )
        np.testing.assert_allclose(shuffled[part], values[order], rtol=0, atol=1e-6)


@pytest.mark.parametrize("options", KINDS.values(), ids=KINDS)
def test_a_network_says_the_same_of_a_window_in_any_company(options):
    chosen = {name: value for name, value in options.items() if name != "pretrained"}
    model = fitted(fit_inputs_of(pretrained=options.get("pretrained", True)), refit=False, **chosen).model

    def predict(rows: np.ndarray) -> Predictions:
        return predict_windows(model, JUDGED, rows, np.full(len(rows), "new", dtype=object), CPU)

    assert (model.network.predict_pointers, model.visible_bars) == (
        options.get("predict_pointers", True),
        options.get("visible_bars"),
    )
    judge_alike(lambda rows: of_rows(predict, rows), len(JUDGED))


def test_rows_over_the_same_bars_are_predicted_as_one_window():
    twice = JUDGED.take(np.array([0, 1, 0, 2]))
    said = predict_windows(once().model, twice, np.arange(4), np.full(4, "new", dtype=object), CPU)
    assert said.shared_bars[0] == said.shared_bars[2] != ""
    assert said.shared_bars[1] == said.shared_bars[3] == ""


@pytest.mark.parametrize("name", sorted(set(LEARNERS) - {"prevalence"}))
def test_a_reference_says_the_same_of_a_window_in_any_company(name):
    train = made_windows(40, seed=12, stride=N_BARS, window_bars=N_BARS).with_features()
    judged = JUDGED.take(np.arange(12)).with_features()
    predict = LEARNERS[name](features_of(train), np.arange(40) % 2, 3)
    judge_alike(lambda rows: [predict(features_of(judged)[rows])], len(judged))


def features_of(table: WindowTable) -> np.ndarray:
    assert table.features is not None
    return table.features


# A model of visible bars: the later ones change nothing, in training, in reading or in what is decoded.

SEEN, ROWS = 20, np.arange(len(TABLE))


@pytest.mark.parametrize("pretrained", [False, True])
def test_bars_that_are_not_visible_change_neither_the_network_nor_what_it_says(pretrained):
    options = {"visible_bars": SEEN, "freeze_encoder": False, "mirror_classes": ("same",)}
    one = fitted(fit_inputs_of(pretrained=pretrained), **options)
    changed = fit_inputs_of(other_later(TABLE, SEEN), pretrained=pretrained)
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
    model = once(visible_bars=SEEN).model
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
    # Test rows are judged by visible bars too.
    assert len(predict_held_out(once(visible_bars=SEEN), fit_inputs_of(), CPU)) == len(SPLIT.val) + len(SPLIT.test)


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


def test_the_model_file_says_how_many_bars_are_visible_and_a_number_that_cannot_work_is_refused(tmp_path):
    model = once(visible_bars=SEEN).model
    assert model.training["visible_bars"] == SEEN
    write_model(tmp_path / "model.pt", model)
    assert read_model(tmp_path / "model.pt").visible_bars == SEEN
    for wrong in (0, N_BARS + 1, True, "all"):
        write_model(tmp_path / "wrong.pt", replace(model, visible_bars=wrong))
        with pytest.raises(UntrustedFile, match="visible"):
            read_model(tmp_path / "wrong.pt")
    for n in (-1, 0, 9, N_BARS + 1):
        with pytest.raises(WrongUsage, match="--visible-bars must be within 10 to 30"):
            fitted(fit_inputs_of(), visible_bars=n)
