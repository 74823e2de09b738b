"""Bars that are appended, in whatever pieces and with whatever accidents, tell each event once."""

from __future__ import annotations

import functools
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from moola.errors import InvalidData, OperationFailed, WrongUsage
from moola.fit.predicting import read_windows_both_ways
from moola.options.scan_options import ScanOptions
from moola.scan import follow_state
from moola.scan import window_reading as scan_reading
from moola.scan.follow_state import FollowFolder, folder_of
from moola.scan.following import Follower
from moola.scan.scanning import Scan
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
    scan.parts.clear()
    return Path(output).read_bytes()


@functools.cache
def scanned_once(min_prob: float | None = None) -> bytes:
    """Return what `scanned` does of all bars, the same in every test: with `min_prob` the network itself reads them."""
    return scanned(min_prob=min_prob)


@pytest.mark.parametrize("name", ["events.jsonl", "events.csv"])
def test_bars_appended_one_after_the_other_give_what_a_live_scan_gives(folder, name):
    for first in range(0, 200, 37):
        append(BARS[first : first + 37])
        follow(output=name)
    assert Path(name).read_bytes() == scanned(output=f"whole{Path(name).suffix}")
    assert Path(name).read_bytes().count(b"\n") == 3 + (name == "events.csv")


def looked(source="bars.csv", **given) -> tuple[Follower, list[dict]]:
    """Return a follower that looks when it is told to, and the list that gets what it tells."""
    follower = Follower(options(source, **given))
    follower.state = follower.folder.open()
    return follower, []


def test_events_are_told_as_soon_as_their_bars_are_there(folder):
    known = [json.loads(line)["known_ts"] for line in scanned_once().splitlines()]
    times = BARS["timestamp"].dt.strftime(TIME).to_list()
    append(BARS.head(20))
    follower, told = looked()
    done = 20
    for number, row in enumerate(sorted(times.index(one) for one in known)):
        for stop, n_told in ((row, number), (row + 1, number + 1)):
            append(BARS[done:stop])
            done = stop
            follower.poll(lambda frame: told.extend(frame.to_dicts()))
            assert len(told) == n_told
    assert len(told) == 3
    follower.folder.close()


@given(cuts=st.sets(st.integers(1, 199), min_size=2, max_size=4), batch=st.sampled_from([16, 1000]))
@settings(max_examples=2, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_events_do_not_hang_on_when_bars_came(folder, monkeypatch, cuts, batch):
    # The network itself: its random weights make many events that depend on each other.
    monkeypatch.setattr(scan_reading, "read_windows_both_ways", read_windows_both_ways)
    given = {"min_prob": 0.0, "batch_windows": batch}
    for path in (*folder.glob("bars.csv"), *folder.glob("events.jsonl"), *folder.glob("events.jsonl.follow/*")):
        path.unlink()
    for first, last in zip([0, *sorted(cuts)], [*sorted(cuts), 200], strict=True):
        append(BARS[first:last])
        follow(**given)
    assert Path("events.jsonl").read_bytes() == scanned_once(min_prob=0.0)


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
    assert Path("events.jsonl").read_bytes() == scanned_once()


def test_bars_that_are_not_later_are_skipped_and_a_file_written_anew_is_read_on(folder, caplog):
    append(BARS.head(150))
    follow()
    append(pl.concat([BARS[100:150], BARS[150:180]]))
    follow()
    assert "bars.csv: 50 bars are not after the last bar of their symbol: skipped" in caplog.text
    Path("bars.csv").unlink()
    append(BARS[150:])
    follow()
    assert "bars.csv is another file than before" in caplog.text
    assert Path("events.jsonl").read_bytes() == scanned_once()


def test_parquet_that_is_not_whole_yet_waits(folder, caplog):
    BARS.head(120).write_parquet("bars.parquet")
    follow("bars.parquet")
    BARS.write_parquet("bars.parquet")
    whole = Path("bars.parquet").read_bytes()
    Path("bars.parquet").write_bytes(whole[:-100])
    follow("bars.parquet")
    assert "read again when it changes" in caplog.text
    Path("bars.parquet").write_bytes(whole)
    follow("bars.parquet")
    assert Path("events.jsonl").read_bytes() == scanned_once()


def line(row: int) -> bytes:
    return BARS[row].write_csv(datetime_format=TIME, include_header=False).encode()


HEADER = BARS.head(0).write_csv().encode()
BAD = (
    b"no bar\n",
    b'"2017-01-01,1,2\n',
    b"\xff,1,1,1,1,A\n",
    line(0).strip() + line(1),
    line(60).replace(b"Z,", b",abc,", 1),
    line(60)[:30] + b"\n",
    BARS[60].with_columns(high=pl.lit(0.5)).write_csv(datetime_format=TIME, include_header=False).encode(),
    b"yesterday," + line(60).split(b",", 1)[1],
)


def test_lines_that_are_no_bars_are_skipped_and_counted_or_stop_a_strict_follower(folder, caplog):
    bars = {0: BAD, 60: BAD}
    pieces = [b"".join(bars.get(row, ())) + line(row) for row in range(200)]
    Path("bars.csv").write_bytes(HEADER + b"".join(pieces))
    result = Follower(options()).run(lambda _: None)
    assert (result["n_bad_lines"], result["n_bars"], result["n_skipped"]) == (2 * len(BAD), 200, 0)
    assert f"{2 * len(BAD)} invalid lines, the first" in caplog.text
    assert Path("events.jsonl").read_bytes() == scanned_once()
    for number, bad in enumerate(BAD):
        Path("few.csv").write_bytes(HEADER + line(0) + bad + line(1))
        with pytest.raises(InvalidData, match="with --strict every line must be a new bar in order"):
            follow("few.csv", f"strict{number}.jsonl", strict=True)


def test_half_a_last_line_waits_for_its_rest(folder, caplog):
    begun = HEADER + b"".join(line(row) for row in range(150))
    for cut in (1, 5, 25, 60, len(line(150)) - 1):
        Path("bars.csv").write_bytes(begun + line(150)[:cut])
        result = Follower(options()).run(lambda _: None)
        assert (result["n_bars"], result["n_bad_lines"]) == (150, 0)
    Path("bars.csv").write_bytes(text(BARS))
    result = Follower(options()).run(lambda _: None)
    assert (result["n_bars"], result["n_bad_lines"], result["n_skipped"]) == (200, 0, 0)
    assert "another file" not in caplog.text
    assert Path("events.jsonl").read_bytes() == scanned_once()


def test_the_zeros_that_a_writer_leaves_whose_file_was_emptied_are_passed_over(folder):
    """A writer that did not open the file to append continues at its own place: all before it reads as zeros."""
    with Path("bars.csv").open("wb") as writer:
        writer.write(text(BARS.head(150)))
        writer.flush()
        follow()
        Path("bars.csv.1").write_bytes(Path("bars.csv").read_bytes())
        os.truncate("bars.csv", 0)
        for first in (150, 170):
            writer.write(b"".join(line(row) for row in range(first, 170 if first == 150 else 200)))
            writer.flush()
            assert Path("bars.csv").read_bytes().startswith(b"\0" * 1000)
            result = Follower(options()).run(lambda _: None)
            assert (result["n_bad_lines"], result["n_skipped"]) == (0, 0)
    assert result["n_bars"] == 200
    assert Path("events.jsonl").read_bytes() == scanned_once()


def text(frame: pl.DataFrame, ending: bytes = b"\n") -> bytes:
    return frame.write_csv(datetime_format=TIME).encode().replace(b"\n", ending)


class Writer:
    """Writes bars to one path in the ways of other programs; what stands there never lacks a bar at a look."""

    def __init__(self) -> None:
        self.path, self.first, self.n, self.number, self.columns = Path("bars.csv"), 0, 0, 0, BARS.columns
        self.ending, self.has_header = b"\n", True

    def content(self) -> bytes:
        whole = text(BARS[self.first : self.n].select(self.columns), self.ending)
        return whole if self.has_header else whole.split(b"\n", 1)[1]

    def grow(self) -> None:
        """Append, half a line left over."""
        self.n = min(self.n + 23, 200)
        whole = self.content()
        self.path.write_bytes(whole + (line(self.n)[:17] if self.n < 200 and self.has_header else b""))

    def append_the_rest(self) -> None:
        self.append_in_place(200)

    def append_in_place(self, n_bars: int = 11) -> None:
        self.n = min(self.n + n_bars, 200)
        before = self.path.read_bytes() if self.path.exists() else b""
        assert self.content().startswith(before[: before.rfind(b"\n") + 1])
        with self.path.open("r+b" if self.path.exists() else "wb") as file:
            file.write(self.content())

    def rename(self) -> None:
        """Some bars that were not looked at yet go with the file that is renamed."""
        self.append_in_place()
        self.path.rename(f"bars.csv.{self.number}")
        self._begin()

    def copy_and_truncate(self) -> None:
        self.append_in_place()
        Path(f"bars.csv.{self.number}").write_bytes(self.path.read_bytes())
        # Whoever appends continues without a header.
        self._begin(has_header=False)

    def _begin(self, has_header: bool = True) -> None:
        self.number += 1
        self.first, self.n, self.has_header = self.n, min(self.n + 7, 200), has_header
        self.path.write_bytes(self.content())

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)

    def replace(self) -> None:
        """A window of the last bars, moved into place."""
        self.first, self.n, self.has_header = max(self.n - 40, 0), min(self.n + 9, 200), True
        Path("new").write_bytes(self.content())
        os.replace("new", self.path)

    def rewrite(self) -> None:
        """The same length in the same file: as many other bars."""
        step = min(20, self.n - self.first, 200 - self.n)
        self.first, self.n, self.has_header = self.first + step, self.n + step, True
        self.path.write_bytes(self.content())

    def change_header(self) -> None:
        self.columns, self.has_header = [*self.columns[1:], self.columns[0]], True
        self.path.write_bytes(self.content())

    def change_ending(self) -> None:
        self.ending = b"\r\n" if self.ending == b"\n" else b"\n"
        self.path.write_bytes(self.content())


WAYS = [
    Writer.grow, Writer.append_in_place, Writer.rename, Writer.copy_and_truncate, Writer.replace, Writer.rewrite,
    Writer.change_header, Writer.change_ending, Writer.remove,
]  # fmt: skip


def ways_to_the_end(writer: Writer, ways: list) -> Iterator:
    """Yield the ways, then all the appending that is left, and a look more that finds nothing new."""
    yield from ways
    yield Writer.append_the_rest
    yield Writer.append_in_place


def follow_through(ways) -> None:
    for path in (*Path().glob("bars.csv*"), *Path().glob("events.jsonl"), *Path().glob("events.jsonl.follow/*")):
        path.unlink()
    writer = Writer()
    writer.append_in_place()
    follow()
    for way in ways_to_the_end(writer, ways):
        appends = (Writer.append_in_place, Writer.append_the_rest, Writer.rename, Writer.copy_and_truncate)
        if way in appends and not writer.path.exists():
            writer.path.write_bytes(writer.content())
        way(writer)
        result = Follower(options()).run(lambda _: None)
    assert result["n_bars"] == 200


@given(ways=st.lists(st.sampled_from(WAYS), max_size=10))
@example(ways=[Writer.copy_and_truncate, Writer.rename, Writer.rename, Writer.grow, Writer.rewrite])
@example(ways=[Writer.grow, Writer.rewrite, Writer.change_header, Writer.replace])
@example(ways=[Writer.remove, Writer.rename, Writer.change_ending, Writer.grow])
@settings(max_examples=1, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_becomes_of_a_file_its_events_are_those_of_one_that_grew(folder, ways):
    follow_through(ways)
    assert Path("events.jsonl").read_bytes() == scanned_once()


@pytest.mark.parametrize(("followed", "path"), [("bars.csv", "bars.csv"), ("in", "in/bars.csv")])
def test_a_file_or_folder_that_is_gone_is_said_once_and_waited_for(folder, caplog, followed, path):
    Path("in").mkdir()
    append(BARS.head(120), path)
    follower, _ = looked(followed)
    follower.poll(lambda _: None)
    Path(followed).rename("out")
    for _ in range(3):
        follower.poll(lambda _: None)
    assert caplog.text.count("it is waited for") == 1
    if followed == "in":
        Path("out").rename("in")
    append(BARS[100 if followed == path else 120 :], path)
    follower.poll(lambda _: None)
    follower.folder.close()
    assert Path("events.jsonl").read_bytes() == scanned_once()


@pytest.mark.parametrize("name", ["bars-1.csv", "bars.csv.1"])
def test_a_file_that_is_renamed_within_a_followed_folder_is_read_on(folder, name):
    Path("in").mkdir()
    append(BARS.head(120), "in/bars.csv")
    follow("in")
    append(BARS[120:140], "in/bars.csv")
    Path("in/bars.csv").rename(f"in/{name}")
    append(BARS[140:], "in/bars.csv")
    result = Follower(options("in")).run(lambda _: None)
    assert (result["n_skipped"], result["n_bars"]) == (0, 200)
    assert Path("events.jsonl").read_bytes() == scanned_once()


def test_history_that_was_rewritten_is_told_and_bars_stay_as_they_were_read(folder, caplog):
    append(BARS.head(150))
    follow()
    other = BARS.with_columns(pl.col("open", "high", "low", "close") * 2)
    Path("bars.csv").write_bytes(text(pl.concat([BARS.head(140), other[140:150], BARS[150:]])))
    result = Follower(options()).run(lambda _: None)
    assert (result["n_differing"], result["n_skipped"]) == (10, 150)
    assert "10 of them differ from the bar read for their time" in caplog.text
    assert Path("events.jsonl").read_bytes() == scanned_once()


def test_bars_out_of_order_and_gaps_are_counted_and_said(folder, caplog):
    order = [*range(100), 101, 100, 101, *range(102, 150), *range(160, 200)]
    Path("bars.csv").write_bytes(text(pl.concat([BARS[row] for row in order])))
    result = Follower(options()).run(lambda _: None)
    assert (result["n_skipped"], result["n_out_of_order"], result["n_differing"]) == (2, 1, 0)
    assert "1 are out of order, the first at" in caplog.text
    # That of the sample with the bar out of order, and the ten bars left out.
    assert result["n_gaps"] == 2
    assert "gaps with about" in caplog.text
    # Windows that begin at the bars 66, 69 .. 99.
    assert result["n_dropped_gap"] == 12
    assert re.search(r"12 of \d+ windows are dropped: they hold a gap above 72 h \(--max-gap-hours\)\.", caplog.text)


def test_parquet_of_the_last_bars_is_read_by_time(folder):
    for stop in (100, 150, 180, 200):
        BARS[max(stop - 60, 0) : stop].write_parquet("bars.parquet")
        follow("bars.parquet")
    assert Path("events.jsonl").read_bytes() == scanned(BARS[40:])


def test_the_state_of_an_older_follower_is_gone_on_with(folder):
    append(BARS.head(150))
    follow()
    path = folder_of(Path("events.jsonl")) / "state.json"
    state = json.loads(path.read_text())
    state["places"] = {name: place[:2] for name, place in state["places"].items()}
    path.write_text(json.dumps(state))
    append(BARS[150:])
    assert Follower(options()).run(lambda _: None)["n_skipped"] == 0
    assert Path("events.jsonl").read_bytes() == scanned_once()


def test_what_does_not_fit_is_refused(folder):
    append(BARS)
    Path("events.jsonl").write_text("mine")
    with pytest.raises(WrongUsage, match="already exists"):
        follow()
    Path("events.jsonl").unlink()
    follow()
    with pytest.raises(WrongUsage, match="begun with"):
        follow(stride=4)
    Path("events.jsonl").write_bytes(Path("events.jsonl").read_bytes() + b"more")
    with pytest.raises(InvalidData, match="it was changed"):
        follow()
    (folder_of(Path("events.jsonl")) / "state.json").write_text("{}")
    with pytest.raises(InvalidData, match="must be intact"):
        follow()
    with pytest.raises(OperationFailed, match="there is no none"):
        follow("none.csv", "other.jsonl")
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
