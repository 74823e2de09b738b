"""Presence as bars come: what is known at that moment alone, the same in a scan, on fewer bars, and followed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest

from moola.core.bars import Bars
from moola.errors import WrongUsage
from moola.fit.presence import AHEAD, fit_presence, matched, read_chart_of
from moola.fit.presence_stages import Marked
from moola.leakcheck import run_checks
from moola.models.model_files import ModelFile, read_model, write_model
from moola.options.scan_options import ScanOptions
from moola.scan import parts
from moola.scan.following import Follower
from tests.fit.test_presence import few_trees, planted_chart, rows_of, scanned, small_model, written
from tests.networks_made import CPU

TAUGHT, N_BARS, LAG = 3_000, 4_200, AHEAD + 2


def part(bars: Bars, stop: int, first: int = 0) -> Bars:
    return bars.take(slice(first, stop))


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Bars, np.ndarray, np.ndarray]:
    bars, spans, classes = planted_chart(5)
    model, inside = small_model(bars), spans[:, 1] < TAUGHT
    marked = Marked(part(bars, TAUGHT), spans[inside], classes[inside], np.array([[0, TAUGHT]]))
    read = [read_chart_of(model, marked.bars, CPU, AHEAD)]
    with pytest.MonkeyPatch.context() as patch:
        few_trees(patch, 60)
        live = fit_presence(model, [marked], CPU, 11, read)
    path = tmp_path_factory.mktemp("live") / "model.pt"
    write_model(path, replace(model, presence=replace(live, ahead=None), live_presence=live))
    return path, part(bars, N_BARS), spans[spans[:, 1] < N_BARS], classes[spans[:, 1] < N_BARS]


def test_live_events_are_found_a_few_bars_after_their_end(taught, tmp_path):
    model, bars, spans, classes = taught
    events = scanned(tmp_path, model, part(bars, N_BARS, TAUGHT - 105), live=True)
    assert set(events.n_after.tolist()) == {LAG}
    bar, later = rows_of(events, bars), spans[:, 0] >= TAUGHT
    own = bar[:, 0] >= TAUGHT
    label, prob = events.class_prob[own].argmax(axis=1), events.event_prob[own]
    right = matched(bar[own], label, prob, spans[later], classes[later])
    assert right.sum() >= 0.7 * later.sum()
    assert right.mean() >= 0.6


def test_later_bars_change_nothing_that_was_reported(taught, tmp_path):
    model, bars = taught[0], part(taught[1], 1_000)
    whole = scanned(tmp_path, model, bars, min_prob=0.0, live=True)
    known = rows_of(whole, bars)[:, 1] + LAG
    for moment in (501, 802):
        others = bars.ohlc.copy()
        others[moment:] = bars.ohlc[moment - 1, 3] * np.exp(0.01 * np.sin(np.arange(len(bars) - moment)))[:, None]
        for changed in (part(bars, moment), Bars(bars.start_us, others, bars.symbol)):
            found = scanned(tmp_path, model, changed, min_prob=0.0, live=True)
            upto, there = known < moment, rows_of(found, bars)[:, 1] + LAG < moment
            assert upto.sum() > 20
            assert np.array_equal(found.time_us[there], whole.time_us[upto])
            assert np.array_equal(found.event_prob[there], whole.event_prob[upto])


def test_leakcheck_proves_it_and_finds_presence_that_looks_ahead(taught, tmp_path, monkeypatch):
    model, bars = taught[0], part(taught[1], 900)
    options = SimpleNamespace(bars=written(tmp_path / "given.parquet", bars), seed=1, device="cpu", threads=1)
    subject = SimpleNamespace(run=SimpleNamespace(path=lambda _: model), options=options)
    monkeypatch.setattr(run_checks, "N_MOMENTS", 3)
    assert [finding.state for finding in run_checks.live_scan(subject)] == ["ok"]
    honest = parts.chart_of
    monkeypatch.setattr(parts, "chart_of", lambda ohlc, spread, known, _ahead: honest(ohlc, spread, known, None))
    [leak] = run_checks.live_scan(subject)
    assert leak.state == "leak"
    assert "change the events reported by then" in leak.found


@pytest.mark.slow
def test_parts_of_a_scan_and_bars_that_come_give_the_same_events(taught, tmp_path):
    model, bars = taught[0], part(taught[1], 1_500)
    whole = scanned(tmp_path, model, bars, min_prob=0.1, live=True)
    assert len(whole.event_prob) > 10
    again = scanned(tmp_path, model, bars, min_prob=0.1, batch_windows=61, live=True)
    assert np.array_equal(again.time_us, whole.time_us)
    assert again.event_prob == pytest.approx(whole.event_prob, abs=1e-6)
    output, source = tmp_path / "followed.csv", tmp_path / "coming.csv"
    for stop in (50, 700, 701, len(bars)):
        written(source, part(bars, stop))
        options = ScanOptions(model=model, follow=source, output=output, min_prob=0.1, polls=1, poll_s=0.0)
        Follower(options).run(lambda _: None)
    followed = pl.read_csv(output, try_parse_dates=True)
    assert followed["start_ts"].dt.timestamp("us").to_list() == whole.time_us[:, 0].tolist()
    assert followed["event_prob"].to_numpy() == pytest.approx(whole.event_prob, abs=1e-6)


def test_a_model_that_looks_ahead_and_a_stride_that_comes_too_late_are_refused(taught, tmp_path):
    model, bars = taught[0], part(taught[1], 200)
    with pytest.raises(WrongUsage, match="at most 5"):
        scanned(tmp_path, model, bars, stride=6, live=True)
    file: ModelFile = read_model(model)
    write_model(tmp_path / "ahead.pt", replace(file, live_presence=None))
    with pytest.raises(WrongUsage, match="--live-presence"):
        scanned(tmp_path, tmp_path / "ahead.pt", bars, live=True)
