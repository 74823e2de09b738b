"""The overview page holds the bars and events it was given, whole and inert."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shlex
import zlib
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moola.options.judging_options import ReportOptions
from moola.options.scan_options import ScanOptions
from moola.reports.contents import commands_of
from moola.reports.overview.events_page import build_overview, packed_bars, write_overview
from moola.scan import window_reading as scan_reading
from moola.scan.scanning import Scan, overview
from moola.stages.run_summary import RunSummary, training_command
from tests.made import random_walk_bars
from tests.scans_made import made_bars, made_model, seeing_moves

EVIL = '</script><script>alert("x")</script>&<b>'


def unpacked(packed: dict) -> tuple[np.ndarray, np.ndarray]:
    """Say again in Python what unpack.js does, bar by bar."""
    times = np.frombuffer(zlib.decompress(base64.b64decode(packed["times"])), "<f8")
    steps = np.frombuffer(zlib.decompress(base64.b64decode(packed["prices"])), "<i4").reshape(4, -1)
    rows, before = [], 0
    for up, above, below, on in steps.T.tolist():
        open_, close = before + up, before + on
        rows.append([open_, max(open_, close) + above, min(open_, close) - below, close])
        before = close
    return np.cumsum(times), np.array(rows) / 10.0 ** packed["decimals"]


@given(st.integers(0, 1000), st.sampled_from([1e-6, 0.03, 1.1, 97.0, 30_000.0, 4e7]))
def test_packed_bars_come_back_to_seven_digits(seed, price):
    bars = random_walk_bars(50, seed=seed)
    ohlc = bars.ohlc / bars.ohlc[0, 0] * price
    times, prices = unpacked(packed_bars(bars.start_us, ohlc))
    assert np.array_equal(times * 1000, bars.start_us)
    assert np.abs(prices / ohlc - 1).max() < 5e-6


@pytest.fixture
def scanned(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made_model(Path("model.pt"))
    monkeypatch.setattr(scan_reading, "read_windows_both_ways", seeing_moves)
    one = made_bars(200, [(40, 46, 1), (80, 84, -1), (150, 155, 1)], 1).with_columns(symbol=pl.lit("A"))
    two = made_bars(120, [(60, 69, -1)], 2).with_columns(symbol=pl.lit(EVIL))
    pl.concat([one, two]).write_parquet("bars.parquet")

    def run(max_bars: int = 1000, **given):
        options = ScanOptions(
            model=Path("model.pt"), bars=Path("bars.parquet"), output=Path("e.parquet"), device="cpu", **given
        )
        scan = Scan(options)
        scan.run(lambda *_: None)
        content = overview(scan, max_bars)
        scan.parts.clear()
        return content

    return run


def data_of(page: str) -> dict:
    [data] = re.findall(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    return json.loads(data)


@pytest.mark.parametrize("live", [False, True])
def test_the_page_has_every_event_at_its_bars(scanned, live):
    content = scanned(live=live)
    page = build_overview(content).decode()
    assert build_overview(content) == page.encode()
    data = data_of(page)
    assert [one["name"] for one in data["symbols"]] == ["A", EVIL]
    assert [one["events"]["bar"] for one in data["symbols"]] == [[[40, 46], [80, 84], [150, 155]], [[60, 69]]]
    assert data["symbols"][0]["n"] == 200
    known = np.array(data["symbols"][0]["events"]["known"])
    assert (known > [46, 84, 155]).all() if live else (known == -1).all()
    assert ("reported live" in page) == live
    assert "4 events" in page
    table = pl.read_parquet("e.parquet")
    times, _ = unpacked(data["symbols"][0])
    starts = [times[bar] * 1000 for bar, _ in data["symbols"][0]["events"]["bar"]]
    assert starts == sorted(table.filter(pl.col("symbol") == "A")["start_ts"].dt.timestamp("us").to_list())


def test_of_many_bars_the_latest_are_shown_and_it_is_said(scanned):
    content = scanned(200)
    data = data_of(build_overview(content).decode())
    assert [(one["n"], one["first"]) for one in data["symbols"]] == [(100, 100), (100, 20)]
    assert [one["events"]["bar"] for one in data["symbols"]] == [[[50, 55]], [[40, 49]]]
    assert "The latest 200 bars are shown, with 2 events" in build_overview(content).decode()


def test_nothing_in_the_page_runs_or_is_fetched_but_its_own(scanned):
    size = write_overview(Path("page.html"), scanned())
    page = Path("page.html").read_text()
    assert size == len(page.encode())
    outside = re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL)
    assert not re.findall(r"""(?:src|href)\s*=\s*["']?(?!["']?data:,)""", outside.replace('"data:,"', "data:,"))
    assert not re.findall(r"https?://", page)
    scripts = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    assert len(scripts) == 1
    [style] = re.findall(r"<style>(.*?)</style>", page, re.DOTALL)
    for name, text in (("script-src", scripts[0]), ("style-src", style)):
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{name} 'sha256-{digest}'" in page
    assert 'alert("x")' not in page


def test_a_scan_without_events_is_a_page_too(scanned):
    page = build_overview(scanned(min_prob=0.99)).decode()
    assert "0 events of probability 0.99" in page
    assert data_of(page)["symbols"][0]["events"]["bar"] == []


def test_training_line_names_what_is_not_at_its_default():
    config = {
        "data": "my data.parquet",
        "split": "s.json",
        "model": "enhanced_simple_lstm",
        "freeze_encoder": False,
        "mirror_classes": ["bull:bear", "up:down"],
        "epochs": 5,
        "batch_size": 32,
        "seed": 3,
        "input_dim": 11,
        "resume": "x",
        "pretrained_encoder": None,
    }
    assert shlex.split(training_command(config)) == (
        "moola train --data|my data.parquet|--split|s.json|--freeze-encoder|false|--epochs|5|"
        "--mirror-classes|bull:bear|up:down|--seed|3"
    ).replace("moola train ", "moola|train|").split("|")


def test_commit_comes_first_and_the_baseline_is_kept():
    options = ReportOptions(run=Path("r"), baseline=Path("b"), seed=9)
    run = RunSummary({"git_commit": "abc"}, {"data": "d", "split": "s"}, {}, {}, [], 1.0, {})
    lines = commands_of(run, options)
    assert lines == [
        "git checkout abc",
        "moola train --data d --split s",
        "moola eval --run <RUN_ID> --seed 9",
        "moola gate --run <RUN_ID> --seed 9 --baseline b",
        "moola report --run <RUN_ID> --seed 9 --baseline b",
    ]
