"""What is said of single windows, and that it holds as often as asked on exchangeable windows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from moola.pipeline.crossval.uncertainty import uncertainty
from tests.predictions_made import two_class

RNG = np.random.default_rng(1)
N = 600


def made(with_pointers: bool):
    probability = RNG.uniform(0.05, 0.95, N)
    table = two_class((RNG.random(N) < probability).astype(int), probability)
    if not with_pointers:
        return table
    true = RNG.integers(30, 60, (N, 2))
    return replace(table, true_bar=true, predicted_bar=true + RNG.integers(-4, 5, (N, 2)), pointer_prob=np.ones((N, 2)))


def test_sets_and_pointer_ranges_cover_what_was_asked():
    found = uncertainty(made(True), np.arange(N) % 5, 0.1)
    assert abs(found["class_coverage"] - 0.9) < 0.04
    assert 1 <= found["mean_set_size"] <= 2
    assert sum(found["answers"].values()) == N
    assert set(found["answers"]) <= {"cannot tell", *made(False).class_names}
    for which in ("start", "end"):
        assert found["pointers"][which]["within_bars"] == 4
        assert found["pointers"][which]["coverage"] >= 0.9
    assert 0 < found["venn_abers_width"] < 0.3


def test_without_pointers_there_are_no_ranges():
    assert uncertainty(made(False), np.arange(N) % 5, 0.1)["pointers"] == {"start": None, "end": None}


def test_too_few_windows_promise_nothing():
    table = made(True).take(np.arange(10))
    found = uncertainty(table, np.arange(10) % 5, 0.05)
    assert found["pointers"]["start"]["within_bars"] is None
    assert found["answers"] == {"cannot tell": 10}
