"""The length of windows: one, wherever it is recorded."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from moola.errors import InvalidData
from moola.options.judging_options import LeakcheckOptions
from moola.options.study_options import CvOptions, TuneOptions
from moola.options.table_options import CpsaPreviewOptions
from moola.options.training_options import PretrainOptions, TrainOptions
from moola.provenance.learned_times import agreed_window_bars, with_window_bars
from moola.tables.window_file import write_windows
from tests.made import made_windows

MODEL, OTHER = Path("model.pt"), Path("other.pt")


def test_a_file_says_it_and_105_is_for_none() -> None:
    assert agreed_window_bars(None, {}) == 105
    assert agreed_window_bars(90, {}) == 90
    assert agreed_window_bars(None, {MODEL: 90}) == 90
    assert agreed_window_bars(90, {MODEL: 90, OTHER: 90}) == 90


def test_what_disagrees_is_refused() -> None:
    with pytest.raises(
        InvalidData, match=r"must have the 90 bars of model\.pt, but --window-bars has 105\. Leave it out"
    ):
        agreed_window_bars(105, {MODEL: 90})
    with pytest.raises(InvalidData, match=r"the 60 bars of other\.pt, but model\.pt has 90"):
        agreed_window_bars(None, {MODEL: 90, OTHER: 60})


DATA, SPLIT, BARS = Path("windows.parquet"), Path("split.json"), Path("bars.parquet")
OF_DATA = [
    TrainOptions(data=DATA, split=SPLIT),
    CvOptions(data=DATA),
    TuneOptions(data=DATA, split=SPLIT),
    LeakcheckOptions(data=DATA, split=SPLIT),
    CpsaPreviewOptions(data=DATA, split=SPLIT, output=Path("made.png")),
    PretrainOptions(input=DATA, output=Path("encoder.pt")),
]


@pytest.fixture(autouse=True)
def files(tmp_path, monkeypatch):
    """Windows of 30 bars, their split, and bars, which have no length of windows."""
    monkeypatch.chdir(tmp_path)
    write_windows(DATA, made_windows(4, window_bars=30))
    SPLIT.write_text(json.dumps({"train_indices": [0, 1], "val_indices": [2], "window_bars": 30}))
    pl.DataFrame({"timestamp": [0], "close": [1.0]}).write_parquet(BARS)


@pytest.mark.parametrize("options", OF_DATA, ids=lambda options: type(options).__name__)
def test_every_command_takes_it_from_its_windows_and_says_so_once(options, caplog):
    caplog.set_level("INFO")
    assert with_window_bars(options).window_bars == 30
    assert caplog.messages == ["Windows have 30 bars, as in windows.parquet."]
    assert with_window_bars(replace(options, window_bars=12)) == replace(options, window_bars=12)


def test_bars_leave_it_to_the_split_and_nothing_is_said_of_105(caplog):
    caplog.set_level("INFO")
    options = PretrainOptions(input=BARS, output=Path("encoder.pt"), split=SPLIT)
    assert with_window_bars(options).window_bars == 30
    assert caplog.messages == ["Windows have 30 bars, as in split.json."]
    caplog.clear()
    assert with_window_bars(replace(options, split=None)).window_bars == 105
    assert caplog.messages == []


def test_a_split_of_another_length_is_refused_with_both_files_named():
    SPLIT.write_text(json.dumps({"window_bars": 60}))
    with pytest.raises(
        InvalidData, match=r"the 60 bars of split\.json, but windows\.parquet has 30\. Name files of one"
    ):
        with_window_bars(OF_DATA[0])
    # One that does not say is no other length; and what else is amiss is its reader's to say.
    SPLIT.write_text(json.dumps({"window_bars": "many"}))
    assert with_window_bars(OF_DATA[0]).window_bars == 30
