"""Agreement of annotators, against scikit-learn's kappa."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score

from moola.evaluation.label_quality import by_suspicion, cohens_kappa, confident_class, pointer_agreement, suspected

PAIRS = st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("abc")), min_size=1, max_size=30)


@given(PAIRS)
def test_kappa_is_that_of_scikit_learn(pairs):
    first, second = [a for a, _ in pairs], [b for _, b in pairs]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = cohen_kappa_score(first, second)
    found = cohens_kappa(first, second)
    if found is None:
        assert np.isnan(expected)
        assert len(set(first + second)) == 1
    else:
        assert found == pytest.approx(expected, abs=1e-12)
        assert cohens_kappa(second, first) == found


def test_kappa_by_hand_and_where_there_is_none():
    # 2 of 4 alike; by chance (3/4)(3/4) + (1/4)(1/4) = 5/8: (1/2 - 5/8) / (3/8) = -1/3.
    assert cohens_kappa(list("aaab"), list("aaba")) == pytest.approx(-1 / 3)
    assert cohens_kappa(list("ab"), list("ab")) == 1.0
    assert cohens_kappa([], []) is None
    assert cohens_kappa(["a", "a"], ["a", "a"]) is None
    assert cohens_kappa(["a", "a"], ["b", "b"]) == 0.0
    with pytest.raises(ValueError, match="same windows"):
        cohens_kappa(["a"], [])


def test_pointers_are_compared_in_bars():
    found = pointer_agreement(np.array([10, 20, 30, 40]), np.array([10, 23, 26, 50]))
    assert (found.n, found.median_abs_bars, found.share_within) == (4, 3.5, 0.5)
    none = pointer_agreement(np.array([], dtype=np.int64), np.array([], dtype=np.int64))
    assert (none.n, none.median_abs_bars, none.share_within) == (0, None, None)


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
