"""Likely label errors: the confident joint by hand and by a slow twin, and planted errors that come first."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from moola.evaluation.label_quality import by_suspicion, confident_class, suspected


def slow_confident_class(given_class: list[int], prob: list[list[float]]) -> list[int]:
    classes = range(len(prob[0]))
    thresholds = {}
    for name in classes:
        own = [row[name] for row, label in zip(prob, given_class, strict=True) if label == name]
        if own:
            thresholds[name] = float(np.array(own).mean())
    found = []
    for row in prob:
        above = [name for name in classes if name in thresholds and row[name] >= thresholds[name]]
        found.append(max(above, key=lambda name: (row[name], -name)) if above else -1)
    return found


@given(st.integers(1, 30), st.integers(2, 4), st.integers(0, 50))
def test_the_confident_class_is_that_of_loops(n, n_classes, seed):
    rng = np.random.default_rng(seed)
    prob = rng.dirichlet(np.ones(n_classes), n)
    label = rng.integers(0, n_classes, n)
    found = confident_class(label, prob)
    assert found.tolist() == slow_confident_class(label.tolist(), prob.tolist())
    order = by_suspicion(label, prob)
    assert sorted(order.tolist()) == list(range(n))
    off = suspected(label, prob)
    assert off[order].tolist() == sorted(off.tolist(), reverse=True)


def test_the_joint_by_hand():
    prob = np.array([[0.9, 0.1], [0.6, 0.4], [0.1, 0.9], [0.3, 0.7], [0.2, 0.8]])
    label = np.array([0, 0, 0, 1, 1])
    # Thresholds: mean of .9, .6, .1 = .533 and mean of .7, .8 = .75.
    assert confident_class(label, prob).tolist() == [0, 0, 1, -1, 1]
    assert suspected(label, prob).tolist() == [False, False, True, False, False]
    assert by_suspicion(label, prob).tolist() == [2, 1, 3, 4, 0]


def test_planted_errors_come_first():
    rng = np.random.default_rng(3)
    truth = rng.integers(0, 2, 200)
    right = rng.uniform(0.7, 0.95, 200)
    prob = np.stack([np.where(truth == 0, right, 1 - right), np.where(truth == 1, right, 1 - right)], axis=1)
    planted = rng.choice(200, 20, replace=False)
    label = truth.copy()
    label[planted] = 1 - label[planted]
    assert set(by_suspicion(label, prob)[:20].tolist()) == set(planted.tolist())


def test_one_class_and_no_window_have_no_suspects():
    prob = np.array([[0.2, 0.8], [0.9, 0.1]])
    assert not suspected(np.zeros(2, dtype=int), prob).any()
    assert by_suspicion(np.zeros(2, dtype=int), prob).tolist() == [0, 1]
    assert by_suspicion(np.zeros(0, dtype=int), np.zeros((0, 2))).tolist() == []
