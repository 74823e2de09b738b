"""The classifier: the network of `moola train`, and what scikit-learn asks of an estimator."""

from __future__ import annotations

import copy
import pickle
from dataclasses import fields

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import cross_val_score, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from moola import ForwardChaining, WindowClassifier, read_windows, relative_features
from moola.errors import InvalidData, OperationFailed, UntrustedFile
from moola.models.model_files import BASE_NAME, read_encoder, read_model, write_encoder
from moola.options.training_options import TrainOptions
from tests.api.faced import FEATURES_OF_FACED as FEATURES
from tests.api.faced import LABELS, N_BARS, TABLE, WINDOWS, tiny
from tests.fit.fits_made import small_base
from tests.networks_made import equal_weights, made_scaler, tiny_encoder

TIMES = WINDOWS.select("start_ts", "end_ts").to_numpy()
POINTERS = np.stack([TABLE.expansion_start, TABLE.expansion_end], axis=1)


def test_parameters_are_options_of_train_with_their_defaults():
    defaults = {field.name: field.default for field in fields(TrainOptions)}
    mine = WindowClassifier().get_params()
    assert mine.pop("encoder") is None
    assert mine.pop("val_fraction") == 0.2
    assert mine == {name: defaults[name] for name in mine}


@pytest.fixture(scope="module")
def fitted():
    return tiny().fit(WINDOWS, LABELS)


@pytest.mark.slow
def test_the_network_is_the_one_that_train_makes_of_the_same_rows(sample, moola):
    labelled = "data/processed/labeled/train_latest.parquet"
    assert moola("split", "--data", labelled, "--test", "0", "--output", "split.json").code == 0
    run = moola(
        "train", "--data", labelled, "--split", "split.json", "--n-heads", "2", "--augment-data", "true", "--json"
    ).json
    windows = read_windows(labelled)
    again = WindowClassifier(hidden_dim=6, num_layers=1, n_heads=2, epochs=1, device="cpu")
    mine = again.fit(windows, windows["label"]).model_.file
    kept = read_model(sample / run["run"] / "model.pkl")
    assert equal_weights(mine.network, kept.network)
    assert (mine.temperature, mine.pointer_threshold, mine.mirror) == (
        *(kept.temperature, kept.pointer_threshold, kept.mirror),
    )


@pytest.mark.slow
def test_the_encoder_in_the_package_is_taken_by_its_name_and_its_heads_are_linear(tmp_path, monkeypatch):
    small_base(tmp_path, monkeypatch)
    base = [WindowClassifier(encoder="base", device="cpu", seed=seed).fit(WINDOWS, LABELS) for seed in (1, 2)]
    network = base[0].model_.file.network
    assert (network.head_kind, len(network.heads)) == ("linear", 1)
    assert equal_weights(network.encoder, read_encoder(BASE_NAME).encoder)
    assert equal_weights(network, base[1].model_.file.network)
    assert base[0].predict_proba(WINDOWS).shape == base[0].predict_pointers(WINDOWS).shape == (40, 2)
    other = WindowClassifier(encoder="base", head="mlp", n_heads=2, epochs=1, device="cpu").fit(WINDOWS, LABELS)
    assert (other.model_.file.network.head_kind, len(other.model_.file.network.heads)) == ("mlp", 2)


@pytest.mark.slow
def test_every_form_of_the_same_windows_gives_the_same_model(fitted, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    prob = fitted.predict_proba(WINDOWS)
    assert prob.shape == (40, 2)
    assert np.allclose(prob.sum(axis=1), 1)
    by_prices = tiny().fit(TABLE.ohlc, LABELS, pointers=POINTERS, times=TIMES)
    assert np.array_equal(by_prices.predict_proba(TABLE.ohlc), prob)
    # Features alone cannot be mirrored as prices are, so no synthetic windows are made of them.
    plain = tiny(augment_data=False).fit(WINDOWS, LABELS)
    by_features = tiny().fit(FEATURES, LABELS, pointers=POINTERS, times=TIMES)
    assert np.array_equal(by_features.predict_proba(FEATURES), plain.predict_proba(WINDOWS))
    # Fitting writes nothing.
    assert list(tmp_path.iterdir()) == []


def test_it_predicts_classes_and_pointers(fitted):
    assert fitted.classes_.tolist() == ["consolidation", "retracement"]
    said = fitted.predict(WINDOWS)
    assert said.tolist() == fitted.classes_[fitted.predict_proba(WINDOWS).argmax(axis=1)].tolist()
    assert fitted.score(WINDOWS, LABELS) == (said == LABELS).mean()
    pointers = fitted.predict_pointers(WINDOWS)
    assert ((pointers[:, 0] >= 0) & (pointers[:, 0] <= pointers[:, 1]) & (pointers[:, 1] < N_BARS)).all()


def test_classes_may_be_numbers_of_any_order():
    numbers = np.where(LABELS == "retracement", 10, 9)
    found = tiny().fit(FEATURES, numbers)
    assert found.classes_.tolist() == [9, 10]
    named = found.model_.class_names
    assert named == ["10", "9"]
    prob = found.model_.predictions(FEATURES).class_prob
    assert np.array_equal(found.predict_proba(FEATURES), prob[:, [1, 0]])
    assert set(found.predict(FEATURES)) <= {9, 10}


@pytest.mark.slow
def test_it_is_cross_validated_in_a_pipeline_with_times_as_groups_and_pointers_along():
    steps = make_pipeline(FunctionTransformer(relative_features), tiny())
    params = {f"windowclassifier__{name}": values for name, values in (("pointers", POINTERS), ("times", TIMES))}
    scores = cross_val_score(steps, TABLE.ohlc, LABELS, groups=TIMES, cv=ForwardChaining(2), params=params)
    by_table = cross_validate(tiny(augment_data=False), WINDOWS, LABELS, cv=ForwardChaining(2), return_estimator=True)
    assert by_table["test_score"].tolist() == scores.tolist()
    assert all(fold.predict_pointers(WINDOWS).shape == (40, 2) for fold in by_table["estimator"])


def test_copies_and_pickles_of_a_fitted_one_predict_the_same_and_a_clone_is_not_fitted(fitted):
    prob = fitted.predict_proba(WINDOWS)
    for other in (copy.deepcopy(fitted), pickle.loads(pickle.dumps(fitted))):
        assert np.array_equal(other.predict_proba(WINDOWS), prob)
    again = clone(fitted)
    assert again.get_params() == fitted.get_params() == tiny().get_params()
    with pytest.raises(NotFittedError, match=r"must be fitted before it predicts, but it is not. Call fit\(X, y\)"):
        again.predict(WINDOWS)
    assert np.array_equal(again.fit(WINDOWS, LABELS).predict_proba(WINDOWS), prob)


def test_a_pretrained_encoder_stays_as_it_came_the_fit_has_all_rows_and_what_it_saw_is_warned_of(tmp_path, caplog):
    path = tmp_path / "encoder.pt"
    write_encoder(path, tiny_encoder(2), made_scaler(), N_BARS, {"time_range": ["2010-01-01", "2011-01-01"]})
    frozen = tiny(hidden_dim=None, encoder=str(path)).fit(WINDOWS, LABELS)
    assert equal_weights(frozen.model_.file.network.encoder, tiny_encoder(2))
    chosen = tiny(hidden_dim=None, encoder=path, refit=False).fit(WINDOWS, LABELS)
    assert not equal_weights(frozen.model_.file.network, chosen.model_.file.network)
    assert "Not leak-proof" not in caplog.text
    write_encoder(path, tiny_encoder(2), made_scaler(), N_BARS, {"time_range": ["2020-01-01", "2021-01-01"]})
    moved = tiny(hidden_dim=None, encoder=path, freeze_encoder=False, epochs=4).fit(WINDOWS, LABELS)
    assert not equal_weights(moved.model_.file.network.encoder, tiny_encoder(2))
    assert "Not leak-proof: the encoder was pretrained on times of 8 of 8 val and test windows" in caplog.text


def test_what_cannot_be_learned_from_is_refused(fitted, tmp_path):
    with pytest.raises(OperationFailed, match="pointers must have been learned"):
        tiny().fit(FEATURES, LABELS).predict_pointers(FEATURES)
    with pytest.raises(InvalidData, match="train must have at least two classes"):
        tiny().fit(FEATURES, np.zeros(40))
    with pytest.raises(InvalidData, match="windows must have the model's 30 bars, but these have 20"):
        fitted.predict(FEATURES[:, :20])
    (tmp_path / "encoder.pt").write_bytes(b"nothing")
    with pytest.raises(UntrustedFile):
        tiny(encoder=tmp_path / "encoder.pt").fit(FEATURES, LABELS)
