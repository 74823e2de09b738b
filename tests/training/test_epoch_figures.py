"""Means of an epoch, and the watch over numbers that are not finite."""

from __future__ import annotations

import math

import pytest
import torch

from moola.errors import TrainingDiverged
from moola.training.device import ALONE
from moola.training.loop import LOOK_EVERY, WEIGHTS, EpochMeans, FiniteWatch


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
