"""Bars as other programs hold them in memory: an index of time, yfinance's columns, times of every type."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pandas as pd
import polars as pl
import pytest

import moola
from moola.api.frame_conversion import bars_of
from moola.errors import InvalidData, WrongUsage

BARS = moola.sample_bars()[:300]
US = BARS["timestamp"].dt.timestamp("us").to_numpy()
PLAIN = BARS.to_pandas()
INDEXED = PLAIN.set_index("timestamp")
CAPITALS = {"open": "Open", "high": "High", "low": "Low", "close": "Close"}


def of_yfinance(symbols, by="price"):
    """Lay bars out as `yfinance.download` does: columns of price and ticker, an index of time, volume beside."""
    pieces = {}
    for place, symbol in enumerate(symbols):
        piece = INDEXED.rename(columns=CAPITALS).assign(**{"Adj Close": INDEXED["close"] * 0.9, "Volume": 0})
        pieces[symbol] = piece.iloc[place:]
    frame = pd.concat(pieces, axis=1, names=["Ticker", "Price"]).rename_axis("Datetime")
    return frame if by == "ticker" else frame.swaplevel(axis=1).sort_index(axis=1)


def same(bars, n_left_out=0, symbol=""):
    mine = bars.take(np.flatnonzero(bars.symbol == symbol))
    assert np.array_equal(mine.start_us, US[n_left_out:])
    assert np.array_equal(mine.ohlc, BARS.select("open", "high", "low", "close").to_numpy()[n_left_out:])


INDEXES = {
    "UTC": INDEXED,
    "another zone": INDEXED.tz_convert("America/New_York"),
    "no zone": INDEXED.tz_localize(None),
    "without a name": INDEXED.rename_axis(None),
    "yfinance's name": INDEXED.rename_axis("Datetime").rename(columns=CAPITALS),
    "nanoseconds": INDEXED.set_axis(INDEXED.index.as_unit("ns")),
    "seconds": INDEXED.set_axis(INDEXED.index.as_unit("s")),
}


def test_an_index_of_time_is_the_bars_time():
    for given in INDEXES.values():
        same(bars_of(given))


COLUMNS = {
    "datetimes with a zone": [time.to_pydatetime() for time in PLAIN["timestamp"]],
    "datetimes without": [time.to_pydatetime().replace(tzinfo=None) for time in PLAIN["timestamp"]],
    "texts": PLAIN["timestamp"].dt.strftime("%Y-%m-%d %H:%M:%S").to_list(),
    "texts with an offset": PLAIN["timestamp"]
    .dt.tz_convert("Etc/GMT-2")
    .dt.strftime("%Y-%m-%dT%H:%M:%S+02:00")
    .to_list(),
    "seconds": US // 1_000_000,
    "milliseconds": US // 1_000,
    "nanoseconds": US * 1_000,
    "numpy": US.astype("datetime64[us]"),
}


@pytest.mark.parametrize("name", COLUMNS)
def test_a_timestamp_may_be_of_several_types(name):
    times = COLUMNS[name]
    prices = {column: BARS[column].to_numpy() for column in ("open", "high", "low", "close")}
    same(bars_of(pd.DataFrame({"timestamp": times, **prices})))
    same(bars_of(pl.DataFrame({"timestamp": times, **prices})))
    # numpy has datetime64 for datetimes.
    if not name.startswith("datetimes"):
        same(bars_of(np.rec.fromarrays([np.array(times), *prices.values()], names=["timestamp", *prices])))


def test_days_are_their_midnight():
    days = [dt.date(2020, 1, 1) + dt.timedelta(days=n) for n in range(300)]
    prices = INDEXED.reset_index(drop=True)
    for given in (prices.assign(Date=days), pl.DataFrame(prices).with_columns(Date=pl.Series(days))):
        assert bars_of(given).start_us[1] == np.datetime64("2020-01-02", "us").astype(int)


def test_columns_of_yfinance_become_rows_with_a_symbol(caplog):
    caplog.set_level("INFO")
    for by in ("price", "ticker"):
        bars = bars_of(of_yfinance(["EURUSD=X", "^GSPC"], by))
        assert bars.symbols == ["EURUSD=X", "^GSPC"]
        same(bars, 0, "EURUSD=X")
        same(bars, 1, "^GSPC")
    assert "Left out 1 rows without a price, where another symbol has a bar" in caplog.text
    # One symbol keeps its name, and a history has none.
    same(bars_of(of_yfinance(["EURUSD=X"])), 0, "EURUSD=X")
    history = INDEXED.rename(columns=CAPITALS).assign(Volume=0, Dividends=0.0, **{"Stock Splits": 0.0})
    same(bars_of(history))
    assert set(moola.windows(of_yfinance(["EURUSD=X"]), stride=50)["symbol"]) == {"EURUSD=X"}


def test_an_index_of_symbol_and_time_is_both():
    both = PLAIN.assign(symbol="A").set_index(["symbol", "timestamp"])
    same(bars_of(both), 0, "A")
    with pytest.raises(InvalidData, match="one of times and one of symbols, but the bars have a, b"):
        bars_of(INDEXED.assign(a=1, b=2).set_index(["a", "b"]))


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (INDEXED.reset_index(drop=True), r"lack timestamp .*\. Give the times as the index of a pandas frame"),
        (INDEXED.rename(columns={"open": "Bid"}), r'lack open .*Say which they are: .*columns=\{"open": "<column>"\}'),
        (PLAIN.assign(Open=1.0).drop(columns="open").assign(OPEN=1.0), "one column must be the open.*2 that may be"),
        (INDEXED.iloc[::-1], r"the bars breaks 1 rule(?s:.*)repair=True"),
        (INDEXED.assign(high=np.nan), r"high must be a finite number, but 300 do not"),
        (pd.concat([INDEXED, INDEXED], keys=["x", "y"], axis=1).pipe(lambda f: pd.concat({"z": f}, axis=1)), "have 3"),
        (pd.concat({"a": INDEXED[["open"]], "b": INDEXED[["close"]]}, axis=1), "one level of the columns must be"),
        (PLAIN.assign(timestamp=range(300)), r"(?s)since 1970.*Give the times as"),
        (PLAIN.assign(timestamp=["01/02/2024"] * 300), "timestamp must be there and readable as UTC, but 300 do not"),
    ],
)
def test_bars_that_break_a_rule_are_refused_with_a_way_on(given, says):
    with pytest.raises(InvalidData, match=says):
        moola.windows(given)


def test_repair_sorts_and_drops_and_keeps_the_kind():
    broken = pd.concat([INDEXED.iloc[::-1], INDEXED.iloc[:1]])
    broken.iloc[5, :] = np.nan
    mended = moola.import_bars(broken, repair=True)
    assert type(mended) is pd.DataFrame
    assert len(mended) == 299
    assert mended["timestamp"].is_monotonic_increasing
    same_as = moola.import_bars(pl.DataFrame(PLAIN).rename({"open": "Bid", "timestamp": "When"}), columns={
        "open": "Bid", "timestamp": "When",
    })  # fmt: skip
    assert same_as.equals(BARS)
    with pytest.raises(InvalidData, match="the bars breaks"):
        moola.import_bars(broken)


def test_a_zone_is_given_to_times_without_one_and_a_file_is_read_as_by_the_command(tmp_path):
    local = INDEXED.tz_convert("America/New_York").tz_localize(None)
    same(bars_of(moola.import_bars(local, timezone="America/New_York")))
    local.rename_axis("Date").reset_index().to_csv(tmp_path / "mine.csv", index=False)
    assert moola.import_bars(tmp_path / "mine.csv", timezone="America/New_York").equals(BARS)
    with pytest.raises(WrongUsage, match="there is no column 'Bid'"):
        moola.import_bars(local, columns={"open": "Bid"})
