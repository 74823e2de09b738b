"""The simulated person is asked each window once, the unsure ones first, and stops at the target."""

from __future__ import annotations

import importlib.util
import sys
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
    target = labels_needed.Score(0, 0.1, 0.9)
    n, curve = labels_needed.labels_needed(pool, test, target, "mixed", 3, 8, n_first=12)
    reached = [labels_needed.reached_at(curve, name, target) for name in ("brier", "ap")]
    assert n == curve[-1].n_labels == max(reached)
    made_up = [labels_needed.Score(*one) for one in ((10, 0.2, 0.8), (20, 0.1, 0.85), (30, 0.12, 0.9))]
    assert [labels_needed.reached_at(made_up, name, target) for name in ("brier", "ap")] == [20, 30]
    assert labels_needed.reached_at(made_up[:2], "ap", target) is None
    never, whole = labels_needed.labels_needed(pool, test, labels_needed.Score(0, -1.0, 0.9), "random", 3, 24, 12)
    assert never is None
    assert [one.n_labels for one in whole] == [12, 36, 60]


@pytest.mark.parametrize(("asking", "n_random"), [("random", 10), ("mixed", 5), ("unsure", 0)])
def test_half_is_asked_where_the_heads_are_least_sure(windows, asking, n_random):
    pool, _ = windows
    known = np.arange(20)
    sure = np.linspace(0.5, 1.0, 60)

    def given(_other, asked):
        return np.stack([sure[asked], 1 - sure[asked]], axis=1)

    found = labels_needed.ask(given, pool, known, 10, asking, 5)
    assert len(set(found.tolist()) | set(known.tolist())) == 30
    rest = np.setdiff1d(np.arange(60), [*known, *found[:n_random]])
    assert found[n_random:].tolist() == rest[: 10 - n_random].tolist()


def test_scores_are_those_of_a_loop(windows):
    _, test = windows
    share = np.random.default_rng(0).random(40)
    slow = np.mean(
        [((p - (c == 0)) ** 2 + (1 - p - (c == 1)) ** 2) / 2 for p, c in zip(share, test.class_index, strict=True)]
    )
    read = labels_needed.score(lambda *_: np.stack([share, 1 - share], axis=1), test, 9)
    assert read.brier == pytest.approx(slow)
