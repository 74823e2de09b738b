"""A graph of prices says what `predict` says; sources for other platforms fit it, and look at no bar to come."""

from __future__ import annotations

import csv
import json
import re
import sys
import types
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pandas as pd
import polars as pl
import pytest
from benchmarks.export_equality import told

from moola.errors import OperationFailed, WrongUsage
from moola.models.model_files import write_model
from moola.options.training_options import ExportOptions
from moola.stages import export_onnx, export_platforms
from moola.stages.export_onnx import (
    KINDS,
    checked_windows,
    furthest,
    metadata,
    onnx_bytes,
    output_names,
    predicted,
    run_onnx,
)
from moola.stages.export_platforms import expected_table, export_for
from tests.fit.fits_made import fit_inputs_of, fitted
from tests.stages.test_exporting import BARS, model_of

MODELS = {
    "mirrored": model_of,
    "plain": lambda: model_of(n_heads=1, mirror=None),
    "visible bars": lambda: model_of(visible=21),
    "without pointers": lambda: model_of(pointers=False, mirror=(0, 2, 1), n_classes=3),
    "linear": lambda: fitted(fit_inputs_of()).model,
    "linear, one way": lambda: replace(fitted(fit_inputs_of()).model, mirror=None),
}


def graph_says(model, ohlc, content=None) -> dict[str, np.ndarray]:
    content = onnx_bytes(model, metadata(model, "0" * 64, "ohlc"), "ohlc") if content is None else content
    seen = ohlc[:, : model.n_seen_bars].astype(np.float32)
    return dict(zip(output_names(model, "ohlc"), run_onnx(content, seen), strict=True))


@pytest.mark.parametrize("name", MODELS)
def test_prices_in_give_what_the_command_predicts(name, tmp_path):
    """`benchmarks/export_equality.py` does the same with 10,000 windows."""
    model = MODELS[name]()
    write_model(tmp_path / "model.pt", model)
    ohlc = checked_windows(6 * len(KINDS), model.window_bars, seed=3)
    expected = told(tmp_path / "model.pt", ohlc, tmp_path)
    cut = {key: value[:, : model.n_seen_bars] if value.ndim == 3 else value for key, value in expected.items()}
    said = graph_says(model, ohlc)
    assert said.keys() == cut.keys()
    assert furthest(model, said, cut) < 1e-5
    for key in ("class_prob", "pointer_prob"):
        if key in cut:
            np.testing.assert_allclose(said[key], cut[key], rtol=0, atol=1e-5)
    if "pointers" in cut:
        same = (said["pointers"] == cut["pointers"]).all(axis=1)
        assert same.mean() > 0.95
        np.testing.assert_allclose(said["pointer_near_prob"][same], cut["pointer_near_prob"][same], atol=1e-5)


def test_windows_that_are_compared_are_valid_and_awkward():
    ohlc = checked_windows(4 * len(KINDS), 30)
    open_, high, low, close = np.moveaxis(ohlc, -1, 0)
    assert (low > 0).all()
    assert ((low <= np.minimum(open_, close)) & (np.maximum(open_, close) <= high)).all()
    assert (ohlc == ohlc.astype(np.float32)).all()
    assert ((high == low).all(axis=1)).any()
    assert (high > low).all(axis=1).any()
    n_prices = [len(np.unique(window)) for window in ohlc]
    assert {1, 2} <= set(n_prices)
    assert len(ohlc) == len({window.tobytes() for window in ohlc})


def test_a_graph_that_is_off_is_told_from_one_that_is_not():
    model = model_of()
    ohlc = checked_windows(16, BARS)
    right = predicted(model, ohlc)
    assert furthest(model, right, right) == 0.0
    for name in ("class_prob", "pointer_prob", "pointer_near_prob"):
        assert furthest(model, right | {name: right[name] + 0.01}, right) == pytest.approx(0.01)
    worst = right["pointers"].copy()
    worst[:, 0] = worst[:, 1] = 0
    assert furthest(model, right | {"pointers": worst}, right) > 1e-3
    assert furthest(model, right | {"pointers": right["pointers"][:, ::-1] + (1, 0)}, right) > 1e-3


def test_every_shape_is_fixed_and_the_metadata_says_what_goes_in_and_out():
    model = model_of(visible=21)
    graph = onnx.load_from_string(onnx_bytes(model, metadata(model, "a" * 64, "ohlc"), "ohlc"))
    shapes = {
        one.name: [dimension.dim_value for dimension in one.type.tensor_type.shape.dim]
        for one in (*graph.graph.input, *graph.graph.output)
    }
    assert shapes == {
        "ohlc": [1, 21, 4],
        "class_prob": [1, 2],
        "pointers": [1, 2],
        "pointer_near_prob": [1, 2],
        "pointer_prob": [1, 21, 2],
    }
    assert {one.type.tensor_type.elem_type for one in (*graph.graph.input, *graph.graph.output)} == {
        onnx.TensorProto.FLOAT
    }
    assert [one.version for one in graph.opset_import if not one.domain] == [17]
    said = {entry.key: entry.value for entry in graph.metadata_props}
    assert "float32 [1, 21, 4]" in said["input"]
    assert json.loads(said["decoding"])["where"] == "in the graph"
    assert "within 3 bars" in said["pointer_near_prob"]
    assert onnx_bytes(model, {}, "ohlc") == onnx_bytes(model, {}, "ohlc")


def test_what_cannot_be_exported_for_a_platform_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
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
    monkeypatch.setattr(export_onnx, "largest_difference", lambda *_: float("nan"))
    with pytest.raises(OperationFailed, match="nothing was written"):
        export_for(mt5)
    assert sorted(path.name for path in Path().iterdir()) == ["blind.pt", "model.pt"]


def test_the_table_for_metatrader_holds_what_is_predicted_and_fits_its_sources(tmp_path, monkeypatch, moola):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(export_platforms.expected_table, "__defaults__", (24,))
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


def test_a_thousand_windows_are_tabled():
    assert expected_table.__defaults__ == (1000,)


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
    result = export_for(options)
    assert result["timeframe"] == "1h"
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
def test_each_candle_has_the_latest_event_known_at_its_close(tmp_path, monkeypatch, hours):
    monkeypatch.chdir(tmp_path)
    strategy = strategy_of(strategy_file(), f"{hours}h")
    for seed in range(4):
        candles, events = candles_of(200 // hours, seed, hours), events_of(14, seed, 200)
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
    for n in range(1, len(candles) + 1):
        close = candles["date"][n - 1] + HOUR
        write_events([event for event in events if pd.Timestamp(event["known_ts"]) + HOUR <= close])
        cut = signals(strategy, candles.head(n))
        names = [*COLUMNS, "enter_long", "exit_long"]
        if not cut[names].tail(1).reset_index(drop=True).equals(whole[names].iloc[[n - 1]].reset_index(drop=True)):
            changed.append(n - 1)
    return changed


def test_the_strategy_looks_at_nothing_to_come_and_one_that_does_is_caught(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = strategy_file()
    candles, events = candles_of(90, 1), events_of(8, 3, 90)
    assert looks_ahead(strategy_of(text), candles, events) == []
    early = text.replace('nanoseconds(events["known_ts"]) + EVENT_BAR.value', 'nanoseconds(events["start_ts"])')
    early = early.replace('sort_values(["known_ts", ', 'sort_values(["start_ts", ')
    assert early != text
    assert looks_ahead(strategy_of(early), candles, events)
    by_open = text.replace("opens + candle.value", "opens + 2 * candle.value")
    assert looks_ahead(strategy_of(by_open), candles, events)


def test_events_are_those_of_the_pair_and_what_cannot_be_told_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
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


def test_the_strategy_reads_what_a_live_scan_writes(tmp_path, monkeypatch, moola):
    from moola.scan import window_reading
    from tests.scans_made import made_bars, made_model, seeing_moves

    monkeypatch.chdir(tmp_path)
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
