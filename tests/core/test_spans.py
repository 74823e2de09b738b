"""Spans on bars, and where windows around them may be cut."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moola.core import expansions, random_definitions
from moola.core.move_finders import FINDERS, Definition
from moola.core.random_definitions import draw_definitions, repeats_a_rule
from moola.core.span_matching import (
    INSIDE_WEIGHT,
    LENGTH_WEIGHT,
    MarkedSpan,
    Places,
    SpanVectors,
    dtw_squared,
    similar_places,
    span_paths,
    strongest_by_start,
    unit,
    window_lengths,
    without_overlaps,
    z_normalised,
)
from moola.core.spans import bars_covered, place_in_zone, place_spans, share_bars, window_bars_for, window_starts
from moola.errors import WrongUsage
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


def vectors_and_span(n: int = 60, seed: int = 0, at: tuple[int, int] = (20, 27)) -> tuple[SpanVectors, MarkedSpan]:
    rng = np.random.default_rng(seed)
    found = SpanVectors(*(unit(rng.normal(size=(n, 5))).astype(np.float32) for _ in range(3)))
    inside = unit(found.inside[at[0] : at[1] + 1].mean(axis=0))
    path = np.zeros(49)
    return found, MarkedSpan(found.start[at[0]], found.end[at[1]], inside, path, 1, at[1] - at[0] + 1)


def slow_fit(vectors: SpanVectors, marked: MarkedSpan, start: int, n_bars: int) -> float:
    end = start + n_bars - 1
    inside = np.mean([vectors.inside[bar] @ marked.inside for bar in range(start, end + 1)])
    ends = vectors.start[start] @ marked.start + vectors.end[end] @ marked.end
    return float(ends + INSIDE_WEIGHT * inside - LENGTH_WEIGHT * abs(np.log(n_bars / marked.n_bars)))


def test_the_best_length_of_every_start_is_that_of_a_loop():
    vectors, marked = vectors_and_span()
    best, n_bars = strongest_by_start(vectors, marked)
    for start in range(60):
        fits = {one: slow_fit(vectors, marked, start, one) for one in window_lengths(8, 60) if start + one <= 60}
        if not fits:
            assert best[start] == -np.inf
            continue
        assert best[start] == pytest.approx(max(fits.values()), abs=1e-5)
        assert fits[int(n_bars[start])] == pytest.approx(max(fits.values()), abs=1e-5)
    assert best.argmax() == 20
    assert n_bars[20] == 8


def test_lengths_reach_from_a_half_to_twice_and_hold_the_own_one():
    assert window_lengths(8, 1000)[0] == 4
    assert window_lengths(8, 1000)[-1] == 16
    assert 8 in window_lengths(8, 1000)
    assert window_lengths(2, 1000) == [2, 3, 4]
    assert 110 < max(window_lengths(100, 120)) <= 120
    assert len(window_lengths(105, 10_000)) < 30


def test_paths_are_free_of_price_of_size_and_of_length_and_turn_with_the_prices():
    rng = np.random.default_rng(1)
    close = np.exp(np.cumsum(rng.normal(scale=0.01, size=200)))
    bar = np.array([[100, 129]])
    path = span_paths(close, bar)[0]
    assert np.linalg.norm(path) == pytest.approx(1)
    assert path.mean() == pytest.approx(0, abs=1e-12)
    assert span_paths(7 * close**3, bar)[0] == pytest.approx(path)
    assert span_paths(1 / close, bar)[0] == pytest.approx(-path)
    # The same path in bars of half the length: each move in two steps.
    slow = np.exp(np.interp(np.arange(399) / 2, np.arange(200), np.log(close)))
    assert span_paths(slow, np.array([[199, 258]]))[0] == pytest.approx(path, abs=1e-9)
    assert not span_paths(np.ones(200), bar).any()


def test_no_place_shares_a_bar_with_a_stronger_one_or_with_the_marked_span():
    bar = np.array([[10, 19], [19, 25], [20, 25], [40, 44], [44, 50], [30, 35]])
    places = Places(bar, np.linspace(1, 0.5, 6), np.zeros(6, dtype=bool))
    assert without_overlaps(places, 60, 10).tolist() == [0, 2, 3, 5]
    assert without_overlaps(places, 60, 2).tolist() == [0, 2]
    assert without_overlaps(places, 60, 10, [(22, 41)]).tolist() == [0, 4]
    assert without_overlaps(places.take(np.zeros(0, dtype=int)), 60, 10).tolist() == []


def test_of_both_ways_the_path_decides_and_few_places_are_those_that_fit_best():
    vectors, marked = vectors_and_span(200, 2, (100, 119))
    close = np.exp(np.cumsum(np.random.default_rng(4).normal(scale=0.01, size=200)))
    path = span_paths(close, np.array([[100, 119]]))[0]
    ways = [MarkedSpan(marked.start, marked.end, marked.inside, path, sign, 20) for sign in (1, -1)]
    found = similar_places(vectors, close, ways, 50)
    assert found.bar[0].tolist() == [100, 119]
    assert not found.mirrored[0]
    assert found.similarity[0] == pytest.approx(1, abs=0.1)
    assert (np.diff(found.similarity) <= 0).all()
    assert len(found) == 100
    every = similar_places(vectors, close, ways, 10_000)
    assert len(every) > 300
    # The strongest of few are the strongest of all.
    assert every.bar[0].tolist() == [100, 119]


def test_warping_is_that_of_a_loop_and_a_band_of_none_is_euclid():
    rng = np.random.default_rng(5)
    paths, query = rng.normal(size=(6, 12)), rng.normal(size=12)

    def slow(path: np.ndarray, band: int) -> float:
        cost = np.full((13, 13), np.inf)
        cost[0, 0] = 0
        for i in range(12):
            for j in range(12):
                if abs(i - j) <= band:
                    cost[i + 1, j + 1] = (query[i] - path[j]) ** 2 + min(cost[i, j], cost[i, j + 1], cost[i + 1, j])
        return float(cost[12, 12])

    for band in (0, 2, 12):
        assert dtw_squared(paths, query, band) == pytest.approx([slow(path, band) for path in paths])
    assert dtw_squared(paths, query, 0) == pytest.approx(((paths - query) ** 2).sum(axis=1))
    assert not z_normalised(np.ones((2, 5))).any()


AUTOLABEL = Definition(
    "move", 30, 75, expansions.MIN_BARS, expansions.MAX_BARS, expansions.LENGTH_EXPONENT, expansions.PRIOR_BARS, 0.0
)


@given(st.integers(0, 1000), st.sampled_from([8, 12, 40, 105, 210]), st.integers(0, 24), st.integers(0, 24))
def test_the_seed_decides_and_more_definitions_begin_with_the_same(seed, window_bars, few, more):
    drawn = draw_definitions(few + more, window_bars, seed)
    assert len(drawn) == few + more
    assert draw_definitions(few, window_bars, seed) == drawn[:few]
    assert few == 0 or draw_definitions(few, window_bars, seed + 1) != drawn[:few]


def test_families_keep_their_shares():
    assert set(random_definitions.FAMILIES) == set(FINDERS)
    n_a_round = sum(random_definitions.FAMILIES.values())
    for first in (0, n_a_round, 2 * n_a_round):
        drawn = draw_definitions(3 * n_a_round, 105, 3)[first : first + n_a_round]
        counts = Counter(definition.family for definition in drawn)
        assert counts == Counter(random_definitions.FAMILIES)


@given(st.integers(0, 1000), st.integers(8, 230))
def test_bars_scale_with_the_window_and_leave_room(seed, window_bars):
    scale = window_bars / 105
    for definition in draw_definitions(16, window_bars, seed):
        ranges = {
            "shortest": random_definitions.SHORTEST_BARS,
            "longest": random_definitions.LONGEST_BARS,
            "look_bars": random_definitions.LOOK_BARS,
        }
        for name, (low, high) in ranges.items():
            floor = 1 if name == "shortest" else 2
            assert max(low * scale - 0.5, floor) <= getattr(definition, name) <= max(high * scale + 0.5, floor)
        assert definition.shortest <= definition.longest
        assert 0 < definition.first_bar < definition.last_bar - 1 < window_bars
        assert 0.25 <= definition.exponent <= 0.9
        low, high = random_definitions.REACHES.get(definition.family, (0.0, 0.0))
        assert low <= definition.reach <= high


def test_windows_twice_as_long_have_the_same_definitions_twice_as_long():
    for one, two in zip(draw_definitions(24, 105, 5), draw_definitions(24, 210, 5), strict=True):
        for name in ("shortest", "longest", "look_bars"):
            assert getattr(two, name) == 2 * getattr(one, name)
        assert abs(two.first_bar - 2 * one.first_bar) <= 1
        assert abs(two.last_bar - 2 * one.last_bar) <= 1
        assert (two.family, two.exponent, two.reach) == (one.family, one.exponent, one.reach)


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({}, True),
        ({"exponent": 0.47, "shortest": 6, "longest": 28, "look_bars": 16}, True),
        ({"exponent": 0.5, "shortest": 4}, True),
        ({"exponent": 0.59}, False),
        ({"exponent": 0.3}, False),
        ({"shortest": 7}, False),
        ({"longest": 29}, False),
        ({"look_bars": 25}, False),
        ({"family": "leg"}, False),
        ({"family": "breakout"}, False),
        ({"family": "breakout", "look_bars": 24, "reach": 0.1}, True),
        ({"family": "breakout", "look_bars": 22, "reach": 0.14, "longest": 12}, True),
        ({"family": "breakout", "look_bars": 20, "reach": 0.1}, False),
        ({"family": "breakout", "look_bars": 24, "reach": 0.2}, False),
        ({"family": "shock", "look_bars": 24, "reach": 0.1}, False),
    ],
)
def test_what_repeats_a_published_rule(changed, expected):
    assert repeats_a_rule(replace(AUTOLABEL, **changed)) is expected


def test_a_rule_is_known_at_any_window_length():
    assert repeats_a_rule(replace(AUTOLABEL, shortest=10, longest=48, look_bars=40), 210)
    assert not repeats_a_rule(replace(AUTOLABEL, shortest=10, longest=48, look_bars=40), 105)


def test_no_draw_is_a_published_rule_even_where_most_would_be(monkeypatch):
    # Of these ranges only moves of at least 7 bars, are no rule.
    monkeypatch.setattr(random_definitions, "EXPONENTS", (0.4, 0.41))
    monkeypatch.setattr(random_definitions, "SHORTEST_BARS", (5, 7))
    monkeypatch.setattr(random_definitions, "LONGEST_BARS", (24, 28))
    monkeypatch.setattr(random_definitions, "LOOK_BARS", (20, 24))
    drawn = [definition for definition in draw_definitions(80, 105, 0) if definition.family == "move"]
    assert len(drawn) == 27
    assert {definition.shortest for definition in drawn} == {7}
    monkeypatch.setattr(random_definitions, "LOOK_BARS", (24, 28))
    monkeypatch.setattr(random_definitions, "REACHES", {"breakout": (0.08, 0.12)})
    drawn = [definition for definition in draw_definitions(80, 105, 0) if definition.family == "breakout"]
    assert {definition.look_bars for definition in drawn} == {28}


def test_no_draw_of_many_seeds_is_a_published_rule():
    for window_bars in (12, 40, 105, 210):
        drawn = [definition for seed in range(20) for definition in draw_definitions(24, window_bars, seed)]
        assert not any(repeats_a_rule(definition, window_bars) for definition in drawn)


def test_windows_too_short_for_moves_are_refused():
    with pytest.raises(WrongUsage, match=r"at least 8 bars .* but they have 7\. Give longer windows, or --arms"):
        draw_definitions(1, 7, 0)
