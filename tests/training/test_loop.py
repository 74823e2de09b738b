"""The training loop: the best epoch is kept, and what was stopped continues to the same bits."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from moola.errors import TrainingDiverged, UntrustedFile, WrongUsage
from moola.models.model_files import weights_of
from moola.training import loop
from moola.training.device import ALONE
from moola.training.loop import LOOK_EVERY, WEIGHTS, EpochMeans, FiniteWatch, FitPlan, FitState, epoch_lines, fit
from tests.training.toy_objective import ToyObjective

PLAN = FitPlan(n_epochs=6, patience=0, weight_decay=0.01, seed=3, options={"seed": 3, "rate": 0.1})


def silent(row: dict[str, Any]) -> None:
    """Report an epoch to nobody."""


def same_weights(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def stop_after(epoch: int) -> Callable[[dict[str, Any]], None]:
    def on_epoch(row: dict[str, Any]) -> None:
        if row["epoch"] == epoch:
            raise KeyboardInterrupt

    return on_epoch


def fit_scripted(val_losses: list[float], patience: int = 0) -> tuple[ToyObjective, FitState, list[Any]]:
    objective, weights = ToyObjective(val_losses), []
    plan = replace(PLAN, n_epochs=len(val_losses), patience=patience)
    state = fit(objective, plan, lambda row: weights.append(weights_of(objective.module)))
    return objective, state, weights


def test_the_best_epoch_is_kept_and_equals_go_to_the_first() -> None:
    objective, state, weights = fit_scripted([0.9, 0.5, 0.7, 0.5, 0.6])
    assert (state.epoch, state.best_epoch, state.best_loss) == (5, 2, 0.5)
    assert same_weights(weights_of(objective.module), weights[1])
    assert not same_weights(weights[1], weights[4])
    assert not objective.module.training
    assert [row["best"] for row in state.history] == [True, True, False, False, False]
    assert [row["val_loss"] for row in state.history] == pytest.approx([0.9, 0.5, 0.7, 0.5, 0.6])


def test_the_best_epoch_may_be_the_last() -> None:
    objective, state, weights = fit_scripted([0.9, 0.8, 0.1])
    assert state.best_epoch == 3
    assert same_weights(weights_of(objective.module), weights[2])


@pytest.mark.parametrize(("patience", "n_run", "best"), [(0, 8, 8), (1, 3, 2), (2, 6, 4), (3, 7, 4), (4, 8, 8)])
def test_patience_stops_after_so_many_epochs_without_a_better_loss(patience: int, n_run: int, best: int) -> None:
    _, state, weights = fit_scripted([0.9, 0.7, 0.8, 0.6, 0.7, 0.65, 0.6, 0.5], patience)
    assert (state.epoch, state.best_epoch) == (n_run, best)
    assert len(state.history) == len(weights) == n_run


@pytest.mark.parametrize(("n_passing", "best"), [(0, 1), (1, 4), (3, 4), (4, 5), (5, 5)])
def test_epochs_in_passing_are_never_kept(n_passing: int, best: int) -> None:
    objective, weights = ToyObjective([0.1, 0.9, 0.8, 0.3, 0.5]), []
    plan = replace(PLAN, n_epochs=5, n_passing=n_passing)
    state = fit(objective, plan, lambda row: weights.append(weights_of(objective.module)))
    assert (state.best_epoch, state.epoch) == (best, 5)
    assert same_weights(weights_of(objective.module), weights[best - 1])
    assert [row["epoch"] for row in state.history if row["best"]][-1] == best
    assert not any(row["best"] for row in state.history[: min(n_passing, 4)])


def test_patience_does_not_run_out_in_passing() -> None:
    objective = ToyObjective([0.1, 0.2, 0.3, 0.9, 0.95, 0.99, 0.1])
    state = fit(objective, replace(PLAN, n_epochs=7, patience=2, n_passing=3), silent)
    assert (state.epoch, state.best_epoch) == (6, 4)


def test_patience_goes_on_counting_after_a_resume(tmp_path: Path) -> None:
    plan = replace(PLAN, patience=3, checkpoint=tmp_path / "checkpoint.pt")
    with pytest.raises(KeyboardInterrupt):
        fit(ToyObjective([0.5, 0.6, 0.7]), plan, stop_after(3))
    resumed = ToyObjective([0.8, 0.4])
    state = fit(resumed, replace(plan, resume=True), silent)
    assert (state.epoch, state.best_epoch, state.best_loss) == (4, 1, 0.5)
    # The best epoch was before the stop: its weights come out of the checkpoint.
    assert same_weights(weights_of(resumed.module), fit_scripted([0.5, 0.6, 0.7, 0.8, 0.9, 0.9], 3)[2][0])


def test_without_validation_windows_the_training_loss_chooses() -> None:
    state = fit(ToyObjective(has_val=False), PLAN, silent)
    losses = [row["train_loss"] for row in state.history]
    assert state.best_loss == min(losses)
    assert state.best_epoch == 1 + losses.index(min(losses))
    assert "val_loss" not in state.history[0]


def test_an_epoch_is_reported_with_means_over_windows() -> None:
    rows: list[dict[str, Any]] = []
    objective = ToyObjective()
    state = fit(objective, replace(PLAN, n_epochs=1), rows.append)
    assert rows == state.history
    row = rows[0]
    assert {"epoch", "train_loss", "train_error", "val_loss", "val_error", "lr_first", "lr_1", "best"} == set(row)
    with torch.no_grad():
        by_batch = [(objective.losses(batch)[0]["loss"].item(), len(batch[0])) for batch in objective.val_batches()]
    assert row["val_loss"] == pytest.approx((by_batch[0][0] * 4 + by_batch[1][0] * 1) / 5)


def test_batches_of_a_long_epoch_are_reported(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="moola")
    fit(ToyObjective(), replace(PLAN, n_epochs=1), silent)
    assert not caplog.messages
    monkeypatch.setattr(loop, "SAY_EVERY_S", 0.0)
    fit(ToyObjective(), replace(PLAN, n_epochs=1), silent)
    n_batches = ToyObjective().n_train_batches()
    assert caplog.messages == [f"Epoch 1: {n + 1} of {n_batches} batches." for n in range(n_batches)]


def test_each_epoch_asks_for_its_own_batches() -> None:
    objective = ToyObjective()
    fit(objective, PLAN, silent)
    assert objective.epochs_asked == [0, 1, 2, 3, 4, 5]


def test_training_learns() -> None:
    state = fit(ToyObjective(), replace(PLAN, n_epochs=60), silent)
    assert state.best_loss < 0.3 * state.history[0]["val_loss"]


def test_rates_warm_up_and_then_fall_along_a_cosine() -> None:
    state = fit(ToyObjective(), replace(PLAN, n_epochs=20), silent)
    n_steps, n_warm = 60, 3
    for row in state.history:
        step = row["epoch"] * 3 - 1
        share = min((step + 1) / n_warm, 0.5 * (1 + math.cos(math.pi * max(step - n_warm, 0) / (n_steps - n_warm))))
        assert row["lr_first"] == pytest.approx(0.01 * share)
        assert row["lr_1"] == pytest.approx(0.1 * share)
    assert state.history[0]["lr_1"] == pytest.approx(0.1)
    assert state.history[-1]["lr_1"] < 0.001


def test_gradients_are_clipped() -> None:
    objective = ToyObjective(size=1e4)
    fit(objective, replace(PLAN, n_epochs=1), silent)
    norm = math.sqrt(sum(weight.grad.square().sum().item() for weight in objective.module.parameters()))
    assert norm == pytest.approx(1.0, abs=1e-3)


def test_the_seed_decides_everything() -> None:
    states = []
    for seed in (3, 3, 4):
        # What was drawn before must not matter.
        torch.rand(len(states) + 1)
        states.append(fit(ToyObjective(), replace(PLAN, seed=seed), silent))
    assert states[0].history == states[1].history
    assert same_weights(states[0].best_weights, states[1].best_weights)
    assert states[0].history != states[2].history


@pytest.mark.parametrize(("epoch", "batch"), [(0, 0), (2, 1)])
def test_a_loss_that_is_no_number_stops_and_names_epoch_and_batch(epoch: int, batch: int) -> None:
    with pytest.raises(TrainingDiverged, match=rf"nan at epoch {epoch + 1}, batch {batch + 1}\. Lower --learning-rate"):
        fit(ToyObjective(nan_at=(epoch, batch)), PLAN, silent)


def test_an_infinite_loss_stops() -> None:
    with pytest.raises(TrainingDiverged, match="inf at epoch 1, batch 1"):
        fit(ToyObjective(size=1e30), PLAN, silent)


@pytest.mark.parametrize("losses", [[math.nan] * 6, [0.5, 0.4, math.inf, 0.6, 0.7, 0.8]], ids=["all NaN", "one inf"])
def test_a_validation_loss_that_is_no_number_stops(losses: list[float]) -> None:
    with pytest.raises(TrainingDiverged, match="epoch"):
        fit(ToyObjective(losses), PLAN, silent)


def test_a_divergence_leaves_the_checkpoint_of_the_last_finished_epoch(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    plan = replace(PLAN, checkpoint=path)
    with pytest.raises(KeyboardInterrupt):
        fit(ToyObjective(), plan, stop_after(2))
    before = path.read_bytes()
    with pytest.raises(TrainingDiverged):
        fit(ToyObjective(nan_at=(2, 1)), replace(plan, resume=True), silent)
    assert path.read_bytes() == before


@pytest.mark.parametrize("stopped_after", [1, 3, 5])
def test_a_resumed_fit_ends_in_the_same_bits_as_one_that_was_not_stopped(tmp_path: Path, stopped_after: int) -> None:
    whole = ToyObjective()
    wanted = fit(whole, PLAN, silent)
    plan = replace(PLAN, checkpoint=tmp_path / "checkpoint.pt")
    with pytest.raises(KeyboardInterrupt):
        fit(ToyObjective(), plan, stop_after(stopped_after))
    torch.rand(7)
    resumed, rows = ToyObjective(), []
    state = fit(resumed, replace(plan, resume=True), rows.append)
    assert [row["epoch"] for row in rows] == list(range(stopped_after + 1, wanted.epoch + 1))
    assert state.history == wanted.history
    assert (state.epoch, state.best_epoch, state.best_loss) == (wanted.epoch, wanted.best_epoch, wanted.best_loss)
    assert same_weights(state.best_weights, wanted.best_weights)
    assert same_weights(weights_of(resumed.module), weights_of(whole.module))


def test_a_fit_stopped_twice_ends_the_same(tmp_path: Path) -> None:
    wanted = fit(ToyObjective(), PLAN, silent)
    plan = replace(PLAN, checkpoint=tmp_path / "checkpoint.pt", resume=True)
    for epoch in (2, 4):
        with pytest.raises(KeyboardInterrupt):
            fit(ToyObjective(), plan, stop_after(epoch))
    state = fit(ToyObjective(), plan, silent)
    assert state.history == wanted.history
    assert same_weights(state.best_weights, wanted.best_weights)


def test_resuming_a_finished_fit_trains_no_more_and_gives_its_best_epoch(tmp_path: Path) -> None:
    plan = replace(PLAN, checkpoint=tmp_path / "checkpoint.pt")
    wanted = fit(ToyObjective(), plan, silent)
    again, rows = ToyObjective(), []
    state = fit(again, replace(plan, resume=True), rows.append)
    assert rows == []
    assert not again.module.training
    assert state.history == wanted.history
    assert same_weights(weights_of(again.module), wanted.best_weights)


def test_resuming_with_other_options_is_refused_and_leaves_the_checkpoint(tmp_path: Path) -> None:
    plan = replace(PLAN, checkpoint=tmp_path / "checkpoint.pt")
    with pytest.raises(KeyboardInterrupt):
        fit(ToyObjective(), plan, stop_after(2))
    before = (tmp_path / "checkpoint.pt").read_bytes()
    with pytest.raises(WrongUsage, match="--resume must continue with the options it was started with"):
        fit(ToyObjective(), replace(plan, resume=True, options={"seed": 3, "rate": 0.2}), silent)
    assert (tmp_path / "checkpoint.pt").read_bytes() == before


def test_a_damaged_checkpoint_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    plan = replace(PLAN, checkpoint=path)
    fit(ToyObjective(), plan, silent)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(UntrustedFile):
        fit(ToyObjective(), replace(plan, resume=True), silent)


def test_resuming_without_a_checkpoint_starts_from_the_first_epoch(tmp_path: Path) -> None:
    wanted = fit(ToyObjective(), PLAN, silent)
    state = fit(ToyObjective(), replace(PLAN, resume=True, checkpoint=tmp_path / "checkpoint.pt"), silent)
    assert state.history == wanted.history


def test_without_resume_a_checkpoint_is_written_over(tmp_path: Path) -> None:
    plan = replace(PLAN, checkpoint=tmp_path / "checkpoint.pt")
    fit(ToyObjective(), plan, silent)
    rows: list[dict[str, Any]] = []
    fit(ToyObjective(), replace(plan, options={"other": 1}), rows.append)
    assert len(rows) == 6


def test_no_checkpoint_is_kept_where_none_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    fit(ToyObjective(), PLAN, silent)
    assert list(tmp_path.iterdir()) == []


def test_means_are_weighted_by_windows() -> None:
    means = EpochMeans()
    means.add({"loss": torch.tensor(1.0), "other": torch.tensor(0.0)}, 3)
    means.add({"loss": torch.tensor(5.0), "other": torch.tensor(1.0)}, 1)
    assert means.means(ALONE) == {"loss": 2.0, "other": 0.25}


def test_no_batch_has_no_means() -> None:
    assert EpochMeans().means(ALONE) == {}


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_value_that_is_not_finite_is_named_with_its_batch(bad: float) -> None:
    watch = FiniteWatch(epoch=1)
    watch.see("training loss", 0, torch.tensor(0.5))
    with pytest.raises(TrainingDiverged, match=rf"the training loss .* is {bad} at epoch 2, batch 4\."):
        watch.see("training loss", 3, torch.tensor(bad))


class OnDevice:
    """A loss that says it is on a device, and counts how often somebody looks."""

    def __init__(self, value: float) -> None:
        self.value = torch.tensor(value)
        self.device = torch.device("cuda")

    def detach(self) -> torch.Tensor:
        return self.value


def test_on_a_device_values_wait_and_the_first_bad_one_is_named() -> None:
    watch = FiniteWatch(epoch=0)
    for n_batch in range(LOOK_EVERY):
        watch.see("training loss", n_batch, OnDevice(math.nan if n_batch in (7, 9) else 1.0))
    assert len(watch.waiting) == LOOK_EVERY
    with pytest.raises(TrainingDiverged, match=r"batch 8\."):
        watch.see("training loss", LOOK_EVERY, OnDevice(1.0))


def test_the_rest_is_looked_at_when_the_epoch_ends() -> None:
    watch = FiniteWatch(epoch=0)
    watch.see("gradient's norm", 2, OnDevice(math.inf))
    with pytest.raises(TrainingDiverged, match=r"the gradient's norm .* batch 3\."):
        watch.check()
    watch.check()


def test_weights_alone_may_not_grow_beyond_their_bound() -> None:
    watch = FiniteWatch(epoch=0)
    watch.see("training loss", 0, torch.tensor(1e9))
    watch.see(WEIGHTS, 0, torch.tensor(1e6))
    with pytest.raises(TrainingDiverged, match=r"at most 1,000,000, but it is 2e\+06 at epoch 1, batch 2\."):
        watch.see(WEIGHTS, 1, torch.tensor(2e6))


def test_a_long_training_is_told_and_a_quick_one_is_not(capsys: pytest.CaptureFixture[str]) -> None:
    quick, long = epoch_lines("quick", every_s=60.0), epoch_lines("encoder a", every_s=0.0)
    for epoch in (1, 2):
        quick({"epoch": epoch, "n_epochs": 2, "stage": "train"})
        long({"epoch": epoch, "n_epochs": 2, "stage": "train"})
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.splitlines() == ["encoder a, train: epoch 1 of 2", "encoder a, train: epoch 2 of 2"]
