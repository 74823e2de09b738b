"""Frames of windows are the files of the commands."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from moola import autolabel, read_bars, read_windows, relative_features, sample_bars, split, windows
from moola.errors import InvalidData, WrongUsage
from tests.conftest import DATA, SPLIT

BARS = Path("data/raw/eurusd_1h_2017.parquet")
CUT = Path("data/processed/unlabeled/windows.parquet")
LABELLED = Path("data/processed/labeled/train_latest.parquet")


def test_they_are_those_that_the_commands_write(sample):
    bars = read_bars(BARS)
    assert bars.equals(sample_bars())
    assert bars.equals(pl.read_parquet(BARS).select(bars.columns))
    assert windows(bars).equals(pl.read_parquet(CUT))
    labelled = autolabel(windows(bars, stride=10), n_windows=174)
    assert labelled.equals(pl.read_parquet(LABELLED))
    assert labelled.equals(read_windows(str(LABELLED)))
    features = pl.read_parquet(DATA)["features"].to_list()
    assert np.array_equal(relative_features(labelled), np.array(features))
    assert np.array_equal(relative_features(read_windows(DATA)), np.array(features))
    found, file = split(read_windows(DATA)), json.loads(Path(SPLIT).read_text())
    for part in ("train", "val", "test"):
        assert getattr(found, part).tolist() == file[f"{part}_indices"]
    assert sorted(found.dropped) == [dropped["row"] for dropped in file["purged"]]


def test_windows_of_another_length_go_all_the_way_and_what_the_commands_refuse_is_refused():
    cut = windows(sample_bars()[:400], stride=7, window_bars=60)
    assert relative_features(cut).shape == (49, 60, 11)
    parts = split(cut)
    assert cut["end_ts"][parts.train].max() < cut["start_ts"][parts.val].min()
    bars = sample_bars()
    with pytest.raises(InvalidData, match="the bars must have bars for a window, but 104 bars give none of 105"):
        windows(bars[:104])
    with pytest.raises(InvalidData, match="the bars breaks 1 rule"):
        windows(bars.reverse())
    with pytest.raises(WrongUsage, match="--stride must be at least 1"):
        windows(bars, stride=0)
    cut = windows(bars, stride=100)
    with pytest.raises(InvalidData, match="--n-windows 500 must be labelled"):
        autolabel(cut, n_windows=500)
    with pytest.raises(WrongUsage, match="--purge-window must be at least 104"):
        split(cut, purge_window=3)
    with pytest.raises(InvalidData, match="the rule must see prices, but 62 windows have features alone"):
        autolabel(cut.with_columns(features=pl.Series(relative_features(cut).tolist())))
