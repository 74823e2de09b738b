"""The model that learns beside the page: it finds what was planted, says what it lacks, and changes no label."""

from __future__ import annotations

import pytest

from moola.label.page_spans import BarSpan, Change
from tests.label.desks import client_of, made_desk, planted_bars

N_MARKED = 12


@pytest.fixture(scope="module")
def learned(tmp_path_factory):
    """A desk whose person marked the first planted moves, one of them wrongly, and looked at all bars there."""
    bars, moves = planted_bars(20)
    desk = made_desk(tmp_path_factory.mktemp("learned"), bars, stride=105, learns=True)
    spans = tuple(BarSpan(*move) for move in moves[:N_MARKED])
    desk.chart.change("EURUSD", "anna", 0, Change(add=spans, see=((0, N_MARKED * 105 - 1),)))
    ask(desk)
    desk.learner.wait()
    yield desk, moves
    desk.store.close()


def ask(desk, version: int = -1) -> dict:
    return desk.learner.told("EURUSD", "anna", 1500, version)


def test_planted_moves_are_proposed_with_a_probability(learned):
    desk, moves = learned
    told = ask(desk)
    desk.learner.wait()
    found = told["proposals"]
    rest = moves[N_MARKED:]
    met = sum(
        any(min(end, one["end"]) - max(start, one["start"]) + 1 > (end - start + 1) / 2 for one in found)
        for start, end, _ in rest
    )
    assert met >= 6, found
    assert all(0 < one["prob"] <= 1 and one["start"] <= one["end"] for one in found)
    # Nothing is proposed where a person has marked.
    assert not any(one["start"] <= end and one["end"] >= start for one in found for start, end, _ in moves[:N_MARKED])
    assert "12 spans and 12 windows of background" in told["says"]


def test_learning_changes_no_label(learned):
    desk, moves = learned
    (chart,) = desk.store.charts()
    times = desk.shelf.bars.start_us.tolist()
    assert [(times.index(one.start_us), times.index(one.end_us), one.label) for one in chart.spans] == moves[:N_MARKED]
    assert (chart.revision, chart.rejected) == (1, ())


def test_half_of_what_is_asked_is_drawn_without_the_model(learned):
    desk, _ = learned
    said = [desk.learner.next("EURUSD", "anna", "mixed", 0)["why"] for _ in range(20)]
    assert sum("without the model" in why for why in said) == 10


def test_every_queue_answers_with_a_place_or_a_reason(learned):
    desk, _ = learned
    client = client_of(desk)
    for queue in ("mixed", "unsure", "different", "errors", "annotators", "unseen"):
        asked = {"annotator": "anna", "symbol": "EURUSD", "queue": queue}
        told = client.get("/api/chart/next", params=asked).json()
        assert told["why"]
        assert told["bar"] is None or 0 <= told["bar"] < 2100
    assert client.get("/api/chart/next", params=asked | {"queue": "guess"}).status_code == 422


def test_what_is_missing_is_said(tmp_path):
    bars, moves = planted_bars(10)
    desk = made_desk(tmp_path, bars, stride=105, learns=True)
    with desk.store:
        assert "proposals come after eight" in ask(desk)["says"]
        add = tuple(BarSpan(start, end, "flag") for start, end, _ in moves[:3])
        desk.chart.change("EURUSD", "anna", 0, Change(add=add))
        ask(desk)
        desk.learner.wait()
        assert "Proposals come after 8 spans; 3 are marked" in ask(desk)["says"]
        add = tuple(BarSpan(start, end, "flag") for start, end, _ in moves[3:])
        desk.chart.change("EURUSD", "anna", 1, Change(add=add))
        desk.learner.wait()
        ask(desk)
        desk.learner.wait()
        assert "press L where you have looked" in ask(desk)["says"]


def test_spans_like_one_are_found_beside_it_or_the_reason_is_given(tmp_path):
    bars, moves = planted_bars(5)
    desk = made_desk(tmp_path, bars, stride=105, learns=True)
    start, end, _ = moves[1]
    with desk.store:
        for asked, said in (((start, end), "spans like it"), ((start, 5), "must have 2 to 105 bars")):
            assert desk.learner.like("EURUSD", *asked, "flag")["is_busy"]
            desk.learner.wait()
            told = desk.learner.like("EURUSD", *asked, "flag")
            assert said in told["says"]
        assert told["proposals"] == []
        found = desk.learner.like("EURUSD", start, end, "flag")["proposals"]
    best = max(found, key=lambda one: one["prob"])
    assert any(best["start"] <= last and best["end"] >= first for first, last, _ in moves if first != start)
