"""Masked pretraining: which windows are hidden how, and that something is learned."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from moola.models.masked_autoencoder import build_masked_autoencoder
from moola.training.loop import FitPlan, fit
from moola.training.masks import MASKS
from moola.training.pretrain import MaskedReconstruction, MaskPlan, loss_of_the_mean
from tests.networks_made import CPU, scaled_features, tiny_encoder

N_BARS = 12
TRAIN, VAL = np.array([0, 2, 3, 5, 6, 7, 8]), np.array([9, 10, 11, 1, 4])


def made_objective(
    table: np.ndarray | None = None,
    strategy: str = "patch",
    seed: int = 0,
    batch_size: int = 3,
    train_rows: np.ndarray = TRAIN,
    val_rows: np.ndarray = VAL,
    hidden_dim: int = 4,
    learning_rate: float = 0.01,
) -> MaskedReconstruction:
    windows = scaled_features(1, 12, N_BARS) if table is None else table
    module = build_masked_autoencoder(tiny_encoder(0, hidden_dim), 0)
    plan = MaskPlan(strategy, 0.25, 3)
    rows = (train_rows, val_rows)
    return MaskedReconstruction(module, lambda i: windows[i], *rows, plan, batch_size, learning_rate, seed, CPU)


def test_an_epoch_shows_every_train_window_once_in_an_order_of_its_own() -> None:
    objective = made_objective()
    table = scaled_features(1, 12, N_BARS)
    orders = []
    for epoch in range(3):
        batches = list(objective.train_batches(epoch))
        assert len(batches) == objective.n_train_batches() == 3
        assert [len(features) for features, _ in batches] == [3, 3, 1]
        shown = torch.cat([features for features, _ in batches]).numpy()
        orders.append([int(np.flatnonzero((table == window).all(axis=(1, 2)))[0]) for window in shown])
    assert all(sorted(order) == sorted(TRAIN) for order in orders)
    assert orders[0] != orders[1]


def test_train_masks_change_from_epoch_to_epoch_and_follow_seed_and_epoch() -> None:
    def masks(epoch: int, seed: int = 0) -> torch.Tensor:
        return torch.cat([mask for _, mask in made_objective(seed=seed).train_batches(epoch)])

    assert torch.equal(masks(1), masks(1))
    assert not torch.equal(masks(1), masks(2))
    assert not torch.equal(masks(1), masks(1, seed=1))


def test_validation_shows_the_later_windows_in_order_with_fixed_masks() -> None:
    objective = made_objective()
    first, again = list(objective.val_batches()), list(objective.val_batches())
    list(objective.train_batches(0))
    assert torch.equal(
        torch.cat([features for features, _ in first]), torch.from_numpy(scaled_features(1, 12, N_BARS)[VAL])
    )
    assert all(torch.equal(one[1], other[1]) for one, other in zip(first, again, strict=True))
    other_seed = list(made_objective(seed=1).val_batches())
    assert any(not torch.equal(one[1], other[1]) for one, other in zip(first, other_seed, strict=True))


@pytest.mark.parametrize("strategy", list(MASKS))
def test_masks_are_those_of_the_strategy(strategy: str) -> None:
    objective = made_objective(strategy=strategy)
    for features, mask in objective.train_batches(0):
        assert mask.shape == features.shape[:2]
        assert (mask.sum(dim=1) == 3).all()
    if strategy == "patch":
        by_patch = torch.cat([mask for _, mask in objective.train_batches(0)]).reshape(-1, 4, 3)
        assert (by_patch.all(dim=2) == by_patch.any(dim=2)).all()


def test_the_loss_is_the_error_on_masked_bars() -> None:
    objective = made_objective()
    features, mask = next(iter(objective.val_batches()))
    losses, n_windows = objective.losses((features, mask))
    with torch.no_grad():
        error = (objective.module(features, mask) - features).square()
    assert n_windows == 3
    assert losses["loss"].item() == pytest.approx(error[mask].mean().item(), rel=1e-5)


def test_all_weights_learn_at_one_rate() -> None:
    objective = made_objective()
    (group,) = objective.parameter_groups()
    assert group["lr"] == 0.01
    wanted = {id(weight) for weight in objective.module.parameters()}
    assert {id(weight) for weight in group["params"]} == wanted
    assert id(objective.module.mask_token) in wanted


def test_the_loss_of_the_mean_is_what_a_loop_says() -> None:
    objective = made_objective(scaled_features(1, 12, N_BARS) + 3)
    table = (scaled_features(1, 12, N_BARS) + 3).astype(np.float64)
    means = [np.mean([table[row, bar, k] for row in TRAIN for bar in range(N_BARS)]) for k in range(11)]
    total = 0.0
    for features, mask in objective.val_batches():
        errors = [
            np.mean([(float(features[w, bar, k]) - means[k]) ** 2 for k in range(11)])
            for w in range(len(features))
            for bar in range(N_BARS)
            if mask[w, bar]
        ]
        total += np.mean(errors) * len(features)
    assert loss_of_the_mean(objective) == pytest.approx(total / len(VAL), rel=1e-5)


def levels(seed: int, n_windows: int) -> np.ndarray:
    """Windows whose every feature stands at a level of its own: the bars beside a mask tell what is under it."""
    rng = np.random.default_rng(seed)
    level = rng.normal(size=(n_windows, 1, 11)).repeat(N_BARS, axis=1)
    return (level + 0.1 * rng.normal(size=level.shape)).astype(np.float32)


def test_a_predictable_series_is_reconstructed_much_better_than_by_the_mean() -> None:
    rows = (np.arange(300), np.arange(300, 360))
    objective = made_objective(
        levels(0, 360), "block", batch_size=30, train_rows=rows[0], val_rows=rows[1], hidden_dim=16, learning_rate=0.02
    )
    floor = loss_of_the_mean(objective)
    state = fit(objective, FitPlan(n_epochs=15, patience=0, weight_decay=0.0, seed=0), lambda row: None)
    assert floor == pytest.approx(1.0, abs=0.15)
    assert state.best_loss < 0.5 * floor


def test_nothing_is_learned_from_noise() -> None:
    noise = scaled_features(5, 120, N_BARS)
    rows = (np.arange(90), np.arange(90, 120))
    objective = made_objective(noise, batch_size=30, train_rows=rows[0], val_rows=rows[1])
    state = fit(objective, FitPlan(n_epochs=4, patience=0, weight_decay=0.0, seed=0), lambda row: None)
    # Were a hidden bar to show through, its value could be said.
    assert state.best_loss > 0.95 * loss_of_the_mean(objective)
