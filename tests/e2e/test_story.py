"""From bars to labels to a trained model: forty windows labelled by keyboard, exported, learned from."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from moola.tables.bar_table import write_bars
from tests.e2e.hands import press, save_and_wait, window_id
from tests.made import random_walk_bars
from tests.small import SMALL

pytestmark = pytest.mark.e2e

N_WINDOWS = 40
CLASSES = ("consolidation", "retracement")
MIDDLE = 52


def label_by_keyboard(page, number: int, rng: np.random.Generator) -> tuple[int, int, str, str]:
    """Mark one expansion with keys alone; return its bars, class and grade."""
    start, length = int(rng.integers(32, 60)), int(rng.integers(0, 14))
    label, grade = CLASSES[number % 2], "ABC"[int(rng.integers(3))]
    press(page, "n", str(number % 2 + 1), "e")
    steps = start + length - MIDDLE
    press(page, *["Shift+ArrowRight" if steps > 0 else "Shift+ArrowLeft"] * (abs(steps) // 5))
    press(page, *["ArrowRight" if steps > 0 else "ArrowLeft"] * (abs(steps) % 5), "s")
    # An end that was moved before the start took it along.
    steps = start - min(MIDDLE, start + length)
    press(page, *["Shift+ArrowRight" if steps > 0 else "Shift+ArrowLeft"] * (abs(steps) // 5))
    press(page, *["ArrowRight" if steps > 0 else "ArrowLeft"] * (abs(steps) % 5), grade.lower())
    return start, start + length, label, grade


def test_forty_windows_by_keyboard_are_learned_from_and_nothing_is_lost(tmp_path, monkeypatch, command, page_of, moola):
    monkeypatch.chdir(tmp_path)
    for name, value in SMALL.items():
        monkeypatch.setenv(name, value)
    bars = random_walk_bars(N_WINDOWS * 105, seed=5, symbol="EURUSD")
    write_bars(Path("bars.parquet"), bars)
    server = command("--bars", "bars.parquet", "--store", "labels.db", "--annotator", "anna", "--stride", "105",
                     "--port", "0")  # fmt: skip
    assert server.told["n_windows"] == N_WINDOWS
    page = page_of(server)
    rng = np.random.default_rng(11)
    said = {}
    for number in range(N_WINDOWS):
        name = window_id(page)
        said[name] = label_by_keyboard(page, number, rng)
        if number < N_WINDOWS - 1:
            save_and_wait(page)
    press(page, "Enter")
    page.wait_for_selector("#status:has-text('Every window is done')")
    assert "40 of 40" in page.inner_text("#counts")
    server.interrupt()

    store = ("--store", "labels.db", "--bars", "bars.parquet")
    assert moola("labels", "export", *store, "--output", "labelled.parquet", "--json").json["n_rows"] == N_WINDOWS
    table = pl.read_parquet("labelled.parquet").sort("start_ts")
    columns = ("window_id", "expansion_start", "expansion_end", "label", "quality")
    assert {row[0]: row[1:] for row in table.select(columns).iter_rows()} == said
    # Times and prices are those of the bars.
    assert table["start_ts"].dt.timestamp("us").to_list() == bars.start_us[::105].tolist()
    features = np.array(table["features"].to_list())
    assert (features.reshape(-1, 4) == bars.ohlc).all()

    assert moola("convert", "--input", "labelled.parquet", "--output", "relative.parquet").code == 0
    assert moola("split", "--data", "relative.parquet", "--output", "split.json").code == 0
    split = json.loads(Path("split.json").read_text())
    parts = [split[f"{part}_indices"] for part in ("train", "val", "test")]
    assert sorted(row for rows in parts for row in rows) == list(range(N_WINDOWS))
    trained = moola("train", "--data", "relative.parquet", "--split", "split.json", "--save-run", "true")
    assert trained.code == 0, trained.err
    predictions = pl.read_parquet(f"artifacts/runs/{trained.last_line}/predictions.parquet")
    assert predictions.height == len(parts[1]) + len(parts[2])
    for row in predictions.iter_rows(named=True):
        start, end, label, _ = said[row["window_id"]]
        assert (row["expansion_start"], row["expansion_end"], row["label"]) == (start, end, label)
