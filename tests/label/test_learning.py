"""The model that learns beside the page: it finds what was planted, says what it lacks, and changes no label."""

from __future__ import annotations

import pytest

from moola.label.chart_state import BarSpan, Change
from tests.label.page_states import client_of, made_page_state, planted_bars

N_MARKED = 12


@pytest.fixture(scope="module")
def learned(tmp_path_factory):
    """A page whose person marked the first planted moves, one of them wrongly, and looked at all bars there."""
    bars, moves = planted_bars(20)
    page_state = made_page_state(tmp_path_factory.mktemp("learned"), bars, stride=105, learns=True)
    spans = tuple(BarSpan(*move) for move in moves[:N_MARKED])
    page_state.chart.change("EURUSD", "anna", 0, Change(add=spans, see=((0, N_MARKED * 105 - 1),)))
    ask(page_state)
    page_state.learner.wait()
    yield page_state, moves
    page_state.store.close()


def ask(page_state, version: int = -1) -> dict:
    return page_state.learner.status("EURUSD", "anna", 1500, version)


def test_planted_moves_are_proposed_with_a_probability(learned):
    page_state, moves = learned
    told = ask(page_state)
    page_state.learner.wait()
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
    page_state, moves = learned
    (chart,) = page_state.store.charts()
    times = page_state.window_list.bars.start_us.tolist()
    assert [(times.index(one.start_us), times.index(one.end_us), one.label) for one in chart.spans] == moves[:N_MARKED]
    assert (chart.revision, chart.rejected) == (1, ())


def test_half_of_what_is_asked_is_drawn_without_the_model(learned):
    page_state, _ = learned
    said = [page_state.learner.next("EURUSD", "anna", "mixed", 0)["why"] for _ in range(20)]
    assert sum("without the model" in why for why in said) == 10


def test_every_queue_answers_with_a_place_or_a_reason(learned):
    page_state, _ = learned
    client = client_of(page_state)
    for queue in ("mixed", "unsure", "different", "errors", "annotators", "unseen"):
        asked = {"annotator": "anna", "symbol": "EURUSD", "queue": queue}
        told = client.get("/api/chart/next", params=asked).json()
        assert told["why"]
        assert told["bar"] is None or 0 <= told["bar"] < 2100
    assert client.get("/api/chart/next", params=asked | {"queue": "guess"}).status_code == 422


def test_what_is_missing_is_said(tmp_path):
    bars, moves = planted_bars(10)
    page_state = made_page_state(tmp_path, bars, stride=105, learns=True)
    with page_state.store:
        assert "proposals come after eight" in ask(page_state)["says"]
        add = tuple(BarSpan(start, end, "flag") for start, end, _ in moves[:3])
        page_state.chart.change("EURUSD", "anna", 0, Change(add=add))
        ask(page_state)
        page_state.learner.wait()
        assert "Proposals come after 8 spans; 3 are marked" in ask(page_state)["says"]
        add = tuple(BarSpan(start, end, "flag") for start, end, _ in moves[3:])
        page_state.chart.change("EURUSD", "anna", 1, Change(add=add))
        page_state.learner.wait()
        ask(page_state)
        page_state.learner.wait()
        assert "press L where you have looked" in ask(page_state)["says"]


def test_spans_like_one_are_found_beside_it_or_the_reason_is_given(tmp_path):
    bars, moves = planted_bars(5)
    page_state = made_page_state(tmp_path, bars, stride=105, learns=True)
    start, end, _ = moves[1]
    with page_state.store:
        for asked, said in (((start, end), "spans like it"), ((start, 5), "must have 2 to 105 bars")):
            assert page_state.learner.like("EURUSD", *asked, "flag")["is_busy"]
            page_state.learner.wait()
            told = page_state.learner.like("EURUSD", *asked, "flag")
            assert said in told["says"]
        assert told["proposals"] == []
        found = page_state.learner.like("EURUSD", start, end, "flag")["proposals"]
    best = max(found, key=lambda one: one["prob"])
    assert any(best["start"] <= last and best["end"] >= first for first, last, _ in moves if first != start)


@pytest.mark.slow
def test_planted_wrong_labels_are_asked_about_first(tmp_path):
    bars, moves = planted_bars(100)
    wrong = {moves[row][:2] for row in range(3, 100, 10)}
    other = {"consolidation": "retracement", "retracement": "consolidation"}
    spans = tuple(BarSpan(one, last, other[label] if (one, last) in wrong else label) for one, last, label in moves)
    page_state = made_page_state(tmp_path, bars, stride=105, learns=True)
    with page_state.store:
        page_state.chart.change("EURUSD", "anna", 0, Change(add=spans))
        ask(page_state)
        page_state.learner.wait()
        asked = {tuple(page_state.learner.next("EURUSD", "anna", "errors", 0)["span"]) for _ in range(15)}
    assert len(asked) == 15
    assert len(asked & wrong) >= 8, sorted(wrong - asked)


@pytest.mark.slow
def test_without_a_stretch_pieces_are_ranked_against_bars_that_nobody_marked(tmp_path):
    bars, moves = planted_bars(60)
    page_state = made_page_state(tmp_path, bars, stride=105, learns=True)
    with page_state.store:
        for revision in range(10):
            add = tuple(BarSpan(start, end, "move") for start, end, _ in moves[5 * revision : 5 * revision + 5])
            page_state.chart.change("EURUSD", "anna", revision, Change(add=add))
        for _ in range(3):
            told = page_state.learner.status("EURUSD", "anna", 5000, -1)
            page_state.learner.wait()
    assert "against bars that nobody marked" in told["says"]
    assert "cannot be known" in told["says"]
    found = [one for one in told["proposals"] if one["start"] >= 50 * 105]
    assert any(one["start"] <= end and one["end"] >= start for one in found for start, end, _ in moves[50:])
