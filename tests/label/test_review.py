"""Several annotators: both labels stay, what differs waits for a decision, and nobody copies unseen."""

from __future__ import annotations

import pytest

from tests.label.page_states import client_of, label_body, made_page_state


@pytest.fixture
def client(tmp_path):
    page_state = made_page_state(tmp_path)
    yield client_of(page_state)
    page_state.store.close()


def put(client, number: int, annotator: str, start: int, end: int, label: str = "consolidation", **changed) -> dict:
    name = names(client)[number]
    marks = [{"start": start, "end": end, "label": label}]
    body = label_body(annotator=annotator, expansions=marks, **changed)
    answer = client.put(f"/api/label/{name}", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()["label"]


def names(client) -> list[str]:
    return client.page_state.window_list.window_id


def test_agreement_and_conflicts_are_those_of_both(client):
    for number, (start, end, label) in enumerate([(40, 50, "consolidation"), (40, 50, "retracement"), (40, 60, "")]):
        put(client, number, "anna", 40, 50)
        put(client, number, "ben", start, end, label or "consolidation")
    found = client.get("/api/review?annotator=anna").json()
    (pair,) = found["agreement"]
    assert (pair["first"], pair["second"], pair["n_windows"]) == ("anna", "ben", 3)
    assert pair["same_class"] == pytest.approx(2 / 3)
    assert pair["end"] == {"n": 2, "median_abs_bars": 5.0, "within_3": 0.5}
    assert [(one["window_id"], one["reason"], one["decided"]) for one in found["conflicts"]] == [
        (names(client)[1], "class: anna says consolidation, ben says retracement", False),
        (names(client)[2], "end is 10 bars apart: anna at bar 50, ben at bar 60", False),
    ]


def test_a_third_settles_a_conflict_and_one_of_two_by_agreeing(client):
    for number in (0, 1):
        put(client, number, "anna", 40, 50)
        put(client, number, "ben", 40, 60)
    asked = "/api/next?queue=conflicts&annotator="
    first = client.get(f"{asked}cem").json()
    assert (first["window"]["id"], first["left"]) == (names(client)[0], 2)
    opinions = client.get(f"/api/opinions/{names(client)[0]}?annotator=cem").json()["opinions"]
    assert [(one["annotator"], one["expansions"][0]["end"]) for one in opinions] == [("anna", 50), ("ben", 60)]
    put(client, 0, "cem", 40, 60)
    assert client.get(f"{asked}cem").json()["left"] == 1
    # A third has decided the first one; the second waits until one of the two comes round.
    after = client.get(f"{asked}anna").json()
    assert (after["window"]["id"], after["left"]) == (names(client)[1], 1)
    put(client, 1, "anna", 40, 59, expected_revision=1)
    for annotator in ("anna", "ben", "cem"):
        assert client.get(f"{asked}{annotator}").json() == {"window": None, "left": 0}
    # What differs stays listed, and nothing of anna and ben was changed.
    (conflict,) = client.get("/api/review?annotator=dora").json()["conflicts"]
    assert (conflict["annotators"], conflict["decided"]) == (["anna", "ben", "cem"], False)


def test_one_other_label_is_not_shown_before_ones_own(client):
    put(client, 0, "anna", 40, 50)
    url = f"/api/opinions/{names(client)[0]}?annotator=ben"
    answer = client.get(url)
    assert answer.status_code == 422
    assert "Save yours first" in answer.json()["error"]
    put(client, 0, "ben", 42, 50, status="skipped", grade="")
    assert client.get(url).status_code == 422
    put(client, 0, "ben", 42, 50, expected_revision=1)
    assert [one["annotator"] for one in client.get(url).json()["opinions"]] == ["anna"]
    assert client.get("/api/opinions/none?annotator=ben").status_code == 404


def test_what_is_held_does_not_grow_with_the_saves_of_a_window(client):
    put(client, 0, "ben", 40, 50)
    labels = client.page_state._labels
    for revision in range(4):
        put(client, 0, "anna", 40, 50 + revision, expected_revision=revision)
        told = client.get("/api/review?annotator=anna").json()["agreement"]
        # The marks that were just saved, not those held before.
        assert told[0]["end"]["median_abs_bars"] == revision
    assert len(labels._marks) == 2
