"""Encoders: weights from the seed alone, and returns in units of the window's own pace."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from moola.models.network import ENCODERS, EncoderArchitecture, WindowScale, build_encoder
from moola.training.device import can_train_in_bfloat16
from tests.networks_made import equal_weights, scaled_features, tiny_encoder


def times_returns(features: torch.Tensor, factor: float | torch.Tensor) -> torch.Tensor:
    changed = features.clone()
    changed[..., :4] *= factor
    return changed


def test_equal_seeds_give_equal_weights_and_other_seeds_others() -> None:
    assert equal_weights(tiny_encoder(3), tiny_encoder(3))
    assert not equal_weights(tiny_encoder(3), tiny_encoder(4))


def test_building_neither_uses_nor_moves_the_global_random_numbers_of_torch() -> None:
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    first = tiny_encoder(3)
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(2)
    assert equal_weights(first, tiny_encoder(3))


@pytest.mark.parametrize(("hidden_dim", "num_layers"), [(4, 1), (5, 2), (1, 3)])
def test_each_bar_gets_a_vector_of_both_directions(hidden_dim: int, num_layers: int) -> None:
    encoder = tiny_encoder(0, hidden_dim, num_layers)
    encoded = encoder(torch.from_numpy(scaled_features(0, 3, 7)))
    assert encoded.shape == (3, 7, 2 * hidden_dim)
    assert encoder.output_dim == 2 * hidden_dim
    assert encoder.lstm.num_layers == num_layers


def test_the_architecture_rebuilds_the_encoder() -> None:
    encoder = tiny_encoder(2, 5, 2)
    stored = encoder.architecture.as_dict()
    assert stored == {"name": "bilstm", "input_dim": 11, "hidden_dim": 5, "num_layers": 2}
    again = build_encoder(EncoderArchitecture(**stored), 2)
    assert equal_weights(encoder, again)
    assert list(ENCODERS) == ["bilstm"]


def test_an_unknown_encoder_is_no_encoder() -> None:
    with pytest.raises(KeyError):
        build_encoder(EncoderArchitecture("other", 11, 4, 1), 0)


def test_the_encoder_sees_bars_on_both_sides() -> None:
    encoder, features = tiny_encoder(), torch.from_numpy(scaled_features(0, 1, 9))
    changed = features.clone()
    changed[0, 4, 6] += 1.0
    moved = (encoder(features) != encoder(changed)).any(dim=2)[0]
    assert moved.tolist() == [True] * 9


def test_one_window_does_not_see_another() -> None:
    encoder, features = tiny_encoder(), torch.from_numpy(scaled_features(0, 4))
    together = encoder(features)
    for i in range(4):
        torch.testing.assert_close(encoder(features[i : i + 1])[0], together[i], atol=1e-6, rtol=0)


@given(st.floats(1e-3, 1e3), st.integers(0, 1000))
def test_the_scale_of_returns_changes_nothing(factor: float, seed: int) -> None:
    features = torch.from_numpy(scaled_features(seed, 2))
    scaled, again = WindowScale()(features), WindowScale()(times_returns(features, factor))
    torch.testing.assert_close(again, scaled, atol=1e-4, rtol=1e-4)


def test_a_power_of_two_changes_not_one_bit_of_what_the_encoder_says() -> None:
    encoder, features = tiny_encoder(), torch.from_numpy(scaled_features(0, 3))
    factors = torch.tensor([0.125, 2.0, 64.0])[:, None, None]
    assert torch.equal(encoder(times_returns(features, factors)), encoder(features))


def test_the_other_features_are_left_as_they_are_and_do_count() -> None:
    features = torch.from_numpy(scaled_features(0, 2))
    assert torch.equal(WindowScale()(features)[..., 4:11], features[..., 4:])
    doubled = features.clone()
    doubled[..., 4:] *= 2
    assert not torch.equal(tiny_encoder()(doubled), tiny_encoder()(features))


def test_window_scale_is_what_a_loop_over_windows_says() -> None:
    features = scaled_features(4, 3, 10)
    widened = WindowScale()(torch.from_numpy(features)).numpy()
    assert widened.shape == (3, 10, 11 + WindowScale.added_dim)
    for window, got in zip(features.astype(np.float64), widened, strict=True):
        squares = [value**2 for bar in window[:, :4] for value in bar]
        pace = math.sqrt(sum(squares) / len(squares))
        path, level = [], 0.0
        for bar in window:
            level += bar[3] / pace
            path.append(level)
        mean = sum(path) / len(path)
        np.testing.assert_allclose(got[:, :4], window[:, :4] / pace, rtol=1e-5)
        np.testing.assert_allclose(got[:, 11], [(step - mean) / math.sqrt(10 / 6) for step in path], atol=1e-5)


def test_a_window_that_stands_still_stays_finite() -> None:
    still = torch.zeros(1, 8, 11)
    assert torch.equal(WindowScale()(still), torch.zeros(1, 8, 12))
    assert torch.isfinite(tiny_encoder()(still)).all()


@pytest.mark.skipif(not can_train_in_bfloat16(), reason="this processor cannot train an LSTM in bfloat16")
def test_low_precision_is_for_learning_alone_and_its_gradients_are_near() -> None:
    plain, low = (tiny_encoder(3, 8) for _ in range(2))
    low.training_dtype = torch.bfloat16
    features = torch.randn(4, 30, 11, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(low(features), plain(features))
    told = [encoder(features) for encoder in (low, plain)]
    assert told[0].dtype == torch.float32
    assert not torch.equal(told[0], told[1])
    torch.testing.assert_close(told[0], told[1], atol=0.02, rtol=0)
    for one in told:
        one.square().mean().backward()
    for mine, theirs in zip(low.parameters(), plain.parameters(), strict=True):
        assert mine.grad.dtype == torch.float32
        assert (mine.grad - theirs.grad).norm() <= 0.05 * theirs.grad.norm()
