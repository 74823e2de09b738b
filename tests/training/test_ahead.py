"""Batches made ahead: the same ones, errors included, and no thread stays behind."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
import torch

from moola.training.ahead import N_AHEAD, ahead, in_thread


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "moola-batches"]


@pytest.mark.parametrize("n_batches", [0, 1, 5, 40])
def test_the_same_batches_in_the_same_order(n_batches: int) -> None:
    assert list(in_thread(iter(range(n_batches)))) == list(range(n_batches))
    assert threads() == []


def test_another_thread_makes_them_and_not_for_a_cpu() -> None:
    def makers() -> Iterator[int]:
        for _ in range(3):
            yield threading.get_ident()

    assert set(ahead(makers(), torch.device("cpu"))) == {threading.get_ident()}
    others = set(ahead(makers(), torch.device("cuda")))
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
