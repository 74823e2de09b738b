from dataclasses import replace

import numpy as np
import pytest

from moola.augment import Window, windows_of
from moola.augment.transforms import move_of, outside_zone, quality_problem, still_largest
from tests.augment.sources_made import planted

WINDOW = windows_of(planted())[0]
LIMITS = (5, 20)


def shape(change) -> Window:
    ohlc = WINDOW.ohlc.copy()
    change(ohlc)
    return replace(WINDOW, ohlc=ohlc)


def nan(ohlc):
    ohlc[7, 3] = np.nan


def above_high(ohlc):
    ohlc[7, 3] = ohlc[7, 1] * 1.01


def jump(ohlc):
    ohlc[60:] *= 1.01


def long_bar(ohlc):
    ohlc[60, 1] *= 1.01


def long_wicks(ohlc):
    ohlc[:, 1] += 0.8 * (ohlc[:, 1] - ohlc[:, 2]).mean()


def larger(ohlc):
    ohlc[:] = ohlc**2.2


def smaller(ohlc):
    ohlc[:] = ohlc**0.4


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (nan, "a bar rule is broken"),
        (above_high, "a bar rule is broken"),
        (jump, "a gap too large"),
        (long_bar, "a bar's range too large"),
        (long_wicks, "wicks unlike the parent's"),
        (larger, "bars too large"),
        (smaller, "bars too small"),
    ],
)
def test_bars_unlike_the_parents_are_rejected_with_the_reason(change, reason):
    assert quality_problem(WINDOW, shape(change), LIMITS) == reason


def test_the_parent_itself_and_its_mirror_are_fit():
    assert quality_problem(WINDOW, WINDOW, LIMITS) is None
    assert quality_problem(WINDOW, replace(WINDOW, ohlc=(1 / WINDOW.ohlc)[:, [0, 2, 1, 3]]), LIMITS) is None
    flat = replace(WINDOW, ohlc=np.ones_like(WINDOW.ohlc))
    assert quality_problem(flat, flat, LIMITS) is None


@pytest.mark.parametrize(
    ("start", "end", "reason"),
    [
        (40, 43, "expansion too short"),
        (40, 44, None),
        (40, 59, None),
        (40, 60, "expansion too long"),
        (50, 40, "pointers out of order"),
        (100, 105, "pointers out of order"),
        (-1, -1, None),
    ],
)
def test_expansions_are_as_long_as_those_of_training_rows(start, end, reason):
    assert quality_problem(WINDOW, replace(WINDOW, start_bar=start, end_bar=end), LIMITS) == reason


def test_judged_alike_at_any_price():
    for change in (jump, long_bar, long_wicks, larger):
        made = shape(change)
        found = [
            quality_problem(replace(WINDOW, ohlc=k * WINDOW.ohlc), replace(made, ohlc=k * made.ohlc), LIMITS)
            for k in (0.001, 1.0, 5e4)
        ]
        assert found[0] == found[1] == found[2]


def test_the_move_is_from_the_close_before_the_start_to_the_close_of_the_end():
    start, end = WINDOW.start_bar, WINDOW.end_bar
    assert move_of(WINDOW) == pytest.approx(np.log(WINDOW.ohlc[end, 3] / WINDOW.ohlc[start - 1, 3]))
    assert move_of(replace(WINDOW, start_bar=0)) == pytest.approx(np.log(WINDOW.ohlc[end, 3] / WINDOW.ohlc[0, 0]))


@pytest.mark.parametrize(
    ("parent", "made", "leaves"),
    [
        ((40, 50), (30, 40), False),
        ((40, 50), (29, 40), True),
        ((40, 50), (64, 74), False),
        ((40, 50), (65, 75), True),
        ((25, 80), (25, 80), False),
        ((25, 80), (24, 80), True),
        ((25, 80), (25, 81), True),
    ],
)
def test_pointers_leave_the_inner_zone_no_further_than_the_parents(parent, made, leaves):
    one, two = (replace(WINDOW, start_bar=p[0], end_bar=p[1]) for p in (parent, made))
    assert (outside_zone(one, two) is not None) == leaves


def with_second_move(size: float) -> Window:
    """A flat window with a move of 1 % over 40..44, and one of `size` over 55..59."""
    steps = np.zeros(105)
    steps[40:45], steps[55:60] = 0.01 / 5, size / 5
    close = np.exp(np.cumsum(steps))
    return replace(WINDOW, ohlc=np.repeat(close[:, None], 4, axis=1), start_bar=40, end_bar=44)


@pytest.mark.parametrize(
    ("before", "after", "lost"),
    [(0.0, 0.009, False), (0.0, 0.011, True), (0.0, -0.011, True), (0.02, 0.015, False), (0.02, 0.021, True)],
)
def test_no_other_move_of_the_same_length_may_become_the_larger_one(before, after, lost):
    assert (still_largest(with_second_move(before), with_second_move(after)) is not None) == lost


def test_without_pointers_or_a_move_nothing_is_asked():
    bare = replace(WINDOW, start_bar=-1, end_bar=-1)
    assert still_largest(bare, bare) is None
    flat = replace(WINDOW, ohlc=np.ones_like(WINDOW.ohlc))
    assert still_largest(flat, flat) is None
