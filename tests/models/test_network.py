"""The network of `train`: heads from the seed, curves over bars, and a class that does not bend the pointers."""

from __future__ import annotations

import math

import pytest
import torch

from moola.models.heads import POINTERS, AttentionPool, ByteDropout, Outputs, PointerPool, averaged
from moola.models.network import NETWORKS, build_network
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


def said_by(n_heads: int, n_classes: int = 3, predict_pointers: bool = True) -> list[Outputs]:
    torch.manual_seed(2)
    pairs = [(torch.randn(4, n_classes), 3 * torch.randn(4, 9, 2)) for _ in range(n_heads)]
    return [Outputs(logits, curves if predict_pointers else None) for logits, curves in pairs]


def naive_average(outputs: list[Outputs]) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean logit of each class, mean probability of each bar: window by window."""
    logits, curves = torch.zeros_like(outputs[0].class_logits), torch.zeros_like(outputs[0].pointer_logits)
    for output in outputs:
        for window in range(len(logits)):
            logits[window] += output.class_logits[window] / len(outputs)
            for pointer in range(len(POINTERS)):
                odds = output.pointer_logits[window, :, pointer].exp()
                curves[window, :, pointer] += odds / odds.sum() / len(outputs)
    return logits, curves


@pytest.mark.parametrize("n_heads", [1, 2, 5])
def test_heads_are_averaged_as_a_loop_would(n_heads: int) -> None:
    outputs = said_by(n_heads)
    logits, curves = naive_average(outputs)
    found = averaged(outputs)
    torch.testing.assert_close(found.class_logits, logits)
    torch.testing.assert_close(torch.softmax(found.pointer_logits, dim=1), curves)
    if n_heads > 1:
        # Logarithms of probabilities: they sum to one without a softmax.
        torch.testing.assert_close(found.pointer_logits.exp().sum(dim=1), torch.ones(4, 2))


def test_one_head_alone_stays_as_it_is_and_heads_without_curves_give_none() -> None:
    (alone,) = said_by(1)
    assert averaged([alone]) is alone
    found = averaged(said_by(3, predict_pointers=False))
    assert found.pointer_logits is None
    torch.testing.assert_close(found.class_logits, naive_average(said_by(3))[0])


def test_heads_that_are_sure_of_different_bars_share_the_curve() -> None:
    sure = [torch.full((1, 9, 2), -200.0) for _ in range(2)]
    sure[0][0, 2], sure[1][0, 7] = 200.0, 200.0
    found = averaged([Outputs(torch.zeros(1, 2), one) for one in sure]).pointer_logits
    assert torch.isfinite(found).all()
    assert found[0, [2, 7], 0].tolist() == pytest.approx([math.log(0.5)] * 2)


@pytest.mark.parametrize("predict_pointers", [True, False])
def test_the_first_head_of_several_is_that_of_a_network_of_one(predict_pointers: bool) -> None:
    one, several = (tiny_network(3, predict_pointers, n_heads=n) for n in (1, 3))
    assert equal_weights(one.heads[0], several.heads[0])
    assert equal_weights(one.encoder, several.encoder)
    assert not equal_weights(several.heads[0].class_head, several.heads[1].class_head)
    assert not equal_weights(several.heads[1].class_head, several.heads[2].class_head)
    encoded = several.encoder(FEATURES)
    assert torch.equal(several.each(encoded)[0].class_logits, one(FEATURES).class_logits)
    assert not torch.equal(several(FEATURES).class_logits, one(FEATURES).class_logits)


def test_the_loss_of_one_head_reaches_no_other() -> None:
    network = tiny_network(n_heads=3)
    outputs = network.each(network.encoder(FEATURES))[1]
    torch.autograd.backward(outputs.class_logits.square().sum() + outputs.pointer_logits.square().sum())
    for number, head in enumerate(network.heads):
        moved = [weight.grad is not None and bool(weight.grad.any()) for weight in head.parameters()]
        assert any(moved) == (number == 1)
    assert network.encoder.lstm.weight_hh_l0.grad.abs().sum() > 0


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5, 0.999])
def test_the_share_is_dropped_and_the_mean_is_kept(share: float) -> None:
    torch.manual_seed(0)
    dropped = ByteDropout(share)(torch.ones(200, 105, 7))
    assert float((dropped == 0).float().mean()) == pytest.approx(share, abs=0.005)
    assert float(dropped.mean()) == pytest.approx(1.0, abs=0.05)
    assert len(dropped.unique()) == 2


def test_neighbours_are_dropped_independently() -> None:
    torch.manual_seed(1)
    kept = (ByteDropout(0.5)(torch.ones(400_000)) > 0).double()
    for lag in range(1, 17):
        both = float((kept[lag:] * kept[:-lag]).mean())
        assert both == pytest.approx(0.25, abs=0.005)


def test_the_seed_decides_and_judging_changes_nothing() -> None:
    values, dropout = torch.randn(3, 5, 2), ByteDropout(0.4)
    told = []
    for seed in (3, 3, 4):
        torch.manual_seed(seed)
        told.append(dropout(values))
    assert torch.equal(told[0], told[1])
    assert not torch.equal(told[0], told[2])
    assert dropout.eval()(values) is values
    assert ByteDropout(0.0)(values) is values


def test_gradients_pass_where_values_did() -> None:
    torch.manual_seed(0)
    values = torch.ones(1000, requires_grad=True)
    dropped = ByteDropout(0.3)(values)
    dropped.sum().backward()
    assert torch.equal(values.grad, dropped.detach())
