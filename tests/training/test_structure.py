"""Arm `structure`: targets that plain loops measure, also at the window's edges, and a loss that can be learned."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given

from moola.core.move_finders import LogPrices, log_prices
from moola.errors import InvalidData
from moola.training.pretext_tasks import Windows
from moola.training.structure_tasks import N_TARGETS, StructureArm, structure_targets
from tests.core.prices_made import adversarial, ticking_prices, walk_prices
from tests.networks_made import equal_weights, tiny_encoder
from tests.slow_definitions import each_window, slow_structure
from tests.training.planted import blind, learned, sizes_of, targets_of, toy_windows, turned, without_prices

# What turns over with the prices: displacements, places in channels and passages; ranges do not.
TURNS = np.array([-1, -1, 1, 1] * 4 + [-1] * 4 + [-1] * 6)


def fitted(windows: Windows, seed: int = 0) -> StructureArm:
    arm = StructureArm(sizes_of(tiny_encoder(hidden_dim=12), windows.features.shape[1]), seed)
    arm.fit(windows)
    return arm


def assert_as_slow(prices: LogPrices) -> None:
    found = structure_targets(prices)
    assert (found.shape, found.dtype) == ((*prices.close.shape, N_TARGETS), np.float32)
    expected = np.stack([slow_structure(window) for window in each_window(prices)])
    # Windows without any range have a pace of a millionth, so that a rounding error counts.
    assert np.allclose(found, expected, rtol=1e-4, atol=2e-3)


@pytest.mark.parametrize(("n_bars", "n_windows"), [(2, 4), (5, 4), (12, 6), (30, 4), (105, 2)])
def test_targets_are_what_loops_measure(n_bars, n_windows):
    assert_as_slow(walk_prices(n_bars, n_windows))


@pytest.mark.parametrize("name", sorted(adversarial(30)))
def test_targets_of_adversarial_windows_are_what_loops_measure(name):
    assert_as_slow(adversarial(30)[name])


@given(ticking_prices())
def test_targets_of_windows_full_of_ties_are_what_loops_measure(prices):
    assert_as_slow(prices)


def test_edges_see_no_farther_than_the_window():
    found = structure_targets(walk_prices(40, 5))
    # Nothing follows the last bar and nothing precedes the first: no change, no passage.
    assert (found[:, -1, [0, 4, 8, 12]] == 0).all()
    assert (found[:, 0, [1, 5, 9, 13]] == 0).all()
    assert (found[:, -1, 20:23] == 0).all()
    assert (found[:, 0, 23:26] == 0).all()
    # At one bar from the edge every horizon sees that one bar.
    changes = found[:, -2, [0, 4, 8, 12]] * np.sqrt([2, 4, 8, 16])
    assert np.allclose(changes, changes[:, :1], atol=1e-4)


@given(ticking_prices())
def test_upside_down_the_same_targets_turn(prices):
    mirrored = replace(prices, high=-prices.low, low=-prices.high, close=-prices.close)
    assert np.allclose(structure_targets(mirrored), structure_targets(prices) * TURNS, atol=1e-5)


def test_mirrored_windows_have_mirrored_targets():
    windows = toy_windows(6, 40)
    arm = fitted(windows)
    found, other = (targets_of(arm, shown)["structure"].numpy() for shown in (windows, turned(windows)))
    assert np.allclose(other, found * TURNS, atol=1e-3)


def test_levels_do_not_count():
    windows = toy_windows(6, 40)
    assert windows.ohlc is not None
    once, again = (structure_targets(log_prices(windows.ohlc * factor)) for factor in (1.0, 2.0**-9))
    assert np.array_equal(once, again)


@pytest.mark.parametrize("n_bars", [12, 105])
def test_whoever_says_the_means_gets_1(n_bars):
    windows = toy_windows(20, n_bars)
    arm = fitted(windows)
    with torch.no_grad():
        arm.predict.bias.zero_()
    assert arm.loss(blind(windows, 24), targets_of(arm, windows)).item() == pytest.approx(1.0, abs=1e-4)
    later = toy_windows(200, n_bars, seed=1)
    assert arm.loss(blind(later, 24), targets_of(arm, later)).item() == pytest.approx(1.0, abs=0.25)


def test_it_is_learned():
    train, val = toy_windows(40, 24), toy_windows(40, 24, seed=1)
    before, after = learned(fitted(train), train, val, 30)
    assert before > 0.95
    assert after < 0.8


def test_targets_that_never_change_do_not_divide_by_zero():
    ohlc = np.full((4, 12, 4), 1.2)
    windows = Windows(np.zeros((4, 12, 11), dtype=np.float32), ohlc, np.arange(4))
    arm = fitted(windows)
    assert torch.isfinite(arm.loss(blind(windows, 24), targets_of(arm, windows)))


def test_without_prices_it_says_so():
    windows = without_prices(toy_windows(4, 12))
    with pytest.raises(InvalidData, match=r"must have the bars of the windows, .* or give --arms masked\."):
        fitted(windows)


def test_the_seed_decides_the_head_and_the_scale_is_kept():
    windows = toy_windows(8, 12)
    first, again = fitted(windows, 5), StructureArm(fitted(windows).sizes, 6)
    assert equal_weights(first, fitted(windows, 5))
    assert not equal_weights(first, fitted(windows, 6))
    again.load_state_dict(first.state_dict(), strict=True)
    assert equal_weights(first, again)
    view, targets = blind(windows, 24), targets_of(first, windows)
    assert torch.equal(first.loss(view, targets), again.loss(view, targets))
