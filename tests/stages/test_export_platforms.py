"""Sources for other platforms fit the graph of prices, and look at no bar to come."""

from __future__ import annotations

import csv
import importlib.util
import json
import os
import re
import subprocess
import sys
import types
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest

from moola.errors import OperationFailed, WrongUsage
from moola.models.model_files import write_model
from moola.options.training_options import ExportOptions
from moola.scan import window_reading
from moola.stages import export_onnx, export_platforms
from moola.stages.export_platforms import INDICATOR, export_for
from tests.scans_made import made_bars, made_model, seeing_moves
from tests.stages.test_exporting import BARS, graph_says, model_of


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_what_cannot_be_exported_for_a_platform_is_refused(monkeypatch):
    write_model(Path("model.pt"), model_of())
    write_model(Path("blind.pt"), model_of(pointers=False))
    mt5 = ExportOptions(model=Path("model.pt"), output=Path("mt5"), format="mt5")
    strategy = ExportOptions(model=Path("model.pt"), output=Path("s.py"), format="freqtrade", events=Path("live.jsonl"))
    for options, said in (
        (replace(mt5, input="features"), "--input features must come with --format onnx"),
        (replace(mt5, events=Path("live.jsonl")), "--events must come with --format freqtrade"),
        (replace(mt5, output=Path("model.onnx")), "must be a folder"),
        (replace(mt5, model=Path("blind.pt")), "must have a model that predicts pointers"),
        (replace(strategy, output=Path("s.txt")), r"end in \.py"),
        (replace(strategy, events=None), "it is not given"),
        (replace(strategy, events=Path("e.parquet")), r"it is e\.parquet"),
        (replace(strategy, model=Path("blind.pt")), "must have a model that predicts pointers"),
        (strategy, "are not recorded"),
    ):
        with pytest.raises(WrongUsage, match=said):
            export_for(options)
    monkeypatch.setattr(export_onnx, "onnx_bytes", lambda *_: b"")
    monkeypatch.setattr(export_onnx, "largest_difference", lambda *_: float("nan"))
    with pytest.raises(OperationFailed, match="nothing was written"):
        export_for(mt5)
    assert sorted(path.name for path in Path().iterdir()) == ["blind.pt", "model.pt"]


@pytest.mark.slow
def test_the_table_for_metatrader_holds_what_is_predicted_and_fits_its_sources(monkeypatch, moola):
    assert export_platforms.N_TABLED == 1000
    monkeypatch.setattr(export_platforms, "N_TABLED", 24)
    model = replace(model_of(n_classes=3, mirror=(1, 0, 2)), class_names=["up", 'a "b" \\', "down"])
    write_model(Path("model.pt"), model)
    answer = moola("export", "--model", "model.pt", "--format", "mt5", "--output", "out", "--json")
    assert answer.code == 0, answer.err
    files = {Path(path).name: Path(path) for path in answer.json["files"]}
    assert sorted(files) == ["model.onnx", "moola_check.mq5", "moola_events.mq5", "windows.csv"]
    header, *rows = csv.reader(files["windows.csv"].read_text().splitlines())
    numbers = np.array(rows, dtype=np.float64)
    assert len(rows) == answer.json["n_windows"] == 24
    assert not [cell for row in rows for cell in row if "e" in cell.lower()]
    said = graph_says(model, numbers[:, : 4 * BARS].reshape(-1, BARS, 4), files["model.onnx"].read_bytes())
    np.testing.assert_allclose(numbers[:, 4 * BARS : 4 * BARS + 3], said["class_prob"], atol=1e-5)
    same = (numbers[:, -4:-2] == said["pointers"]).all(axis=1)
    assert same.mean() > 0.9
    np.testing.assert_allclose(numbers[same, -2:], said["pointer_near_prob"][same], atol=1e-5)

    for name in ("moola_events.mq5", "moola_check.mq5"):
        content = files[name].read_bytes()
        assert content.startswith(b"\xef\xbb\xbf//")
        text = content.decode("utf-8-sig")
        assert "{{" not in text
        defined = dict(re.findall(r"^#define (\w+) +(\S+)", text, re.MULTILINE))
        assert (defined["N_BARS"], defined["N_PRICES"], defined["N_CLASSES"]) == (str(BARS), "4", "3")
        for call in ("OnnxCreate(", "OnnxSetInputShape(", "OnnxSetOutputShape(", "OnnxRun(", "OnnxRelease("):
            assert call in text
        assert r'"moola\\model.onnx"' in text
        for opening, closing in ("()", "{}", "[]"):
            plain = re.sub(r'"(\\.|[^"\\])*"', '""', re.sub(r"//.*", "", text))
            assert plain.count(opening) == plain.count(closing)
    defined = dict(re.findall(r"^#define (\w+) +(\S+)", files["moola_check.mq5"].read_text("utf-8-sig"), re.MULTILINE))
    assert (int(defined["N_COLUMNS"]), int(defined["N_WINDOWS"])) == (len(header), 24)
    assert r'{"up", "a \"b\" \\", "down"}' in files["moola_events.mq5"].read_text("utf-8-sig")


def test_an_indicator_asks_for_its_pointers_and_a_strategy_for_what_live_presence_says(monkeypatch):
    model = replace(model_of(), pointer_threshold=0.5, training={"bar_interval_s": 3600.0})
    write_model(Path("model.pt"), model)
    presence, live = types.SimpleNamespace(threshold=0.7), types.SimpleNamespace(threshold=0.6)
    mt5 = ExportOptions(model=Path("model.pt"), output=Path("mt5"), format="mt5")
    strategy = ExportOptions(model=Path("model.pt"), output=Path("s.py"), format="freqtrade", events=Path("live.jsonl"))
    looks_ahead = replace(model, presence=presence)
    monkeypatch.setattr(export_platforms, "read_model", lambda _: looks_ahead)
    monkeypatch.setattr(export_platforms, "checked_graph", lambda *_: (looks_ahead, b"", 0.0))
    monkeypatch.setattr(export_platforms, "N_TABLED", 8)
    export_for(mt5)
    assert re.search(r"InpMinProb += 0\.25;", (Path("mt5") / INDICATOR).read_text(encoding="utf-8-sig"))
    with pytest.raises(WrongUsage, match="without --live-presence"):
        export_for(strategy)
    monkeypatch.setattr(export_platforms, "read_model", lambda _: replace(looks_ahead, live_presence=live))
    export_for(strategy)
    assert "MIN_PROB = 0.6\n" in Path("s.py").read_text()


# The strategy for freqtrade.

HOUR = pd.Timedelta(hours=1)
FIRST = pd.Timestamp("2024-01-01", tz="UTC")


def strategy_file(**changes: str) -> str:
    """Return the source of a strategy, with constants or text replaced."""
    model = replace(model_of(), class_names=["falling", "rising"], training={"bar_interval_s": 3600.0})
    write_model(Path("model.pt"), model)
    options = ExportOptions(
        model=Path("model.pt"), output=Path("strategy.py"), format="freqtrade", events=Path("live.jsonl")
    )
    assert export_for(options)["timeframe"] == "1h"
    text = Path("strategy.py").read_text()
    for name, value in changes.items():
        text, n = re.subn(rf"^{name}(.*) = .*$", rf"{name}\1 = {value}", text, flags=re.MULTILINE)
        assert n == 1
    return text


def strategy_of(text: str, timeframe: str = "1h"):
    """Run a strategy's source beside a freqtrade that has nothing but what it imports."""
    stub = types.ModuleType("freqtrade.strategy")
    stub.IStrategy = object
    stub.timeframe_to_minutes = lambda name: {"1h": 60, "4h": 240, "30m": 30}[name]
    names: dict[str, object] = {"__name__": "strategy"}
    before = {name: sys.modules.get(name) for name in ("freqtrade", "freqtrade.strategy")}
    sys.modules |= {"freqtrade": types.ModuleType("freqtrade"), "freqtrade.strategy": stub}
    try:
        exec(compile(text, "strategy.py", "exec"), names)
    finally:
        for name, module in before.items():
            sys.modules.pop(name) if module is None else sys.modules.__setitem__(name, module)
    strategy = names["MoolaEvents"]()
    strategy.timeframe = timeframe
    return strategy


def signals(strategy, candles: pd.DataFrame, pair: str = "EUR/USD") -> pd.DataFrame:
    frame = strategy.populate_indicators(candles.copy(), {"pair": pair})
    frame = strategy.populate_entry_trend(frame, {"pair": pair})
    frame = strategy.populate_exit_trend(frame, {"pair": pair})
    for name in ("enter_long", "exit_long"):
        if name not in frame:
            frame[name] = np.nan
    return frame


def candles_of(n: int, seed: int = 0, hours: int = 1) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    close = 1.1 * np.exp(np.cumsum(rng.normal(0, 1e-3, n)))
    dates = FIRST + pd.Timedelta(hours=hours) * np.arange(n)
    return pd.DataFrame({"date": dates, "open": np.append(close[:1], close[:-1]), "close": close})


def events_of(n: int, seed: int, n_bars: int, symbol: str = "eurusd") -> list[dict]:
    rng = np.random.default_rng(seed)
    events = []
    for _ in range(n):
        start = int(rng.integers(0, n_bars - 20))
        end = start + int(rng.integers(1, 9))
        known = end + int(rng.integers(0, 10))
        times = {"start_ts": start, "end_ts": end, "known_ts": known}
        events.append(
            {"symbol": symbol, "predicted_label": ["falling", "rising"][int(rng.integers(2))]}
            | {name: f"{FIRST + HOUR * bar:%Y-%m-%dT%H:%M:%S.%fZ}" for name, bar in times.items()}
            | {"event_prob": round(float(rng.uniform(0, 1)), 6)}
        )
    return sorted(events, key=lambda event: event["known_ts"])


def write_events(events: list[dict], path: str = "live.jsonl") -> None:
    Path(path).write_text("".join(f"{json.dumps(event)}\n" for event in events))


def slow_columns(candles: pd.DataFrame, events: list[dict], hours: int) -> pd.DataFrame:
    """Go through candles and events one by one: the latest event that was over and known when the candle closed."""
    rows = []
    moment = {name: [pd.Timestamp(event[name]) for event in events] for name in ("start_ts", "end_ts", "known_ts")}
    closes = [date + hours * HOUR for date in candles["date"]]
    for close in closes:
        known = [i for i in range(len(events)) if moment["known_ts"][i] + HOUR <= close]
        if not known:
            rows.append(("", np.nan, False, np.nan))
            continue
        best = max(known, key=lambda i: (moment["known_ts"][i], events[i]["event_prob"]))
        first = [at for at, date in enumerate(candles["date"]) if date <= moment["start_ts"][best]]
        last = [at for at, one in enumerate(closes) if one >= moment["end_ts"][best] + HOUR]
        upward = bool(first) and candles["close"][last[0]] > candles["open"][first[-1]]
        since = sum(moment["known_ts"][best] + HOUR <= one < close for one in closes)
        rows.append((events[best]["predicted_label"], events[best]["event_prob"], upward, float(since)))
    return pd.DataFrame(rows, columns=["moola_class", "moola_prob", "moola_upward", "moola_candles_since"])


COLUMNS = ["moola_class", "moola_prob", "moola_upward", "moola_candles_since"]


@pytest.mark.parametrize("hours", [1, 4])
def test_each_candle_has_the_latest_event_known_at_its_close(hours):
    strategy = strategy_of(strategy_file(), f"{hours}h")
    for seed in range(3):
        candles, events = candles_of(120 // hours, seed, hours), events_of(10, seed, 120)
        write_events(events)
        frame = signals(strategy, candles)
        pd.testing.assert_frame_equal(frame[COLUMNS], slow_columns(candles, events, hours), check_dtype=False)
        enters = np.flatnonzero(frame["enter_long"] == 1)
        assert len(enters)
        assert (frame["moola_candles_since"][enters] == 0).all()
        assert frame["moola_upward"][enters].all()
        assert (frame["moola_candles_since"][frame["exit_long"] == 1] >= 24).all()


def looks_ahead(strategy, candles: pd.DataFrame, events: list[dict]) -> list[int]:
    """Return the candles of which a later candle or an event known later changes anything.

    Each is computed with the candles up to it and the events known by its close, and with everything.
    """
    write_events(events)
    whole = signals(strategy, candles)
    changed = []
    for n in range(1, len(candles) + 1, 2):
        close = candles["date"][n - 1] + HOUR
        write_events([event for event in events if pd.Timestamp(event["known_ts"]) + HOUR <= close])
        cut = signals(strategy, candles.head(n))
        names = [*COLUMNS, "enter_long", "exit_long"]
        if not cut[names].tail(1).reset_index(drop=True).equals(whole[names].iloc[[n - 1]].reset_index(drop=True)):
            changed.append(n - 1)
    return changed


@pytest.mark.slow
def test_the_strategy_looks_at_nothing_to_come_and_one_that_does_is_caught():
    text = strategy_file()
    candles, events = candles_of(50, 1), events_of(6, 3, 50)
    assert looks_ahead(strategy_of(text), candles, events) == []
    early = text.replace('nanoseconds(events["known_ts"]) + EVENT_BAR.value', 'nanoseconds(events["start_ts"])')
    early = early.replace('sort_values(["known_ts", ', 'sort_values(["start_ts", ')
    assert early != text
    assert looks_ahead(strategy_of(early), candles, events)
    by_open = text.replace("opens + candle.value", "opens + 2 * candle.value")
    assert looks_ahead(strategy_of(by_open), candles, events)


def test_events_are_those_of_the_pair_and_what_cannot_be_told_is_refused():
    candles, events = candles_of(60), events_of(3, 2, 60)
    strategy = strategy_of(strategy_file())
    write_events(events)
    assert signals(strategy, candles, "EUR/USD:USD")["moola_prob"].notna().any()
    assert signals(strategy, candles, "BTC/USDT")["moola_prob"].isna().all()
    named = strategy_of(strategy_file(SYMBOLS='{"BTC/USDT": "EURUSD"}'))
    assert signals(named, candles, "BTC/USDT")["moola_prob"].notna().any()
    chosen = strategy_of(strategy_file(CLASSES="[]"))
    assert signals(chosen, candles)["moola_prob"].isna().all()
    with pytest.raises(ValueError, match="shorter than the bars of the events"):
        signals(strategy_of(strategy_file(), "30m"), candles)

    write_events([event | {"symbol": ""} for event in events])
    with pytest.raises(ValueError, match="Name the pair that they belong to in PAIR"):
        signals(strategy, candles)
    of_one = strategy_of(strategy_file(PAIR='"EUR/USD"'))
    assert signals(of_one, candles)["moola_prob"].notna().any()
    assert signals(of_one, candles, "BTC/USDT")["moola_prob"].isna().all()

    write_events([event | {"known_ts": None} for event in events])
    with pytest.raises(ValueError, match="Scan with --live or --follow"):
        signals(strategy, candles)
    write_events(events)
    with Path("live.jsonl").open("a") as file:
        file.write('{"symbol": "eurusd", "start')
    assert signals(strategy, candles)["moola_prob"].notna().any()
    write_events([])
    assert signals(strategy, candles)["moola_prob"].isna().all()


def test_the_strategy_reads_what_a_live_scan_writes(monkeypatch, moola):
    monkeypatch.setattr(window_reading, "read_windows_both_ways", seeing_moves)
    bars = made_bars(120, [(40, 46, 1), (80, 84, -1)], 1).with_columns(symbol=pl.lit("EUR/USD"))
    bars.write_parquet("bars.parquet")
    made_model(Path("scanning.pt"))
    text = strategy_file()
    candles = bars.rename({"timestamp": "date"}).to_pandas()
    candles["date"] = candles["date"].astype("datetime64[ns, UTC]")
    for name in ("live.jsonl", "live.csv"):
        answer = moola("scan", "--model", "scanning.pt", "--bars", "bars.parquet", "--live", "--output", name)
        assert answer.code == 0, answer.err
        frame = signals(strategy_of(text.replace("live.jsonl", name)), candles)
        known = np.flatnonzero(frame["moola_candles_since"] == 0)
        assert known.tolist() == [46 + 18, 84 + 15]
        assert frame["moola_class"][known].tolist() == ["rising", "falling"]
        assert frame["enter_long"].eq(1).sum() == 1


# freqtrade's own lookahead analysis. freqtrade does not go with the packages of this environment: `python -m venv
# freqtrade`, `freqtrade/bin/pip install freqtrade`, then MOOLA_FREQTRADE_PYTHON=freqtrade/bin/python; no network.
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
@pytest.mark.skipif(PYTHON is None, reason="needs freqtrade, in an environment of its own: see above")
def test_the_lookahead_analysis_of_freqtrade_finds_no_bias_and_finds_one_that_is_there():
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
