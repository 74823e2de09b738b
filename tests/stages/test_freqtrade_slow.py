"""freqtrade's own lookahead analysis finds no bias in the strategy that is written, and finds one that is put in.

freqtrade does not go with the packages of this environment: `python -m venv freqtrade`, `freqtrade/bin/pip install
freqtrade`, then MOOLA_FREQTRADE_PYTHON=freqtrade/bin/python. It is run without a network.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.stages.test_exporting_prices import strategy_file

PYTHON = os.environ.get("MOOLA_FREQTRADE_PYTHON") or (sys.executable if importlib.util.find_spec("freqtrade") else None)
# What an exchange would say of its one pair.
DRIVER = """
import sys
from unittest import mock
from freqtrade.exchange.exchange import Exchange
limits = {"amount": {"min": 1e-8, "max": None}, "price": {"min": None, "max": None}, "cost": {"min": 1e-4, "max": None}}
market = {"id": "ETHUSDT", "symbol": "ETH/USDT", "base": "ETH", "quote": "USDT", "active": True, "spot": True,
          "margin": False, "swap": False, "future": False, "type": "spot", "contractSize": None, "taker": 0.001,
          "maker": 0.001, "precision": {"price": 8, "amount": 8}, "limits": limits, "info": {}}
def reload(self, *_, **__):
    self._markets = {"ETH/USDT": market}
places = mock.PropertyMock(return_value=2)
for name, stand_in in (("reload_markets", reload), ("validate_timeframes", lambda *_, **__: None),
                       ("get_fee", lambda *_, **__: 0.001), ("precisionMode", places),
                       ("precision_mode_price", places), ("additional_exchange_init", lambda *_, **__: None)):
    mock.patch.object(Exchange, name, stand_in).start()
from freqtrade.main import main
main(sys.argv[1:])
"""
N_HOURS = 1500


def write_market() -> None:
    """Write candles, events of them, and a configuration for a dry run."""
    rng = np.random.default_rng(0)
    dates = pd.date_range("2024-01-01", periods=N_HOURS, freq="1h", tz="UTC")
    close = 100 * np.exp(np.cumsum(rng.normal(0, 2e-3, N_HOURS)))
    open_ = np.append(close[:1], close[:-1])
    high, low = np.maximum(open_, close) * 1.0005, np.minimum(open_, close) * 0.9995
    candles = {"date": dates, "open": open_, "high": high, "low": low, "close": close, "volume": 100.0}
    Path("user/data/binance").mkdir(parents=True)
    pd.DataFrame(candles).to_feather("user/data/binance/ETH_USDT-1h.feather")
    with Path("live.jsonl").open("w") as file:
        for start in range(40, N_HOURS - 60, 45):
            end = start + int(rng.integers(2, 9))
            bars = {"start_ts": start, "end_ts": end, "known_ts": end + int(rng.integers(2, 12))}
            event = {name: f"{dates[bar]:%Y-%m-%dT%H:%M:%S.%fZ}" for name, bar in bars.items()}
            event |= {"symbol": "ETH/USDT", "predicted_label": "rising", "event_prob": 0.8}
            file.write(f"{json.dumps(event)}\n")
    prices = {"price_side": "other", "use_order_book": False}
    exchange = {"name": "binance", "key": "", "secret": "", "pair_whitelist": ["ETH/USDT"], "pair_blacklist": []}
    money = {"stake_currency": "USDT", "stake_amount": 100, "dry_run_wallet": 10000, "max_open_trades": 1}
    config = {
        "exchange": exchange,
        "pairlists": [{"method": "StaticPairList"}],
        "dry_run": True,
        "trading_mode": "spot",
    }
    config |= money | {"margin_mode": "", "entry_pricing": prices, "exit_pricing": prices}
    Path("config.json").write_text(json.dumps(config))


def analysed(text: str) -> str:
    """Return what freqtrade's lookahead analysis says of a strategy."""
    Path("user/strategies").mkdir(exist_ok=True)
    Path("user/strategies/strategy.py").write_text(text)
    assert PYTHON is not None
    command = [PYTHON, "-c", DRIVER, "lookahead-analysis", "-c", "config.json", "--userdir", "user"]
    command += ["--strategy", "MoolaEvents", "--timerange", "20240101-20240301"]
    command += ["--minimum-trade-amount", "3", "--targeted-trade-amount", "5"]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    return done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.skipif(PYTHON is None, reason="needs freqtrade, in an environment of its own: see the head of the file")
def test_the_lookahead_analysis_of_freqtrade_finds_no_bias_and_finds_one_that_is_there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = strategy_file()
    write_market()
    said = analysed(text)
    assert "MoolaEvents: no bias detected" in said, said[-3000:]
    biased = text.replace(
        "upward[told] = rise &",
        'rise = (dataframe["close"].shift(-1) > dataframe["close"]).to_numpy()[told]\n        upward[told] = rise &',
    )
    assert biased != text
    said = analysed(biased)
    assert "bias detected!" in said, said[-3000:]
