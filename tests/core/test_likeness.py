"""Windows at another scale are the same; real bars, and windows that hardly move, are not taken for each other."""

from __future__ import annotations

import numpy as np
import pytest

from moola.core.features import relative_features
from moola.core.splits import content_hashes, groups_of_equal, same_but_for_scale
from moola.stages.sample import read_sample_bars
from tests.planted import planted_windows

OHLC = planted_windows(40, seed=3).ohlc


@pytest.mark.parametrize("decimals", [None, 5])
@pytest.mark.parametrize("factor", [2.0, 100.0, 1.1, 1 / 3])
def test_a_window_at_another_scale_is_the_same(factor, decimals):
    scaled = OHLC[[3]] * factor
    both = np.concatenate([OHLC, scaled if decimals is None else np.round(scaled, decimals)])
    expected = [*range(40), 3]
    assert same_but_for_scale(both).tolist() == expected
    assert same_but_for_scale(relative_features(both)).tolist() == expected


def test_real_bars_are_taken_for_no_others():
    ohlc = read_sample_bars().ohlc
    windows = np.lib.stride_tricks.sliding_window_view(ohlc, 105, axis=0)[::5].transpose(0, 2, 1)
    assert len(set(same_but_for_scale(windows).tolist())) == len(windows)


def test_windows_that_hardly_move_are_the_same_only_where_they_are_equal():
    rng = np.random.default_rng(1)
    quiet = 1.1 * np.exp(rng.uniform(-4e-6, 4e-6, (20, 105, 1))) * np.ones(4)
    quiet[7] = quiet[2]
    assert same_but_for_scale(quiet).tolist() == groups_of_equal(content_hashes(quiet)).tolist()
    assert same_but_for_scale(quiet)[7] == 2


def test_few_windows_and_one_bar():
    assert same_but_for_scale(OHLC[:1]).tolist() == [0]
    assert same_but_for_scale(OHLC[:2, :1]).tolist() == [0, 1]
