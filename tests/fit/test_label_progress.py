"""How far labels carry: forward in time, never by proposals, with a sentence that fits the figures."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from moola.core.features import RobustScaler
from moola.fit.label_learning import PersonMarks, propose
from moola.fit.label_progress import Step, _sentence, learning_progress
from moola.models.model_files import BASE_NAME, EncoderFile, read_encoder
from tests.label.page_states import planted_bars
from tests.networks_made import CPU, ship_prior, tiny_encoder

# One that has learned nothing, which reads in a moment.
ENCODER = EncoderFile(tiny_encoder(2, 16), RobustScaler(np.zeros(11), np.full(11, 0.01)), 105, {}, 8)


@pytest.fixture(scope="module")
def marks() -> PersonMarks:
    bars, moves = planted_bars(40, seed=8)
    none = np.zeros((0, 2), dtype=np.int64)
    span = np.array([move[:2] for move in moves], dtype=np.int64)
    return PersonMarks(bars, span, [move[2] for move in moves], np.zeros(40, dtype=bool), none, none)


def test_later_parts_are_evaluated_by_earlier_labels(marks):
    found = learning_progress(marks, ENCODER, 17, CPU)
    # A window that shares a bar with a later part is left out.
    short = [8 * part - step["n_labels"] for part, step in enumerate(found["curve"], start=1)]
    assert len(short) == 4
    assert set(short) <= {0, 1}
    assert found["counts"] == {name: marks.label.count(name) for name in ("consolidation", "retracement")}
    assert all(0 <= step["brier"] <= 1 and step["brier_interval"][0] <= step["brier"] for step in found["curve"])
    assert found["message"].startswith(("Better", "Not yet better")), found
    # Proposals do not evaluate.
    by_model = np.arange(40) >= 15
    found = learning_progress(replace(marks, by_model=by_model), ENCODER, 17, CPU)
    assert "there are 15" in found["message"]
    assert found["curve"] == []


def test_heads_beside_the_page_are_fitted_with_the_prior_of_their_encoder(marks, monkeypatch):
    before = learning_progress(marks, ENCODER, 17, CPU)["curve"]
    ship_prior(ENCODER.encoder, monkeypatch)
    assert learning_progress(marks, ENCODER, 17, CPU)["curve"] != before


@pytest.mark.slow
def test_planted_wrong_classes_are_asked_first(marks):
    wrong = [3, 11, 22, 34]
    spans = {tuple(one) for one in marks.span[wrong].tolist()}
    other = {"consolidation": "retracement", "retracement": "consolidation"}
    label = [other[name] if row in wrong else name for row, name in enumerate(marks.label)]
    found = propose(replace(marks, label=label), read_encoder(BASE_NAME), 2000, 17, CPU)
    assert len({one[:2] for one in found.suspicion[:15]} & spans) >= 3, found.suspicion[:15]


def step(n_labels: int, brier: float, gain: float) -> Step:
    ones = np.ones(50)
    return Step(n_labels, 0.8, brier, 0.8 * ones, brier * ones, gain * ones)


@pytest.mark.parametrize(
    ("steps", "said"),
    [
        ([step(20, 0.25, -0.01)], "Not yet better than guessing"),
        ([step(20, 0.2, 0.05), step(40, 0.1, 0.15), step(80, 0.05, 0.2)], "Between 80 and 80 more labels"),
        ([step(20, 0.2, 0.05), step(40, 0.2, 0.05), step(80, 0.2, 0.05)], "Better than guessing: Brier 0.20"),
        ([], "mark each class early"),
    ],
)
def test_one_sentence_fits_the_figures(steps, said):
    assert said in _sentence(steps)
