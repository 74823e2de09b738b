"""`base`, the encoder inside the package: the file that was measured, its size, its record, its notice."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from moola.core.windows import WINDOW_BARS
from moola.models.model_files import BASE_FILE, encoder_sha256, read_encoder
from moola.provenance.learned_times import seen_among
from tests.made import HOUR_US

BASE = Path("base")
SHA256 = "8aa75c53d455c3c2a5de8ad28bd39731eeba9350bd12b1c04589a4c487fcac61"
UNTIL = "2014-06-01T00:00:00.000000Z"


def seen(first: str, n_windows: int) -> list[bool]:
    """Tell of windows of hourly bars, one after another, whether `base` learned from their times."""
    start = np.datetime64(first, "us").astype(np.int64) + np.arange(n_windows) * WINDOW_BARS * HOUR_US
    return seen_among(read_encoder(BASE).pretraining, start, start + WINDOW_BARS * HOUR_US).tolist()


def test_the_file_is_the_one_that_was_measured_and_is_small_enough():
    assert hashlib.sha256(BASE_FILE.read_bytes()).hexdigest() == encoder_sha256(BASE) == SHA256
    assert BASE_FILE.stat().st_size < 4_000_000


def test_its_record_names_what_it_learned_from():
    base = read_encoder(BASE)
    record = base.pretraining
    assert base.window_bars == WINDOW_BARS
    assert record["symbols"] == ["AUDUSD", "EURUSD", "GBPUSD", "USDJPY", "XAUUSD"]
    assert record["timeframes"] == ["1h", "2h", "4h", "8h", "1d"]
    assert record["licence"] == "Apache-2.0"
    assert record["time_range_end"] == "close"
    assert record["time_range"][1] <= UNTIL
    assert {(row["symbol"], row["timeframe"]) for row in record["series"]} == {
        (symbol, timeframe) for symbol in record["symbols"] for timeframe in record["timeframes"]
    }
    assert max(row["last_close"] for row in record["series"]) <= UNTIL
    assert base.encoder.architecture.hidden_dim == record["recipe"]["hidden_dim"]


def test_windows_from_june_2014_on_are_clean_and_those_before_are_not():
    assert not any(seen("2014-06-01", 2000))
    assert all(seen("2010-01-01", 300))
    assert seen("2014-05-30T23:00", 1) == [True]


def test_its_notice_names_the_file_and_every_symbol():
    notice = BASE_FILE.with_suffix(".NOTICE.txt").read_text()
    assert SHA256 in notice
    assert all(symbol in notice for symbol in read_encoder(BASE).pretraining["symbols"])
    assert "Apache License 2.0" in notice
    assert "QuantConnect/Lean" in notice
    assert "komo135/forex-historical-data" in notice
