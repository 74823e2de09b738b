"""A prediction depends on its window alone, for every kind of model: not on how many, nor in what order."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from moola.fit.predicting import predict_windows
from moola.models.references import LEARNERS
from moola.tables.prediction_table import Predictions
from moola.tables.window_file import WindowTable
from tests.fit.fits_made import N_BARS, fit_inputs_of, fitted
from tests.made import made_windows
from tests.networks_made import CPU

# More than one pass of the network, and a last pass that is not full.
JUDGED = made_windows(70, seed=11, stride=N_BARS, window_bars=N_BARS)
KINDS = {
    "frozen": {"freeze_encoder": True},
    "unfrozen": {"freeze_encoder": False, "frozen_epochs": 0},
    "from scratch": {"pretrained": False, "hidden_dim": 4},
    "one head": {"n_heads": 1},
    "three heads": {"n_heads": 3},
    "without pointers": {"predict_pointers": False},
    "live": {"visible_bars": 21},
    "live without pointers": {"visible_bars": 21, "predict_pointers": False},
    "not mirrored": {"mirror_average": False},
    "augmented": {"augment_data": True, "cpsa_ratio": 0.5},
}


def of_rows(predict: Callable[[np.ndarray], Predictions], rows: np.ndarray) -> list[np.ndarray]:
    """Return every number that is said of these rows."""
    said = predict(rows)
    assert said.row.tolist() == rows.tolist()
    numbers = [said.class_prob, said.predicted_bar, said.pointer_prob]
    return numbers if said.curves is None else [*numbers, said.curves]


def judge_alike(predict: Callable[[np.ndarray], list[np.ndarray]], n_windows: int) -> None:
    together = predict(np.arange(n_windows))
    some = np.unique(np.linspace(0, n_windows - 1, 12).astype(int))
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
    model = fitted(fit_inputs_of(pretrained=False), refit=False, hidden_dim=4).model
    twice = JUDGED.take(np.array([0, 1, 0, 2]))
    said = predict_windows(model, twice, np.arange(4), np.full(4, "new", dtype=object), CPU)
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
