"""Calibration over time: what is said of each block, against counts by hand, and that drift shows where it is."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from moola.evaluation.calibration import DRIFT_HEADER, calibration_by_time, drift_rows
from moola.evaluation.class_metrics import ece
from tests.predictions_made import ones, random_table, table_of


def drifting(n: int = 400, seed: int = 0):
    """Windows whose probabilities are right in the first half of the time, and .3 too high in the second."""
    rng = np.random.default_rng(seed)
    prob = rng.uniform(0.3, 0.9, size=n)
    true = (rng.random(n) < prob - 0.3 * (np.arange(n) >= n // 2)).astype(int)
    return table_of(true, np.stack([1 - prob, prob], axis=1))


def test_drift_shows_in_the_blocks_where_it_is() -> None:
    found = calibration_by_time(drifting(), seed=1)
    assert [block["n_windows"] for block in found] == [100] * 4
    assert [block["classes"][1]["off"] for block in found] == [False, False, True, True]
    for block in found[2:]:
        second = block["classes"][1]
        assert second["low"] > 0.1
        assert second["difference"] == pytest.approx(second["mean_prob"] - second["share"])
        assert block["ece_low"] <= block["ece"] <= block["ece_high"]


def test_each_block_is_what_its_windows_alone_give_whatever_the_order_of_the_rows() -> None:
    table = random_table(3, 90, ["a", "b", "c"])
    found = calibration_by_time(table, seed=1)
    assert len(found) == 4
    for rows, block in zip(np.array_split(np.arange(90), 4), found, strict=True):
        own = table.take(rows)
        assert block["ece"] == pytest.approx(float(ece(own, ones(own))[0]))
        for number, one in enumerate(block["classes"]):
            assert one["share"] == pytest.approx((own.class_index == number).mean())
    shuffled = table.take(np.random.default_rng(0).permutation(90))
    assert [row["ece"] for row in calibration_by_time(shuffled, seed=1)] == pytest.approx([row["ece"] for row in found])


def test_few_windows_have_fewer_blocks_or_none_and_without_times_their_order_stands() -> None:
    assert len(calibration_by_time(drifting(59), seed=1)) == 2
    assert calibration_by_time(drifting(39), seed=1) == []
    untimed = replace(drifting(), start_us=None, end_us=None)
    assert {block["first"] for block in calibration_by_time(untimed, seed=1)} == {None}


def test_rows_name_the_second_of_two_classes_and_every_one_of_more() -> None:
    two = drift_rows(calibration_by_time(drifting(), seed=1))
    assert [row[4] for row in two] == ["retracement"] * 4
    assert [row[-1].endswith("*") for row in two] == [False, False, True, True]
    assert {len(row) for row in two} == {len(DRIFT_HEADER)}
    three = drift_rows(calibration_by_time(random_table(3, 90, ["a", "b", "c"]), seed=1))
    assert [row[4] for row in three] == ["a", "b", "c"] * 4
    assert [row[0] != "" for row in three] == [True, False, False] * 4
