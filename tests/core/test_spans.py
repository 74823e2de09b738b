"""Spans on bars, and where windows around them may be cut."""

from __future__ import annotations

import numpy as np
import pytest

from moola.core.spans import bars_covered, place_in_zone, place_spans, share_bars, window_bars_for, window_starts
from tests.made import HOUR_US
from tests.spans_made import BARS, GAP, made_spans


def placed(first: float, last: float):
    found = place_spans(made_spans((first, last, "bull")), BARS)
    return int(found.first[0]), int(found.last[0]), int(found.moved_us[0]), bool(found.outside[0])


@pytest.mark.parametrize(
    ("first", "last", "rows", "moved_h"),
    [
        (5, 9, (5, 9), 0),
        (5, 5, (5, 5), 0),
        (5.5, 9.25, (5, 9), 0.5),
        # The last moment is included: it means the bar that it begins or lies in.
        (5, 8.999, (5, 8), 0.999),
        (299, 350, (299, 302), 0),
        # Ends in the gap, which is after row 299 and before row 300.
        (290, 320, (290, 299), 21),
        (310, 350, (300, 302), 38),
    ],
)
def test_a_moment_means_the_bar_that_it_lies_in(first, last, rows, moved_h):
    a, b, moved, outside = placed(first, last)
    assert (a, b) == rows
    assert moved == round(moved_h * HOUR_US)
    assert not outside


@pytest.mark.parametrize(
    ("first", "last", "outside"),
    [(-3, 5, True), (2395, 2401, True), (-9, -5, True), (GAP[0] + 5, GAP[0] + 9, False)],
)
def test_a_span_outside_the_bars_or_in_a_gap_meets_none(first, last, outside):
    assert placed(first, last)[0] == -1
    assert placed(first, last)[3] == outside


def test_the_last_bar_is_met_until_it_is_over():
    assert placed(2395, 2399.99)[1] == len(BARS) - 1
    assert placed(2395, 2400)[0] == -1


def test_windows_grow_with_the_spans_and_are_105_where_that_holds():
    lengths = np.array([10] * 95 + [42] * 4 + [300])
    assert window_bars_for(lengths) == 105
    assert window_bars_for(np.array([43] * 20)) == 108
    # 5 of 100 may be longer.
    assert window_bars_for(np.array([10] * 95 + [300] * 5)) == 105
    assert window_bars_for(np.array([10] * 90 + [300] * 10)) == 750


def test_starts_hold_the_span_in_the_zone_and_anywhere_where_that_cannot_be():
    is_whole = np.ones(1000, dtype=bool)
    is_whole[900:] = False
    starts = window_starts(500, 509, 105, (30, 75), is_whole)
    assert (starts[0], starts[-1]) == (509 - 74, 500 - 30)
    # Longer than the zone.
    starts = window_starts(500, 559, 105, (30, 75), is_whole)
    assert (starts[0], starts[-1]) == (559 - 104, 500)
    # At the first bars, the zone is out of reach.
    assert window_starts(3, 9, 105, (30, 75), is_whole).tolist() == [0, 1, 2, 3]
    assert not len(window_starts(950, 1010, 50, (14, 36), is_whole))


def test_places_in_the_zone_run_from_0_to_1():
    start, end = np.array([30, 65, 47, 0, 5]), np.array([39, 74, 57, 59, 64])
    assert place_in_zone(start, end, 105) == pytest.approx([0, 1, 0.5, 0, 5 / 45])


def test_covered_and_shared_bars_are_those_of_a_slow_definition():
    rng = np.random.default_rng(3)
    first = rng.integers(0, 80, 12)
    last = first + rng.integers(0, 19, 12)
    sets = [set(range(a, b + 1)) for a, b in zip(first, last, strict=True)]
    assert bars_covered(100, first, last).tolist() == [bar in set().union(*sets) for bar in range(100)]
    expected = [[bool(one & other) for other in sets[4:]] for one in sets]
    assert share_bars(first, last, first[4:], last[4:]).tolist() == expected
