"""A model that learned on bars of one length says so when it reads others; windows have the length of its file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from moola.models.files import read_model, write_model
from tests.scans_made import made_bars, made_model


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
    answer = moola(*words)
    assert answer.code == 0, answer.err
    assert "learned on bars 1 hour apart and reads bars 1 day apart" in answer.err
    refused = moola(*words, "--window-bars", "105")
    assert refused.code == 3
    assert f"windows must have the {n_bars} bars of hourly.pt, but --window-bars says 105. Leave it out" in refused.err
