"""Arm `latent`: the teacher is an average, is kept in checkpoints, and does not collapse."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from moola.models.model_files import weights_of
from moola.training.encoder_training import Pretraining, PretrainModule, build_pretraining
from moola.training.loop import FitPlan, fit
from moola.training.pretext_tasks import MAX_DECAY, LatentArm, standardised
from tests.networks_made import equal_weights, scaled_features, tiny_encoder
from tests.training.toys import N_BARS, toy_pretraining, toy_windows, view_of

PLAN = FitPlan(n_epochs=4, patience=0, weight_decay=0.01, seed=3)


def made(seed: int = 0) -> tuple[PretrainModule, LatentArm]:
    module = build_pretraining(tiny_encoder(seed), ("latent",), N_BARS, seed)
    arm = module.arms["latent"]
    assert isinstance(arm, LatentArm)
    return module, arm


def arm_of(objective: Pretraining) -> LatentArm:
    arm = objective.module.arms["latent"]
    assert isinstance(arm, LatentArm)
    return arm


def every_third(n_windows: int) -> np.ndarray:
    return np.broadcast_to(np.arange(N_BARS) % 3 == 0, (n_windows, N_BARS)).copy()


def test_the_teacher_starts_as_the_encoder_and_no_gradient_reaches_it():
    objective = toy_pretraining("latent")
    assert equal_weights(arm_of(objective).teacher, objective.module.encoder)
    learning = {id(weight) for weight in objective.parameter_groups()[0]["params"]}
    assert not learning & {id(weight) for weight in arm_of(objective).teacher.parameters()}
    objective.losses(next(iter(objective.train_batches(0))))[0]["loss"].backward()
    assert all(weight.grad is None for weight in arm_of(objective).teacher.parameters())
    assert all(weight.grad is not None for weight in objective.module.encoder.parameters())


def test_the_teacher_is_the_average_that_a_loop_makes():
    objective = toy_pretraining("latent")
    optimiser = torch.optim.SGD(objective.parameter_groups(), lr=0.5)
    mean = {name: value.double() for name, value in weights_of(objective.module.encoder).items()}
    for step, batch in enumerate([*objective.train_batches(0), *objective.train_batches(1)]):
        decay = min((1 + step) / (10 + step), MAX_DECAY)
        now = weights_of(objective.module.encoder)
        mean = {name: decay * value + (1 - decay) * now[name] for name, value in mean.items()}
        optimiser.zero_grad()
        objective.losses(batch)[0]["loss"].backward()
        optimiser.step()
    teacher = weights_of(arm_of(objective).teacher)
    for name, value in mean.items():
        assert torch.allclose(teacher[name].double(), value, atol=1e-6)
        assert not torch.equal(teacher[name], weights_of(objective.module.encoder)[name])


def test_validation_leaves_the_teacher_alone():
    objective = toy_pretraining("latent")
    with torch.no_grad():
        for weight in objective.module.encoder.parameters():
            weight.add_(0.1)
    before = weights_of(arm_of(objective))
    objective.module.eval()
    losses = [[objective.losses(batch)[0]["loss"].item() for batch in objective.val_batches()] for _ in range(2)]
    assert losses[0] == losses[1]
    assert all(torch.equal(before[name], value) for name, value in weights_of(arm_of(objective)).items())


def test_targets_are_the_teachers_vectors_of_the_clean_windows():
    """The loss by a slow sum: hidden bars alone, each value at mean 0 by bar and spread 1 over the batch."""
    windows = toy_windows(n_windows=5)
    mask = every_third(5)
    module, arm = made()
    module.eval()
    with torch.no_grad():
        view = view_of(module, windows, mask)
        taught = arm.teacher(torch.from_numpy(windows.features)).double().numpy()
        said = arm.predict(module.masking(view.features, view.mask)).double().numpy()
        loss = arm.loss(view, {}).item()
    centred = np.empty_like(taught)
    for bar in range(N_BARS):
        for value in range(taught.shape[2]):
            centred[:, bar, value] = taught[:, bar, value] - np.mean(taught[:, bar, value])
    errors = []
    for window, bar in np.argwhere(mask):
        for value in range(taught.shape[2]):
            spread = np.sqrt(np.mean(centred[:, :, value] ** 2))
            errors.append((said[window, bar, value] - centred[window, bar, value] / spread) ** 2)
    assert loss == pytest.approx(np.mean(errors), rel=1e-4)


def test_hidden_bars_do_not_get_in():
    windows = toy_windows(n_windows=5)
    mask = every_third(5)
    module, _ = made()
    other = replace(windows, features=np.where(mask[..., None], 9.0, windows.features).astype(np.float32))
    assert torch.equal(view_of(module, windows, mask).encoded, view_of(module, other, mask).encoded)


@pytest.mark.parametrize("n_windows", [1, 2, 7])
def test_saying_the_mean_loses_one(n_windows: int):
    vectors = torch.from_numpy(scaled_features(4, n_windows, 12)) * 3 + 5
    target = standardised(vectors)
    assert target.square().mean().item() == pytest.approx(1.0, rel=1e-4)
    assert target.mean(dim=(0, 1)).abs().max().item() < 1e-5


def test_what_tells_the_place_alone_is_no_target():
    by_bar = torch.from_numpy(scaled_features(4, 1, 12)).expand(6, 12, 11)
    assert standardised(by_bar).abs().max().item() < 1e-2


@pytest.mark.parametrize("n_windows", [1, 6])
def test_one_window_and_windows_all_alike_lose_something_finite(n_windows: int):
    windows = toy_windows(n_windows=1)
    alike = {name: getattr(windows, name).repeat(n_windows, axis=0) for name in ("features", "position")}
    windows = replace(windows, **alike)
    module, arm = made()
    loss = arm.loss(view_of(module, windows, every_third(n_windows)), {})
    loss.backward()
    assert torch.isfinite(loss)
    assert all(torch.isfinite(weight.grad).all() for weight in module.encoder.parameters())


def test_nothing_hidden_costs_nothing():
    module, arm = made()
    assert arm.loss(view_of(module, toy_windows(n_windows=3)), {}).item() == 0.0


def spread_and_loss(objective: Pretraining) -> tuple[float, float]:
    features = torch.from_numpy(toy_windows().features)
    objective.module.eval()
    with torch.no_grad():
        vectors = arm_of(objective).teacher(features)
        losses = [objective.losses(batch)[0]["loss"].item() for batch in objective.val_batches()]
    return (vectors - vectors.mean(dim=0)).std().item(), float(np.mean(losses))


@pytest.mark.slow
def test_the_teacher_learns_and_does_not_collapse():
    objective = toy_pretraining("latent")
    spread, blind = spread_and_loss(objective)
    assert blind == pytest.approx(1.0, abs=0.3)
    fit(objective, replace(PLAN, n_epochs=25), lambda row: None)
    learned_spread, loss = spread_and_loss(objective)
    assert loss < 0.75 * blind
    assert learned_spread > 0.7 * spread


def test_the_seed_decides_everything():
    def weights(seed: int) -> dict[str, torch.Tensor]:
        objective = toy_pretraining("latent", seed)
        fit(objective, replace(PLAN, n_epochs=2, seed=seed), lambda row: None)
        return weights_of(objective.module)

    once, again, other = weights(0), weights(0), weights(1)
    assert all(torch.equal(once[name], again[name]) for name in once)
    assert not torch.equal(once["arms.latent.predict.0.weight"], other["arms.latent.predict.0.weight"])


def test_stopped_and_resumed_ends_in_the_same_teacher(tmp_path: Path):
    def stop(row: dict[str, Any]) -> None:
        if row["epoch"] == 2:
            raise KeyboardInterrupt

    whole = toy_pretraining("latent")
    fit(whole, PLAN, lambda row: None)
    plan = replace(PLAN, checkpoint=tmp_path / "checkpoint.pt")
    with pytest.raises(KeyboardInterrupt):
        fit(toy_pretraining("latent"), plan, stop)
    resumed = toy_pretraining("latent")
    fit(resumed, replace(plan, resume=True), lambda row: None)
    assert "arms.latent.teacher.lstm.weight_ih_l0" in resumed.module.state_dict()
    assert arm_of(resumed).n_steps.item() == 4 * resumed.n_train_batches()
    assert equal_weights(whole.module, resumed.module)
