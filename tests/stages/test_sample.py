"""The sample of all years: what its parts are, and that its later windows come after all else."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

from moola.models.model_files import BASE_NAME, read_encoder
from moola.options.table_options import SampleOptions
from moola.stages import sample
from moola.tables.split_file import read_split


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> tuple[dict, Path]:
    folder = tmp_path_factory.mktemp("years") / "data"
    return sample.sample(SampleOptions(output=folder)), folder


def test_labels_end_before_2015_and_later_windows_begin_then(made):
    result, folder = made
    labelled, later = (pl.read_parquet(folder / path) for path in (sample.LABELLED, sample.LATER))
    assert len(labelled) == 174
    assert labelled["end_ts"].max().year == 2014
    assert later["start_ts"].min().year == 2015
    assert later["end_ts"].max().year == 2018
    assert len(later) == sum(result["later"]["kept"].values()) == 412
    assert not set(labelled["window_id"]) & set(later["window_id"])
    assert set(later["label"]) == set(labelled["label"])
    # Nothing that pretraining reads by default holds a later bar either.
    assert pl.read_parquet(folder / sample.UNLABELLED)["end_ts"].max().year == 2014


def test_the_split_is_purged_and_leaves_val_and_test_behind_the_encoder_in_the_package(made):
    _, folder = made
    split = read_split(folder / sample.SPLIT)
    assert split.name == "fwd_chain_v3"
    assert split.purge_window == 104
    base = read_encoder(BASE_NAME).pretraining["time_range"][1]
    assert json.loads((folder / sample.SPLIT).read_text())["time_range"]["val"][0] > base
    assert len(split.split.test) == 44


def test_the_notice_and_every_bar_are_as_they_came(made):
    result, folder = made
    assert "Apache License" in (folder / sample.NOTICE).read_text()
    assert result["bars"]["n_bars"] == 74_439
    latest = pl.read_parquet(folder / sample.LATEST_BARS)
    bars = pl.read_parquet(folder / sample.BARS).filter(pl.col("timestamp").dt.year() == 2018)
    assert latest["timestamp"].equals(bars["timestamp"])
    assert latest["close"].equals(bars["close"])
