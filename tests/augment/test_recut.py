from dataclasses import replace

import numpy as np

from moola.augment import AUGMENTATIONS, SynthesisPlan, make_windows, training_ranges, windows_of
from moola.augment.transforms import MAX_SHIFT_BARS
from moola.core.bars import Bars
from moola.core.windows import inner_zone
from tests.augment.sources_made import all_time, cut_table, pattern, rng_of, source_of

TABLE, BARS = cut_table()
WINDOWS = windows_of(TABLE)
SOURCE = source_of(TABLE, BARS, all_time(TABLE))
ENTRY = AUGMENTATIONS["recut"]
HOUR_US = 3_600_000_000


def test_the_window_moves_in_the_table_and_pointers_move_with_the_bars():
    shifts = set()
    for window in WINDOWS:
        for again in range(10):
            made = ENTRY.make(window, SOURCE, rng_of(window, again))
            shift = (made.first_us - window.first_us) // HOUR_US
            shifts.add(shift)
            assert 0 < abs(shift) <= MAX_SHIFT_BARS
            assert (made.start_bar, made.end_bar) == (window.start_bar - shift, window.end_bar - shift)
            assert np.array_equal(pattern(made), pattern(window))
            row = int(np.searchsorted(BARS.start_us, made.first_us))
            assert np.array_equal(made.ohlc, BARS.ohlc[row : row + len(window)])
            assert made.last_us == BARS.start_us[row + len(window) - 1]
            assert ENTRY.keeps_label(window, made, SOURCE) is None
    assert len(shifts) > 10


def test_pointers_stay_inside_the_inner_zone():
    first, last = inner_zone(TABLE.window_bars)
    for window in WINDOWS:
        for again in range(20):
            made = ENTRY.make(window, SOURCE, rng_of(window, again))
            assert first <= made.start_bar <= made.end_bar < last


def test_no_recut_window_has_a_bar_of_a_held_out_window():
    """A fold's worth of boundaries, wherever the held-out windows stand: before, between, after."""
    spans = np.stack([TABLE.start_us, TABLE.end_us], axis=1)
    for held_out in ([6, 7], [0], [3, 4], [1, 5]):
        train = np.setdiff1d(np.arange(len(TABLE)), held_out)
        ranges = training_ranges(spans[train], spans[held_out])
        # Windows that end right before and start right after a held-out one are those that could run into it.
        made = make_windows(TABLE.take(train), SynthesisPlan(("recut",), (), 4, 5), BARS, ranges).table
        for row in held_out:
            assert not ((made.start_us <= TABLE.end_us[row]) & (made.end_us >= TABLE.start_us[row])).any()
        if held_out == [6, 7]:
            assert made.end_us.max() < TABLE.start_us[6]
            assert made.end_us.max() <= TABLE.end_us[5]


def test_a_window_side_by_side_with_the_boundary_is_cut_to_the_other_side_alone():
    window = WINDOWS[3]
    until_its_end = source_of(TABLE, BARS, np.array([[0, window.last_us]]))
    for again in range(20):
        made = ENTRY.make(window, until_its_end, rng_of(window, again))
        assert made is None or made.last_us < window.last_us
    itself_alone = source_of(TABLE, BARS, np.array([[window.first_us, window.last_us]]))
    assert ENTRY.make(window, itself_alone, rng_of(window)) is None
    later = ENTRY.make(window, SOURCE, rng_of(window))
    assert ENTRY.keeps_label(window, later, itself_alone) == "bars that may not be used"


def test_without_a_time_range_no_bar_may_be_used():
    assert ENTRY.make(WINDOWS[0], source_of(TABLE, BARS), rng_of(WINDOWS[0])) is None


def test_a_cut_over_a_long_gap_is_left_out():
    window = WINDOWS[2]
    row = int(np.searchsorted(BARS.start_us, window.first_us))
    times = BARS.start_us + np.where(np.arange(len(BARS)) >= row, 73 * HOUR_US, 0)
    gapped = source_of(TABLE, Bars(times, BARS.ohlc, BARS.symbol), all_time(TABLE))
    window = replace(window, first_us=int(times[row]), last_us=int(times[row + len(window) - 1]))
    for again in range(20):
        made = ENTRY.make(window, gapped, rng_of(window, again))
        assert made is None or made.first_us > window.first_us


def test_windows_whose_bars_are_not_in_the_table_give_nothing():
    window = WINDOWS[0]
    for strange in (
        replace(window, ohlc=window.ohlc * 1.001),
        replace(window, first_us=window.first_us + 1),
        replace(window, first_us=int(BARS.start_us[-5])),
        replace(window, first_us=int(BARS.start_us[-1]) + HOUR_US),
        replace(window, first_us=None, last_us=None),
        replace(window, start_bar=-1, end_bar=-1),
    ):
        assert ENTRY.make(strange, SOURCE, rng_of(window)) is None


def test_a_cut_never_runs_into_another_symbol():
    twice = Bars(
        np.concatenate([BARS.start_us, BARS.start_us]),
        np.concatenate([BARS.ohlc, 2.0 * BARS.ohlc]),
        np.array(["A"] * len(BARS) + ["B"] * len(BARS), dtype=object),
    )
    source = source_of(TABLE, twice, all_time(TABLE))
    for window in WINDOWS:
        of_b = replace(window, symbol="B", ohlc=2.0 * window.ohlc)
        made = ENTRY.make(of_b, source, rng_of(window))
        assert ENTRY.keeps_label(of_b, made, source) is None
        assert ENTRY.make(replace(of_b, symbol="A"), source, rng_of(window)) is None
        assert ENTRY.make(replace(of_b, symbol="C"), source, rng_of(window)) is None
    last = replace(
        WINDOWS[-1],
        symbol="A",
        ohlc=BARS.ohlc[-105:],
        first_us=int(BARS.start_us[-105]),
        last_us=int(BARS.start_us[-1]),
    )
    for again in range(10):
        made = ENTRY.make(replace(last, start_bar=40, end_bar=50), source, rng_of(last, again))
        assert made is None or made.last_us < last.last_us
