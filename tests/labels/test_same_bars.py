"""Bars that grew, were written again or corrected continue with a store; others do not."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from moola.core.bars import Bars
from moola.errors import InvalidData
from moola.labels.label_positions import BarPlaces, learn_bars, require_same_bars
from moola.tables.label_store import LabelStore
from tests.labels.labels_made import BARS, WINDOW_BARS, made_label
from tests.test_golden import VERSIONS


@pytest.fixture
def store(tmp_path):
    """Two labels on bars 0 to 19 and 40 to 59."""
    with LabelStore(tmp_path / "labels.db") as opened:
        places = BarPlaces(BARS, WINDOW_BARS)
        for label in (made_label(0, (5, 9, "a")), made_label(40, (5, 9, "a"))):
            opened.save(label, 0, places.content(label.symbol, label.start_us, label.end_us))
        learn_bars(opened, places, "bars.parquet")
        yield opened


def ask(store, start_us=BARS.start_us, ohlc=BARS.ohlc, symbol=BARS.symbol):
    require_same_bars(store, BarPlaces(Bars(start_us, ohlc, symbol), WINDOW_BARS), "bars.parquet", set(symbol.tolist()))


def test_bars_that_grew_lost_their_oldest_or_were_rounded_are_the_same(store, caplog):
    ask(store)
    for rows in (slice(0, 61), slice(10, 200), slice(50, 200), slice(100, 200)):
        ask(store, BARS.start_us[rows], BARS.ohlc[rows], BARS.symbol[rows])
    ask(store, ohlc=BARS.ohlc.astype(np.float32).astype(np.float64))
    assert caplog.text == ""


def test_a_corrected_bar_is_said_with_its_count(store, caplog):
    corrected = BARS.ohlc.copy()
    corrected[[3, 4, 150]] *= 1.001
    ask(store, ohlc=corrected)
    assert "1 labelled windows or spans are on bars that were corrected since: 2 bars" in caplog.text


def test_other_prices_and_other_lengths_are_refused(store):
    with pytest.raises(InvalidData, match="40 of 40 bars have other prices"):
        ask(store, ohlc=BARS.ohlc * 4)
    # Nobody adds labels: whoever gives bars without a symbol means the labels that are there.
    unnamed = BarPlaces(Bars(BARS.start_us, BARS.ohlc * 4, np.full(len(BARS), "", dtype=object)), WINDOW_BARS)
    with pytest.raises(InvalidData, match="40 of 40 bars have other prices"):
        require_same_bars(store, unnamed, "bars.parquet")
    # To label them is to begin another instrument, which the labels of this one do not reach.
    require_same_bars(store, unnamed, "bars.parquet", {""})
    assert unnamed.known_symbol("EURUSD") is None
    with pytest.raises(
        InvalidData, match="length of those that were labelled, 3600 s for 'EURUSD', but they have 14400"
    ):
        ask(store, BARS.start_us[::4], BARS.ohlc[::4], BARS.symbol[::4])
    # Another symbol is another instrument of the same store.
    ask(store, ohlc=BARS.ohlc * 4, symbol=np.full(len(BARS), "GBPUSD", dtype=object))


def test_labels_of_the_first_version_learn_the_bars_of_the_first_opening(tmp_path, caplog):
    shutil.copy(VERSIONS[0] / "labels.db", tmp_path)
    hour = 3_600_000_000
    bars = Bars(np.arange(400) * hour, np.tile([1.0, 1.2, 0.9, 1.1], (400, 1)), np.full(400, "EURUSD", dtype=object))
    with LabelStore(tmp_path / "labels.db") as store:
        assert store.bars() == {}
        learn_bars(store, BarPlaces(bars, 105), "bars.parquet")
        assert len(store.bars()) > 0
        assert "were not yet tied to bars" in caplog.text
        assert "from version 1 to version 3" in caplog.text
        with pytest.raises(InvalidData, match="other prices"):
            ask(store, bars.start_us, bars.ohlc * 2, bars.symbol)
    assert (tmp_path / "labels.db.version-1").read_bytes()[:16] == b"SQLite format 3\x00"
