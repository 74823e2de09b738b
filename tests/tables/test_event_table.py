from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from moola.core.bars import Bars
from moola.core.event_merging import MergedEvents
from moola.errors import InvalidData
from moola.tables import event_table
from moola.tables.event_table import Events, events_frame, events_of, read_events, write_event_pieces

HOUR_US = 3_600_000_000
# Two symbols; the second has a hole of two days before its last bars.
BARS = Bars(
    np.array([0, 1, 2, 3, 4, 0, 1, 50, 51, 52]) * HOUR_US,
    np.ones((10, 4)),
    np.array(["007"] * 5 + ['B,"x"'] * 5, dtype=object),
)
MERGED = MergedEvents(
    np.array([[6, 7], [1, 3], [9, 9]]),
    np.array([[0.5, 0.25], [1 / 3, 0.2], [0.1, 0.1]]),
    np.array([0.125, 1 / 15, 0.01]),
    np.array([[0.3, 0.7], [0.9, 0.1], [0.5, 0.5]]),
    np.array([[5, 6], [1, 2], [9, 9]]),
    np.array([[7, 8], [2, 4], [9, 9]]),
    np.array([1, 2, 0]),
    np.array([3, 2, 1]),
    np.array([False, True, False]),
    np.array([8, -1, -1]),
).take(np.array([1, 0, 2]))
EVENTS = events_of(MERGED, BARS, ["quiet", "wild"])


def written(path: Path, events: Events) -> None:
    write_event_pieces(path, iter([events]), events.class_names)


def same(left: Events, right: Events) -> bool:
    return all(np.array_equal(getattr(left, field.name), getattr(right, field.name)) for field in fields(Events))


def test_times_and_gaps_come_from_the_bars():
    assert EVENTS.symbol == ["007", 'B,"x"', 'B,"x"']
    assert (EVENTS.time_us // HOUR_US).tolist() == [[1, 3], [1, 50], [52, 52]]
    assert (EVENTS.low_us // HOUR_US).tolist() == [[1, 2], [0, 1], [52, 52]]
    assert (EVENTS.high_us // HOUR_US).tolist() == [[2, 4], [50, 51], [52, 52]]
    assert (EVENTS.longest_gap_us // HOUR_US).tolist() == [1, 49, 0]
    frame = events_frame(EVENTS)
    assert frame["predicted_label"].to_list() == ["quiet", "wild", "quiet"]
    assert frame["longest_gap_hours"].to_list() == [1.0, 49.0, 0.0]
    assert frame["n_bars_after"].to_list() == [None, 1, None]
    assert frame["known_ts"].dt.timestamp("us").to_list() == [None, 51 * HOUR_US, None]


def test_rows_may_be_counted_from_any_bar():
    later = Bars(BARS.start_us[5:], BARS.ohlc[5:], BARS.symbol[5:])
    some = np.array([1, 2])
    expected = events_frame(EVENTS)[1:]
    assert events_frame(events_of(MERGED.take(some), later, ["quiet", "wild"], 5)).equals(expected)


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".jsonl"])
def test_events_come_back_to_the_bit(tmp_path, suffix):
    path = tmp_path / f"events{suffix}"
    written(path, EVENTS)
    assert same(read_events(path), EVENTS)
    before = path.read_bytes()
    written(path, EVENTS)
    assert path.read_bytes() == before
    unnamed = replace(EVENTS, symbol=[""] * 3)
    written(path, unnamed)
    assert same(read_events(path), unnamed)


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".jsonl"])
def test_no_events_come_back_as_none(tmp_path, suffix):
    path = tmp_path / f"events{suffix}"
    written(path, events_of(MergedEvents.none(2), BARS, ["quiet", "wild"]))
    assert len(read_events(path)) == 0


def test_another_table_is_refused(tmp_path):
    path = Path(tmp_path / "other.parquet")
    pl.DataFrame({"symbol": ["a"]}).write_parquet(path)
    with pytest.raises(InvalidData, match="lacks start_ts"):
        read_events(path)
    path.write_text('{"symbol": ')
    with pytest.raises(InvalidData, match="must be JSON lines"):
        read_events(path)


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".jsonl"])
@pytest.mark.parametrize("group", [2, 3, 100])
def test_pieces_give_the_bytes_of_all_at_once_in_groups_of_any_size(tmp_path, monkeypatch, suffix, group):
    monkeypatch.setattr(event_table, "GROUP_EVENTS", group)
    rows = [MERGED.take(np.array([row])) for row in (0, 1, 2, 0, 2, 1, 0)]
    whole, pieces = tmp_path / f"whole{suffix}", tmp_path / f"pieces{suffix}"
    written(whole, events_of(MergedEvents.joined(rows), BARS, ["quiet", "wild"]))
    each = (events_of(row, BARS, ["quiet", "wild"]) for row in rows)
    write_event_pieces(pieces, each, ["quiet", "wild"])
    assert pieces.read_bytes() == whole.read_bytes()
    assert same(read_events(whole), events_of(MergedEvents.joined(rows), BARS, ["quiet", "wild"]))
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([whole.name, pieces.name])
