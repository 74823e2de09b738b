"""Arm `masked`: the error on hidden bars alone, in units of the error of the mean."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from moola.training.pretext_tasks import MaskedArm, Sizes, Windows
from tests.networks_made import equal_weights, scaled_features, tiny_encoder
from tests.training.planted import sizes_of, targets_of, told, toy_windows, without_prices


def fitted(windows: Windows, encoded_dim: int = 8, seed: int = 0) -> MaskedArm:
    arm = MaskedArm(Sizes(11, windows.features.shape[1], encoded_dim), seed)
    arm.fit(windows)
    return arm


def some_mask(n_windows: int, n_bars: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).random((n_windows, n_bars)) < 0.3)


def test_the_loss_is_the_error_of_hidden_bars_over_that_of_the_mean():
    windows = without_prices(toy_windows(6, 12))
    arm, mask = fitted(windows), some_mask(6, 12)
    encoded = torch.randn(6, 12, 8, generator=torch.Generator().manual_seed(0))
    features, said = windows.features.astype(float), arm.reconstruct(encoded).detach().numpy()
    means = [np.mean(features[:, :, k]) for k in range(11)]
    of_the_mean = np.mean([[(f - means[k]) ** 2 for f in features[:, :, k].ravel()] for k in range(11)])
    errors = [
        np.mean([(said[w, bar, k] - features[w, bar, k]) ** 2 for k in range(11)])
        for w in range(6)
        for bar in range(12)
        if mask[w, bar]
    ]
    loss = arm.loss(told(windows, encoded, mask), targets_of(arm, windows))
    assert loss.item() == pytest.approx(np.mean(errors) / of_the_mean, rel=1e-4)


def test_saying_the_mean_costs_1_and_bars_that_are_seen_cost_nothing():
    windows = Windows(scaled_features(0, 40, 12) + 2, None, np.arange(40))
    arm = fitted(windows)
    with torch.no_grad():
        arm.reconstruct.bias.copy_(torch.from_numpy(windows.features.mean(axis=(0, 1))))
    nothing_said = torch.zeros(40, 12, 8)
    everything = torch.ones(40, 12, dtype=torch.bool)
    assert arm.loss(told(windows, nothing_said, everything), {}).item() == pytest.approx(1.0, abs=1e-4)
    assert arm.loss(told(windows, nothing_said, ~everything), {}).item() == 0


def test_it_needs_no_prices_and_draws_no_targets():
    assert not MaskedArm.needs_prices
    assert targets_of(fitted(without_prices(toy_windows(3, 12))), toy_windows(3, 12)) == {}


def test_features_that_never_change_do_not_divide_by_zero():
    windows = Windows(np.ones((3, 12, 11), dtype=np.float32), None, np.arange(3))
    arm = fitted(windows)
    assert torch.isfinite(arm.loss(told(windows, torch.zeros(3, 12, 8), some_mask(3, 12)), {}))


def test_the_seed_decides_the_head_global_random_numbers_stay_and_the_scale_is_kept():
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    sizes = sizes_of(tiny_encoder(), 12)
    first = MaskedArm(sizes, 5)
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(2)
    assert equal_weights(first, MaskedArm(sizes, 5))
    assert not equal_weights(first, MaskedArm(sizes, 6))
    first.fit(toy_windows(8, 12))
    again = MaskedArm(sizes, 6)
    again.load_state_dict(first.state_dict(), strict=True)
    assert equal_weights(first, again)
    assert again.spread != 1
