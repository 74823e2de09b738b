"""Cheap references: each learns what is plain to see, by the training windows alone."""

from __future__ import annotations

import numpy as np
import pytest

from moola.core.seeds import generator
from moola.models.references import LEARNERS, REFERENCES, nearest, prevalence, summary_features

N_TRAIN, N_BARS = 60, 21


def windows(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Windows of noise; those of class 1 are livelier in the first feature."""
    rng = generator(seed, "references")
    classes = np.arange(n) % 2
    features = rng.normal(size=(n, N_BARS, 3))
    features[classes == 1, :, 0] *= 3.0
    return features, classes


TRAIN, JUDGED = windows(N_TRAIN, 1), windows(40, 2)


@pytest.mark.parametrize("name", LEARNERS)
def test_probabilities_are_probabilities(name):
    prob = LEARNERS[name](*TRAIN, 3)(JUDGED[0])
    assert prob.shape == (40, 2)
    np.testing.assert_allclose(prob.sum(axis=1), 1.0)
    assert prob.min() >= 0
    np.testing.assert_array_equal(prob, REFERENCES[name](*TRAIN, JUDGED[0], 3))


@pytest.mark.parametrize("name", sorted(set(LEARNERS) - {"prevalence"}))
def test_what_is_plain_to_see_is_learned(name):
    prob = LEARNERS[name](*TRAIN, 3)(JUDGED[0])
    assert np.mean(prob.argmax(axis=1) == JUDGED[1]) > 0.9


def test_prevalence_says_the_shares_whatever_the_window():
    prob = prevalence(TRAIN[0][:4], np.array([0, 0, 0, 1]), 3)(JUDGED[0])
    assert np.unique(prob, axis=0).tolist() == [[0.75, 0.25]]


def test_nearest_says_the_shares_among_the_nearest():
    summaries = [summary_features(features) for features in (TRAIN[0], JUDGED[0])]
    mean, spread = summaries[0].mean(axis=0), summaries[0].std(axis=0)
    prob = nearest(*TRAIN, 3)(JUDGED[0])
    for row, one in enumerate(summaries[1]):
        distance = [np.sum(((one - other) / spread) ** 2) for other in summaries[0]]
        assert mean.shape == one.shape
        assert prob[row, 1] == pytest.approx(np.mean(TRAIN[1][np.argsort(distance)[:15]]))


def test_fewer_windows_than_neighbours_are_all_neighbours():
    prob = nearest(TRAIN[0][:4], TRAIN[1][:4], 3)(JUDGED[0])
    assert np.unique(prob, axis=0).tolist() == [[0.5, 0.5]]
