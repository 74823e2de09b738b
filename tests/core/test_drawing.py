"""Definitions drawn at random: seeds, scale, families, and no published rule among them."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moola.core import expansions, random_definitions
from moola.core.move_finders import FINDERS, Definition
from moola.core.random_definitions import draw_definitions, repeats_a_rule
from moola.errors import WrongUsage

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
