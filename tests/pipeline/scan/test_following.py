"""Bars that are appended, in whatever pieces and with whatever accidents, tell each event once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from moola.config.scan_options import ScanOptions
from moola.errors import InvalidData, OperationFailed, WrongUsage
from moola.pipeline.predicting import read_windows_both_ways
from moola.pipeline.scan import follow_state
from moola.pipeline.scan import reading as scan_reading
from moola.pipeline.scan.follow_state import FollowFolder, folder_of
from moola.pipeline.scan.following import Follower
from moola.pipeline.scan.scanning import Scan
from tests.scans_made import made_bars, made_model, seeing_moves

MOVES = [(40, 46, 1), (80, 84, -1), (150, 155, 1)]
BARS = made_bars(200, MOVES, 1, {100: 96.0}).with_columns(symbol=pl.lit("A"))
OTHER = made_bars(180, [(60, 69, -1), (130, 133, 1)], 2).with_columns(symbol=pl.lit("B"))
TIME = "%Y-%m-%dT%H:%M:%S%.6fZ"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made_model(Path("model.pt"))
    monkeypatch.setattr(scan_reading, "read_windows_both_ways", seeing_moves)
    return tmp_path


def options(source="bars.csv", output="events.jsonl", **given) -> ScanOptions:
    given = {"stride": 3, "polls": 1, "poll_s": 0.0, "device": "cpu"} | given
    return ScanOptions(model=Path("model.pt"), follow=Path(source), output=Path(output), **given)


def follow(*arguments, **given) -> list[dict]:
    told = []
    Follower(options(*arguments, **given)).run(lambda frame: told.extend(frame.to_dicts()))
    return told


def append(frame: pl.DataFrame, path="bars.csv") -> None:
    with Path(path).open("ab") as file:
        file.write(frame.write_csv(datetime_format=TIME, include_header=file.tell() == 0).encode())


def scanned(frame: pl.DataFrame = BARS, output="whole.jsonl", **given) -> bytes:
    frame.write_parquet("whole.parquet")
    given = {"stride": 3, "device": "cpu", "live": True} | given
    scan = Scan(ScanOptions(model=Path("model.pt"), bars=Path("whole.parquet"), output=Path(output), **given))
    scan.run(lambda *_: None)
    scan.finish()
    return Path(output).read_bytes()


@pytest.mark.parametrize("name", ["events.jsonl", "events.csv"])
def test_bars_appended_one_after_the_other_give_what_a_live_scan_gives(folder, name):
    for first in range(0, 200, 13):
        append(BARS[first : first + 13])
        follow(output=name)
    assert Path(name).read_bytes() == scanned(output=f"whole{Path(name).suffix}")
    assert Path(name).read_bytes().count(b"\n") == 3 + (name == "events.csv")


def test_events_are_told_as_soon_as_their_bars_are_there(folder):
    known = [json.loads(line)["known_ts"] for line in scanned().splitlines()]
    times = BARS["timestamp"].dt.strftime(TIME).to_list()
    append(BARS.head(1))
    follower = Follower(options())
    told = []
    follower.state = follower.folder.open()
    for row in range(1, 200):
        append(BARS[row])
        before = len(told)
        follower.look(lambda frame: told.extend(frame.to_dicts()))
        assert len(told) - before == known.count(times[row])
    assert len(told) == 3
    follower.folder.close()


@given(cuts=st.sets(st.integers(1, 199), max_size=6), batch=st.sampled_from([2, 1000]))
@settings(max_examples=6, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_events_do_not_hang_on_when_bars_came(folder, monkeypatch, cuts, batch):
    # The network itself: its random weights make many events that hang on each other.
    monkeypatch.setattr(scan_reading, "read_windows_both_ways", read_windows_both_ways)
    given = {"min_prob": 0.0, "batch_windows": batch}
    for path in (*folder.glob("bars.csv"), *folder.glob("events.jsonl"), *folder.glob("events.jsonl.follow/*")):
        path.unlink()
    for first, last in zip([0, *sorted(cuts)], [*sorted(cuts), 200], strict=True):
        append(BARS[first:last])
        follow(**given)
    assert Path("events.jsonl").read_bytes() == scanned(min_prob=0.0)


def test_a_folder_of_files_and_symbols_that_take_turns(folder):
    both = pl.concat([BARS, OTHER]).sort("timestamp", maintain_order=True)
    Path("in").mkdir()
    told = []
    for number, first in enumerate(range(0, len(both), 100)):
        piece = both[first : first + 100]
        # The last bars once more, as exporters do.
        again = both[max(first - 7, 0) : first]
        frame = pl.concat([again, piece])
        name = f"in/{number:03}"
        frame.write_parquet(f"{name}.parquet") if number % 2 else append(frame, f"{name}.csv")
        Path("in/note.txt").write_text("no bars")
        told += follow("in")
    assert sorted(Path("events.jsonl").read_bytes().splitlines()) == sorted(scanned(both).splitlines())
    assert len(told) == 5
    assert [event["known_ts"] for event in told] == sorted(event["known_ts"] for event in told)


class Killed(BaseException):
    """Stands for a process that is no more."""


@pytest.mark.parametrize("moment", ["before the state", "after the state", "within the text", "after the text"])
def test_a_follower_that_dies_at_any_moment_tells_each_event_once(folder, monkeypatch, moment):
    append(BARS)
    write, append_text = follow_state.write_atomic, FollowFolder._append

    def writing(path, content):
        if moment == "before the state" and b"rising" in content:
            raise Killed
        write(path, content)

    def appending(self, state):
        if state.pending and moment != "before the state":
            if moment == "within the text":
                self.output.write_bytes(self.output.read_bytes() + state.pending.encode()[:33])
            if moment == "after the text":
                append_text(self, state)
            raise Killed
        append_text(self, state)

    monkeypatch.setattr(follow_state, "write_atomic", writing)
    monkeypatch.setattr(FollowFolder, "_append", appending)
    with pytest.raises(Killed):
        follow()
    monkeypatch.setattr(follow_state, "write_atomic", write)
    monkeypatch.setattr(FollowFolder, "_append", append_text)
    follow()
    follow()
    assert Path("events.jsonl").read_bytes() == scanned()


def test_a_killed_process_goes_on(folder):
    """kill -9, at a moment that nobody chose."""
    append(BARS.head(120))
    command = [sys.executable, "-m", "moola.cli", "scan", "--model", "model.pt", "--follow", "bars.csv"]
    command += ["--output", "events.jsonl", "--min-prob", "0", "--poll-s", "0.01", "--device", "cpu"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=os.environ)
    until = time.monotonic() + 60
    while not (Path("events.jsonl").exists() and Path("events.jsonl").stat().st_size) and time.monotonic() < until:
        time.sleep(0.01)
    process.kill()
    process.wait()
    before = Path("events.jsonl").read_bytes()
    assert before
    append(BARS[120:])
    Follower(options(min_prob=0.0, stride=5)).run(lambda _: None)
    after = Path("events.jsonl").read_bytes()
    assert after.startswith(before)
    lines = after.splitlines()
    assert len(set(lines)) == len(lines)


def test_bars_that_are_not_later_are_skipped_and_said(folder, caplog):
    append(BARS.head(150))
    follow()
    append(pl.concat([BARS[100:150], BARS[150:]]))
    follow()
    assert "50 bars of bars.csv are not after the last bar of their symbol" in caplog.text
    assert Path("events.jsonl").read_bytes() == scanned()


def test_a_file_that_was_written_anew_and_shorter_is_read_on(folder, caplog):
    append(BARS.head(180))
    follow()
    Path("bars.csv").unlink()
    append(BARS[150:])
    follow()
    assert "became shorter" in caplog.text
    assert Path("events.jsonl").read_bytes() == scanned()


def test_parquet_that_is_not_whole_yet_waits(folder, caplog):
    BARS.head(120).write_parquet("bars.parquet")
    follow("bars.parquet")
    BARS.write_parquet("bars.parquet")
    whole = Path("bars.parquet").read_bytes()
    Path("bars.parquet").write_bytes(whole[:-100])
    follow("bars.parquet")
    assert "looked at again when it changes" in caplog.text
    Path("bars.parquet").write_bytes(whole)
    follow("bars.parquet")
    assert Path("events.jsonl").read_bytes() == scanned()


def test_bars_that_break_a_rule_stop_it_and_can_be_mended(folder):
    append(BARS.head(150))
    follow()
    good = Path("bars.csv").read_bytes()
    append(BARS[150:].with_columns(high=pl.lit(0.5)))
    with pytest.raises(InvalidData, match="high must be at least"):
        follow()
    Path("bars.csv").write_bytes(good)
    append(BARS[150:])
    follow()
    assert Path("events.jsonl").read_bytes() == scanned()


def test_what_does_not_fit_is_refused(folder):
    append(BARS)
    Path("events.jsonl").write_text("mine")
    with pytest.raises(WrongUsage, match="stands already"):
        follow()
    Path("events.jsonl").unlink()
    follow()
    with pytest.raises(WrongUsage, match="begun with"):
        follow(stride=4)
    Path("events.jsonl").write_bytes(Path("events.jsonl").read_bytes() + b"more")
    with pytest.raises(InvalidData, match="it was changed"):
        follow()
    (folder_of(Path("events.jsonl")) / "state.json").write_text("{}")
    with pytest.raises(InvalidData, match="must be whole"):
        follow()
    with pytest.raises(OperationFailed, match="there is no none"):
        follow("none.csv")
    for wrong in (
        {"overview": Path("o.html")},
        {"resume": True},
        {"output": "events.parquet"},
        {"poll_s": -1.0},
        {"polls": -1},
    ):
        with pytest.raises(WrongUsage):
            follow(**wrong)
    with pytest.raises(WrongUsage, match="one of --bars and --follow"):
        ScanOptions(model=Path("model.pt"), output=Path("e.csv")).check()


def test_one_follower_at_a_time(folder):
    append(BARS.head(50))
    first = Follower(options())
    first.folder.open()
    with pytest.raises(
        OperationFailed, match=rf"one process at a time must follow into .*, but process {os.getpid()} on "
    ):
        follow()
    first.folder.close()
    follow()


def test_daily_bars_that_come_are_read_over_a_holiday_as_in_a_live_scan(folder, caplog):
    row = pl.int_range(pl.len())
    daily = BARS.with_columns(pl.col("timestamp").min() + pl.duration(hours=24 * row + 96 * (row > 99)))
    whole = scanned(daily)
    for first in (0, 60, 130):
        append(daily.slice(first, 70 if first else 60))
        follow()
    assert Path("events.jsonl").read_bytes() == whole
    assert "--max-gap-hours" not in caplog.text


def test_windows_dropped_for_gaps_are_told(folder, caplog):
    append(BARS)
    result = Follower(options()).run(lambda _: None)
    # Windows that begin at the bars 66, 69 .. 99.
    assert result["n_dropped_gap"] == 12
    assert "12 of 56 windows are dropped: they hold a gap above 72 h (--max-gap-hours)." in caplog.text
