"""People compared on spans of one chart, against a slow twin and by hand."""

from __future__ import annotations

import numpy as np
import pytest

from moola.evaluation.span_metrics import by_person, span_agreement
from tests.charts_made import chart_of, pieces_of
from tests.slow_spans import SlowPiece


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
