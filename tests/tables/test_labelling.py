import numpy as np
import pytest

from moola.core.bars import Bars
from moola.core.expansions import RULE_NAME, label_window
from moola.core.windows import cut_windows
from moola.errors import InvalidData
from moola.tables import window_file
from moola.tables.cutting import label_by_rule, pieces_of_bars, windows_of_bars
from moola.tables.window_file import read_windows, write_windows
from tests.made import random_walk_bars

BARS = random_walk_bars(1500, seed=3, symbol="EURUSD")
WINDOWS = windows_of_bars(BARS, cut_windows(BARS, 20))


def test_windows_hold_the_bars_and_times_of_their_place_and_no_labels():
    for row in (0, 7, len(WINDOWS) - 1):
        first = 20 * row
        assert np.array_equal(WINDOWS.ohlc[row], BARS.ohlc[first : first + 105])
        assert (WINDOWS.start_us[row], WINDOWS.end_us[row]) == (BARS.start_us[first], BARS.start_us[first + 104])
    assert set(WINDOWS.symbol) == {"EURUSD"}
    assert (WINDOWS.classes, WINDOWS.has_pointers, WINDOWS.features) == ([], False, None)


def test_pieces_hold_the_same_windows_some_at_a_time(monkeypatch):
    monkeypatch.setattr(window_file, "PIECE_WINDOWS", 30)
    pieces = list(pieces_of_bars(BARS, cut_windows(BARS, 20)))
    assert [len(piece) for piece in pieces] == [30, 30, 10]
    assert np.array_equal(np.concatenate([piece.ohlc for piece in pieces]), WINDOWS.ohlc)
    assert [name for piece in pieces for name in piece.window_id] == WINDOWS.window_id


def test_names_are_symbol_and_time():
    assert WINDOWS.window_id[1] == "EURUSD_20200101T2000"
    assert windows_of_bars(random_walk_bars(105), cut_windows(random_walk_bars(105), 1)).window_id == [
        "window_20200101T0000"
    ]


@pytest.mark.parametrize("bar_us", [1_000_000, 250_000])
def test_names_differ_on_bars_shorter_than_a_minute(bar_us):
    bars = Bars(np.arange(200, dtype=np.int64) * bar_us, BARS.ohlc[:200], BARS.symbol[:200])
    table = windows_of_bars(bars, cut_windows(bars, 5))
    assert len(set(table.window_id)) == len(table) == 20


def test_too_few_bars_for_a_window_give_an_empty_table():
    bars = random_walk_bars(50)
    assert len(windows_of_bars(bars, cut_windows(bars, 1))) == 0


def test_windows_that_the_rule_labels_are_kept_in_order_and_say_who_labelled_them():
    labelled, counts = label_by_rule(WINDOWS, None)
    expected = [(i, label_window(window)) for i, window in enumerate(WINDOWS.ohlc)]
    kept = [(i, label) for i, label in expected if label.label is not None]
    assert labelled.window_id == [WINDOWS.window_id[i] for i, _ in kept]
    assert labelled.label.tolist() == [label.label for _, label in kept]
    assert labelled.expansion_start.tolist() == [label.expansion_start for _, label in kept]
    assert labelled.expansion_end.tolist() == [label.expansion_end for _, label in kept]
    assert labelled.extra["annotator"].to_list() == [RULE_NAME] * len(kept)
    assert sum(counts.values()) == len(WINDOWS)
    assert counts["retracement"] == labelled.label.tolist().count("retracement")
    assert list(counts) == sorted(counts)
    assert 0 < len(kept) < len(WINDOWS)


def test_a_number_of_windows_is_spread_evenly_from_the_first_to_the_last():
    everything, _ = label_by_rule(WINDOWS, None)
    n = len(everything)
    for wanted in (2, 5, n - 1, n):
        some, _ = label_by_rule(WINDOWS, wanted)
        places = [everything.window_id.index(name) for name in some.window_id]
        steps = np.diff(places)
        assert (len(places), places[0], places[-1]) == (wanted, 0, n - 1)
        assert steps.min() >= 1
        assert steps.max() - steps.min() <= 1
        assert some.label.tolist() == everything.label[places].tolist()


def test_more_windows_than_the_rule_labels_are_refused_with_the_count():
    n = len(label_by_rule(WINDOWS, None)[0])
    with pytest.raises(InvalidData, match=f"the rule labels {n} of {len(WINDOWS)} windows"):
        label_by_rule(WINDOWS, n + 1)


def test_bars_that_never_move_give_no_labels():
    flat = Bars(BARS.start_us[:300], np.full((300, 4), 5.0), BARS.symbol[:300])
    labelled, counts = label_by_rule(windows_of_bars(flat, cut_windows(flat, 50)), None)
    assert (len(labelled), counts) == (0, {"unlabelled: no_range": 4})


def test_labelled_windows_are_a_valid_window_file(tmp_path):
    labelled, _ = label_by_rule(WINDOWS, None)
    write_windows(tmp_path / "w.parquet", labelled)
    found = read_windows(tmp_path / "w.parquet")
    assert found.annotators == [RULE_NAME]
    assert found.label.tolist() == labelled.label.tolist()
