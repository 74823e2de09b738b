"""Losses: 1 at a blind guess, and nothing counts that must not."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from moola.core.expansions import soft_curve
from moola.models.network import class_loss, masked_loss, pointer_loss, soft_class_loss


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
