"""A frozen encoder is read once, a pretrained one stands still at the beginning, and windows are distinguished."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch

from moola.models.heads import averaged
from moola.models.model_files import weights_digest, weights_of
from moola.models.network import EnhancedSimpleLSTM, class_loss
from moola.training.finetune import PASS_WINDOWS, ClassAndPointers, Examples, encoded_once, run_network
from moola.training.loop import FitPlan, fit
from tests.networks_made import CPU, scaled_features, tiny_network
from tests.training.test_finetune import N_BARS, PLAN, made_examples

FROZEN = replace(PLAN, freeze_encoder=True)


def counting(network: EnhancedSimpleLSTM) -> list[int]:
    """Count the windows of each pass through the encoder."""
    passes: list[int] = []
    network.encoder.register_forward_hook(lambda _module, given, _said: passes.append(len(given[0])))
    return passes


def objective_of(network: EnhancedSimpleLSTM, freeze: bool, n_made: int = 6, **changes: object) -> ClassAndPointers:
    plan = replace(PLAN, freeze_encoder=freeze, cpsa_ratio=1.0, **changes)
    made = made_examples(2, n_made, 1000)
    return ClassAndPointers(network, made_examples(1, 10), made, made_examples(3, 7, 500), plan, CPU)


def trained(objective: ClassAndPointers, n_epochs: int = 3) -> dict[str, torch.Tensor]:
    fit(objective, FitPlan(n_epochs=n_epochs, patience=0, weight_decay=0.01, seed=0), lambda row: None)
    return weights_of(objective.module)


class EncodingEachBatch(ClassAndPointers):
    """The slow twin: a frozen encoder that reads every batch again, without noise."""

    def _read(self, tensors: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        return tensors

    def _batches(self, tensors: tuple[torch.Tensor, ...], rows: np.ndarray) -> Iterator[tuple[torch.Tensor, ...]]:
        for features, *targets in super()._batches(tensors, rows):
            with torch.no_grad():
                # Dropout draws in the order of memory.
                encoded = self.module.encoder(features).contiguous()
            yield encoded, *targets


def test_a_frozen_encoder_reads_every_window_once_however_long_training_is() -> None:
    network = tiny_network(n_heads=2)
    passes = counting(network)
    objective = objective_of(network, freeze=True)
    assert passes == [10 + 6, 7]
    trained(objective, 4)
    assert passes == [10 + 6, 7]


@pytest.mark.parametrize("n_heads", [1, 3])
def test_training_on_vectors_read_once_is_training_that_reads_them_each_time(n_heads: int) -> None:
    fast, slow = tiny_network(dropout=0.4, n_heads=n_heads), tiny_network(dropout=0.4, n_heads=n_heads)
    plan = replace(FROZEN, input_noise=0.0, cpsa_ratio=1.0)
    parts = made_examples(1, 10), made_examples(2, 6, 1000), made_examples(3, 7, 500)
    once = trained(ClassAndPointers(fast, *parts, plan, CPU))
    each_time = trained(EncodingEachBatch(slow, *parts, plan, CPU))
    for name, weight in once.items():
        torch.testing.assert_close(weight, each_time[name], atol=1e-5, rtol=1e-4)
    assert weights_digest(fast.encoder) == weights_digest(slow.encoder) == weights_digest(tiny_network().encoder)


def test_noise_of_the_input_never_reaches_a_frozen_encoder() -> None:
    quiet, loud = (trained(objective_of(tiny_network(), freeze=True, input_noise=noise)) for noise in (0.0, 50.0))
    assert all(torch.equal(weight, loud[name]) for name, weight in quiet.items())


def test_vectors_read_once_are_those_of_the_encoder_in_any_batches_without_gradients() -> None:
    network, features = tiny_network(), torch.from_numpy(scaled_features(4, 9, N_BARS))
    with torch.no_grad():
        expected = network.encoder(features)
    for batch_size in (1, 4, 9, 256):
        found = encoded_once(network, features, batch_size)
        assert not found.requires_grad
        torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)
    assert encoded_once(network, features[:0]).shape == (0, N_BARS, 8)


def test_without_validation_windows_a_frozen_encoder_trains_all_the_same() -> None:
    network, some = tiny_network(), made_examples(3, 7)
    nothing = Examples(some.features[:0], some.class_index[:0], some.curves[:0])
    before = weights_digest(network.heads[0])
    objective = ClassAndPointers(network, made_examples(1, 10), None, nothing, FROZEN, CPU)
    assert list(objective.val_batches()) == []
    trained(objective, 1)
    assert weights_digest(network.heads[0]) != before


def test_the_encoder_stands_still_in_frozen_epochs_and_moves_later() -> None:
    network = tiny_network()
    digests = [weights_digest(network.encoder)]
    objective = objective_of(network, freeze=False, frozen_epochs=2)
    heads = [weights_digest(network.heads[0])]

    def note(_row: dict[str, object]) -> None:
        digests.append(weights_digest(network.encoder))
        heads.append(weights_digest(network.heads[0]))

    fit(objective, FitPlan(n_epochs=4, patience=0, weight_decay=0.5, seed=0), note)
    assert digests[0] == digests[1] == digests[2] != digests[3] != digests[4]
    assert len(set(heads)) == 5


def test_heads_learn_apart_and_are_judged_by_their_mean() -> None:
    network = tiny_network(n_heads=2)
    objective = objective_of(network, freeze=True)
    alone = tiny_network(n_heads=1)
    batch = next(iter(objective.val_batches()))
    first = objective_of(alone, freeze=True)
    network.train()
    torch.autograd.backward(objective.losses(batch)[0]["loss"])
    torch.autograd.backward(first.losses(batch)[0]["loss"])
    for one, single in zip(network.heads[0].parameters(), alone.heads[0].parameters(), strict=True):
        if single.grad is not None:
            # The mean over two heads: each head's share of the gradient is its own, halved.
            torch.testing.assert_close(2 * one.grad, single.grad, atol=1e-7, rtol=1e-4)
    network.eval()
    judged = class_loss(averaged(network.each(batch[0])).class_logits, batch[1])
    assert objective.losses(batch)[0]["class_loss"].item() == pytest.approx(judged.item())


@pytest.mark.parametrize("n_heads", [1, 3])
def test_what_is_said_of_a_window_does_not_hang_on_its_neighbours(n_heads: int) -> None:
    network = tiny_network(5, n_heads=n_heads)
    features = scaled_features(4, PASS_WINDOWS + 7, N_BARS)
    logits, curves = run_network(network, features, CPU)
    assert curves is not None
    order = np.random.default_rng(0).permutation(len(features))
    shuffled, shuffled_curves = run_network(network, features[order], CPU)
    np.testing.assert_allclose(shuffled, logits[order], rtol=0, atol=1e-6)
    np.testing.assert_allclose(shuffled_curves, curves[order], rtol=0, atol=1e-6)
    for row in (0, 5, PASS_WINDOWS, PASS_WINDOWS + 6):
        alone, alone_curves = run_network(network, features[row : row + 1], CPU)
        np.testing.assert_allclose(alone[0], logits[row], rtol=0, atol=1e-6)
        np.testing.assert_allclose(alone_curves[0], curves[row], rtol=0, atol=1e-6)
    # Passes of one size and the same places in them: the same bits.
    fewer, _ = run_network(network, features[:9], CPU)
    np.testing.assert_array_equal(fewer, logits[:9])
