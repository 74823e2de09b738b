"""A model in memory says what the commands write."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from moola import Model, read_bars, read_windows
from moola.errors import InvalidData, UntrustedFile, WrongUsage
from moola.scan import window_reading as scan_reading
from tests.api.faced import WINDOWS, model_of_28
from tests.conftest import DATA
from tests.scans_made import made_bars, made_model, seeing_moves

MOVES = {"A": [(40, 46, 1), (80, 84, -1), (150, 155, 1)], "B": [(60, 69, -1), (130, 133, 1)]}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made_model(Path("model.pt"))
    monkeypatch.setattr(scan_reading, "read_windows_both_ways", seeing_moves)
    frames = [made_bars(200, moves, 1).with_columns(symbol=pl.lit(name)) for name, moves in MOVES.items()]
    pl.concat(frames).write_parquet("bars.parquet")


@pytest.mark.parametrize(("live", "batch_windows"), [(False, 1024), (True, 64)])
def test_a_scan_finds_the_events_of_the_command(folder, moola, live, batch_windows):
    given = ("--stride", "2", "--batch-windows", str(batch_windows), "--live", str(live).lower(), "--device", "cpu")
    answer = moola("scan", "--model", "model.pt", "--bars", "bars.parquet", "--output", "events.parquet", *given)
    assert answer.code == 0, answer.err
    before = sorted(Path().rglob("*"))
    model = Model.load("model.pt", device="cpu")
    events = model.scan(read_bars("bars.parquet"), stride=2, live=live, batch_windows=batch_windows)
    assert len(events) == 5
    assert events.equals(pl.read_parquet("events.parquet"))
    none = model.scan(read_bars("bars.parquet"), stride=9, live=live, min_prob=1.0)
    assert (len(none), none.schema) == (0, events.schema)
    assert sorted(Path().rglob("*")) == before


def test_a_scan_refuses_what_the_command_refuses(folder):
    model = Model.load("model.pt", device="cpu")
    bars = read_bars("bars.parquet")
    with pytest.raises(WrongUsage, match="--stride must be at least 1, but it is 0"):
        model.scan(bars, stride=0)
    with pytest.raises(InvalidData, match="the bars must have bars for a window, but 20 bars give none of 35"):
        model.scan(bars[:20])
    with pytest.raises(InvalidData, match="the bars breaks 1 rule"):
        model.scan(bars.with_columns(high=pl.col("low") / 2))
    blind = Model.load(made_model(Path("blind.pt"), predict_pointers=False), device="cpu")
    with pytest.raises(WrongUsage, match=r"but blind.pt was trained without"):
        blind.scan(bars)


def test_it_predicts_what_the_command_writes(made_run, moola):
    run = made_run()
    answer = moola("predict", "--model", f"{run}/model.pkl", "--data", DATA, "--output", "said.parquet")
    assert answer.code == 0, answer.err
    model = Model.load(f"{run}/model.pkl", device="cpu")
    assert model.predict(read_windows(DATA)).equals(pl.read_parquet("said.parquet"))


def test_a_saved_model_is_loaded_the_same(tmp_path):
    model = model_of_28()
    model.save(tmp_path / "model.pkl")
    again = Model.load(tmp_path / "model.pkl", device="cpu")
    assert again.predict(WINDOWS).equals(model.predict(WINDOWS))
    assert (again.class_names, again.window_bars) == (["consolidation", "retracement"], 30)
    assert repr(model) == "Model(name='the model', device='cpu', threads=1)"
    assert again.pointer_threshold == model.pointer_threshold is not None
    (tmp_path / "model.pkl").write_bytes(b"nothing")
    with pytest.raises(UntrustedFile):
        Model.load(tmp_path / "model.pkl")
