"""The network of `train`: heads from the seed, curves over bars, and a class that does not bend the pointers."""

from __future__ import annotations

import pytest
import torch

from moola.models.network import NETWORKS, POINTERS, AttentionPool, PointerPool, build_network
from tests.networks_made import equal_weights, scaled_features, tiny_encoder, tiny_network

FEATURES = torch.from_numpy(scaled_features(1, 4, 9))


@pytest.mark.parametrize("n_classes", [2, 3])
def test_outputs_are_a_logit_a_class_and_two_a_bar(n_classes: int) -> None:
    outputs = tiny_network(n_classes=n_classes)(FEATURES)
    assert outputs.class_logits.shape == (4, n_classes)
    assert outputs.pointer_logits.shape == (4, 9, len(POINTERS))


def test_without_pointer_heads_there_are_no_curves() -> None:
    network = tiny_network(predict_pointers=False)
    outputs = network(FEATURES)
    assert outputs.pointer_logits is None
    assert outputs.class_logits.shape == (4, 2)
    assert not any("pointer" in name for name in network.state_dict())


def test_the_seed_alone_decides_the_heads() -> None:
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    first = build_network(tiny_encoder(0), 2, True, 0.5, 8)
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(2)
    assert equal_weights(first, build_network(tiny_encoder(0), 2, True, 0.5, 8))
    other = build_network(tiny_encoder(0), 2, True, 0.5, 9)
    assert not equal_weights(first.heads[0].class_head, other.heads[0].class_head)
    assert equal_weights(first.encoder, other.encoder)


def test_the_network_keeps_the_encoder_that_it_is_given() -> None:
    encoder = tiny_encoder(4)
    assert build_network(encoder, 2, True, 0.0, 0).encoder is encoder
    assert list(NETWORKS) == ["enhanced_simple_lstm"]


def test_dropout_acts_while_training_alone() -> None:
    network = tiny_network(dropout=0.5)
    torch.manual_seed(0)
    network.train()
    assert not torch.equal(network(FEATURES).class_logits, network(FEATURES).class_logits)
    network.eval()
    assert torch.equal(network(FEATURES).class_logits, network(FEATURES).class_logits)


def test_attention_pooling_is_a_weighted_mean_over_bars() -> None:
    torch.manual_seed(0)
    pool, encoded = AttentionPool(8), torch.randn(3, 7, 8)
    pooled = pool(encoded)
    for window in range(3):
        weight = [pool.weigh(encoded[window, bar]).exp().item() for bar in range(7)]
        mean = sum(w * encoded[window, bar] for bar, w in enumerate(weight)) / sum(weight)
        torch.testing.assert_close(pooled[window], mean)
    constant = encoded[:, :1].expand(3, 7, 8)
    torch.testing.assert_close(pool(constant), encoded[:, 0])


def test_pointer_pooling_looks_at_the_bars_that_the_curves_point_at() -> None:
    torch.manual_seed(0)
    encoded, logits = torch.randn(2, 7, 8), torch.zeros(2, 7, 2)
    logits[0, 2, 0] = logits[0, 5, 1] = logits[1, 6, 0] = logits[1, 0, 1] = 100.0
    pooled = PointerPool()(encoded, logits)
    torch.testing.assert_close(pooled[0], torch.cat([encoded[0, 2], encoded[0, 5]]))
    torch.testing.assert_close(pooled[1], torch.cat([encoded[1, 6], encoded[1, 0]]))


def test_the_class_does_not_bend_the_pointers() -> None:
    network = tiny_network()
    torch.autograd.backward(network(FEATURES).class_logits.square().sum())
    assert all(weight.grad is None for weight in network.heads[0].pointer_head.parameters())
    assert network.encoder.lstm.weight_hh_l0.grad.abs().sum() > 0
    assert network.heads[0].class_head[0].weight.grad.abs().sum() > 0


def test_the_class_sees_the_pointers() -> None:
    network = tiny_network()
    before = network(FEATURES).class_logits
    with torch.no_grad():
        network.heads[0].pointer_head[2].weight.mul_(-20)
    assert not torch.equal(network(FEATURES).class_logits, before)


def test_one_window_does_not_see_another() -> None:
    network = tiny_network()
    together = network(FEATURES)
    for i in range(4):
        alone = network(FEATURES[i : i + 1])
        torch.testing.assert_close(alone.class_logits[0], together.class_logits[i], atol=1e-6, rtol=0)
        torch.testing.assert_close(alone.pointer_logits[0], together.pointer_logits[i], atol=1e-6, rtol=0)
