"""Masks: something is hidden in every window and something is not, by each strategy's own rule."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from moola.errors import MoolaError
from moola.training.pretext_tasks import MASKS, block_mask, edge_mask, patch_mask, random_mask

RATIOS = st.floats(0.01, 0.99)
BARS = st.integers(2, 120)
SEEDS = st.integers(0, 10_000)


def runs_of(hidden: np.ndarray) -> list[tuple[int, int]]:
    """First and last bar of each run of hidden bars."""
    runs, first = [], None
    for bar, is_hidden in enumerate([*hidden.tolist(), False]):
        if is_hidden and first is None:
            first = bar
        if not is_hidden and first is not None:
            runs.append((first, bar - 1))
            first = None
    return runs


def test_the_strategies_by_name() -> None:
    assert {"random": random_mask, "block": block_mask, "patch": patch_mask, "edge": edge_mask} == MASKS


@given(st.sampled_from(list(MASKS)), SEEDS, BARS, RATIOS, st.integers(1, 130))
@example("patch", 0, 105, 0.15, 105)
def test_every_window_has_a_hidden_bar_and_one_that_is_not(
    strategy: str, seed: int, n_bars: int, ratio: float, patch_bars: int
) -> None:
    try:
        mask = MASKS[strategy](np.random.default_rng(seed), 6, n_bars, ratio, patch_bars)
    except MoolaError:
        # A patch as long as the window may also be refused, but never hide nothing.
        assert strategy == "patch"
        assert patch_bars >= n_bars
        return
    assert mask.shape == (6, n_bars)
    assert mask.dtype == bool
    assert mask.any(axis=1).all()
    assert not mask.all(axis=1).any()


@given(st.sampled_from(["random", "block", "edge"]), SEEDS, BARS, RATIOS)
def test_bars_are_hidden_in_the_share_asked_for(strategy: str, seed: int, n_bars: int, ratio: float) -> None:
    hidden = MASKS[strategy](np.random.default_rng(seed), 5, n_bars, ratio, 7).sum(axis=1)
    assert len(set(hidden.tolist())) == 1
    wanted = min(max(n_bars * ratio, 1), n_bars - 1)
    assert abs(hidden[0] - wanted) <= 0.5


@given(SEEDS, BARS, RATIOS)
def test_a_block_is_one_run(seed: int, n_bars: int, ratio: float) -> None:
    for window in block_mask(np.random.default_rng(seed), 5, n_bars, ratio, 7):
        assert len(runs_of(window)) == 1


@given(SEEDS, st.integers(4, 120), RATIOS, st.integers(1, 60))
def test_patches_are_hidden_whole_in_the_share_asked_for(seed: int, n_bars: int, ratio: float, patch_bars: int) -> None:
    patch_bars = min(patch_bars, n_bars // 2)
    patches = [range(first, min(first + patch_bars, n_bars)) for first in range(0, n_bars, patch_bars)]
    n_wanted = min(max(len(patches) * ratio, 1), len(patches) - 1)
    for window in patch_mask(np.random.default_rng(seed), 5, n_bars, ratio, patch_bars):
        hidden = [patch for patch in patches if window[patch.start]]
        assert abs(len(hidden) - n_wanted) <= 0.5
        assert sorted(bar for patch in hidden for bar in patch) == np.flatnonzero(window).tolist()


def test_the_last_patch_may_be_shorter() -> None:
    mask = patch_mask(np.random.default_rng(0), 200, 10, 0.3, 4)
    hidden = {tuple(np.flatnonzero(window).tolist()) for window in mask}
    assert hidden == {(0, 1, 2, 3), (4, 5, 6, 7), (8, 9)}


@pytest.mark.parametrize(("strategy", "patch_bars"), [("random", 7), ("patch", 3)])
def test_every_bar_is_hidden_equally_often(strategy: str, patch_bars: int) -> None:
    mask = MASKS[strategy](np.random.default_rng(1), 4000, 30, 0.2, patch_bars)
    share = mask.mean(axis=0)
    assert share.min() > 0.17
    assert share.max() < 0.23


def test_a_block_starts_everywhere_equally_often() -> None:
    mask = block_mask(np.random.default_rng(1), 4000, 20, 0.25, 7)
    counts = np.bincount(mask.argmax(axis=1), minlength=16)
    assert len(counts) == 16
    assert counts.min() > 190
    assert counts.max() < 310


def test_an_edge_is_the_first_or_the_last_bars_equally_often() -> None:
    mask = edge_mask(np.random.default_rng(1), 4000, 20, 0.25, 7)
    hidden = {tuple(np.flatnonzero(window).tolist()) for window in mask}
    assert hidden == {(0, 1, 2, 3, 4), (15, 16, 17, 18, 19)}
    assert 0.47 < mask[:, 0].mean() < 0.53


@pytest.mark.parametrize("strategy", [name for name in MASKS if name != "edge"])
def test_the_seed_decides_and_windows_differ(strategy: str) -> None:
    def draw(seed: int) -> np.ndarray:
        return MASKS[strategy](np.random.default_rng(seed), 20, 60, 0.15, 7)

    np.testing.assert_array_equal(draw(1), draw(1))
    assert (draw(1) != draw(2)).any()
    assert len({window.tobytes() for window in draw(1)}) > 3


def test_random_bars_do_not_hang_together() -> None:
    mask = random_mask(np.random.default_rng(0), 500, 40, 0.5, 7)
    together = (mask[:, 1:] & mask[:, :-1]).mean()
    assert together == pytest.approx(0.5 * 19 / 39, abs=0.02)
