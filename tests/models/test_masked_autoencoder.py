"""Masked autoencoder: nothing of a masked bar gets through."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from moola.models.losses import masked_loss
from moola.models.masked_autoencoder import MaskedAutoencoder, build_masked_autoencoder
from moola.training.masks import MASKS
from tests.networks_made import equal_weights, scaled_features, tiny_encoder


def tiny_autoencoder(seed: int = 0) -> MaskedAutoencoder:
    module = build_masked_autoencoder(tiny_encoder(seed), seed)
    with torch.no_grad():
        # As after training: the token is no longer all zeros.
        module.mask_token.copy_(torch.linspace(-1, 1, 11))
    return module


@settings(deadline=None, max_examples=30)
@given(st.sampled_from(sorted(MASKS)), st.integers(0, 1000), st.sampled_from([1e-3, 1.0, 1e4]))
def test_values_under_the_mask_do_not_change_one_bit_of_the_output(strategy: str, seed: int, size: float) -> None:
    rng = np.random.default_rng(seed)
    features = scaled_features(seed, 3, 14)
    mask = MASKS[strategy](rng, 3, 14, 0.3, 4)
    altered = features.copy()
    altered[mask] = size * rng.normal(size=(int(mask.sum()), 11))
    module, mask_ = tiny_autoencoder(), torch.from_numpy(mask)
    assert torch.equal(module(torch.from_numpy(features), mask_), module(torch.from_numpy(altered), mask_))


def test_values_beside_the_mask_do_change_what_is_said_under_it() -> None:
    features = torch.from_numpy(scaled_features(1, 1, 10))
    mask = torch.zeros(1, 10, dtype=torch.bool)
    mask[0, 3:5] = True
    altered = features.clone()
    altered[0, 8, 9] += 1.0
    module = tiny_autoencoder()
    assert (module(features, mask) != module(altered, mask))[mask].any()


def test_the_token_stands_where_bars_are_masked_and_is_learned() -> None:
    features = torch.from_numpy(scaled_features(1, 2, 10))
    mask = torch.zeros(2, 10, dtype=torch.bool)
    mask[:, 4:6] = True
    module = tiny_autoencoder()
    by_hand = features.clone()
    by_hand[mask] = module.mask_token.detach()
    assert torch.equal(module(features, mask), module.reconstruct(module.encoder(by_hand)))
    torch.autograd.backward(masked_loss(module(features, mask), features, mask))
    assert module.mask_token.grad is not None
    assert module.mask_token.grad.abs().sum() > 0


def test_without_a_mask_the_token_counts_for_nothing() -> None:
    features, nothing = torch.from_numpy(scaled_features(1, 2, 10)), torch.zeros(2, 10, dtype=torch.bool)
    module = tiny_autoencoder()
    before = module(features, nothing)
    with torch.no_grad():
        module.mask_token.fill_(99.0)
    assert torch.equal(module(features, nothing), before)


def test_the_seed_decides_the_new_layer_and_global_random_numbers_stay() -> None:
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    first = build_masked_autoencoder(tiny_encoder(2), 5)
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(2)
    assert equal_weights(first, build_masked_autoencoder(tiny_encoder(2), 5))
    assert not equal_weights(first.reconstruct, build_masked_autoencoder(tiny_encoder(2), 6).reconstruct)
    assert equal_weights(first.encoder, tiny_encoder(2))
