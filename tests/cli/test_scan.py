"""The command: what it writes and says, how it stops and continues, what it refuses."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import polars as pl
import pytest

from moola.scan import following as scan_following
from moola.scan import window_reading as scan_reading
from moola.scan.parts import ScanParts
from tests.scans_made import made_bars, made_model, seeing_moves

MOVES = [(40, 46, 1), (80, 84, -1)]
COMMAND = ("scan", "--model", "model.pt", "--bars", "bars.parquet", "--device", "cpu")


@pytest.fixture
def scan(tmp_path, monkeypatch, moola):
    monkeypatch.chdir(tmp_path)
    made_model(Path("model.pt"))
    made_bars(120, MOVES, 1).with_columns(symbol=pl.lit("EUR/USD")).write_parquet("bars.parquet")
    monkeypatch.setattr(scan_reading, "read_windows_both_ways", seeing_moves)
    return lambda *arguments: moola(*COMMAND, *arguments)


def test_events_in_three_forms_and_pictures(scan):
    answer = scan("--output", "events.parquet", "--plot", "plots", "--plot-limit", "1").ends(0)
    assert "18 windows read over 120 bars of 1 symbol, 0 of them over a gap within --max-gap-hours" in answer.out
    assert "2 events (1 falling, 1 rising) of probability 0.16 or more in events.parquet" in answer.out
    assert "labels by ann" in answer.out
    assert "learned from" not in answer.out
    assert "scan: window 18 of 18, 2 events" in answer.err
    [picture] = Path("plots").iterdir()
    assert picture.name.startswith("0001_EUR-USD_2017")
    assert picture.read_bytes().startswith(b"\x89PNG")

    for name in ("events.csv", "events.jsonl"):
        told = scan("--output", name, "--json").json
        assert (told["n_events"], told["predicted"]) == (2, {"falling": 1, "rising": 1})
    table = pl.read_parquet("events.parquet")
    bars = pl.read_parquet("bars.parquet")["timestamp"]
    assert table["start_ts"].to_list() == [bars[first] for first, *_ in MOVES]
    assert table["end_ts"].to_list() == [bars[last] for _, last, _ in MOVES]
    assert table["predicted_label"].to_list() == ["rising", "falling"]
    assert table.columns == [
        *("symbol", "start_ts", "end_ts", "start_low_ts", "start_high_ts", "end_low_ts", "end_high_ts"),
        *("predicted_label", "prob_falling", "prob_rising", "event_prob", "start_prob", "end_prob"),
        *("n_windows_agree", "n_windows_saw", "longest_gap_hours", "cut", "known_ts", "n_bars_after"),
    ]
    lines = [json.loads(line) for line in Path("events.jsonl").read_text().splitlines()]
    csv = pl.read_csv("events.csv").to_dicts()
    assert lines == csv
    assert [line["start_ts"] for line in lines] == [f"{bars[first]:%Y-%m-%dT%H:%M:%S.%fZ}" for first, *_ in MOVES]
    assert [line["event_prob"] for line in lines] == table["event_prob"].to_list()


def test_no_event_is_a_table_without_rows(scan):
    for name in ("events.parquet", "events.csv", "events.jsonl"):
        answer = scan("--output", name, "--min-prob", "0.99").ends(0)
        assert "0 events of probability 0.99 or more" in answer.out
        assert "Lower --min-prob" in answer.out
        assert Path(name).exists()
    assert pl.read_parquet("events.parquet").shape == (0, 19)


def test_interrupted_is_130_with_the_command_that_goes_on(scan, moola, monkeypatch):
    assert scan("--output", "whole.csv", "--batch-windows", "5").code == 0
    write = ScanParts.write

    def stopping(self, number, part):
        write(self, number, part)
        if number == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(ScanParts, "write", stopping)
    answer = scan("--output", "events.csv", "--batch-windows", "5").ends(130)
    assert not Path("events.csv").exists()
    typed = answer.err.strip().rpartition("Continue with: moola ")[2]
    assert typed == (
        "scan --model model.pt --bars bars.parquet --device cpu --output events.csv --batch-windows 5 --resume"
    )
    monkeypatch.setattr(ScanParts, "write", write)
    resumed = moola(*typed.split(), "--json").ends(0)
    assert resumed.json["resumed_parts"] == 2
    assert Path("events.csv").read_bytes() == Path("whole.csv").read_bytes()


def test_events_that_the_model_learned_from_are_counted_and_said(scan):
    bars = pl.read_parquet("bars.parquet")["timestamp"]
    made_model(Path("model.pt"), time_range=[f"{bars[at]:%Y-%m-%dT%H:%M:%S}Z" for at in (0, 60)])
    answer = scan("--output", "events.parquet")
    assert "1 of 2 events lie in the times of the labels that the model learned from (2017-" in answer.out
    assert scan("--output", "events.parquet", "--json").json["n_learned"] == 1


def test_a_damaged_part_is_refused(scan, monkeypatch):
    monkeypatch.setattr(ScanParts, "clear", lambda self: None)
    assert scan("--output", "events.csv", "--batch-windows", "5").code == 0
    Path("events.csv.checkpoint/part_000003.json").write_text('{"kept": {}}')
    scan("--output", "events.csv", "--batch-windows", "5", "--resume").ends(3, "must be intact")


def test_refusals_and_their_codes(scan, moola):
    pl.read_parquet("bars.parquet").head(34).write_parquet("few.parquet")
    few = moola("scan", "--model", "model.pt", "--bars", "few.parquet", "--output", "events.csv").ends(3)
    assert "34 bars give none of 35" in few.err
    made_model(Path("blind.pt"), predict_pointers=False)
    blind = moola("scan", "--model", "blind.pt", "--bars", "bars.parquet", "--output", "events.csv").ends(2)
    assert "must have a model that predicts pointers, but blind.pt was trained without" in blind.err
    assert scan("--output", "events.txt").code == 2
    assert not Path("events.csv").exists()


def follow(moola, *arguments):
    return moola("scan", "--model", "model.pt", "--follow", "bars.csv", "--device", "cpu", *arguments)


def test_following_tells_each_event_once_and_ends_cleanly_when_interrupted(scan, moola, monkeypatch):
    bars = pl.read_parquet("bars.parquet")
    bars.head(70).write_csv("bars.csv", datetime_format="%Y-%m-%dT%H:%M:%S%.6fZ")
    first = follow(moola, "--output", "events.jsonl", "--polls", "1").ends(0)
    assert "rising 0.88, probability that both pointers are near" in first.out
    assert "1 events of 70 bars so far in events.jsonl" in first.out

    def slept(seconds):
        assert seconds == 0.5
        if Path("bars.csv").read_bytes().count(b"\n") == 121:
            raise KeyboardInterrupt
        bars.write_csv("bars.csv", datetime_format="%Y-%m-%dT%H:%M:%S%.6fZ")

    monkeypatch.setattr(scan_following.time, "sleep", slept)
    answer = follow(moola, "--output", "events.jsonl", "--poll-s", "0.5").ends(130)
    assert "falling" in answer.out
    assert "rising" not in answer.out
    assert "Interrupted after 2 events; everything reported is in events.jsonl. Continue with: moola scan" in answer.err
    assert answer.err.strip().endswith("--follow bars.csv --device cpu --output events.jsonl --poll-s 0.5")
    labels = [json.loads(line)["predicted_label"] for line in Path("events.jsonl").read_text().splitlines()]
    assert labels == ["rising", "falling"]
    last = follow(moola, "--output", "events.jsonl", "--polls", "1", "--json")
    assert (last.json["n_events"], last.json["n_bars"]) == (2, 120)


def test_a_record_of_live_events_is_not_replaced_unasked(scan, moola):
    assert scan("--output", "live.jsonl", "--live").code == 0
    before = Path("live.jsonl").read_bytes()
    answer = scan("--output", "live.jsonl", "--live", "--min-prob", "0.99").ends(2)
    assert "live.jsonl is. Name another one, or pass --overwrite." in answer.err
    assert Path("live.jsonl").read_bytes() == before
    assert scan("--output", "live.jsonl", "--live", "--min-prob", "0.99", "--overwrite").code == 0
    assert Path("live.jsonl").read_bytes() == b""
    # Events of hindsight are found again whenever they are wanted.
    assert scan("--output", "events.csv").code == scan("--output", "events.csv").code == 0

    pl.read_parquet("bars.parquet").write_csv("bars.csv", datetime_format="%Y-%m-%dT%H:%M:%S%.6fZ")
    assert follow(moola, "--output", "told.jsonl", "--polls", "1").code == 0
    for more in ((), ("--live",), ("--live", "--overwrite")):
        answer = scan("--output", "told.jsonl", *more).ends(2, "told.jsonl.follow holds its state")
    assert Path("told.jsonl").read_bytes() == before
    assert follow(moola, "--output", "told.jsonl", "--polls", "1", "--overwrite").code == 2
    assert follow(moola, "--output", "told.jsonl", "--polls", "1").code == 0


def test_live_events_say_when_they_were_known(scan):
    answer = scan("--output", "events.csv", "--live", "--overview", "over.html").ends(0)
    table = pl.read_csv("events.csv")
    assert table["n_bars_after"].to_list() == [18, 15]
    assert table["known_ts"].is_sorted()
    assert "Overview in over.html" in answer.out
    assert "reported live" in Path("over.html").read_text()


def test_each_event_of_a_follower_goes_to_a_program(scan, moola):
    bars = pl.read_parquet("bars.parquet")
    bars.write_csv("bars.csv", datetime_format="%Y-%m-%dT%H:%M:%S%.6fZ")
    Path("take.py").write_text("import sys; open('taken.jsonl', 'a').write(sys.stdin.read())")
    program = f"{sys.executable} take.py"
    answer = follow(moola, "--output", "live.jsonl", "--polls", "1", "--on-event", program).ends(0)
    assert "2 events handed to the program of --on-event." in answer.out
    told = [json.loads(line) for line in Path("live.jsonl").read_text().splitlines()]
    taken = [json.loads(line) for line in Path("taken.jsonl").read_text().splitlines()]
    assert [{key: value for key, value in one.items() if key != "event_id"} for one in taken] == told


def test_a_program_that_cannot_be_is_refused_before_anything_is_read(scan, moola):
    Path("bars.csv").write_text("timestamp,open,high,low,close\n")
    for arguments, said in (
        (("--output", "events.jsonl", "--on-event", "no_such_program"), "no 'no_such_program' on the PATH"),
        (("--output", "events.csv", "--on-event", "cat"), "an output in .jsonl, but the output is events.csv"),
        (("--output", "events.jsonl", "--on-event", "cat", "--on-event-timeout-s", "0"), "must be above 0"),
    ):
        answer = follow(moola, *arguments).ends(2, said)
    answer = scan("--output", "events.jsonl", "--on-event", "cat")
    assert "must come with --follow" in answer.err
    assert not Path("events.jsonl.follow").exists()
