"""Encoders: weights from the seed alone, and returns in units of the window's own pace."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from moola.core.expansions import soft_curve
from moola.models.network import (
    ENCODERS,
    EncoderArchitecture,
    MaskingEncoder,
    WindowScale,
    build_encoder,
    class_loss,
    masked_loss,
    pointer_loss,
    soft_class_loss,
)
from moola.training.device import can_train_in_bfloat16
from moola.training.pretext_tasks import MASKS
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


def curves_of(starts: list[int], ends: list[int], n_bars: int = 20, sigma: float = 1.5) -> torch.Tensor:
    both = [soft_curve(np.array(bars), n_bars, sigma) for bars in (starts, ends)]
    return torch.from_numpy(np.stack(both, axis=-1).astype(np.float32))


@pytest.mark.parametrize("n_classes", [2, 3, 7])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_the_class_loss_of_a_uniform_guess_is_one(n_classes: int, smoothing: float) -> None:
    logits = torch.full((5, n_classes), 0.7)
    loss = class_loss(logits, torch.tensor([0, 1, 1, 0, 1]), smoothing)
    assert loss.item() == pytest.approx(1.0, abs=1e-6)


def test_the_class_loss_is_the_mean_of_what_each_window_loses() -> None:
    prob = torch.tensor([[0.9, 0.1], [0.4, 0.6], [0.5, 0.5]])
    loss = class_loss(prob.log(), torch.tensor([0, 0, 1]))
    by_hand = -(math.log(0.9) + math.log(0.4) + math.log(0.5)) / 3 / math.log(2)
    assert loss.item() == pytest.approx(by_hand, rel=1e-6)


def test_smoothing_punishes_certainty() -> None:
    certain, right = torch.tensor([[20.0, -20.0]]), torch.tensor([0])
    assert class_loss(certain, right).item() == pytest.approx(0.0, abs=1e-6)
    assert class_loss(certain, right, 0.1).item() > 2


def test_the_class_loss_of_a_single_class_is_nought_and_no_division_by_it() -> None:
    assert class_loss(torch.zeros(3, 1), torch.zeros(3, dtype=torch.int64)).item() == 0.0


@given(st.integers(0, 1000), st.integers(2, 5), st.sampled_from([0.0, 0.1]))
def test_the_soft_class_loss_of_certain_targets_is_the_class_loss(seed: int, n_classes: int, smoothing: float) -> None:
    torch.manual_seed(seed)
    logits, class_index = 3 * torch.randn(6, n_classes), torch.randint(n_classes, (6,))
    hard = torch.eye(n_classes)[class_index] * (1 - smoothing) + smoothing / n_classes
    expected = class_loss(logits, class_index, smoothing).item()
    assert soft_class_loss(logits, hard, torch.ones(6)).item() == pytest.approx(expected, rel=1e-5, abs=1e-6)


@given(st.integers(0, 1000), st.integers(1, 5))
def test_the_soft_class_loss_is_what_a_loop_says(seed: int, n_classes: int) -> None:
    torch.manual_seed(seed)
    logits, weight = torch.randn(5, n_classes), torch.rand(5)
    prob = torch.softmax(2 * torch.randn(5, n_classes), dim=1)
    total = 0.0
    for window in range(5):
        odds = [math.exp(logit) for logit in logits[window].tolist()]
        lost = -sum(prob[window, i].item() * math.log(odds[i] / sum(odds)) for i in range(n_classes))
        total += weight[window].item() * lost / 5 / math.log(max(n_classes, 2))
    assert soft_class_loss(logits, prob, weight).item() == pytest.approx(total, rel=1e-4, abs=1e-6)


def test_the_soft_class_loss_of_a_uniform_guess_is_one_and_least_at_the_target() -> None:
    torch.manual_seed(0)
    prob = torch.softmax(torch.randn(8, 3), dim=1)
    weight = torch.ones(8)
    assert soft_class_loss(torch.zeros(8, 3), prob, weight).item() == pytest.approx(1.0, abs=1e-6)
    least = soft_class_loss(prob.log(), prob, weight).item()
    for _ in range(20):
        assert soft_class_loss(prob.log() + 0.3 * torch.randn(8, 3), prob, weight).item() > least


@pytest.mark.parametrize("n_bars", [5, 20, 105])
@pytest.mark.parametrize("sigma", [0.0, 1.5])
def test_the_pointer_loss_of_a_flat_guess_is_one(n_bars: int, sigma: float) -> None:
    curves = curves_of([1, 2, 4], [3, 2, 4], n_bars, sigma)
    assert pointer_loss(torch.zeros(3, n_bars, 2), curves).item() == pytest.approx(1.0, abs=1e-5)


@given(st.integers(0, 1000), st.integers(1, 4))
def test_windows_without_pointers_count_for_nothing(seed: int, n_without: int) -> None:
    torch.manual_seed(seed)
    curves, logits = curves_of([3, 8, 2], [9, 8, 19]), torch.randn(3, 20, 2)
    alone = pointer_loss(logits, curves)
    more_curves = torch.cat([curves, curves_of([-1] * n_without, [-1] * n_without)])
    more_logits = torch.cat([logits, 5 * torch.randn(n_without, 20, 2)]).requires_grad_()
    together = pointer_loss(more_logits, more_curves)
    assert together.item() == pytest.approx(alone.item(), rel=1e-5)
    torch.autograd.backward(together)
    assert more_logits.grad is not None
    assert (more_logits.grad[3:] == 0).all()


def test_the_pointer_loss_without_any_pointer_is_nought() -> None:
    loss = pointer_loss(torch.randn(4, 20, 2), curves_of([-1] * 4, [-1] * 4))
    assert loss.item() == 0.0


def test_the_pointer_loss_is_what_a_loop_says() -> None:
    torch.manual_seed(0)
    logits, curves = torch.randn(3, 20, 2), curves_of([3, -1, 2], [9, -1, 19])
    total = 0.0
    for window in (0, 2):
        for pointer in (0, 1):
            prob = torch.softmax(logits[window, :, pointer], dim=0)
            total -= sum(float(curves[window, bar, pointer] * prob[bar].log()) for bar in range(20)) / 2
    assert pointer_loss(logits, curves).item() == pytest.approx(total / 2 / math.log(20), rel=1e-5)


def test_start_and_end_heads_are_not_mixed_up() -> None:
    curves = curves_of([3], [15], sigma=0.0)
    right, crossed = torch.zeros(1, 20, 2), torch.zeros(1, 20, 2)
    right[0, 3, 0] = right[0, 15, 1] = 10.0
    crossed[0, 15, 0] = crossed[0, 3, 1] = 10.0
    assert pointer_loss(right, curves).item() < 0.01
    assert pointer_loss(crossed, curves).item() > 3


def test_the_masked_loss_counts_masked_bars_alone() -> None:
    torch.manual_seed(0)
    features, said = torch.randn(2, 6, 11), torch.randn(2, 6, 11)
    mask = torch.zeros(2, 6, dtype=torch.bool)
    mask[0, 1] = mask[0, 2] = mask[1, 5] = True
    by_hand = sum(float(((said[w, b] - features[w, b]) ** 2).mean()) for w, b in ((0, 1), (0, 2), (1, 5))) / 3
    loss = masked_loss(said, features, mask)
    assert loss.item() == pytest.approx(by_hand, rel=1e-5)
    elsewhere = said + 100 * (~mask)[..., None]
    assert masked_loss(elsewhere, features, mask).item() == loss.item()


def test_the_masked_loss_of_saying_nothing_about_standard_features_is_one() -> None:
    torch.manual_seed(0)
    features, mask = torch.randn(200, 20, 11), torch.rand(200, 20) < 0.3
    assert masked_loss(torch.zeros_like(features), features, mask).item() == pytest.approx(1.0, abs=0.05)


def test_the_masked_loss_without_masked_bars_is_nought() -> None:
    assert masked_loss(torch.ones(1, 3, 11), torch.zeros(1, 3, 11), torch.zeros(1, 3, dtype=torch.bool)).item() == 0.0


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
