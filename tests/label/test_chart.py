"""The chart of all bars: levels of detail, spans and stretches in and out of the store, what is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from moola.core.bars import Bars
from moola.core.label_rules import ChartLabels, ChartSpan
from moola.label.chart_state import BarSpan, Change, ChartBars
from moola.tables.label_store import LabelStore
from tests.label.page_states import client_of, made_page_state, planted_bars
from tests.made import random_walk_bars


@pytest.fixture
def page_state(tmp_path):
    with_store = made_page_state(tmp_path)
    yield with_store
    with_store.store.close()


@pytest.fixture
def client(page_state):
    return client_of(page_state)


def span(start: int, end: int, label: str = "flag", **more: object) -> dict:
    return {"start": start, "end": end, "label": label} | more


def change(client, revision: int, annotator: str = "anna", **what: object):
    body = {"annotator": annotator, "symbol": "", "expected_revision": revision} | what
    return client.post("/api/chart/labels", json=body)


def labels(client, annotator: str = "anna") -> dict:
    return client.get("/api/chart/labels", params={"annotator": annotator}).json()


@pytest.mark.parametrize("n", [1, 2, 7, 400])
def test_levels_join_bars_as_a_loop_does(n):
    bars = random_walk_bars(n)
    volume = np.arange(n, dtype=float)
    chart = ChartBars(bars, volume)
    for each in (1, 2, 4, 8, 256):
        found = chart.piece("", 0, n - 1, each)
        for point, row in enumerate(found["ohlc"]):
            own = bars.ohlc[point * each : (point + 1) * each]
            assert row == [own[0, 0], own[:, 1].max(), own[:, 2].min(), own[-1, 3]]
            assert found["times_us"][point] == bars.start_us[point * each]
            assert found["volume"][point] == volume[point * each : (point + 1) * each].sum()
        assert len(found["ohlc"]) == -(-n // each)


def test_symbols_are_charts_of_their_own():
    one, other = random_walk_bars(30, symbol="A"), random_walk_bars(20, seed=1, symbol="B")
    both = Bars(
        *(np.concatenate([getattr(one, name), getattr(other, name)]) for name in ("start_us", "ohlc", "symbol"))
    )
    chart = ChartBars(both)
    assert [(row["symbol"], row["n_bars"]) for row in chart.symbols()] == [("A", 30), ("B", 20)]
    assert chart.piece("B", 0, 0, 1)["ohlc"] == [other.ohlc[0].tolist()]
    assert chart.bar_at("B", int(other.start_us[7]) + 1) == 7
    assert [chart.bar_at("B", time) for time in (0, 2**60)] == [0, 19]


def test_bars_that_nobody_can_show_are_refused(client):
    for asked in (
        {"first": 0, "last": 2**39},
        {"first": 5, "last": 3, "each": 1},
        {"first": 0, "last": 9, "each": 3},
        {"first": 0, "last": 9, "each": 2**30},
        {"first": 0, "last": 9, "symbol": "EURUSD"},
        {"first": -1, "last": 9},
        {"first": "a", "last": 9},
    ):
        answer = client.get("/api/chart/bars", params=asked)
        assert (answer.status_code, "error" in answer.json()) == (422, True), asked


def test_every_request_of_the_chart_is_guarded(client, page_state):
    paths = [path for path in client.get("/openapi.json").json()["paths"] if path.startswith("/api/chart")]
    assert len(paths) >= 8
    for path in paths:
        assert client.get(path, headers={"Host": "evil.example"}).status_code == 403
        assert client.post(path, json={}, headers={"Origin": "http://evil.example"}).status_code == 403
        assert client.post(path, content="{}", headers={"Content-Type": "text/plain"}).status_code == 415
    assert page_state.store.charts() == []


def test_spans_stretches_and_rejected_proposals_are_kept_apart_with_times_of_bars(client, page_state):
    saved = change(
        client, 0, add=[span(10, 20, note="clear"), span(30, 41, "wedge", source="accepted")], see=[[0, 60]],
        reject=[span(50, 55)],
    )  # fmt: skip
    assert saved.status_code == 200
    times = page_state.window_list.bars.start_us.tolist()
    (chart,) = page_state.store.charts()
    assert chart.spans == (
        ChartSpan(times[10], times[20], "flag", "clear"), ChartSpan(times[30], times[41], "wedge", "", "accepted"),
    )  # fmt: skip
    assert (chart.stretches, chart.rejected) == (((times[0], times[60]),), (ChartSpan(times[50], times[55], "flag"),))
    assert labels(client)["stretches"] == [[0, 60]]
    assert [one["source"] for one in labels(client)["spans"]] == ["", "accepted"]
    assert change(client, 1, remove=[[10, 20]], unsee=[[0, 60]], unreject=[[50, 55]]).json()["revision"] == 2
    assert labels(client) | {"others": 0, "n_elsewhere": 0} == {
        "revision": 2, "stretches": [], "rejected": [], "others": 0, "n_elsewhere": 0,
        "spans": [span(30, 41, "wedge", note="", source="accepted")],
    }  # fmt: skip


def test_whoever_saves_second_is_told_and_nothing_is_lost(client, page_state):
    assert change(client, 0, add=[span(1, 2)]).status_code == 200
    late = change(client, 0, add=[span(3, 4)])
    assert (late.status_code, "another save was first" in late.json()["error"]) == (409, True)
    assert change(client, 0, annotator="ben", add=[span(3, 4)]).status_code == 200
    assert [one["start"] for one in labels(client)["spans"]] == [1]
    assert labels(client)["others"] == {"ben": 1}


def test_a_change_that_cannot_be_is_refused_whole(client, page_state):
    for what in (
        {"add": [span(5, 4)]},
        {"add": [span(0, 400)]},
        {"add": [span(1, 2), span(1, 2, "wedge")]},
        {"add": [span(1, 2, " \n")]},
        {"add": [span(1, 2, source="guessed")]},
        {"remove": [[1, 2]]},
        {"unsee": [[1, 2]]},
        {"unreject": [[1, 2]]},
        {"see": [[3, 1]]},
    ):
        answer = change(client, 0, **({"see": [[7, 9]]} | what))
        assert (answer.status_code, "error" in answer.json()) == (422, True), what
    assert page_state.store.charts() == []


def test_a_class_gets_another_name_in_ones_own_spans_alone(client):
    change(client, 0, add=[span(1, 2), span(5, 6, "wedge")])
    change(client, 0, annotator="ben", add=[span(1, 2)])
    body = {"annotator": "anna", "old": "flag", "new": "pennant"}
    assert client.post("/api/chart/rename", json=body).json() == {"renamed": 1}
    assert [one["label"] for one in labels(client)["spans"]] == ["pennant", "wedge"]
    assert [one["label"] for one in labels(client, "ben")["spans"]] == ["flag"]
    assert client.get("/api/chart").json()["classes"][-3:] == ["flag", "pennant", "wedge"]
    assert {(one["annotator"], one["label"]) for one in client.get("/api/chart/all").json()["spans"]} == {
        ("anna", "pennant"), ("anna", "wedge"), ("ben", "flag"),
    }  # fmt: skip


def test_a_model_is_off_where_nobody_asked_and_writes_nothing(client, page_state):
    told = client.get("/api/chart/proposals", params={"annotator": "anna"}).json()
    assert (told["is_on"], told["proposals"]) == (False, [])
    assert page_state.store.charts() == []


def test_fifty_saves_are_all_there(client, page_state, tmp_path):
    for number in range(50):
        assert change(client, number, add=[span(number, number + 3)]).status_code == 200
    with LabelStore(tmp_path / "labels.db") as again:
        (chart,) = again.charts()
    times = page_state.window_list.bars.start_us.tolist()
    assert [(one.start_us, one.end_us) for one in chart.spans] == [(times[i], times[i + 3]) for i in range(50)]


def test_a_store_from_before_there_were_sources_reads_as_it_was(tmp_path):
    old = ChartLabels("A", "anna", (ChartSpan(1, 2, "flag", "n"),), ((1, 9),))
    with LabelStore(tmp_path / "l.db") as store:
        store.save_charts([old])
        content = store._execute("SELECT content FROM charts").fetchone()[0]
        assert content == '{"spans": [[1, 2, "flag", "n"]], "stretches": [[1, 9]]}'
        assert [replace(one, revision=0, saved_us=0) for one in store.charts()] == [old]


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
    assert "12 spans and 12 windows of background" in told["message"]


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
        assert "proposals come after eight" in ask(page_state)["message"]
        add = tuple(BarSpan(start, end, "flag") for start, end, _ in moves[:3])
        page_state.chart.change("EURUSD", "anna", 0, Change(add=add))
        with pytest.MonkeyPatch.context() as patch:
            # As long as a fit has not ended.
            patch.setattr(page_state.learner, "_start", lambda *_: None)
            assert ask(page_state)["message"] == "Learning from 3 spans ..."
        ask(page_state)
        page_state.learner.wait()
        assert "Proposals come after 8 spans; 3 are marked" in ask(page_state)["message"]
        add = tuple(BarSpan(start, end, "flag") for start, end, _ in moves[3:])
        page_state.chart.change("EURUSD", "anna", 1, Change(add=add))
        page_state.learner.wait()
        ask(page_state)
        page_state.learner.wait()
        assert "press L where you have looked" in ask(page_state)["message"]


@pytest.mark.slow
def test_spans_like_one_are_found_beside_it_or_the_reason_is_given(tmp_path):
    bars, moves = planted_bars(5)
    page_state = made_page_state(tmp_path, bars, stride=105, learns=True)
    start, end, _ = moves[1]
    with page_state.store:
        for asked, said in (((start, end), "spans like it"), ((start, 5), "must have 2 to 105 bars")):
            assert page_state.learner.like("EURUSD", *asked, "flag")["is_busy"]
            page_state.learner.wait()
            told = page_state.learner.like("EURUSD", *asked, "flag")
            assert said in told["message"]
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
    assert "against bars that nobody marked" in told["message"]
    assert "cannot be known" in told["message"]
    found = [one for one in told["proposals"] if one["start"] >= 50 * 105]
    assert any(one["start"] <= end and one["end"] >= start for one in found for start, end, _ in moves[50:])
