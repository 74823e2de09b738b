"""Arm `moves`: which definitions take their turn, what they label, and a loss that can be learned."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from moola.core.move_finders import STATES, log_prices
from moola.core.random_definitions import draw_definitions
from moola.errors import InvalidData, WrongUsage
from moola.training.pretext_tasks import Sizes, Windows
from moola.training.structure_tasks import N_AT_A_TIME, N_DEFINITIONS, MovesArm
from tests.networks_made import equal_weights, tiny_encoder
from tests.slow_definitions import SLOW_FINDERS, each_window, slow_states
from tests.training.planted import (
    blind,
    learned,
    sizes_of,
    targets_drawn,
    targets_of,
    told,
    toy_windows,
    turned,
    without_prices,
)


def fitted(windows: Windows, seed: int = 0) -> MovesArm:
    arm = MovesArm(sizes_of(tiny_encoder(hidden_dim=12), windows.features.shape[1]), seed)
    arm.fit(windows)
    return arm


@pytest.mark.parametrize("n_bars", [12, 40, 105])
def test_targets_are_what_loops_find_and_measure(n_bars):
    windows = toy_windows(4, n_bars)
    assert windows.ohlc is not None
    arm = fitted(windows)
    found = targets_drawn(arm, windows, np.random.default_rng(1))
    assert found["pointers"].shape == (4, N_AT_A_TIME, 2)
    assert found["states"].shape == (4, N_AT_A_TIME, len(STATES))
    for row, window in enumerate(each_window(log_prices(windows.ohlc))):
        for place, number in enumerate(found["chosen"]):
            definition = arm.definitions[number]
            pointers = SLOW_FINDERS[definition.family](window, definition)
            assert tuple(found["pointers"][row, place]) == pointers
            expected = slow_states(window, pointers, definition.look_bars)
            assert np.allclose(found["states"][row, place], expected, atol=2e-3)


def test_some_definitions_take_their_turn_each_batch_and_all_in_the_end():
    windows = toy_windows(2, 12)
    arm, rng = fitted(windows), np.random.default_rng(0)
    turns = [targets_drawn(arm, windows, rng)["chosen"].tolist() for _ in range(30)]
    assert all(len(set(turn)) == N_AT_A_TIME and turn == sorted(turn) for turn in turns)
    assert {number for turn in turns for number in turn} == set(range(N_DEFINITIONS))
    assert turns[0] != turns[1]
    again = targets_drawn(arm, windows, np.random.default_rng(0))["chosen"].tolist()
    assert again == turns[0]


def test_definitions_are_those_of_the_seed_and_the_window():
    encoder = tiny_encoder()
    for n_bars in (12, 105):
        arm = MovesArm(sizes_of(encoder, n_bars), 7)
        assert arm.definitions == draw_definitions(N_DEFINITIONS, n_bars, 7)
    assert MovesArm(sizes_of(encoder, 105), 8).definitions != arm.definitions


def test_mirrored_windows_have_the_same_moves_the_other_way():
    windows = toy_windows(10, 40)
    arm = fitted(windows)
    found, other = (targets_of(arm, shown) for shown in (windows, turned(windows)))
    assert torch.equal(found["pointers"], other["pointers"])
    assert torch.equal(found["chosen"], other["chosen"])
    assert torch.equal(found["states"][..., 0], -other["states"][..., 0])
    assert torch.allclose(found["states"][..., 1:], other["states"][..., 1:], atol=2e-3)


@pytest.mark.parametrize("n_bars", [12, 105])
def test_who_knows_nothing_gets_about_1(n_bars):
    windows = toy_windows(40, n_bars)
    arm = fitted(windows)
    losses = [arm.loss(blind(windows, 24), targets_of(arm, windows, seed)).item() for seed in range(8)]
    # Equal curves cost 1; of the states the means are said, which costs less than 1 where their tails are light.
    assert all(0.8 < loss < 1.1 for loss in losses)


def test_the_loss_by_hand():
    """Two windows of one definition, one of them without a move, which counts for nothing."""
    windows = toy_windows(2, 12)
    arm = MovesArm(Sizes(11, 12, 3), 0)
    rng = np.random.default_rng(0)
    encoded = torch.from_numpy(rng.normal(size=(2, 12, 3)).astype(np.float32))
    state = rng.normal(size=(2, 1, 8)).astype(np.float32) * 2
    pointers, chosen = np.array([[[4, 7]], [[-1, -1]]]), np.array([5])
    targets = {"pointers": pointers, "states": state, "chosen": chosen}
    loss = arm.loss(told(windows, encoded), {name: torch.from_numpy(value) for name, value in targets.items()}).item()

    vectors, curves, readers = encoded[0].numpy(), arm.curves[5].detach().numpy(), arm.readers[5].detach().numpy()
    pointing, pooled = 0.0, []
    for which, pointer in enumerate((4, 7)):
        logits = [sum(vectors[bar] * curves[:, which]) for bar in range(12)]
        prob = [math.exp(logit) / sum(math.exp(other) for other in logits) for logit in logits]
        weight = [math.exp(-0.5 * ((bar - pointer) / 1.5) ** 2) for bar in range(12)]
        pointing -= sum(w / sum(weight) * math.log(p) for w, p in zip(weight, prob, strict=True)) / 2 / math.log(12)
        pooled += list(sum(prob[bar] * vectors[bar] for bar in range(12)))
    errors = [abs(sum(pooled[i] * readers[i, s] for i in range(6)) - state[0, 0, s]) for s in range(8)]
    telling = 2 * np.mean([0.5 * e**2 if e < 1 else e - 0.5 for e in errors])
    assert loss == pytest.approx((4 * pointing + telling) / 5, rel=1e-4)


def test_a_batch_without_any_move_costs_nothing():
    ohlc = np.full((3, 12, 4), 1.2)
    windows = Windows(np.zeros((3, 12, 11), dtype=np.float32), ohlc, np.arange(3))
    arm = fitted(windows)
    targets = targets_of(arm, windows)
    targets["pointers"] = torch.full_like(targets["pointers"], -1)
    loss = arm.loss(blind(windows, 24), targets)
    assert loss.item() == 0
    assert torch.isfinite(arm.spread).all()


def test_states_are_standardised_by_the_windows_that_have_a_move():
    windows = toy_windows(60, 40)
    arm = fitted(windows)
    numbers = np.arange(N_DEFINITIONS)
    pointers, state = arm.labels(windows, numbers)
    for number in numbers:
        having = state[pointers[:, number, 0] >= 0, number]
        if len(having):
            assert np.allclose(arm.center[number].numpy(), having.mean(axis=0), atol=1e-4)
            assert np.allclose(arm.spread[number].numpy(), having.std(axis=0) + 0.05, atol=1e-4)


@pytest.mark.slow
def test_it_is_learned():
    train, val = toy_windows(40, 24), toy_windows(40, 24, seed=1)
    before, after = learned(fitted(train), train, val, 30)
    assert before > 0.9
    assert after < 0.85


def test_the_state_does_not_bend_where_the_curves_point():
    windows = toy_windows(4, 12)
    arm = fitted(windows)
    targets = targets_of(arm, windows)
    encoded = torch.randn(4, 12, 24, generator=torch.Generator().manual_seed(0))
    view = told(windows, encoded)
    arm.loss(view, targets).backward()
    wanted = arm.curves.grad
    arm.curves.grad = None
    targets["states"] = targets["states"] + 5
    arm.loss(view, targets).backward()
    assert arm.curves.grad is not None
    assert torch.equal(arm.curves.grad, wanted)


def test_without_prices_or_with_too_few_bars_it_says_so():
    with pytest.raises(InvalidData, match=r"must have the bars of the windows, .* or give --arms masked\."):
        fitted(without_prices(toy_windows(4, 12)))
    with pytest.raises(WrongUsage, match="at least 8 bars"):
        MovesArm(Sizes(11, 7, 4), 0)


def test_the_seed_decides_the_heads_global_random_numbers_stay_and_the_scale_is_kept():
    windows = toy_windows(8, 12)
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    first = fitted(windows, 5)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert equal_weights(first, fitted(windows, 5))
    assert not equal_weights(first, fitted(windows, 6))
    # Definitions are the seed's, weights and scales the file's.
    again = MovesArm(first.sizes, 5)
    again.load_state_dict(first.state_dict(), strict=True)
    assert equal_weights(first, again)
    view, targets = blind(windows, 24), targets_of(first, windows)
    assert torch.equal(first.loss(view, targets), again.loss(view, targets))
