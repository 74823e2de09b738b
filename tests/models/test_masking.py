"""The mask token before the encoder: nothing of a masked bar gets through."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from moola.models.network import MaskingEncoder
from moola.training.pretext_tasks import MASKS
from tests.networks_made import scaled_features, tiny_encoder


def tiny_masking(seed: int = 0) -> MaskingEncoder:
    module = MaskingEncoder(tiny_encoder(seed))
    with torch.no_grad():
        # As after training: the token is no longer all zeros.
        module.mask_token.copy_(torch.linspace(-1, 1, 11))
    return module


@given(st.sampled_from(sorted(MASKS)), st.integers(0, 1000), st.sampled_from([1e-3, 1.0, 1e4]))
def test_values_under_the_mask_do_not_change_one_bit_of_any_vector(strategy: str, seed: int, size: float) -> None:
    rng = np.random.default_rng(seed)
    features = scaled_features(seed, 3, 14)
    mask = MASKS[strategy](rng, 3, 14, 0.3, 4)
    altered = features.copy()
    altered[mask] = size * rng.normal(size=(int(mask.sum()), 11))
    module, mask_ = tiny_masking(), torch.from_numpy(mask)
    assert torch.equal(module(torch.from_numpy(features), mask_), module(torch.from_numpy(altered), mask_))


def test_values_beside_the_mask_do_change_what_is_said_under_it() -> None:
    features = torch.from_numpy(scaled_features(1, 1, 10))
    mask = torch.zeros(1, 10, dtype=torch.bool)
    mask[0, 3:5] = True
    altered = features.clone()
    altered[0, 8, 9] += 1.0
    module = tiny_masking()
    assert (module(features, mask) != module(altered, mask))[mask].any()


def test_the_token_stands_where_bars_are_masked_and_is_learned() -> None:
    features = torch.from_numpy(scaled_features(1, 2, 10))
    mask = torch.zeros(2, 10, dtype=torch.bool)
    mask[:, 4:6] = True
    module = tiny_masking()
    by_hand = features.clone()
    by_hand[mask] = module.mask_token.detach()
    assert torch.equal(module(features, mask), module.encoder(by_hand))
    torch.autograd.backward(module(features, mask).square().sum())
    assert module.mask_token.grad is not None
    assert (module.mask_token.grad != 0).any()


def test_without_a_mask_the_token_counts_for_nothing() -> None:
    features, nothing = torch.from_numpy(scaled_features(1, 2, 10)), torch.zeros(2, 10, dtype=torch.bool)
    module = tiny_masking()
    before = module(features, nothing)
    with torch.no_grad():
        module.mask_token.fill_(99.0)
    assert torch.equal(module(features, nothing), before)
    assert torch.equal(before, module.encoder(features))


def test_an_untrained_token_is_the_middle_of_scaled_features() -> None:
    assert torch.equal(MaskingEncoder(tiny_encoder()).mask_token, torch.zeros(11))
