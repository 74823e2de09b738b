"""Peers: probabilities from every one of them, where the extra is installed; a clear word where it is not."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from moola.errors import InvalidData, OperationFailed
from moola.fit.reference_fits import class_numbers
from moola.models.references import AEON_PEERS, PEERS, close_paths, require_aeon
from tests.planted import planted_windows

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
