"""The simulated person is asked each window once, the unsure ones first, and stops at the target."""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.planted import planted_windows

PATH = Path(__file__).resolve().parents[1] / "benchmarks" / "labels_needed.py"
spec = importlib.util.spec_from_file_location("labels_needed", PATH)
labels_needed = importlib.util.module_from_spec(spec)
sys.modules["labels_needed"] = labels_needed
spec.loader.exec_module(labels_needed)
CLASSES = ["consolidation", "retracement"]


def made(n: int, seed: int):
    """Windows whose vectors tell the class by their first value, with noise."""
    table = planted_windows(n, seed)
    class_index = np.array([CLASSES.index(name) for name in table.label])
    vectors = np.random.default_rng(seed).normal(size=(n, 105, 4)).astype(np.float32)
    vectors[..., 0] += 0.5 * (2 * class_index - 1)[:, None]
    return labels_needed.Windows(table, vectors, vectors, class_index)


@pytest.fixture(scope="module")
def windows():
    return made(60, 1), made(40, 2)


def test_the_target_ends_the_asking(windows):
    pool, test = windows
    n, curve = labels_needed.labels_needed(pool, test, 0.1, "mixed", 3, 8, n_first=12)
    assert n == curve[-1][0]
    assert curve[-1][1] <= 0.1
    assert all(score > 0.1 for _, score in curve[:-1])
    never, whole = labels_needed.labels_needed(pool, test, -1.0, "random", 3, 24, n_first=12)
    assert never is None
    assert [labels for labels, _ in whole] == [12, 36, 60]


@pytest.mark.parametrize(("asking", "n_random"), [("random", 10), ("mixed", 5), ("unsure", 0)])
def test_half_is_asked_where_the_heads_are_least_sure(windows, monkeypatch, asking, n_random):
    pool, _ = windows
    known = np.arange(20)
    sure = np.linspace(0.5, 1.0, 60)

    def given(_pool, _rows, _other, asked):
        return np.stack([sure[asked], 1 - sure[asked]], axis=1)

    monkeypatch.setattr(labels_needed, "probabilities", given)
    found = labels_needed.ask(pool, known, 10, asking, 5)
    assert len(set(found.tolist()) | set(known.tolist())) == 30
    rest = np.setdiff1d(np.arange(60), [*known, *found[:n_random]])
    assert found[n_random:].tolist() == rest[: 10 - n_random].tolist()


def test_scores_are_those_of_a_loop(windows, monkeypatch):
    pool, test = windows
    share = np.random.default_rng(0).random(40)
    monkeypatch.setattr(labels_needed, "probabilities", lambda *_: np.stack([share, 1 - share], axis=1))
    slow = np.mean(
        [((p - (c == 0)) ** 2 + (1 - p - (c == 1)) ** 2) / 2 for p, c in zip(share, test.class_index, strict=True)]
    )
    assert labels_needed.brier(pool, np.arange(9), replace(test)) == pytest.approx(slow)
