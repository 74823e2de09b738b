"""Teams: shares that cover a batch once, gradients of the whole batch, the same bits in every process."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import distributed, nn

from moola.training.device import ALONE, Team


@given(st.integers(0, 200), st.integers(1, 9))
def test_shares_cover_everything_once_in_order(n: int, size: int) -> None:
    parts = [list(range(n))[Team(rank, size).share(n)] for rank in range(size)]
    assert [one for part in parts for one in part] == list(range(n))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_alone_nothing_is_sent() -> None:
    weight = nn.Parameter(torch.ones(3))
    weight.grad = torch.tensor([1.0, 2.0, 3.0])
    ALONE.average_gradients([weight], 5)
    assert weight.grad.tolist() == [1.0, 2.0, 3.0]
    assert ALONE.sums(torch.tensor([2.0])).tolist() == [2.0]
    assert ALONE.leads
    assert not Team(1, 2).leads


def linear() -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(3, 2)


def data() -> torch.Tensor:
    return torch.arange(15, dtype=torch.float32).reshape(5, 3) / 10


def gradients(rank: int) -> list[torch.Tensor]:
    """Return what a process gets for its share of the batch, for a weight that it did not use last."""
    team, net, unused = Team(rank, 2), linear(), nn.Parameter(torch.ones(2))
    mine = data()[team.share(5)]
    net(mine).square().mean().backward()
    team.average_gradients([*net.parameters(), unused], len(mine))
    return [weight.grad for weight in [*net.parameters(), unused]]


def test_unequal_shares_get_the_gradient_of_the_whole_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    # Two processes one after the other: what each sends is noted first, and then each gets the sum of both.
    sent: list[torch.Tensor] = []
    monkeypatch.setattr(distributed, "all_reduce", lambda values: sent.append(values.clone()))
    for rank in (0, 1):
        gradients(rank)
    monkeypatch.setattr(distributed, "all_reduce", lambda values: values.copy_(sent[0] + sent[1]))
    net = linear()
    net(data()).square().mean().backward()
    for rank in (0, 1):
        *told, unused = gradients(rank)
        for weight, one in zip(net.parameters(), told, strict=True):
            torch.testing.assert_close(one, weight.grad)
        assert unused.tolist() == [0.0, 0.0]


@pytest.mark.parametrize("rank", [0, 1])
def test_a_frozen_weight_is_left_out(rank: int) -> None:
    weight = nn.Parameter(torch.ones(1), requires_grad=False)
    assert Team(rank, 1).average_gradients([weight], 1) is None
    assert weight.grad is None
