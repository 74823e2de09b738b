from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moola.augment import AUGMENTATIONS, training_ranges, windows_of
from moola.augment.synthesis import n_variants, staged_ratios
from moola.core.bars import price_problems
from moola.core.windows import inner_zone
from tests.augment.sources_made import cut_table, pattern, planted, rng_of, scaled, source_of
from tests.strategies import tick_windows

TABLE = planted()

WINDOWS = windows_of(TABLE)

SOURCE = source_of(TABLE)

ENTRY = AUGMENTATIONS["warp"]


def test_pointers_move_and_the_move_is_found_there():
    moved = []
    for window in WINDOWS:
        made = ENTRY.make(window, SOURCE, rng_of(window))
        moved.append((made.start_bar, made.end_bar) != (window.start_bar, window.end_bar))
        # The expansion's path of closes, read at another pace, from the same close to the same close.
        real = np.concatenate([[0.0], pattern(window)])
        place = np.linspace(0, len(real) - 1, made.n_expansion_bars + 1)
        np.testing.assert_allclose(pattern(made), np.interp(place, np.arange(len(real)), real)[1:], atol=1e-12)
        assert ENTRY.keeps_label(window, made, SOURCE) is None
    assert all(moved)


def test_the_windows_ends_stay_and_so_do_wicks_and_gaps():
    for window in WINDOWS:
        made = ENTRY.make(window, SOURCE, rng_of(window))
        np.testing.assert_allclose(made.ohlc[[0, -1], 3], window.ohlc[[0, -1], 3], rtol=1e-12)
        wicks = [w.ohlc[:, 1] / w.ohlc[:, [0, 3]].max(axis=1) for w in (window, made)]
        assert np.isclose(wicks[1][:, None], wicks[0][None, :], rtol=0, atol=1e-12).any(axis=1).all()


def test_pointers_stay_inside_the_inner_zone_and_the_limits():
    first, last = inner_zone(TABLE.window_bars)
    for window in WINDOWS:
        for again in range(20):
            made = ENTRY.make(window, SOURCE, rng_of(window, again))
            assert first <= made.start_bar <= made.end_bar < last
            assert 0.7 <= made.n_expansion_bars / window.n_expansion_bars <= 1.4
            assert 0.85 <= made.start_bar / window.start_bar <= 1.18


@given(tick_windows(), st.integers(0, 44), st.integers(0, 44), st.integers(0, 5))
def test_bar_rules_hold_and_prices_have_no_scale(ohlc, one, other, again):
    n_bars = ohlc.shape[1]
    start, end = sorted((min(one, n_bars - 1), min(other, n_bars - 1)))
    window = replace(WINDOWS[0], ohlc=ohlc[0], start_bar=start, end_bar=end)
    made = ENTRY.make(window, SOURCE, rng_of(window, again))
    if made is None:
        return
    assert price_problems(made.ohlc) == []
    assert 0 <= made.start_bar <= made.end_bar < n_bars
    times_seven = ENTRY.make(replace(window, ohlc=7.0 * ohlc[0]), SOURCE, rng_of(window, again))
    np.testing.assert_allclose(times_seven.ohlc, 7.0 * made.ohlc, rtol=1e-9)
    assert (times_seven.start_bar, times_seven.end_bar) == (made.start_bar, made.end_bar)


@pytest.mark.parametrize(("start", "end"), [(-1, -1), (0, 5), (1, 5), (60, 104)])
def test_what_cannot_be_stretched_gives_nothing(start, end):
    window = replace(WINDOWS[0], start_bar=start, end_bar=end)
    assert ENTRY.make(window, SOURCE, rng_of(window)) is None


def test_the_declared_check_sees_lost_labels():
    window = WINDOWS[0]
    made = ENTRY.make(window, SOURCE, rng_of(window))
    wrong = {
        "pointers out of order": replace(made, start_bar=made.end_bar + 1),
        "expansion stretched too far": replace(made, end_bar=made.start_bar + 2 * window.n_expansion_bars),
        "the move changed": replace(made, ohlc=made.ohlc**1.1),
    }
    for reason, spoiled in wrong.items():
        assert ENTRY.keeps_label(window, spoiled, SOURCE) == reason


def test_windows_at_other_prices_are_made_alike():
    for window, other in zip(WINDOWS, windows_of(scaled(TABLE, 1300.0)), strict=True):
        one, two = (ENTRY.make(w, SOURCE, rng_of(w)) for w in (window, other))
        np.testing.assert_allclose(two.ohlc, 1300.0 * one.ohlc, rtol=1e-10)


@pytest.mark.parametrize(
    ("stages", "n_epochs", "ratios"),
    [
        ((), 4, ()),
        ((0.25, 0.5, 1.0), 6, (0.25, 0.25, 0.5, 0.5, 1.0, 1.0)),
        ((0.25, 0.5, 1.0), 3, (0.25, 0.5, 1.0)),
        ((0.25, 0.5), 5, (0.25, 0.25, 0.25, 0.5, 0.5)),
        ((2.0,), 2, (2.0, 2.0)),
    ],
)
def test_stages_share_the_epochs_evenly(stages, n_epochs, ratios):
    assert staged_ratios(stages, n_epochs) == ratios


def test_every_stage_is_reached_and_lengths_differ_by_one_at_most():
    for n_stages in range(1, 6):
        for n_epochs in range(n_stages, 30):
            ratios = staged_ratios(tuple(map(float, range(n_stages))), n_epochs)
            counts = [ratios.count(stage) for stage in range(n_stages)]
            assert max(counts) - min(counts) <= 1
            assert list(ratios) == sorted(ratios)


@pytest.mark.parametrize(("ratio", "made"), [(0.0, 1), (0.25, 1), (0.5, 2), (1.0, 4), (2.0, 4)])
def test_more_are_made_where_more_are_drawn_up_to_four(ratio, made):
    assert n_variants(ratio) == made


SPANS = st.lists(st.tuples(st.integers(0, 200), st.integers(0, 15)), min_size=1, max_size=12)


def spans_of(pairs):
    return np.array([(first, first + length) for first, length in pairs], dtype=np.int64).reshape(-1, 2)


@given(SPANS, SPANS)
def test_ranges_hold_every_clean_training_window_and_no_held_out_bar(train, held_out):
    train, held_out = spans_of(train), spans_of(held_out)
    ranges = training_ranges(train, held_out)
    held_bars = {bar for first, last in held_out for bar in range(first, last + 1)}
    for first, last in ranges:
        assert not held_bars & set(range(first, last + 1))
    for first, last in train:
        clean = not held_bars & set(range(first, last + 1))
        inside = [low <= first and last <= high for low, high in ranges]
        assert sum(inside) == (1 if clean else 0)
    # Nothing beyond the windows themselves: an embargo around held-out windows is kept.
    assert set(ranges.ravel().tolist()) <= set(train.ravel().tolist())


def test_a_forward_chain_has_one_range_that_ends_before_val():
    train, val = spans_of([(0, 10), (8, 10), (30, 10)]), spans_of([(45, 10), (60, 10)])
    assert training_ranges(train, val).tolist() == [[0, 40]]
    assert training_ranges(train[[2, 0, 1]], val[::-1]).tolist() == [[0, 40]]
    assert training_ranges(train, np.empty((0, 2), dtype=np.int64)).tolist() == [[0, 40]]


def test_the_shortest_and_longest_expansion_come_from_rows_with_pointers():
    table, _ = cut_table(4)
    lengths = (table.expansion_end - table.expansion_start + 1).tolist()
    assert source_of(table).expansion_bars() == (min(lengths), max(lengths))
    table.expansion_start[:] = -1
    table.expansion_end[:] = -1
    assert source_of(table).expansion_bars() == (0, 0)
