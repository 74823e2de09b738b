"""The warning of bars unlike those that calibrated a model: which windows are compared, and where it is told."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from moola.core.bars import Bars
from moola.errors import UntrustedFile
from moola.fit.fitting import Fitted
from moola.fit.predicting import compare_bars, compare_windows
from moola.models.model_files import MODEL_KIND, read_model, write_model
from moola.models.sealed import read_sealed, write_sealed
from moola.tables.bar_table import HeldBars
from moola.tables.window_file import write_windows
from tests.fit.fits_made import N_BARS, fit_inputs_of, fitted
from tests.made import made_windows, random_walk_bars
from tests.networks_made import CPU

TABLE = made_windows(60, seed=8, stride=N_BARS, window_bars=N_BARS)


@pytest.fixture(scope="module")
def fit() -> Fitted:
    from moola.core.splits import Split

    split = Split(np.arange(40), np.arange(40, 50), np.arange(50, 60))
    return fitted(fit_inputs_of(TABLE, split))


def flat(bars: Bars) -> Bars:
    """Bars of which most have no range, as of a market that hardly trades."""
    ohlc = bars.ohlc.copy()
    still = np.random.default_rng(1).random(len(ohlc)) < 0.8
    ohlc[still] = ohlc[still, 3:4]
    return replace(bars, ohlc=ohlc)


def test_the_model_keeps_what_all_its_windows_were_like_and_a_file_gives_it_back(fit: Fitted, tmp_path: Path) -> None:
    assert fit.model.likeness is not None
    assert fit.chosen.likeness is not None
    # The model that is kept was fitted to train and val rows, the one before to train rows alone.
    assert (len(fit.model.likeness.distances), len(fit.chosen.likeness.distances)) == (50, 40)
    write_model(tmp_path / "m.pkl", fit.model)
    again = read_model(tmp_path / "m.pkl")
    assert again.likeness is not None
    np.testing.assert_allclose(again.likeness.distances, fit.model.likeness.distances, rtol=1e-6)
    assert (again.likeness.block == fit.model.likeness.block).all()


def test_a_summary_that_was_altered_is_refused_and_a_file_of_before_gives_no_warning(fit, tmp_path: Path) -> None:
    path = tmp_path / "m.pkl"
    write_model(path, fit.model)
    content = read_sealed(path, MODEL_KIND)
    content["likeness"]["variance"][0, 0] = -1.0
    write_sealed(path, MODEL_KIND, content)
    with pytest.raises(UntrustedFile, match="a summary of the calibrating windows"):
        read_model(path)
    del content["likeness"]
    write_sealed(path, MODEL_KIND, content)
    assert read_model(path).likeness is None
    assert compare_windows(read_model(path), TABLE, CPU) == {"likeness": None}


def test_bars_of_another_kind_are_told_of_and_bars_of_the_same_kind_are_not(fit: Fitted) -> None:
    told: list[str] = []
    like = compare_bars(fit.model, HeldBars(random_walk_bars(3000, seed=5)), None, CPU, told.append)
    assert told == []
    assert like["likeness"]["n_windows"] == 100
    unlike = compare_bars(fit.model, HeldBars(flat(random_walk_bars(3000, seed=5))), None, CPU, told.append)
    assert unlike["likeness"]["unlike"]
    (sentence,) = told
    assert sentence.startswith("The bars are unlike those that calibrated the model")


def test_at_most_200_windows_are_read_and_none_that_share_a_bar_or_lie_over_a_gap(fit: Fitted) -> None:
    bars = random_walk_bars(9000, seed=5)
    assert compare_bars(fit.model, HeldBars(bars), None, CPU)["likeness"]["n_windows"] == 200
    later = bars.start_us + np.where(np.arange(9000) >= 4505, 10 * 86_400_000_000, 0)
    gap = compare_bars(fit.model, HeldBars(replace(bars, start_us=later).take(slice(3000, 6000))), None, CPU)
    # One of the hundred runs over the gap.
    assert gap["likeness"]["n_windows"] == 99
    close = made_windows(200, seed=9, stride=N_BARS // 2, window_bars=N_BARS)
    assert compare_windows(fit.model, close, CPU)["likeness"]["n_windows"] == 100
    assert compare_windows(fit.model, close.take(np.arange(30)), CPU) == {"likeness": None}


def test_predict_tells_it_and_keeps_it_in_its_result(fit, tmp_path: Path, moola, monkeypatch, caplog) -> None:
    monkeypatch.chdir(tmp_path)
    write_model(Path("m.pkl"), fit.model)
    other = made_windows(80, seed=9, stride=N_BARS, window_bars=N_BARS)
    still = np.random.default_rng(1).random(other.ohlc.shape[:2]) < 0.8
    ohlc = np.where(still[..., None], other.ohlc[..., 3:4], other.ohlc)
    for name, table, unlike in (("same", other, False), ("other", replace(other, ohlc=ohlc, features=None), True)):
        write_windows(Path(f"{name}.parquet"), table)
        with caplog.at_level(logging.WARNING):
            answer = moola("predict", "--model", "m.pkl", "--data", f"{name}.parquet", "--output", "p.csv", "--json")
        assert answer.code == 0, answer.err
        assert answer.json["likeness"]["unlike"] is unlike
        assert ("unlike those that calibrated" in answer.err) is unlike
    assert len(pl.read_csv("p.csv")) == 80
