"""Teams: shares that cover a batch once, gradients of the whole batch, the same bits in every process."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import distributed, nn

from moola.training.device import (
    ALONE,
    MOST_MAKERS,
    N_AHEAD,
    ProcessGroup,
    in_thread,
    n_makers,
    prefetched,
    side_by_side,
)


@given(st.integers(0, 200), st.integers(1, 9))
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


def linear() -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(3, 2)


def data() -> torch.Tensor:
    return torch.arange(15, dtype=torch.float32).reshape(5, 3) / 10


def gradients(rank: int) -> list[torch.Tensor]:
    """Return what a process gets for its share of the batch, for a weight that it did not use last."""
    team, net, unused = ProcessGroup(rank, 2), linear(), nn.Parameter(torch.ones(2))
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
    assert ProcessGroup(rank, 1).average_gradients([weight], 1) is None
    assert weight.grad is None


def threads() -> list[str]:
    return [
        thread.name for thread in threading.enumerate() if thread.name.startswith(("moola-batches", "moola-makers"))
    ]


@pytest.mark.parametrize("n_batches", [0, 1, 5, 40])
def test_the_same_batches_in_the_same_order(n_batches: int) -> None:
    assert list(in_thread(iter(range(n_batches)))) == list(range(n_batches))
    assert threads() == []


def test_another_thread_makes_them_and_not_for_a_cpu() -> None:
    def makers() -> Iterator[int]:
        for _ in range(3):
            yield threading.get_ident()

    assert set(prefetched(makers(), torch.device("cpu"))) == {threading.get_ident()}
    others = set(prefetched(makers(), torch.device("cuda")))
    assert len(others) == 1
    assert threading.get_ident() not in others


def test_an_error_comes_after_the_batches_before_it() -> None:
    def broken() -> Iterator[int]:
        yield 1
        yield 2
        raise OSError("no more")

    batches = in_thread(broken())
    assert [next(batches), next(batches)] == [1, 2]
    with pytest.raises(OSError, match="no more"):
        next(batches)
    assert threads() == []


def test_who_stops_early_leaves_no_thread_and_few_batches_made() -> None:
    made = []

    def endless() -> Iterator[int]:
        while True:
            made.append(len(made))
            yield made[-1]

    batches = in_thread(endless())
    assert next(batches) == 0
    batches.close()
    assert threads() == []
    assert len(made) <= N_AHEAD + 3


@pytest.mark.parametrize("n_jobs", [0, 1, 3, 20])
@pytest.mark.parametrize("n_threads", [1, 2, 4])
def test_jobs_side_by_side_are_yielded_in_their_order(n_jobs: int, n_threads: int) -> None:
    # The first of each three waits until the ones after it are done, where threads allow.
    done = [threading.Event() for _ in range(n_jobs)]

    def job(number: int) -> int:
        if n_threads > 1 and number % 3 == 0 and number + 1 < n_jobs:
            assert done[number + 1].wait(30)
        done[number].set()
        return number

    assert list(side_by_side((partial(job, number) for number in range(n_jobs)), n_threads)) == list(range(n_jobs))
    assert threads() == []


def test_what_a_job_raises_comes_in_its_turn_and_no_thread_stays() -> None:
    def broken() -> int:
        raise OSError("no more")

    jobs: list[Callable[[], int]] = [lambda: 1, broken, lambda: 3]
    made = side_by_side(iter(jobs), 3)
    assert next(made) == 1
    with pytest.raises(OSError, match="no more"):
        next(made)
    assert threads() == []


def test_who_stops_early_has_begun_no_more_than_there_are_threads() -> None:
    begun = []
    made = side_by_side((lambda: begun.append(1) for _ in range(100)), 3)
    next(made)
    made.close()
    assert len(begun) <= 3
    assert threads() == []


def test_a_cpu_has_one_maker_and_a_gpu_several_where_there_are_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    assert n_makers(torch.device("cpu")) == 1
    for n_cores, expected in ((1, 1), (2, 2), (64, MOST_MAKERS), (None, 1)):
        monkeypatch.setattr("os.cpu_count", lambda n=n_cores: n)
        assert n_makers(torch.device("cuda")) == expected
