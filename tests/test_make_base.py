"""The script that makes `base`: bars that are over in time, stored windows as made ones, a file that `train` reads."""

from __future__ import annotations

import importlib
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from moola.core.bars import Bars
from moola.core.windows import take_windows
from moola.models.head_prior import KIND, PRIOR_FILE
from moola.models.model_files import read_encoder
from moola.models.sealed import read_sealed
from moola.provenance.learned_times import seen_among
from moola.training.encoder_training import Pretraining
from tests.made import HOUR_US, random_walk_bars

SCRIPTS = Path(__file__).resolve().parents[1] / "scripts/base"


def script(name: str) -> Any:
    """One of the scripts, which import each other from their folder."""
    sys.path.insert(0, str(SCRIPTS))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(SCRIPTS))


@pytest.fixture(scope="module")
def base():
    return script("make_base")


@pytest.fixture(scope="module")
def head_prior():
    return script("make_head_prior")


@pytest.mark.slow
def test_the_head_prior_knows_where_heads_of_other_definitions_lie(head_prior):
    bars = random_walk_bars(900, 3)
    windows = head_prior.encode(take_windows(bars.ohlc, np.arange(0, 780, 12), 105))
    learned, others = (head_prior.weights_of(windows, n, 40, seed) for n, seed in ((5, 1), (2, 2)))
    assert {len(one) for one in [*learned.start, *learned.end]} == {320}
    assert {len(one) for one in [*learned.size, *learned.side]} == {960}
    factor = head_prior.factor_of([learned.start], 4)
    axes = np.linalg.svd(factor, full_matrices=False)[0]
    inside = [np.linalg.norm(axes.T @ one) / np.linalg.norm(one) for one in others.start]
    # A direction at random would lie to a share of the root of 4 in 320 in them.
    assert min(inside) > 2 * np.sqrt(4 / 320)
    both = head_prior.factor_of([learned.size, [3.0 * one for one in learned.side]], 96)
    parts = [np.stack(one) / np.linalg.norm(one) for one in (learned.size, learned.side)]
    np.testing.assert_allclose(both @ both.T, sum(one.T @ one for one in parts), atol=1e-9)


def test_the_defaults_of_the_head_prior_are_those_of_the_shipped_file(head_prior):
    record = read_sealed(PRIOR_FILE, KIND)["record"]
    assert record["until"] == head_prior.UNTIL
    assert (record["definitions"], record["windows"]) == (head_prior.N_DEFINITIONS, head_prior.N_WINDOWS)


@pytest.fixture(scope="module")
def series(base):
    # Until some days after the last moment, without a weekend.
    hourly = [random_walk_bars(24 * 200, seed, "2013-11-20", name) for seed, name in enumerate(["EURUSD", "XAUUSD"])]
    return base.all_series([base.hourly_of(Path(f"{bars.symbol[0].lower()}_1h_x.parquet"), bars) for bars in hourly])


@pytest.fixture(scope="module")
def recipe(base):
    return base.Recipe(hidden_dim=6, num_layers=1, epochs=1, epoch_windows=64, batch_size=16)


def test_the_defaults_are_the_recipe_of_the_shipped_file(base):
    record = read_encoder(Path("base")).pretraining
    assert asdict(base.Recipe()) == record["recipe"]
    assert base.ARM_WEIGHTS["moves"] == record["moves_weight"]
    assert list(base.TIMEFRAMES) == record["timeframes"]
    assert (record["until"], record["licence"]) == (base.UNTIL, base.LICENCE)
    assert record["mask"] == f"patch {base.Recipe().mask_ratio:g}"


def test_every_symbol_and_timeframe_is_there_and_over_in_time(base, series):
    told = {(row["symbol"], row["timeframe"]): row for row in series.told()}
    assert set(told) == {(symbol, timeframe) for symbol in ("EURUSD", "XAUUSD") for timeframe in base.TIMEFRAMES}
    assert {row["last_close"] for row in told.values()} == {"2014-06-01T00:00:00.000000Z"}
    assert told["EURUSD", "1h"]["n_bars"] == 24 * told["EURUSD", "1d"]["n_bars"] == 24 * 193
    until = np.datetime64("2014-06-01", "us").astype(np.int64)
    assert (series.source.intervals.end_us <= until).all()
    names = series.bars.symbol[series.source.first_bar]
    last = series.bars.symbol[series.source.first_bar + series.source.window_bars - 1]
    assert (names == last).all()


def test_files_of_other_bars_are_refused(base):
    bars = random_walk_bars(50)
    daily = Bars(bars.start_us * 24, bars.ohlc, bars.symbol)
    with pytest.raises(ValueError, match="must hold hourly bars, but they are 1440 minutes apart"):
        base.hourly_of(Path("eurusd_1h_x.parquet"), daily)


@pytest.mark.slow
def test_stored_windows_ask_what_made_ones_do(base, series, recipe, tmp_path):
    thin = base.thinned(series, 300, 3)
    scaler = base.scaler_of(thin.source, base.divided(thin.source)[0])
    base.store(tmp_path, thin.source, scaler, {recipe.definitions: base.moves_arm(recipe, 2)}, 1)
    stored = base.objective_of(recipe, thin.source, scaler, tmp_path, torch.device("cpu"))
    made = Pretraining(stored.module, stored.take, stored.train_rows, stored.val_rows, stored.plan)
    for one, other in zip(stored.train_batches(0), made.train_batches(0), strict=True):
        assert torch.allclose(one[0], other[0], atol=1e-5)
        assert torch.equal(one[1], other[1])
        assert set(one[2]) == set(other[2])
        assert torch.allclose(one[2]["structure"]["structure"], other[2]["structure"]["structure"], atol=5e-3)
        # Of two legs of one size, the one up comes first.
        same = (one[2]["moves"]["pointers"] == other[2]["moves"]["pointers"]).all(dim=2)
        assert same.float().mean() > 0.99
        assert torch.allclose(one[2]["moves"]["states"][same], other[2]["moves"]["states"][same], atol=5e-3)
        assert torch.equal(one[2]["moves"]["chosen"], other[2]["moves"]["chosen"])
    for one, other in zip(stored.val_batches(), made.val_batches(), strict=True):
        assert torch.allclose(one[0], other[0], atol=1e-5)
        assert torch.equal(one[1], other[1])


def test_the_file_is_read_and_says_what_it_learned_from(base, series, recipe, tmp_path):
    output, lines = tmp_path / "base.pt", []
    base.make(base.thinned(series, 300, 3), recipe, output, torch.device("cpu"), 1, lines.append)
    record = read_encoder(output).pretraining
    assert record["symbols"] == ["EURUSD", "XAUUSD"]
    assert record["timeframes"] == list(base.TIMEFRAMES)
    assert record["licence"] == "Apache-2.0"
    assert record["hours_utc"] == list(range(24))
    assert record["time_range"][1] <= "2014-06-01T00:00:00.000000Z"
    assert f"{output.stat().st_size} bytes" in lines[-1]
    # Windows of any later time are clean, those of its own are not.
    until = np.datetime64("2014-06-01", "us").astype(np.int64)
    assert seen_among(record, np.array([until]), np.array([until + HOUR_US])).tolist() == [False]
    own = np.datetime64("2014-03-01", "us").astype(np.int64)
    assert seen_among(record, np.array([own]), np.array([own + HOUR_US])).tolist() == [True]


@pytest.mark.slow
def test_an_encoder_that_is_too_large_for_the_package_is_refused(base, series, recipe, tmp_path, monkeypatch):
    monkeypatch.setattr(base, "MOST_BYTES", 100)
    with pytest.raises(SystemExit, match=r"must be under 100 bytes"):
        base.make(
            base.thinned(series, 300, 3),
            replace(recipe, epoch_windows=16),
            tmp_path / "x.pt",
            torch.device("cpu"),
            1,
            str,
        )
