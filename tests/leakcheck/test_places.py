"""A model of positions alone is at chance where places are drawn at random, and is found where they tell the class."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from moola.leakcheck.feature_checks import place_finding
from tests.made import made_windows

N = 160


def placed(start: np.ndarray, length: np.ndarray):
    return replace(made_windows(N), expansion_start=start, expansion_end=start + length)


def drawn(seed: int):
    rng = np.random.default_rng(seed)
    length = rng.integers(4, 20, N)
    return 30 + (rng.random(N) * (45 - length)).astype(int), length


@pytest.mark.parametrize("seed", range(5))
def test_places_drawn_at_random_tell_nothing(seed):
    found = place_finding(placed(*drawn(seed)), 17)
    assert found.state == "ok"
    assert "positions alone" in found.found


def test_places_that_tell_the_class_are_a_leak():
    start, length = drawn(1)
    later = np.arange(N) % 2 == 1
    start[later] = np.minimum(start[later] + 12, 74 - length[later])
    found = place_finding(placed(start, length), 17)
    assert found.state == "leak"
    assert "moola windows --spans" in found.advice


def test_a_class_that_is_longer_is_no_place():
    start, length = drawn(2)
    length[np.arange(N) % 2 == 1] += 8
    rng = np.random.default_rng(9)
    start = 30 + (rng.random(N) * (45 - length)).astype(int)
    assert place_finding(placed(start, length), 17).state == "ok"


def test_too_few_windows_or_one_class_cannot_be_checked():
    table = placed(*drawn(3))
    assert place_finding(table.take(np.arange(10)), 17).state == "note"
    assert place_finding(replace(table, label=np.full(N, "one", dtype=object)), 17).state == "note"
