"""The benchmark of bursts: a planted burst is found at its bars, whichever way up, and draws keep apart."""

from __future__ import annotations

import argparse
import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

from moola.core.bars import Bars
from tests.made import HOUR_US

SCRIPT = Path(__file__).resolve().parents[1] / "benchmarks/make_bursts.py"
N_BARS = 105


@pytest.fixture(scope="module")
def bursts():
    spec = importlib.util.spec_from_file_location("make_bursts", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
        yield module
    finally:
        del sys.modules[spec.name]


def quiet_window(steps: dict[int, float]) -> np.ndarray:
    """Bars of ever so slowly shrinking ranges around 1; a bar named in `steps` runs that far from open to close."""
    step = np.array([steps.get(bar, 0.0) for bar in range(N_BARS)])
    close = np.cumsum(step)
    open_ = close - step
    wick = np.where(step == 0.0, 0.5 - 1e-3 * np.arange(N_BARS), 0.0)
    log_price = np.stack([open_, np.maximum(open_, close) + wick, np.minimum(open_, close) - wick, close], axis=1)
    return 100.0 * np.exp(1e-3 * log_price)


def test_a_burst_that_goes_one_way_is_directional(bursts):
    assert bursts.label_window(quiet_window(dict.fromkeys(range(40, 48), 3.0))) == ("directional", 40, 47)


def test_a_burst_that_goes_back_and_forth_is_choppy(bursts):
    steps = {bar: 3.0 * (-1) ** bar for bar in range(52, 60)}
    assert bursts.label_window(quiet_window(steps)) == ("choppy", 52, 59)


def test_the_first_burst_counts_and_not_the_strongest(bursts):
    steps = dict.fromkeys(range(32, 38), 2.5) | dict.fromkeys(range(66, 72), 9.0)
    assert bursts.label_window(quiet_window(steps)) == ("directional", 32, 37)


@pytest.mark.parametrize(
    "bars",
    [range(0), range(20, 28), range(40, 43), range(70, 78), range(35, 61)],
    ids=["quiet", "before the zone", "too short", "ends outside", "too long"],
)
def test_windows_without_a_burst_of_its_own_are_left_out(bursts, bars):
    assert bursts.label_window(quiet_window(dict.fromkeys(bars, 4.0))) is None


def test_between_the_classes_is_left_out(bursts):
    steps = dict(zip(range(40, 48), [3, 3, -3, 3, -3, 3, -3, 1.5], strict=True))
    share = 4.5 / 22.5 * np.sqrt(8)
    assert bursts.BurstRule().choppy_up_to < share < bursts.BurstRule().directional_from
    assert bursts.label_window(quiet_window(steps)) is None


def made_bars(n: int = 4000) -> Bars:
    """A walk that is calm, then lively for some bars, again and again."""
    rng = np.random.default_rng(3)
    lively = 1.0 + 3.0 * (np.arange(n) % 47 < 8)
    close = np.cumsum(rng.normal(0, 1, n) * lively)
    open_ = np.concatenate([[0.0], close[:-1]])
    wick = rng.uniform(0.3, 0.6, (2, n)) * lively
    log_price = np.stack([open_, np.maximum(open_, close) + wick[0], np.minimum(open_, close) - wick[1], close], axis=1)
    return Bars(HOUR_US * np.arange(n, dtype=np.int64), np.exp(1e-4 * log_price), np.full(n, "", dtype=object))


def test_the_rule_knows_no_up_or_down(bursts):
    bars = made_bars()
    windows = [bars.ohlc[first : first + N_BARS] for first in range(0, 3800, 11)]
    labels = [bursts.label_window(window) for window in windows]
    assert {None, "directional", "choppy"} <= {label and label[0] for label in labels}
    assert [bursts.label_window((1.0 / window)[:, [0, 2, 1, 3]]) for window in windows] == labels


def test_draws_are_disjoint_and_the_test_begins_a_window_later(bursts):
    options = argparse.Namespace(
        test_from="1970-04-10T00:00:00Z", stride=7, apart=N_BARS, draws=3, windows=5, seed=17
    )  # bar 2376
    train, test = bursts.make(made_bars(), "MADE", options)
    again, _ = bursts.make(made_bars(), "MADE", options)
    assert train.equals(again)
    assert train["draw"].value_counts(sort=True)["count"].to_list() == [5, 5, 5]
    assert train["window_id"].n_unique() == len(train)
    for _, draw in train.group_by("draw"):
        ends, starts = draw["end_ts"].to_physical(), draw["start_ts"].to_physical()
        assert (starts.to_numpy()[1:] > ends.to_numpy()[:-1]).all()
    assert train["end_ts"].to_physical().max() < 2376 * HOUR_US
    assert test["start_ts"].to_physical().min() >= (2376 + N_BARS) * HOUR_US
    assert len(test)
    assert train.drop("draw").schema == test.schema


def test_draws_that_do_not_fit_are_refused(bursts):
    with pytest.raises(SystemExit, match="draw 1 found 1 of 2 windows"):
        bursts.drawn(np.array([0, 200, 300]), n_draws=2, n_windows=2, apart=100, seed=0)
