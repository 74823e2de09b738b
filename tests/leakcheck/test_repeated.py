"""The same bars in two parts, whatever the times say."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from moola.leakcheck.split_checks import duplicates, near_duplicates, one_window
from moola.stages.make_tables import divide
from tests.leakcheck.subjects import (
    features_alone,
    leaks,
    only_leak,
    states,
    subject_of,
    with_bars_of,
    without_times,
)
from tests.planted import planted_windows


@pytest.mark.parametrize("form", [lambda table: table, features_alone, without_times])
def test_clean_windows_pass(tmp_path, form):
    subject = subject_of(tmp_path, form(planted_windows(40, seed=3)))
    for check in (duplicates, near_duplicates, one_window):
        assert states(check(subject)) == {"ok"}


@pytest.mark.parametrize("form", [lambda table: table, features_alone, without_times])
def test_a_test_window_with_the_bars_of_a_train_window(tmp_path, form):
    subject = subject_of(tmp_path, form(with_bars_of(planted_windows(40, seed=3), 35, 3)))
    leak = only_leak(duplicates(subject))
    assert leak.row == 3
    assert "train row 3 (planted_3) and test row 35 (planted_35)" in leak.found
    assert not leaks(near_duplicates(subject))


def test_a_row_in_two_parts(tmp_path):
    subject = subject_of(tmp_path, planted_windows(40, seed=3), val=[7, *range(20, 30)])
    leak = only_leak(duplicates(subject))
    assert leak.row == 7
    assert "is listed in both" in leak.found


def shifted(n: int = 40):
    """Bars 45..104 of row 2 are bars 5..64 of row 33."""
    table = planted_windows(n, seed=3)
    ohlc = table.ohlc.copy()
    ohlc[33, 5:65] = ohlc[2, 45:105]
    return without_times(replace(table, ohlc=ohlc))


def test_a_stretch_of_bars_at_another_place(tmp_path):
    leak = only_leak(near_duplicates(subject_of(tmp_path, shifted())))
    assert (leak.row, leak.bar) == (2, 45)
    assert (
        "60 bars of train row 2 (planted_2) from bar 45 are those of test row 33 (planted_33) from bar 5" in leak.found
    )


def test_a_stretch_in_features_alone_is_found_where_they_see_20_equal_bars(tmp_path):
    leak = only_leak(near_duplicates(subject_of(tmp_path, features_alone(shifted()))))
    assert (leak.row, leak.bar) == (2, 64)
    assert "41 bars" in leak.found


def test_a_flat_market_is_no_duplicate(tmp_path):
    table = planted_windows(40, seed=3)
    ohlc = table.ohlc.copy()
    ohlc[:, 10:30] = 1.1
    assert states(near_duplicates(subject_of(tmp_path, replace(table, ohlc=ohlc)))) == {"ok"}


def test_two_expansions_of_one_window_on_two_sides(tmp_path):
    table = planted_windows(40, seed=3)
    names = list(table.window_id)
    names[19], names[20] = "w_exp_1", "w_exp_2"
    subject = subject_of(tmp_path, replace(table, window_id=names))
    leak = only_leak(one_window(subject))
    assert leak.row == 19
    assert "val row 20 (w_exp_2)" in leak.found


def test_the_longest_stretch_is_the_one_a_slow_search_finds(tmp_path):
    from moola.leakcheck.split_checks import _longest_run

    rng = np.random.default_rng(0)
    for _ in range(20):
        one, other = rng.integers(0, 3, (2, 12))
        best = max(
            length
            for at in range(12)
            for there in range(12)
            for length in range(13 - max(at, there))
            if (one[at : at + length] == other[there : there + length]).all()
        )
        length, at, there = _longest_run(one, other)
        assert length == best
        assert (one[at : at + length] == other[there : there + length]).all()


@pytest.mark.parametrize("factor", [2.0, 100.0, 1.1])
@pytest.mark.parametrize("decimals", [None, 5])
def test_a_window_at_another_scale_and_time(tmp_path, factor, decimals):
    table = planted_windows(40, seed=3)
    ohlc = table.ohlc.copy()
    ohlc[35] = ohlc[3] * factor if decimals is None else np.round(ohlc[3] * factor, decimals)
    leak = only_leak(duplicates(subject_of(tmp_path, replace(table, ohlc=ohlc))))
    assert leak.row == 3
    assert "at another scale: train row 3 (planted_3) and test row 35" in leak.found


def test_a_stretch_of_bars_at_another_scale(tmp_path):
    table = shifted()
    ohlc = table.ohlc.copy()
    ohlc[33] *= 1.1
    leak = only_leak(near_duplicates(subject_of(tmp_path, replace(table, ohlc=ohlc))))
    assert leak.row == 2
    assert "at another scale" in leak.found


def test_a_split_keeps_windows_at_another_scale_on_one_side():
    table = planted_windows(40, seed=3)
    ohlc = table.ohlc.copy()
    ohlc[35] = ohlc[3] * 1.1
    found, _ = divide(replace(table, ohlc=ohlc), 0.25, 0.25, None)
    assert 3 in found.dropped
    assert 35 in found.test
