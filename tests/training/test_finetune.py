"""Fine-tuning: what is frozen stays, synthetic windows are counted, validation is real."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from moola.core.expansions import soft_curve
from moola.errors import OperationFailed
from moola.models.model_files import weights_digest
from moola.models.network import EnhancedSimpleLSTM, class_loss, pointer_loss
from moola.options.training_options import TrainOptions
from moola.training.finetune import ClassAndPointers, EncoderProof, Examples, run_network
from moola.training.loop import FitPlan, fit
from tests.networks_made import CPU, scaled_features, tiny_encoder, tiny_network

N_BARS = 12
PLAN = TrainOptions(
    data=Path(),
    split=Path(),
    freeze_encoder=False,
    learning_rate=0.02,
    encoder_rate=0.25,
    pointer_weight=1.0,
    label_smoothing=0.1,
    input_noise=0.2,
    batch_size=4,
    frozen_epochs=0,
    seed=3,
)


def made_examples(seed: int, n: int, number_from: int = 0) -> Examples:
    """Windows whose first value is their number, a third of them without pointers."""
    features = scaled_features(seed, n, N_BARS)
    features[:, 0, 10] = np.arange(number_from, number_from + n)
    start = np.where(np.arange(n) % 3 == 2, -1, np.arange(n) % 5)
    end = np.where(start < 0, -1, start + 4)
    curves = np.stack([soft_curve(bars, N_BARS, 1.0) for bars in (start, end)], axis=-1)
    return Examples(features, np.arange(n, dtype=np.int64) % 2, curves)


def objective_of(
    plan: TrainOptions = PLAN, n_real: int = 10, n_made: int = 0, network: EnhancedSimpleLSTM | None = None
) -> ClassAndPointers:
    made = made_examples(2, n_made, 1000) if n_made else None
    module = network or tiny_network()
    return ClassAndPointers(module, made_examples(1, n_real), made, made_examples(3, 7, 500), plan, CPU)


def shown(objective: ClassAndPointers, epoch: int) -> list[int]:
    return [int(number) for features, *_ in objective.train_batches(epoch) for number in features[:, 0, 10]]


def fitted(objective: ClassAndPointers, n_epochs: int = 2) -> None:
    fit(objective, FitPlan(n_epochs=n_epochs, patience=0, weight_decay=0.01, seed=0), lambda row: None)


def test_a_frozen_encoder_is_proved_equal_while_the_heads_move() -> None:
    network = tiny_network()
    proof, heads = EncoderProof(network, True), weights_digest(network.heads[0].class_head)
    pointer_head = weights_digest(network.heads[0].pointer_head)
    fitted(objective_of(replace(PLAN, freeze_encoder=True), network=network))
    record = proof.check()
    assert record["frozen"] is True
    assert record["digest_before"] == record["digest_after"] == weights_digest(tiny_encoder(0))
    assert weights_digest(network.heads[0].class_head) != heads
    assert weights_digest(network.heads[0].pointer_head) != pointer_head


def test_an_unfrozen_encoder_is_proved_to_have_moved() -> None:
    network = tiny_network()
    proof = EncoderProof(network, False)
    fitted(objective_of(network=network))
    record = proof.check()
    assert record["frozen"] is False
    assert record["digest_before"] == weights_digest(tiny_encoder(0))
    assert record["digest_after"] == weights_digest(network.encoder) != record["digest_before"]


def test_a_frozen_encoder_that_moved_is_an_error() -> None:
    network = tiny_network()
    proof = EncoderProof(network, True)
    with torch.no_grad():
        network.encoder.lstm.bias_ih_l0[0] += 1e-7
    with pytest.raises(OperationFailed, match="frozen but its weights moved"):
        proof.check()


def test_an_unfrozen_encoder_that_did_not_move_is_an_error() -> None:
    network = tiny_network()
    with pytest.raises(OperationFailed, match="trained but its weights did not move"):
        EncoderProof(network, False).check()


def test_an_encoder_frozen_once_can_be_unfrozen() -> None:
    network = tiny_network()
    objective_of(replace(PLAN, freeze_encoder=True), network=network)
    assert not any(weight.requires_grad for weight in network.encoder.parameters())
    objective_of(network=network)
    assert all(weight.requires_grad for weight in network.parameters())


def test_the_encoder_learns_at_its_share_of_the_rate() -> None:
    objective = objective_of()
    heads, encoder = objective.parameter_groups()
    assert (heads["name"], heads["lr"]) == ("heads", 0.02)
    assert (encoder["name"], encoder["lr"]) == ("encoder", pytest.approx(0.005))
    counted = Counter(id(weight) for group in (heads, encoder) for weight in group["params"])
    assert counted == Counter(id(weight) for weight in objective.module.parameters())
    assert {id(w) for w in encoder["params"]} == {id(w) for w in objective.module.encoder.parameters()}


def test_a_frozen_encoder_is_in_no_group() -> None:
    objective = objective_of(replace(PLAN, freeze_encoder=True))
    (heads,) = objective.parameter_groups()
    encoder = {id(weight) for weight in objective.module.encoder.parameters()}
    assert not encoder & {id(weight) for weight in heads["params"]}
    assert len(heads["params"]) == len(list(objective.module.parameters())) - len(encoder)


@pytest.mark.parametrize(
    ("ratio", "n_made", "n_synthetic"),
    [(0.0, 6, 0), (0.25, 6, 2), (0.5, 6, 5), (1.0, 10, 10), (1.0, 6, 10), (2.5, 6, 25), (1.0, 0, 0)],
)
def test_an_epoch_has_every_real_window_and_the_share_of_synthetic_ones(
    ratio: float, n_made: int, n_synthetic: int
) -> None:
    objective = objective_of(replace(PLAN, cpsa_ratio=ratio), n_made=n_made)
    for epoch in range(3):
        numbers = shown(objective, epoch)
        real, synthetic = [n for n in numbers if n < 1000], [n for n in numbers if n >= 1000]
        assert sorted(real) == list(range(10))
        assert len(synthetic) == n_synthetic
        if n_synthetic:
            times = [Counter(synthetic)[1000 + i] for i in range(n_made)]
            assert max(times) - min(times) <= 1
        assert objective.n_train_batches() == len(list(objective.train_batches(epoch)))


def test_synthetic_windows_are_chosen_anew_each_epoch_and_mixed_in() -> None:
    objective = objective_of(replace(PLAN, cpsa_ratio=0.5), n_made=20)
    chosen = [frozenset(n for n in shown(objective, epoch) if n >= 1000) for epoch in range(4)]
    assert len(set(chosen)) > 1
    assert shown(objective, 0) == shown(objective_of(replace(PLAN, cpsa_ratio=0.5), n_made=20), 0)
    order = [n >= 1000 for n in shown(objective, 0)]
    assert order != sorted(order)


def test_windows_keep_their_class_and_curves_in_the_batches() -> None:
    real, made = made_examples(1, 10), made_examples(2, 6, 1000)
    objective = objective_of(replace(PLAN, cpsa_ratio=1.0), n_made=6)
    for features, class_index, curves in objective.train_batches(1):
        for i, number in enumerate(features[:, 0, 10].int().tolist()):
            source, row = (made, number - 1000) if number >= 1000 else (real, number)
            np.testing.assert_array_equal(features[i], source.features[row])
            assert class_index[i] == source.class_index[row]
            np.testing.assert_allclose(curves[i], source.curves[row], atol=1e-6)


def test_validation_is_real_in_order_and_without_noise() -> None:
    objective = objective_of(replace(PLAN, cpsa_ratio=2.0, input_noise=5.0), n_made=6)
    val = made_examples(3, 7, 500)
    batches = list(objective.val_batches())
    assert [len(batch[0]) for batch in batches] == [4, 3]
    np.testing.assert_array_equal(torch.cat([batch[0] for batch in batches]), val.features)
    np.testing.assert_array_equal(torch.cat([batch[1] for batch in batches]), val.class_index)
    objective.module.eval()
    losses, n_windows = objective.losses(batches[0])
    with torch.no_grad():
        outputs = objective.module(torch.from_numpy(val.features[:4]))
    # Neither noise nor smoothing: the plain loss of the windows as they are.
    assert losses["class_loss"].item() == pytest.approx(class_loss(outputs.class_logits, batches[0][1]).item())
    assert n_windows == 4


def test_noise_and_smoothing_act_while_training() -> None:
    objective = objective_of(replace(PLAN, input_noise=1.0))
    batch = next(iter(objective.val_batches()))
    objective.module.train()
    assert objective.losses(batch)[0]["loss"].item() != objective.losses(batch)[0]["loss"].item()
    objective = objective_of(replace(PLAN, input_noise=0.0, label_smoothing=0.5))
    objective.module.train()
    outputs = objective.module(batch[0])
    smoothed = class_loss(outputs.class_logits, batch[1], 0.5).item()
    assert smoothed != pytest.approx(class_loss(outputs.class_logits, batch[1]).item(), abs=1e-6)
    assert objective.losses(batch)[0]["class_loss"].item() == pytest.approx(smoothed)


@pytest.mark.parametrize("weight", [0.0, 1.0, 3.0])
def test_the_loss_is_the_weighted_mean_of_class_and_pointers(weight: float) -> None:
    objective = objective_of(replace(PLAN, pointer_weight=weight))
    objective.module.eval()
    batch = next(iter(objective.val_batches()))
    losses, _ = objective.losses(batch)
    outputs = objective.module(batch[0])
    by_class, by_pointer = class_loss(outputs.class_logits, batch[1]), pointer_loss(outputs.pointer_logits, batch[2])
    assert losses["class_loss"].item() == pytest.approx(by_class.item())
    assert losses["pointer_loss"].item() == pytest.approx(by_pointer.item())
    assert losses["loss"].item() == pytest.approx((by_class.item() + weight * by_pointer.item()) / (1 + weight))


def test_without_pointer_heads_the_class_is_all() -> None:
    objective = objective_of(network=tiny_network(predict_pointers=False))
    losses, _ = objective.losses(next(iter(objective.val_batches())))
    assert set(losses) == {"loss", "class_loss"}
    assert losses["loss"].item() == losses["class_loss"].item()


@pytest.mark.parametrize("predict_pointers", [True, False])
def test_a_network_says_the_same_all_at_once_and_one_by_one(predict_pointers: bool) -> None:
    network = tiny_network(5, predict_pointers, dropout=0.5)
    features = scaled_features(4, 9, N_BARS)
    logits, curves = run_network(network, features, CPU)
    assert not network.training
    assert logits.dtype == np.float64
    assert logits.shape == (9, 2)
    for batch_size in (1, 4):
        again, curves_again = run_network(network, features, CPU, batch_size)
        np.testing.assert_allclose(again, logits, atol=1e-6)
        if curves is not None:
            np.testing.assert_allclose(curves_again, curves, atol=1e-6)
    if not predict_pointers:
        assert curves is None
        return
    np.testing.assert_allclose(curves.sum(axis=1), 1.0, atol=1e-12)
    with torch.no_grad():
        outputs = network(torch.from_numpy(features))
    np.testing.assert_allclose(logits, outputs.class_logits, atol=1e-6)
    np.testing.assert_allclose(curves, torch.softmax(outputs.pointer_logits, dim=1), atol=1e-6)


@pytest.mark.parametrize("predict_pointers", [True, False])
def test_a_network_says_nothing_about_no_windows(predict_pointers: bool) -> None:
    logits, curves = run_network(tiny_network(0, predict_pointers), scaled_features(4, 0, N_BARS), CPU)
    assert logits.shape == (0, 2)
    assert curves is None if not predict_pointers else curves.shape == (0, N_BARS, 2)
