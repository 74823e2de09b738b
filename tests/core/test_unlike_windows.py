"""Whether windows are like those that calibrated a model: false alarms as stated, power, and a slow twin."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from moola.core.likeness import (
    FALSE_ALARMS,
    LEAST_READ,
    TRAITS,
    Likeness,
    compare_with,
    farther,
    fit_likeness,
    traits_of,
)


def folds(n_windows: int) -> list[tuple[np.ndarray, np.ndarray]]:
    rows = np.arange(n_windows)
    return [(np.setdiff1d(rows, block), block) for block in np.array_split(rows, 5)]


def vectors(rng: np.random.Generator, n_windows: int, depends: float, changing: bool) -> np.ndarray:
    """Vectors of windows, each of which depends on the one before, in units that may drift slowly."""
    shocks = rng.normal(size=(n_windows, 20)) * np.r_[3, 2, 1.5, 1, 1, np.full(15, 0.3)]
    found, spread = np.zeros_like(shocks), 0.0
    for row in range(n_windows):
        found[row] = depends * found[row - 1] + np.sqrt(1 - depends**2) * shocks[row]
    for row in range(n_windows if changing else 0):
        spread = 0.8 * spread + 0.2 * rng.normal()
        found[row] *= np.exp(spread)
    return found


def features(n_windows: int, seed: int = 0) -> np.ndarray:
    return np.abs(np.random.default_rng(seed).normal(size=(n_windows, 6, 11)))


def known(rng: np.random.Generator, n_windows: int, depends: float = 0.0, changing: bool = False) -> Likeness:
    likeness = fit_likeness(vectors(rng, n_windows, depends, changing), features(n_windows), folds(n_windows))
    assert likeness is not None
    return likeness


@pytest.mark.parametrize(
    ("n_known", "n_read", "depends", "changing"),
    [(20, 40, 0.0, False), (20, 40, 0.5, True), (44, 60, 0.0, True), (174, 200, 0.5, False)],
)
def test_windows_of_the_same_kind_are_called_unlike_no_more_often_than_stated(n_known, n_read, depends, changing):
    rng, n_tries, n_false = np.random.default_rng(5), 60, 0
    for _ in range(n_tries):
        found = compare_with(
            known(rng, n_known, depends, changing), vectors(rng, n_read, depends, changing), features(n_read)
        )
        assert found is not None
        n_false += found.unlike
    # A rate of 5 % gives 7 or more of 60 in 3 of 100 runs; it is at most 4 %.
    assert n_false < 7
    assert FALSE_ALARMS == 0.05


@pytest.mark.parametrize("n_known", [20, 44, 174])
def test_windows_elsewhere_are_called_unlike_and_the_sentence_says_how_and_what_to_do(n_known: int) -> None:
    rng = np.random.default_rng(6)
    read = features(60)
    read[..., 4] += 5.0
    found = compare_with(known(rng, n_known), 3.0 * vectors(rng, 60, 0.0, False) + 4.0, read)
    assert found is not None
    assert found.unlike
    assert found.trait == TRAITS[0]
    for part in ("100 pairs", "(60 were compared)", "once in 20 times", TRAITS[0], "moola eval"):
        assert part in found.sentence()
    assert found.as_dict()["unlike"] is True


def test_a_difference_too_small_to_matter_is_not_told_however_certain() -> None:
    rng = np.random.default_rng(7)
    found = compare_with(known(rng, 2000), 1.05 * vectors(rng, 4000, 0.0, False), features(4000))
    assert found is not None
    assert 0.5 < found.theta < 0.6
    assert not found.unlike
    assert found.sentence() == ""


def test_theta_is_the_share_of_pairs_block_by_block() -> None:
    rng = np.random.default_rng(8)
    likeness, read = known(rng, 30), vectors(rng, 45, 0.0, False)
    shares = []
    for block in range(5):
        pairs = [
            float(far > near) + 0.5 * float(far == near)
            for far in likeness.distance(block, read)
            for near in likeness.distances[likeness.block == block]
        ]
        shares.append(np.mean(pairs))
    theta, p_value = farther(likeness, read)
    assert theta == pytest.approx(np.mean(shares))
    assert 0 < p_value < 1


def test_a_block_is_measured_by_the_others_alone() -> None:
    rng = np.random.default_rng(9)
    pooled = vectors(rng, 30, 0.0, False)
    before = fit_likeness(pooled, features(30), folds(30))
    moved = pooled.copy()
    moved[:6] += 50.0
    after = fit_likeness(moved, features(30), folds(30))
    assert before is not None
    assert after is not None
    assert (before.center[0] == after.center[0]).all()
    assert (after.distances[:6] > 10 * before.distances[:6]).all()
    assert not np.allclose(before.center[1], after.center[1])


def test_too_few_windows_on_either_side_tell_nothing() -> None:
    rng = np.random.default_rng(10)
    assert fit_likeness(vectors(rng, 19, 0.0, False), features(19), folds(19)) is None
    assert fit_likeness(vectors(rng, 40, 0.0, False), features(40), []) is None
    few = LEAST_READ - 1
    assert compare_with(known(rng, 20), vectors(rng, few, 0.0, False), features(few)) is None


def test_windows_that_are_all_equal_can_be_measured() -> None:
    likeness = fit_likeness(np.ones((20, 3)), features(20), folds(20))
    assert likeness is not None
    likeness.check(3)
    found = compare_with(likeness, np.ones((40, 3)), features(40))
    assert found is not None
    assert not found.unlike


def test_traits_are_those_of_the_bars_but_the_first() -> None:
    made = np.zeros((1, 3, 11))
    made[0, :, 4:7] = [[9.0, 9.0, 9.0], [0.5, 0.25, 0.25], [0.0, 0.0, 0.0]]
    made[0, :, 3] = [7.0, 0.2, -0.1]
    np.testing.assert_allclose(traits_of(made), [[0.25, 0.125, 0.125, 0.5, 1 / 3]])


@pytest.mark.parametrize(
    "broken",
    [
        {"rest": np.zeros(5)},
        {"center": np.full((5, 20), np.nan)},
        {"block": np.zeros(20, dtype=np.int64)},
        {"distances": np.full(20, np.inf)},
    ],
    ids=lambda broken: next(iter(broken)),
)
def test_a_summary_that_cannot_be_used_is_refused(broken: dict[str, np.ndarray]) -> None:
    likeness = known(np.random.default_rng(11), 20)
    likeness.check(20)
    with pytest.raises(ValueError, match=r"cannot be used|blocks|distances"):
        replace(likeness, **broken).check(20)
    with pytest.raises(ValueError, match="cannot be used"):
        likeness.check(21)
