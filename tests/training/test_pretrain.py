"""Pretraining by arms: which windows are shown how, what is weighed how, and that something is learned."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from moola.core.bars import upside_down
from moola.models.network import masked_loss
from moola.training.device import ProcessGroup
from moola.training.encoder_training import (
    ARM_WEIGHTS,
    ARMS,
    DEFAULT_ARMS,
    MaskPlan,
    Pretraining,
    PretrainPlan,
    TakeWindows,
    build_pretraining,
)
from moola.training.loop import FitPlan, FitState, fit
from moola.training.pretext_tasks import MASKS, View, Windows
from tests.networks_made import CPU, equal_weights, scaled_features, tiny_encoder
from tests.training.planted import toy_windows, windows_of

N_BARS = 12
TRAIN, VAL = np.array([0, 2, 3, 5, 6, 7, 8]), np.array([9, 10, 11, 1, 4])
TABLE = scaled_features(1, 12, N_BARS)


def from_table(table: np.ndarray) -> TakeWindows:
    """Windows without prices."""
    return lambda rows, flipped: Windows(table[rows], None, rows)


def from_prices(windows: Windows, shown: list[np.ndarray] | None = None) -> TakeWindows:
    """Windows with prices; `shown` collects which were asked for upside down."""
    ohlc = windows.ohlc
    assert ohlc is not None

    def take(rows: np.ndarray, flipped: np.ndarray) -> Windows:
        if shown is not None:
            shown.append(np.stack([rows, flipped]))
        return windows_of(np.where(flipped[:, None, None], upside_down(ohlc[rows]), ohlc[rows]))

    return take


def made_objective(
    take: TakeWindows | None = None,
    arms: tuple[str, ...] = ("masked",),
    strategy: str = "patch",
    mask_ratio: float = 0.25,
    mirror: bool = False,
    seed: int = 0,
    batch_size: int = 3,
    rows: tuple[np.ndarray, np.ndarray] = (TRAIN, VAL),
    hidden_dim: int = 4,
    n_bars: int = N_BARS,
    learning_rate: float = 0.01,
) -> Pretraining:
    module = build_pretraining(tiny_encoder(0, hidden_dim), arms, n_bars, seed)
    plan = PretrainPlan(MaskPlan(strategy, mask_ratio, 3), mirror, 0, batch_size, learning_rate, seed, CPU)
    objective = Pretraining(module, take or from_table(TABLE), *rows, plan)
    objective.fit_arms(rows[0])
    return objective


def test_an_epoch_shows_every_train_window_once_in_an_order_of_its_own() -> None:
    objective = made_objective()
    orders = []
    for epoch in range(3):
        batches = list(objective.train_batches(epoch))
        assert len(batches) == objective.n_train_batches() == 3
        assert [len(features) for features, _, _ in batches] == [3, 3, 1]
        shown = torch.cat([features for features, _, _ in batches]).numpy()
        orders.append([int(np.flatnonzero((window == TABLE).all(axis=(1, 2)))[0]) for window in shown])
    assert all(sorted(order) == sorted(TRAIN) for order in orders)
    assert orders[0] != orders[1]


def test_train_masks_change_from_epoch_to_epoch_and_follow_seed_and_epoch() -> None:
    def masks(epoch: int, seed: int = 0) -> torch.Tensor:
        return torch.cat([mask for _, mask, _ in made_objective(seed=seed).train_batches(epoch)])

    assert torch.equal(masks(1), masks(1))
    assert not torch.equal(masks(1), masks(2))
    assert not torch.equal(masks(1), masks(1, seed=1))


def test_validation_shows_the_later_windows_in_order_with_fixed_masks() -> None:
    objective = made_objective()
    first, again = list(objective.val_batches()), list(objective.val_batches())
    list(objective.train_batches(0))
    assert torch.equal(torch.cat([features for features, _, _ in first]), torch.from_numpy(TABLE[VAL]))
    assert all(torch.equal(one[1], other[1]) for one, other in zip(first, again, strict=True))
    other_seed = list(made_objective(seed=1).val_batches())
    assert any(not torch.equal(one[1], other[1]) for one, other in zip(first, other_seed, strict=True))


@pytest.mark.parametrize("strategy", list(MASKS))
def test_masks_are_those_of_the_strategy(strategy: str) -> None:
    objective = made_objective(strategy=strategy)
    for features, mask, _ in objective.train_batches(0):
        assert mask.shape == features.shape[:2]
        assert (mask.sum(dim=1) == 3).all()
    if strategy == "patch":
        by_patch = torch.cat([mask for _, mask, _ in objective.train_batches(0)]).reshape(-1, 4, 3)
        assert (by_patch.all(dim=2) == by_patch.any(dim=2)).all()


def test_a_ratio_of_zero_hides_nothing() -> None:
    objective = made_objective(mask_ratio=0.0)
    assert not any(mask.any() for _, mask, _ in [*objective.train_batches(0), *objective.val_batches()])


def test_every_other_window_is_shown_upside_down_while_training_alone() -> None:
    shown: list[np.ndarray] = []
    rows = (np.arange(80), np.arange(80, 90))
    windows = toy_windows(90, N_BARS)
    objective = made_objective(from_prices(windows, shown), mirror=True, rows=rows, batch_size=20)
    shown.clear()
    batches = [list(objective.train_batches(epoch)) for epoch in (0, 1, 0)]
    first, second, again = (np.concatenate(shown[4 * i : 4 * i + 4], axis=1) for i in range(3))
    assert np.array_equal(first, again)
    flips = [dict(epoch.T.tolist()) for epoch in (first, second)]
    assert all(25 < sum(flip.values()) < 55 for flip in flips)
    assert flips[0] != flips[1]
    assert torch.equal(batches[0][0][0], batches[2][0][0])
    shown.clear()
    list(objective.val_batches())
    assert not np.concatenate(shown, axis=1)[1].any()
    list(made_objective(from_prices(windows, shown), mirror=False, rows=rows).train_batches(0))
    assert not np.concatenate(shown, axis=1)[1].any()


def test_the_loss_of_the_masked_arm_is_the_error_on_masked_bars() -> None:
    objective = made_objective()
    batch = next(iter(objective.val_batches()))
    losses, n_windows = objective.losses(batch)
    features, mask, _ = batch
    arm = objective.module.arms["masked"]
    with torch.no_grad():
        said = arm.reconstruct(objective.module.masking(features, mask))
    spread = TABLE[TRAIN].astype(np.float64).var(axis=(0, 1)).mean()
    assert n_windows == 3
    assert set(losses) == {"loss"}
    assert losses["loss"].item() == pytest.approx(masked_loss(said, features, mask).item() / spread, rel=1e-5)


def test_of_several_arms_the_loss_is_the_weighted_mean_and_each_is_named() -> None:
    windows = toy_windows(12, N_BARS)
    objective = made_objective(from_prices(windows), DEFAULT_ARMS)
    batch = next(iter(objective.val_batches()))
    losses, _ = objective.losses(batch)
    assert set(losses) == {"loss", *(f"{name}_loss" for name in DEFAULT_ARMS)}
    features, mask, targets = batch
    assert set(targets) == set(DEFAULT_ARMS)
    view = View(features, mask, objective.module.masking)
    weights = {name: ARM_WEIGHTS.get(name, 1.0) for name in DEFAULT_ARMS}
    alone = {name: objective.module.arms[name].loss(view, targets[name]).item() for name in DEFAULT_ARMS}
    expected = sum(weights[name] * alone[name] for name in DEFAULT_ARMS) / sum(weights.values())
    assert losses["loss"].item() == pytest.approx(expected, rel=1e-5)
    assert {name: losses[f"{name}_loss"].item() for name in DEFAULT_ARMS} == pytest.approx(alone)


@pytest.mark.parametrize("name", sorted(ARMS))
def test_every_arm_begins_near_1_and_sends_gradients_to_every_weight_of_the_encoder(name: str) -> None:
    windows = toy_windows(60, 24)
    rows = (np.arange(40), np.arange(40, 60))
    objective = made_objective(from_prices(windows), (name,), rows=rows, batch_size=20, n_bars=24)
    losses, n_windows = objective.losses(next(iter(objective.train_batches(0))))
    assert n_windows == 20
    assert 0.6 < losses["loss"].item() < 1.8
    torch.autograd.backward(losses["loss"])
    for weight in objective.module.encoder.parameters():
        assert weight.grad is not None
        assert (weight.grad != 0).any()


def test_all_weights_learn_at_one_rate() -> None:
    objective = made_objective()
    (group,) = objective.parameter_groups()
    assert group["lr"] == 0.01
    wanted = {id(weight) for weight in objective.module.parameters()}
    assert {id(weight) for weight in group["params"]} == wanted
    assert id(objective.module.masking.mask_token) in wanted


def test_the_seed_decides_the_heads_and_the_encoder_is_the_one_given() -> None:
    one, same, other = (build_pretraining(tiny_encoder(2), DEFAULT_ARMS, N_BARS, seed) for seed in (5, 5, 6))
    assert equal_weights(one, same)
    assert equal_weights(one.encoder, tiny_encoder(2))
    assert equal_weights(one.encoder, other.encoder)
    assert not any(equal_weights(one.arms[name], other.arms[name]) for name in DEFAULT_ARMS)


def test_stopped_and_resumed_ends_in_the_same_weights(tmp_path: Path) -> None:
    windows = toy_windows(12, N_BARS)

    def learn(stop_at: int | None, resume: bool) -> tuple[Pretraining, FitState]:
        objective = made_objective(from_prices(windows), DEFAULT_ARMS, mirror=True, seed=3)

        def on_epoch(row: dict[str, Any]) -> None:
            if row["epoch"] == stop_at:
                raise KeyboardInterrupt

        plan = FitPlan(4, 0, 0.01, 3, None if stop_at is None and not resume else tmp_path / "c", resume)
        return objective, fit(objective, plan, on_epoch)

    whole, state = learn(None, resume=False)
    with pytest.raises(KeyboardInterrupt):
        learn(2, resume=False)
    resumed, again = learn(None, resume=True)
    assert again.history == state.history
    assert equal_weights(whole.module, resumed.module)


def levels(seed: int, n_windows: int) -> np.ndarray:
    """Windows whose every feature stands at a level of its own: the bars beside a mask tell what is under it."""
    rng = np.random.default_rng(seed)
    level = rng.normal(size=(n_windows, 1, 11)).repeat(N_BARS, axis=1)
    return (level + 0.1 * rng.normal(size=level.shape)).astype(np.float32)


@pytest.mark.slow
def test_a_predictable_series_is_reconstructed_much_better_than_by_the_mean() -> None:
    rows = (np.arange(300), np.arange(300, 360))
    objective = made_objective(
        from_table(levels(0, 360)), strategy="block", batch_size=30, rows=rows, hidden_dim=16, learning_rate=0.02
    )
    state = fit(objective, FitPlan(n_epochs=15, patience=0, weight_decay=0.0, seed=0), lambda row: None)
    # 1 is what the mean gets.
    assert state.best_loss < 0.5


def test_nothing_is_learned_from_noise() -> None:
    rows = (np.arange(90), np.arange(90, 120))
    objective = made_objective(from_table(scaled_features(5, 120, N_BARS)), batch_size=30, rows=rows)
    errors = [
        (len(shown), masked_loss(torch.zeros_like(shown), shown, mask)) for shown, mask, _ in objective.val_batches()
    ]
    floor = sum(n * float(error) for n, error in errors) / 30 / float(objective.module.arms["masked"].spread)
    state = fit(objective, FitPlan(n_epochs=4, patience=0, weight_decay=0.0, seed=0), lambda row: None)
    # Were a hidden bar to show through, its value could be said, and better than by the mean.
    assert floor == pytest.approx(1.0, abs=0.1)
    assert state.best_loss > 0.98 * floor


@pytest.mark.slow
def test_planted_moves_are_learned_by_every_default_arm() -> None:
    rows = (np.arange(120), np.arange(120, 150))
    take = from_prices(toy_windows(150, 24))
    objective = made_objective(
        take, DEFAULT_ARMS, mirror=True, batch_size=20, rows=rows, hidden_dim=12, n_bars=24, learning_rate=0.02
    )
    state = fit(objective, FitPlan(n_epochs=6, patience=0, weight_decay=0.0, seed=0), lambda row: None)
    best = state.history[state.best_epoch - 1]
    assert {name: best[f"val_{name}_loss"] < 0.93 for name in DEFAULT_ARMS} == dict.fromkeys(DEFAULT_ARMS, True)


@pytest.mark.parametrize("arms", [DEFAULT_ARMS, ("ts2vec",), ("latent", "masked")])
def test_batches_made_by_several_threads_are_those_of_one(
    arms: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    windows = toy_windows(12, N_BARS)

    def batches() -> list[Any]:
        objective = made_objective(from_prices(windows), arms, mirror=True)
        return [*objective.train_batches(0), *objective.val_batches(), *objective.train_batches(1)]

    alone = batches()
    monkeypatch.setattr("moola.training.encoder_training.n_makers", lambda device: 3)
    for one, other in zip(alone, batches(), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)


@pytest.mark.parametrize("n_members", [2, 3])
def test_members_see_their_shares_of_what_one_process_sees(n_members: int) -> None:
    objective = made_objective(from_prices(toy_windows(12, N_BARS)), ("masked", "structure"), mirror=True)
    plan, whole = objective.plan, list(objective.train_batches(1))
    shares = []
    for rank in range(n_members):
        objective.plan = replace(plan, team=ProcessGroup(rank, n_members))
        shares.append(list(objective.train_batches(1)))
    # The last window is one alone: too few for a batch of several members.
    for number, (features, mask, targets) in enumerate(whole[:2]):
        mine = [share[number] for share in shares]
        assert torch.equal(torch.cat([one[0] for one in mine]), features)
        assert torch.equal(torch.cat([one[1] for one in mine]), mask)
        by_member = torch.cat([one[2]["structure"]["structure"] for one in mine])
        assert torch.equal(by_member, targets["structure"]["structure"])
