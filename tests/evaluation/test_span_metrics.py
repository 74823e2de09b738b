"""Events against spans: slow twins, properties, and planted charts whose figures are known."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moola.evaluation.event_figures import event_metric_table
from moola.evaluation.span_metrics import (
    IOUS,
    JudgedEvents,
    alarms_at,
    average_precision_at,
    by_person,
    event_brier,
    event_curve,
    event_ece,
    judged_events,
    late_bars,
    match_events,
    piece_iou,
    precision_at,
    recall_at,
    recall_at_alarms,
    span_agreement,
)
from tests.charts_made import chart_of, crowded, judged_of, pieces_of, planted, slow_of
from tests.predictions_made import close
from tests.slow_spans import (
    SlowPiece,
    slow_counted,
    slow_event_ece,
    slow_judged,
    slow_piece_iou,
    slow_recall_at_alarms,
    slow_span_ap,
    slow_spans,
)

SEEDS, COUNTS = st.integers(0, 10_000), st.integers(0, 25)

N_BARS = 60

FULL = event_metric_table(0.3)


def figure(judged: JudgedEvents, metric) -> float:
    return float(metric(judged, np.ones((1, len(judged.chart.bars_of_block))))[0])


@given(SEEDS, COUNTS, COUNTS, st.sampled_from(IOUS), st.booleans())
def test_figures_are_what_their_slow_twins_say(seed, n_events, n_spans, iou, with_class):
    inside = set(range(8, 50)) if seed % 2 else set(range(N_BARS))
    events, spans = crowded(seed, n_events, N_BARS), [replace(one, prob=1.0) for one in crowded(seed + 1, n_spans, 60)]
    judged = judged_of(events, spans, N_BARS, inside)
    kept, marked = slow_counted(events, inside), slow_spans(spans, inside)
    assert len(judged.events) == len(kept)
    assert len(judged.spans) == len(marked)
    slow = slow_judged(kept, marked, iou, with_class)
    assert (judged.found(iou, with_class) >= 0).sum() == sum(span is not None for _, span in slow)
    assert close(figure(judged, average_precision_at(iou, with_class)), slow_span_ap(slow, len(marked)))
    for alarms in (1.0, 30.0, 100.0):
        wanted = slow_recall_at_alarms(slow, len(marked), len(inside), alarms)
        assert close(figure(judged, recall_at_alarms(alarms, with_class, iou)), wanted)
    anyhow = slow_judged(kept, marked, 0.5, False)
    assert close(figure(judged, event_ece), slow_event_ece(anyhow))
    told = [(event, span) for event, span in slow_judged(kept, marked, 0.5, with_class) if event.prob >= 0.5]
    right = sum(span is not None for _, span in told)
    assert close(figure(judged, precision_at(0.5, with_class)), right / len(told) if told else math.nan)
    assert close(figure(judged, recall_at(0.5, with_class)), right / len(marked) if marked else math.nan)
    assert close(figure(judged, alarms_at(0.5, with_class)), 1000 * (len(told) - right) / len(inside))


@given(SEEDS, COUNTS, COUNTS, st.booleans())
def test_each_event_takes_the_span_that_its_slow_twin_takes(seed, n_events, n_spans, with_class):
    events = crowded(seed, n_events, 40, n_probs=200)
    spans = slow_spans([replace(one, prob=1.0) for one in crowded(seed + 1, n_spans, 40)], set(range(40)))
    found = match_events(pieces_of(events), pieces_of(spans), 0.3, with_class)
    wanted = sorted((event, span) for event, span in map(_bare, slow_judged(events, spans, 0.3, with_class)))
    taken = [(event, spans[number] if number >= 0 else None) for event, number in zip(events, found, strict=True)]
    assert sorted(map(_bare, taken)) == wanted


def _bare(pair) -> tuple[tuple, tuple]:
    event, span = pair
    return (event.first, event.last, event.label, event.prob), (span.first, span.last, span.label) if span else ()


@given(SEEDS, COUNTS, COUNTS)
def test_the_order_of_rows_never_matters(seed, n_events, n_spans):
    events, spans = pieces_of(crowded(seed, n_events, N_BARS)), pieces_of(crowded(seed + 1, n_spans, N_BARS))
    chart = chart_of(N_BARS, spans)
    rng = np.random.default_rng(seed)
    judged = judged_events(events, spans, chart)
    mixed = judged_events(events.take(rng.permutation(len(events))), spans.take(rng.permutation(len(spans))), chart)
    for name, metric in FULL.items():
        assert close(figure(mixed, metric), figure(judged, metric)), name


@given(SEEDS, st.integers(1, 30))
def test_overlap_is_symmetric_and_1_of_itself_alone(seed, n):
    one, other = (pieces_of(crowded(seed + k, n, N_BARS)).bar for k in (0, 1))
    n = min(len(one), len(other))
    iou = piece_iou(one[:n], other[:n])
    assert np.array_equal(iou, piece_iou(other[:n], one[:n]))
    assert ((iou == 1) == (one[:n] == other[:n]).all(axis=1)).all()
    for a, b, value in zip(one[:n].tolist(), other[:n].tolist(), iou, strict=True):
        assert value == pytest.approx(slow_piece_iou(SlowPiece(*a, 0), SlowPiece(*b, 0)))


@given(SEEDS, st.integers(1, 30))
def test_perfect_events_give_1_no_events_give_0_and_a_second_copy_is_false(seed, n_spans):
    # Far apart: where spans compete for events a perfect table is no longer the one best.
    marked = [SlowPiece(20 * k, 20 * k + k % 7, k % 2) for k in range(n_spans)]
    sure = [replace(one, prob=0.5 + k / 100) for k, one in enumerate(marked)]
    perfect, nothing = judged_of(sure, marked, 20 * n_spans), judged_of([], marked, 20 * n_spans)
    doubled = judged_of(sure * 2, marked, 20 * n_spans)
    for iou in IOUS:
        for with_class in (True, False):
            metric = average_precision_at(iou, with_class)
            assert figure(perfect, metric) == pytest.approx(1)
            assert figure(nothing, metric) == 0
            assert figure(doubled, metric) == pytest.approx(0.5)
    assert figure(doubled, precision_at(0.0, with_class=True)) == 0.5
    assert figure(perfect, late_bars("start", 0.5)) == figure(perfect, late_bars("end", 0.5)) == 0
    assert figure(nothing, recall_at_alarms(1.0, with_class=True)) == 0
    assert math.isnan(figure(nothing, event_ece))
    assert math.isnan(figure(nothing, event_brier))


def test_a_planted_chart_gives_the_figures_that_were_planted():
    """60 of 100 spans found first, then 25 false events, on 10,000 bars."""
    judged = judged_of(*planted(3, 100, 10_000, 0.6, 25), 10_000)
    assert figure(judged, average_precision_at(0.5, with_class=True)) == pytest.approx(0.6)
    assert figure(judged, recall_at_alarms(1.0, with_class=True)) == pytest.approx(0.6)
    assert figure(judged, precision_at(0.0, with_class=True)) == pytest.approx(60 / 85)
    assert figure(judged, alarms_at(0.0, with_class=True)) == pytest.approx(2.5)
    assert figure(judged, alarms_at(0.7, with_class=True)) == 0
    curve = event_curve(judged, with_class=True)
    assert curve.precision[59] == 1
    assert curve.recall[-1] == pytest.approx(0.6)
    assert curve.alarms[-1] == pytest.approx(2.5)


def test_the_wrong_class_is_right_only_without_the_class():
    spans = [SlowPiece(10, 19, 0), SlowPiece(40, 49, 1)]
    judged = judged_of([replace(one, label=1 - one.label, prob=0.9) for one in spans], spans, 100)
    assert figure(judged, average_precision_at(0.5, with_class=False)) == 1
    assert figure(judged, average_precision_at(0.5, with_class=True)) == 0


def test_errors_of_the_ends_are_late_where_above_0():
    spans = [SlowPiece(20 * k, 20 * k + 11, 0) for k in range(1, 6)]
    events = [SlowPiece(one.first + 2, one.last - 1, 0, 0.9) for one in spans]
    judged = judged_of(events, spans, 150)
    assert figure(judged, late_bars("start", 0.5)) == 2
    assert figure(judged, late_bars("end", 0.5)) == -1
    assert np.isnan(figure(judged, late_bars("known", 0.5)))
    live = replace(judged, events=replace(judged.events, known_after=np.full(5, 6)), _found={})
    assert figure(live, late_bars("known", 0.5)) == 5


def test_what_lies_with_less_than_half_inside_a_stretch_does_not_count():
    inside = set(range(20, 60))
    spans = [SlowPiece(15, 24, 0), SlowPiece(14, 23, 0), SlowPiece(30, 39, 0), SlowPiece(70, 79, 0)]
    events = [SlowPiece(15, 24, 0, 0.9), SlowPiece(0, 9, 0, 0.9), SlowPiece(55, 65, 0, 0.9)]
    judged = judged_of(events, spans, 100, inside)
    assert [(one.first, one.last) for one in slow_of(judged.spans)] == [(15, 24), (30, 39)]
    assert [(one.first, one.last) for one in slow_of(judged.events)] == [(15, 24)]
    assert judged.chart.n_bars == 40


def test_weights_of_blocks_count_a_block_as_often_as_they_say():
    """A block that counts twice is a chart on which it stands twice."""
    events, spans = planted(5, 40, 8_000, 0.5, 60)
    judged = judged_of(events, spans, 8_000)
    n_blocks = len(judged.chart.bars_of_block)
    assert n_blocks > 20
    first = np.zeros((1, n_blocks))
    first[0, : n_blocks // 2] = 1
    edge = int(judged.chart.bars_of_block[: n_blocks // 2].sum())
    half = judged_of(
        [one for one in events if (one.first + one.last) // 2 < edge],
        [one for one in spans if (one.first + one.last) // 2 < edge],
        edge,
    )
    for name, metric in FULL.items():
        assert close(float(metric(judged, first)[0]), figure(half, metric)), name
        assert close(float(metric(judged, 3 * first)[0]), figure(half, metric)), name


def test_two_symbols_share_blocks_of_time_and_never_overlap():
    spans = pieces_of([SlowPiece(10, 19, 0), SlowPiece(1010, 1019, 0)])
    one = chart_of(1000, spans)
    both = replace(
        one,
        start_us=np.tile(one.start_us, 2),
        symbol=np.repeat([0, 1], 1000),
        inside=np.ones(2000, dtype=bool),
    )
    assert np.array_equal(both.block[:1000], both.block[1000:])
    judged = judged_events(pieces_of([SlowPiece(10, 19, 0, 0.9)]), spans, both)
    assert figure(judged, recall_at(0.0, with_class=True)) == 0.5
    of_each = [figure(judged.of_symbol(k), recall_at(0.0, with_class=True)) for k in (0, 1)]
    assert of_each == [1, 0]


def piece(first: int, last: int, label: int = 0, prob: float = 1.0) -> SlowPiece:
    return SlowPiece(first, last, label, prob)


def test_two_people_by_hand_and_the_same_both_ways():
    anna = pieces_of([piece(10, 19), piece(50, 59), piece(90, 99, 1), piece(150, 159)])
    # The first is anna's but one bar, the second of another class, the third hers, the last overlaps by less than half.
    bert = pieces_of([piece(10, 18), piece(50, 59, 1), piece(90, 99, 1), piece(157, 170), piece(180, 185)])
    chart = chart_of(200, bert)
    (pair,) = span_agreement({"anna": anna, "bert": bert}, chart)
    assert (pair.first, pair.second, pair.n_first, pair.n_second, pair.n_same) == ("anna", "bert", 4, 5, 2)
    assert pair.mean_iou == pytest.approx((0.9 + 1.0) / 2)
    assert pair.ap == pytest.approx(2 / 4 * 2 / 5)
    (other,) = span_agreement({"anna": bert, "bert": anna}, chart)
    assert (other.n_same, other.ap, other.mean_iou) == (pair.n_same, pytest.approx(pair.ap), pytest.approx(0.95))


def test_only_bars_that_were_looked_at_count_and_nobody_is_none():
    anna, nobody = pieces_of([piece(10, 19), piece(150, 159)]), pieces_of([])
    chart = chart_of(200, anna, set(range(100)))
    (pair,) = span_agreement({"anna": anna, "bert": anna}, chart)
    assert (pair.n_first, pair.n_same, pair.ap) == (1, 1, 1.0)
    (pair,) = span_agreement({"anna": anna, "bert": nobody}, chart)
    assert (pair.n_same, pair.ap, pair.mean_iou) == (0, None, None)


def test_events_against_each_person_alone():
    anna, bert = pieces_of([piece(10, 19), piece(50, 59)]), pieces_of([piece(10, 19), piece(90, 99)])
    events = pieces_of([piece(10, 19, 0, 0.9), piece(50, 59, 0, 0.8)])
    found = by_person(events, {"anna": anna, "bert": bert, "cleo": pieces_of([])}, chart_of(200, anna))
    assert found["anna"] == pytest.approx(1.0)
    assert found["bert"] == pytest.approx(0.5)
    assert found["cleo"] is None or np.isnan(found["cleo"])


def test_people_are_compared_where_both_looked_and_each_where_he_did():
    anna, bert = pieces_of([piece(10, 19), piece(100, 109)]), pieces_of([piece(10, 19)])
    chart = chart_of(200, anna)
    looked = {"anna": np.arange(200) >= 0, "bert": np.arange(200) < 50}
    (pair,) = span_agreement({"anna": anna, "bert": bert}, chart, looked)
    assert (pair.n_first, pair.n_second, pair.n_same) == (1, 1, 1)
    assert by_person(anna, {"anna": anna, "bert": bert}, chart, looked) == {"anna": 1.0, "bert": 1.0}
    none = looked | {"bert": np.arange(200) >= 200}
    assert by_person(anna, {"bert": bert}, chart, none) == {"bert": None}
    assert span_agreement({"anna": anna, "bert": bert}, chart, none)[0].ap is None
