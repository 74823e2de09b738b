"""Moves planted in long bars come out once each, at their bars and times, whatever the parts were."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from moola.errors import InvalidData, UntrustedFile, WrongUsage
from moola.options.scan_options import ScanOptions
from moola.scan import window_reading as scan_reading
from moola.scan.parts import checkpoint_of
from moola.scan.scanning import Scan, pictures
from moola.tables.bar_table import SpooledBars
from moola.tables.event_table import events_frame, read_events
from tests.scans_made import made_bars, made_model, seeing_moves

MOVES = {"A": [(40, 46, 1), (80, 84, -1), (150, 155, 1)], "B/1": [(60, 69, -1), (130, 133, 1)]}
# A's bars stop for four days before bar 100; B's never do.
FRAMES = {"A": made_bars(200, MOVES["A"], 1, {100: 96.0}), "B/1": made_bars(180, MOVES["B/1"], 2)}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made_model(Path("model.pt"))
    monkeypatch.setattr(scan_reading, "read_windows_both_ways", seeing_moves)
    return tmp_path


def write_bars(*symbols: str) -> Path:
    frames = [FRAMES[name].with_columns(symbol=pl.lit(name)) for name in symbols]
    path = Path(f"bars_{len(symbols)}{symbols[0][0]}.parquet")
    # By time, so that symbols take turns in the file.
    pl.concat(frames).sort("timestamp", maintain_order=True).write_parquet(path)
    return path


def scan(bars: Path, output: str = "events.parquet", keep: bool = False, **given):
    options = {"model": Path("model.pt"), "bars": bars, "output": Path(output), "device": "cpu", **given}
    work = Scan(ScanOptions(**options))
    result = work.run(lambda *_: None)
    if not keep:
        work.parts.clear()
    return work, result


def expected(*symbols: str) -> list[tuple]:
    rows = []
    for name in symbols:
        times = FRAMES[name]["timestamp"].dt.timestamp("us").to_list()
        rows += [(name, times[first], times[last], direction) for first, last, direction in MOVES[name]]
    return rows


def found(path: str = "events.parquet") -> list[tuple]:
    events = read_events(Path(path))
    sign = np.where(events.class_prob[:, 1] > 0.5, 1, -1).tolist()
    return [(name, *time, way) for name, time, way in zip(events.symbol, events.time_us.tolist(), sign, strict=True)]


@pytest.mark.parametrize("stride", [1, 5])
def test_planted_moves_are_found_once_each_at_their_times_over_symbols_and_a_gap(folder, stride):
    _, result = scan(write_bars("A", "B/1"), stride=stride)
    assert found() == expected("A", "B/1")
    assert result["n_events"] == 5
    # Events of hindsight are known at no time.
    assert known()["known_ts"].null_count() == known()["n_bars_after"].null_count() == 5
    events = read_events(Path("events.parquet"))
    assert not events.cut.any()
    assert (events.n_agree >= 1).all()
    assert (events.n_agree <= events.n_saw).all()
    assert (events.low_us <= events.time_us).all()
    assert (events.time_us <= events.high_us).all()


def test_order_of_symbols_moves_rows_alone(folder):
    scan(write_bars("B/1", "A"))
    assert found() == expected("B/1", "A")
    one = sorted(found())
    for name in ("A", "B/1"):
        scan(write_bars(name), f"{name[0]}.parquet")
        assert found(f"{name[0]}.parquet") == [row for row in one if row[0] == name]


def test_windows_over_a_gap_and_symbols_with_too_few_bars_are_counted(folder):
    bars = write_bars("A")
    _, dropped = scan(bars, stride=1)
    assert (dropped["n_windows"], dropped["n_dropped_gap"], dropped["n_windows_over_gap"]) == (132, 34, 0)
    _, kept = scan(bars, stride=1, max_gap_hours=100)
    assert (kept["n_windows"], kept["n_dropped_gap"], kept["n_windows_over_gap"]) == (166, 0, 34)
    short = FRAMES["B/1"].head(20).with_columns(symbol=pl.lit("short"))
    pl.concat([short, FRAMES["A"].with_columns(symbol=pl.lit("A"))]).write_parquet("mixed.parquet")
    _, result = scan(Path("mixed.parquet"))
    assert (result["symbols_unseen"], result["n_bars_unseen"]) == (["short"], 20)


def test_parts_change_nothing_and_bound_what_is_read_at_once(folder, monkeypatch):
    bars = write_bars("A", "B/1")
    scan(bars, "whole.parquet", stride=2)
    sizes = []

    def counting(model, features, device):
        sizes.append(len(features))
        return seeing_moves(model, features, device)

    monkeypatch.setattr(scan_reading, "read_windows_both_ways", counting)
    monkeypatch.setattr(scan_reading, "PASS_WINDOWS", 4)
    scan(bars, "parts.parquet", stride=2, batch_windows=7)
    # Whole passes.
    assert max(sizes) <= 8
    assert Path("parts.parquet").read_bytes() == Path("whole.parquet").read_bytes()


def test_a_stopped_scan_goes_on_to_the_same_bytes(folder, monkeypatch):
    bars = write_bars("A", "B/1")
    monkeypatch.undo()
    monkeypatch.chdir(folder)
    # The network itself: its weights are random, so events overlap and depend on each other across parts.
    given = {"stride": 4, "batch_windows": 9, "min_prob": 0.0}
    scan(bars, "whole.parquet", **given)

    def stop(n_done, n_windows, _n_events):
        if n_done > n_windows / 2:
            raise KeyboardInterrupt

    options = ScanOptions(model=Path("model.pt"), bars=bars, output=Path("events.parquet"), device="cpu", **given)
    with pytest.raises(KeyboardInterrupt):
        Scan(options).run(stop)
    assert not Path("events.parquet").exists()
    with pytest.raises(WrongUsage, match="model, bars and options it was started with"):
        scan(bars, resume=True, **given | {"stride": 3})
    _, result = scan(bars, resume=True, **given)
    assert result["resumed_parts"] > 0
    assert result["n_events"] > 3
    assert Path("events.parquet").read_bytes() == Path("whole.parquet").read_bytes()
    assert not checkpoint_of(Path("events.parquet")).exists()
    assert scan(bars, resume=True, **given)[1]["resumed_parts"] == 0


def test_pictures_show_the_event_that_was_found(folder):
    work, _ = scan(write_bars("A", "B/1"), keep=True)
    shown = list(pictures(work, 3))
    assert [one.rank for one in shown] == [1, 2, 3]
    for one in shown:
        times = one.start_us[one.bar]
        assert (one.symbol, *times.tolist()) in [row[:3] for row in expected("A", "B/1")]
        assert one.curves[:, 0].argmax() == one.bar[0]
        assert one.curves[:, 1].argmax() == one.bar[1]


def test_what_cannot_be_scanned_is_refused(folder):
    bars = write_bars("A")
    made_model(Path("blind.pt"), predict_pointers=False)
    with pytest.raises(WrongUsage, match="must have a model that predicts pointers"):
        scan(bars, model=Path("blind.pt"))
    FRAMES["A"].head(34).write_parquet("few.parquet")
    with pytest.raises(InvalidData, match="34 bars give none of 35"):
        scan(Path("few.parquet"))
    Path("torn.pt").write_bytes(Path("model.pt").read_bytes()[:-100])
    with pytest.raises(UntrustedFile):
        scan(bars, model=Path("torn.pt"))
    for wrong in ({"stride": 0}, {"max_overlap": 1.0}, {"min_prob": 1.5}, {"output": Path("events.txt")}):
        with pytest.raises(WrongUsage):
            scan(bars, **wrong)
    assert not list(Path.cwd().glob("*.checkpoint"))


def known(path: str = "events.parquet") -> pl.DataFrame:
    return events_frame(read_events(Path(path)))


@pytest.mark.parametrize("stride", [1, 3])
def test_planted_moves_are_told_live_at_their_times_with_the_bars_that_it_took(folder, stride):
    scan(write_bars("A", "B/1"), live=True, stride=stride, live_windows=2)
    assert sorted(found()) == sorted(expected("A", "B/1"))
    table = known()
    bars = [FRAMES[name]["timestamp"] for name in table["symbol"]]
    ends = [times.index_of(end) for times, end in zip(bars, table["end_ts"], strict=True)]
    told = [times.index_of(at) for times, at in zip(bars, table["known_ts"], strict=True)]
    assert table["n_bars_after"].to_list() == [late - end for late, end in zip(told, ends, strict=True)]
    # The second window that has the event inside ends at most 10 bars of context and two strides after it.
    assert table["n_bars_after"].max() <= 35 - 25 + 2 * stride
    for name in ("A", "B/1"):
        assert table.filter(pl.col("symbol") == name)["known_ts"].is_sorted()


def test_parts_and_bars_to_come_change_nothing_that_was_told_live(folder, monkeypatch):
    bars = write_bars("A")
    monkeypatch.undo()
    monkeypatch.chdir(folder)
    given = {"stride": 2, "min_prob": 0.0, "live": True, "overwrite": True}
    scan(bars, "whole.parquet", **given)
    scan(bars, "parts.parquet", batch_windows=11, **given)
    assert Path("parts.parquet").read_bytes() == Path("whole.parquet").read_bytes()
    assert len(read_events(Path("parts.parquet"))) > 4
    for n_bars in (60, 101, 150):
        FRAMES["A"].head(n_bars).with_columns(symbol=pl.lit("A")).write_parquet("few.parquet")
        scan(Path("few.parquet"), "few_events.parquet", **given)
        moment = FRAMES["A"]["timestamp"][n_bars - 1]
        before = known("whole.parquet").filter(pl.col("known_ts") <= moment)
        assert known("few_events.parquet").equals(before)


def test_a_model_of_visible_bars_tells_earlier_and_needs_no_bars_behind_them(folder, monkeypatch):
    bars = write_bars("A")
    made_model(Path("early.pt"), visible_bars=25)
    scan(bars, live=True, stride=1)
    late = known()
    scan(bars, "early.parquet", model=Path("early.pt"), live=True, stride=1)
    early = known("early.parquet")
    assert early["start_ts"].to_list() == late["start_ts"].to_list()
    assert (early["n_bars_after"] < late["n_bars_after"]).all()
    assert early["n_bars_after"].to_list() == [1, 1, 1]


def test_bars_are_read_a_part_at_a_time(folder, monkeypatch):
    made_bars(1000, [], 3).write_parquet("long.parquet")
    lengths = []
    read = SpooledBars.read

    def counting(self, symbol, first, stop):
        bars = read(self, symbol, first, stop)
        lengths.append(len(bars))
        return bars

    monkeypatch.setattr(SpooledBars, "read", counting)
    monkeypatch.setattr(scan_reading, "symbol_interval_us", lambda _bars, _symbol: 3_600_000_000)
    scan(Path("long.parquet"), stride=5, batch_windows=10)
    assert max(lengths) <= 10 * 5 + 3 * 35


@pytest.mark.parametrize(("threshold", "least"), [(0.4, 0.16), (0.2, 0.1), (None, 0.1)])
def test_the_least_probability_is_the_models_and_never_next_to_nothing(folder, threshold, least):
    made_model(Path("other.pt"), pointer_threshold=threshold)
    _, result = scan(write_bars("A"), model=Path("other.pt"))
    assert result["min_prob"] == pytest.approx(least)
    assert scan(write_bars("A"), min_prob=0.05)[1]["min_prob"] == 0.05


def test_the_longest_gap_is_each_symbols_own(folder):
    """A gap of five days is long for hourly bars and short for daily ones."""
    start = pl.col("timestamp").min()
    daily = FRAMES["A"].with_columns(
        start + pl.duration(hours=24 * pl.int_range(pl.len()) + 96 * (pl.int_range(pl.len()) > 99))
    )
    frames = [daily.with_columns(symbol=pl.lit("D")), FRAMES["A"].with_columns(symbol=pl.lit("A"))]
    pl.concat(frames).write_parquet("both.parquet")
    _, result = scan(Path("both.parquet"), stride=1, batch_windows=50)
    assert result["max_gap_hours"] == [264, 72]
    assert (result["n_windows"], result["n_dropped_gap"]) == (132 + 166, 34)
    assert (result["n_bars"], result["n_bars_unseen"]) == (400, 0)
