"""A model that learned on bars of one length says so when it reads others; windows have the length of its file."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from moola import Model, read_bars, windows
from moola.label import page_server
from moola.models.model_files import read_model, write_model
from moola.tables.window_file import write_windows
from tests.made import made_windows
from tests.scans_made import made_bars, made_model
from tests.small import stay_small


@pytest.fixture
def model(tmp_path, monkeypatch) -> Path:
    """A model of hourly bars, beside bars of its own length (bars.parquet, one an hour) and daily ones."""
    monkeypatch.chdir(tmp_path)
    made_model(Path("silent.pt"))
    made = read_model(Path("silent.pt"))
    write_model(Path("hourly.pt"), replace(made, training=made.training | {"bar_interval_s": 3600.0}))
    bars = made_bars(120, [], 1)
    first = bars["timestamp"][0]
    for name, step in (("hourly", "1h"), ("daily", "1d")):
        times = pl.datetime_range(first, first.replace(year=first.year + 1), step, eager=True)[: len(bars)]
        bars.with_columns(timestamp=times.cast(bars.schema["timestamp"])).write_parquet(f"{name}.parquet")
    return Path("hourly.pt")


def scan(moola, model, bars):
    return moola("scan", "--model", model, "--bars", bars, "--output", "events.csv", "--json", "--max-gap-hours", "100")


def test_scan_tells_other_bars_and_no_more(model, moola):
    other, same = scan(moola, model, "daily.parquet"), scan(moola, model, "hourly.parquet")
    assert other.code == same.code == 0, other.err
    assert "Warning: The model learned on bars 1 hour apart and reads bars 1 day apart" in other.err
    assert (other.json["learned_bar_interval_s"], other.json["bar_interval_s"]) == (3600.0, 86400.0)
    assert "The model learned on bars" not in same.err
    assert same.json["bar_interval_warning"] is None
    # A file from before the length was kept says nothing.
    assert "learned on bars" not in scan(moola, "silent.pt", "daily.parquet").err


def test_predict_takes_the_length_of_the_model(model, moola):
    n_bars = read_model(model).window_bars
    cut = moola("windows", "--bars", "daily.parquet", "--output", "my windows.parquet", "--window-bars", str(n_bars))
    assert f"--input 'my windows.parquet' --output artifacts/encoders/pretrained/encoder.pt --window-bars {n_bars}" in (
        cut.out
    )
    words = ("predict", "--model", model, "--data", "my windows.parquet", "--output", "said.parquet")
    moola(*words).ends(0, "learned on bars 1 hour apart and reads bars 1 day apart")
    refused = moola(*words, "--window-bars", "105").ends(3)
    assert f"windows must have the {n_bars} bars of hourly.pt, but --window-bars has 105. Leave it out" in refused.err


def test_training_takes_the_length_from_its_files(tmp_path, monkeypatch, moola):
    """Without --window-bars: windows of 30 bars, a split that says so, and an encoder of another length."""
    monkeypatch.chdir(tmp_path)
    write_windows(Path("windows.parquet"), made_windows(40, window_bars=30, stride=30))
    small = ("--arms", "masked")
    stay_small(monkeypatch)
    for words in (
        ("split", "--data", "windows.parquet", "--output", "split.json", "--window-bars", "30"),
        ("pretrain-bilstm", "--input", "windows.parquet", "--output", "encoder.pt", "--split", "split.json", *small),
        ("train", "--data", "windows.parquet", "--split", "split.json", "--pretrained-encoder", "encoder.pt", "--json"),
    ):  # fmt: skip
        done = moola(*words).ends(0)
        assert ("Windows have 30 bars, as in windows.parquet." in done.err) == (words[0] != "split")
    config = json.loads((Path(done.json["run"]) / "config.json").read_text())
    assert config["window_bars"] == 30


SAID = "The model learned on bars 1 hour apart and reads bars 1 day apart"


def test_following_tells_other_bars_once_however_few_come_at_a_time(model, moola):
    bars = pl.read_parquet("daily.parquet")
    words = ("scan", "--model", model, "--output", "events.csv", "--max-gap-hours", "100", "--polls", "1", "--follow")
    bars[:20].write_csv("growing.csv")
    assert SAID not in moola(*words, "growing.csv").err
    bars.write_csv("growing.csv")
    answer = moola(*words, "growing.csv", "--json").ends(0)
    assert answer.err.count(SAID) == 1
    assert answer.json["bar_interval_warning"].startswith("the model learned on bars 1 hour apart")
    words = (*words[:4], "hourly.csv", *words[5:])
    pl.read_parquet("hourly.parquet").write_csv("same.csv")
    assert "learned on bars" not in moola(*words, "same.csv").err


@pytest.mark.parametrize("name", ["daily", "hourly"])
def test_the_labelling_page_tells_other_bars(model, moola, monkeypatch, name):
    def closed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(page_server, "serve", closed)
    # One of two models does not say what it learned on.
    answer = moola(
        "label", "--bars", f"{name}.parquet", "--model", model, "silent.pt", "--port", "0", "--device", "cpu",
        "--classes", "falling", "rising",
    )  # fmt: skip
    assert answer.code == 0, answer.err
    assert answer.err.count(SAID) == (name == "daily")


def test_python_warns_of_other_bars_at_the_line_that_gave_them(model):
    hourly = Model.load(model, device="cpu")
    daily = read_bars("daily.parquet")
    cut = windows(daily, stride=20, window_bars=hourly.window_bars, max_gap_hours=100)
    for call in (lambda: hourly.scan(daily, max_gap_hours=100), lambda: hourly.predict(cut)):
        with pytest.warns(UserWarning, match=SAID) as caught:
            call()
        assert [(one.filename, len(caught)) for one in caught] == [(__file__, 1)]
    # Warnings are errors here: bars of its own length, and a model that does not say one, are silent.
    hourly.scan(read_bars("hourly.parquet"))
    Model.load("silent.pt", device="cpu").predict(cut)
