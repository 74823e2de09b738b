"""The gate of events on planted charts, and the references beside the figures."""

from __future__ import annotations

import functools
from dataclasses import replace

import numpy as np
import pytest

from moola.evaluation.event_figures import (
    chosen_examples,
    event_figures,
    random_pieces,
    reliability,
    strongest_moves,
    threshold_rows,
)
from moola.evaluation.event_gate import judge_events
from moola.evaluation.span_metrics import JudgedEvents, average_precision_at, judged_events
from tests.charts_made import chart_of, judged_of, pieces_of, planted
from tests.made import random_walk_bars
from tests.slow_spans import SlowPiece

N_BARS = 20_000
AP = average_precision_at(0.5, with_class=True)


@functools.cache
def tables(*shares_and_false: tuple[float, int]) -> list[JudgedEvents]:
    """Tables of events on one chart: the share of 200 spans that each finds, and how many false events it has."""
    spans = pieces_of(planted(1, 200, N_BARS, 0, 0)[1])
    chart = chart_of(N_BARS, spans)
    made = []
    for share, n_false in shares_and_false:
        events, _ = planted(1, 200, N_BARS, share, n_false)
        made.append(judged_events(pieces_of(_mixed(events)), spans, chart))
    return made


def _mixed(events: list[SlowPiece]) -> list[SlowPiece]:
    """The same events with probabilities that tell right from false only partly."""
    rng = np.random.default_rng(len(events))
    return [replace(one, prob=float(np.clip(one.prob + rng.normal(0, 0.1), 0.01, 0.99))) for one in events]


def test_clearly_better_events_are_promoted():
    good, poor = tables((0.8, 40), (0.5, 60))
    verdict = judge_events(good, poor, seed=1, n_resamples=300)
    assert verdict.verdict == "promote", verdict.reason
    assert all(row.holds for row in verdict.comparisons)
    assert verdict.probability_better is not None
    assert verdict.probability_better >= 0.95
    assert verdict.detectable_gain is not None
    assert 0 < verdict.detectable_gain < verdict.comparisons[0].difference


def test_more_false_alarms_are_held_however_good_the_average_precision():
    good, poor = tables((0.8, 90), (0.5, 60))
    verdict = judge_events(good, poor, seed=1, n_resamples=300)
    assert verdict.comparisons[0].holds
    assert verdict.verdict == "hold"
    assert "false alarms" in verdict.reason
    # A higher threshold for the challenger brings them down.
    assert judge_events(good, poor, (0.5, 0.0), seed=1, n_resamples=300).verdict == "promote"


def test_a_gain_that_chance_explains_is_inconclusive():
    one, other = tables((0.6, 60), (0.6, 60))
    events = replace(one.events, prob=np.where(np.arange(len(one.events)) == 3, 0.99, one.events.prob))
    verdict = judge_events(replace(one, events=events, _found={}), other, seed=1, n_resamples=300)
    assert verdict.verdict in ("hold", "inconclusive")


def test_the_same_events_and_no_events_are_held():
    (one,) = tables((0.6, 60))
    shuffled = replace(one, events=one.events.take(np.arange(len(one.events))[::-1]), _found={})
    assert "same events" in judge_events(shuffled, one, n_resamples=100).reason
    empty = replace(one, events=one.events.take(np.zeros(0, dtype=int)), _found={})
    verdict = judge_events(one, empty, n_resamples=100)
    assert verdict.verdict == "hold"
    assert "event_ece does not exist" in verdict.reason


def test_other_spans_are_refused():
    (one,) = tables((0.6, 60))
    other = judged_of(*planted(2, 200, N_BARS, 0.5, 10), N_BARS)
    with pytest.raises(ValueError, match="one chart"):
        judge_events(one, other)


def test_random_pieces_keep_lengths_classes_and_probabilities_and_lie_in_stretches():
    inside = {bar for k in range(10) for bar in range(100 * k, 100 * k + 60)}
    events, spans = planted(3, 20, 1000, 0.5, 20)
    judged = judged_of(events, spans, 1000, inside)
    drawn = random_pieces(judged, 1, 0)
    assert sorted(drawn.events.length) == sorted(judged.events.length)
    assert np.array_equal(drawn.events.prob, judged.events.prob)
    assert np.array_equal(drawn.events.label, judged.events.label)
    for first, last in drawn.events.bar.tolist():
        assert set(range(first, last + 1)) <= inside
    assert not np.array_equal(drawn.events.bar, judged.events.bar)
    assert not np.array_equal(drawn.events.bar, random_pieces(judged, 1, 1).events.bar)


@pytest.mark.slow
def test_random_pieces_reach_every_place_of_a_stretch():
    inside = set(range(50, 60))
    spans = [SlowPiece(52, 55, 0)]
    judged = judged_of([SlowPiece(52, 55, 0, 0.5)], spans, 100, inside)
    firsts = {int(random_pieces(judged, 1, draw).events.bar[0, 0]) for draw in range(200)}
    assert firsts == set(range(50, 57))


def test_strongest_moves_find_moves_that_are_planted_and_know_their_direction():
    bars = random_walk_bars(6000, seed=2)
    ohlc, spans = bars.ohlc.copy(), []
    for k in range(20):
        first, up = 200 + 280 * k, k % 2
        steps = np.exp(np.cumsum(np.full(10, 0.02 if up else -0.02)))
        base = ohlc[first, 0]
        close = base * steps
        open_ = np.concatenate([[base], close[:-1]])
        after = close[-1] / ohlc[first + 9, 3]
        ohlc[first + 10 :] *= after
        ohlc[first : first + 10] = np.stack([open_, np.maximum(open_, close), np.minimum(open_, close), close], axis=1)
        spans.append(SlowPiece(first, first + 9, up))
    judged = judged_of([], spans, 6000)
    moves = strongest_moves(judged, ohlc)
    assert len(moves.events) == len(spans)
    assert AP(moves, np.ones((1, len(judged.chart.bars_of_block))))[0] > 0.9
    none_taken_twice = np.sort(moves.events.bar, axis=0)
    assert (none_taken_twice[1:, 0] > none_taken_twice[:-1, 1]).all()


def test_figures_have_intervals_around_them_and_references_below():
    (judged,) = tables((0.7, 60))
    figures = {figure.name: figure for figure in event_figures(judged, 0.0, 1, random_walk_bars(N_BARS).ohlc)}
    for name in ("ap_iou50_class", "recall_at_1_per_1000_class", "precision", "event_ece", "event_brier"):
        figure = figures[name]
        assert figure.low is not None
        assert figure.low <= figure.value <= figure.high, name
        assert figure.low < figure.high
    assert figures["ap_iou50_class"].random < 0.1
    assert figures["ap_iou50_class"].moves < 0.2
    assert figures["late_bars_start_median"].value == 0
    bins, perfect = reliability(judged, 1)
    assert sum(row["n"] for row in bins) == len(judged.events)
    assert 0 <= perfect[0] < perfect[1]
    rows = threshold_rows(judged)
    assert [row["n_events"] for row in rows] == sorted((row["n_events"] for row in rows), reverse=True)


def test_figures_without_spans_or_events_are_null_with_a_reason():
    nothing = judged_of([], [SlowPiece(10, 19, 0)], 1000)
    figures = {figure.name: figure for figure in event_figures(nothing, 0.0, 1, None)}
    assert figures["ap_iou50_class"].value == 0
    assert figures["event_ece"].value is None
    assert "no event" in figures["event_ece"].reason
    unmarked = judged_of([SlowPiece(10, 19, 0, 0.5)], [], 1000)
    figures = {figure.name: figure for figure in event_figures(unmarked, 0.0, 1, None)}
    assert figures["ap_iou50_class"].value is None
    assert "no span" in figures["ap_iou50_class"].reason
    assert figures["alarms_per_1000"].value == 1


def test_examples_are_what_their_groups_say_and_none_is_in_two():
    (judged,) = tables((0.6, 60))
    groups = chosen_examples(judged, 3)
    found = judged.found(0.5, with_class=False)
    assert {name: len(rows) for name, rows in groups.items()} == dict.fromkeys(groups, 3)
    for name, is_right in (("Found", True), ("False", False), ("Most probable false", False)):
        for one in groups[name]:
            assert (found[one.event] >= 0) == is_right
            assert tuple(judged.events.bar[one.event]) == one.bar
    assert all(one.span not in found and tuple(judged.spans.bar[one.span]) == one.bar for one in groups["Missed"])
    false = judged.events.prob[found < 0]
    assert max(judged.events.prob[one.event] for one in groups["Most probable false"]) == false.max()
    events = [one.event for rows in groups.values() for one in rows if one.event is not None]
    assert len(set(events)) == len(events)
    nothing = judged_of([], [SlowPiece(10, 19, 0)], 1000)
    assert [len(rows) for rows in chosen_examples(nothing, 3).values()] == [0, 1, 0, 0]
