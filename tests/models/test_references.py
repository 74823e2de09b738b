"""Cheap references: each learns what is plain to see, by the training windows alone."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from moola.core.seeds import generator
from moola.errors import InvalidData, OperationFailed
from moola.fit.reference_fits import class_numbers
from moola.models.references import (
    AEON_PEERS,
    LEARNERS,
    PEERS,
    REFERENCES,
    close_paths,
    nearest,
    prevalence,
    require_aeon,
    summary_features,
)
from tests.planted import planted_windows

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


BARS, CHANNELS = 105, 11


def aeon_is_missing() -> bool:
    try:
        require_aeon("quant")
    except OperationFailed:
        return True
    return False


needs_aeon = pytest.mark.skipif(aeon_is_missing(), reason='the extra is not installed: pip install "moola[peers]"')


@pytest.mark.parametrize("name", list(AEON_PEERS))
def test_without_aeon_the_extra_is_named(name, monkeypatch):
    for module in [module for module in sys.modules if module.split(".")[0] == "aeon"]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "aeon", None)
    with pytest.raises(OperationFailed, match=r'pip install "moola\[peers\]"'):
        require_aeon(name)
    with pytest.raises(OperationFailed, match=name):
        PEERS[name](np.zeros((4, BARS, CHANNELS)), np.array([0, 1, 0, 1]), 17)


@needs_aeon
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", list(AEON_PEERS))
def test_a_peer_learns_and_says_probabilities(name):
    table = planted_windows(60, seed=2).with_features()
    truth = class_numbers(table, table.classes)
    predictor = PEERS[name](table.features[:40], truth[:40], 17)
    prob = predictor(table.features[40:])
    assert prob.shape == (20, 2)
    assert np.allclose(prob.sum(axis=1), 1)
    assert ((prob > 0) & (prob < 1)).mean() > 0.5
    assert np.mean(prob.argmax(axis=1) == truth[40:]) > 0.6
    again = PEERS[name](table.features[:40], truth[:40], 17)(table.features[40:])
    assert np.array_equal(prob, again)


@needs_aeon
@pytest.mark.filterwarnings("ignore")
def test_three_classes_and_a_class_of_one():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(30, BARS, CHANNELS))
    prob = PEERS["minirocket"](features, np.arange(30) % 3, 17)(features[:5])
    assert prob.shape == (5, 3)
    assert np.allclose(prob.sum(axis=1), 1)
    lonely = np.array([0] * 29 + [1])
    with pytest.raises(InvalidData, match="two windows of every class"):
        PEERS["minirocket"](features, lonely, 17)


@pytest.mark.parametrize("name", ["nearest_dtw", "nearest_path"])
def test_matching_takes_the_class_of_the_nearest_paths(name):
    rng = np.random.default_rng(3)
    shapes = np.stack([np.sin(np.linspace(0, 6, BARS)), np.cos(np.linspace(0, 9, BARS))])
    truth = np.arange(60) % 2
    path = shapes[truth] * rng.uniform(0.5, 3, (60, 1)) + 0.05 * rng.normal(size=(60, BARS))
    features = np.zeros((60, BARS, CHANNELS))
    features[:, :, 3] = np.diff(path, axis=1, prepend=path[:, :1])
    prob = PEERS[name](features[:40], truth[:40], 17)(features[40:])
    assert np.allclose(prob.sum(axis=1), 1)
    assert (prob[np.arange(20), truth[40:]] > 0.9).all()
    # A constant price has a path of zeros, and is refused by nobody.
    assert not close_paths(np.zeros((1, BARS, CHANNELS))).any()
