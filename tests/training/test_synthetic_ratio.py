"""Ratios of synthetic windows that move over the epochs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from moola.training.finetune import ClassAndPointers
from moola.training.loop import FitPlan, fit
from tests.networks_made import CPU, tiny_network
from tests.training.test_finetune import PLAN, made_examples

N_REAL, N_MADE = 10, 30


def objective_of(**changes) -> ClassAndPointers:
    plan = replace(PLAN, **changes)
    parts = made_examples(1, N_REAL), made_examples(2, N_MADE, 1000), made_examples(3, 5, 500)
    return ClassAndPointers(tiny_network(5), *parts, plan, CPU)


def n_synthetic(objective: ClassAndPointers, epoch: int) -> int:
    return sum(int((batch[0][:, 0, 10] >= 1000).sum()) for batch in objective.train_batches(epoch))


def test_each_epoch_has_its_own_share_and_the_last_one_stays() -> None:
    objective = objective_of(cpsa_ratio=9.0, epochs=5, cpsa_schedule=(0.0, 0.25, 0.5, 1.0, 2.0))
    assert [n_synthetic(objective, epoch) for epoch in range(7)] == [0, 2, 5, 10, 20, 20, 20]


@pytest.mark.parametrize("ratios", [(0.25, 0.5, 1.0), (2.0, 0.0), (0.0,)])
def test_rates_are_planned_by_the_largest_epoch(ratios: tuple[float, ...]) -> None:
    objective = objective_of(epochs=len(ratios), cpsa_schedule=ratios)
    counts = [len(list(objective.train_batches(epoch))) for epoch in range(len(ratios))]
    assert objective.n_train_batches() == max(counts)


def test_one_stage_is_the_constant_ratio() -> None:
    constant, staged = objective_of(cpsa_ratio=0.5), objective_of(epochs=2, cpsa_schedule=(0.5, 0.5))
    for epoch in range(3):
        for one, other in zip(constant.train_batches(epoch), staged.train_batches(epoch), strict=True):
            np.testing.assert_array_equal(one[0], other[0])


def test_rates_fall_from_epoch_to_epoch_to_nearly_nothing_in_the_last() -> None:
    objective = objective_of(epochs=4, cpsa_schedule=(0.0, 0.0, 1.0, 1.0))
    rates: list[float] = []
    fit(objective, FitPlan(4, 0, 0.0, 3), lambda row: rates.append(row["lr_heads"]))
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] < 0.1 * PLAN.learning_rate
