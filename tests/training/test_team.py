"""Teams: shares that cover a batch once, gradients of the whole batch, the same bits in every process."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import distributed, multiprocessing, nn

from moola.training.device import ALONE, ProcessGroup
from tests.strategies import QUICK


@given(st.integers(0, 200), st.integers(1, 9))
@QUICK
def test_shares_cover_everything_once_in_order(n: int, size: int) -> None:
    parts = [list(range(n))[ProcessGroup(rank, size).share(n)] for rank in range(size)]
    assert [one for part in parts for one in part] == list(range(n))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_alone_nothing_is_sent() -> None:
    weight = nn.Parameter(torch.ones(3))
    weight.grad = torch.tensor([1.0, 2.0, 3.0])
    ALONE.average_gradients([weight], 5)
    assert weight.grad.tolist() == [1.0, 2.0, 3.0]
    assert ALONE.sums(torch.tensor([2.0])).tolist() == [2.0]
    assert ALONE.leads
    assert not ProcessGroup(1, 2).leads


def member(rank: int, place: str) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{place}/meeting", rank=rank, world_size=2)
    team, net, points = ProcessGroup(rank, 2), linear(), data()
    unused = nn.Parameter(torch.ones(2))
    mine = points[team.share(len(points))]
    net(mine).square().mean().backward()
    team.average_gradients([*net.parameters(), unused], len(mine))
    torch.save([weight.grad for weight in [*net.parameters(), unused]], f"{place}/{rank}.pt")
    distributed.destroy_process_group()


def linear() -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(3, 2)


def data() -> torch.Tensor:
    return torch.arange(15, dtype=torch.float32).reshape(5, 3) / 10


def test_two_processes_with_unequal_shares_get_the_gradient_of_the_whole_batch(tmp_path: Path) -> None:
    multiprocessing.spawn(member, (str(tmp_path),), nprocs=2)
    told = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1)]
    net = linear()
    net(data()).square().mean().backward()
    for weight, one, other in zip(net.parameters(), *(grads[:2] for grads in told), strict=True):
        assert torch.equal(one, other)
        torch.testing.assert_close(one, weight.grad)
    assert told[0][2].tolist() == [0.0, 0.0]


@pytest.mark.parametrize("rank", [0, 1])
def test_a_frozen_weight_is_left_out(rank: int) -> None:
    weight = nn.Parameter(torch.ones(1), requires_grad=False)
    assert ProcessGroup(rank, 1).average_gradients([weight], 1) is None
    assert weight.grad is None
