"""The requests of the labelling page: what it refuses, what it saves, and when the model speaks."""

from __future__ import annotations

import asyncio
import builtins
import json
import re
import socket
from importlib.metadata import requires
from pathlib import Path
from urllib.parse import quote

import numpy as np
import polars as pl
import pytest
import schemathesis
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from moola.label import page_server
from moola.label.page_model import ModelAnswers
from moola.label.page_server import MAX_BODY_BYTES, STATIC, Guard
from moola.labels.label_positions import Mark
from moola.tables.bar_table import write_bars
from moola.tables.label_store import LabelStore
from tests.conftest import DATA
from tests.label.page_states import PORT, SHOWN, application, client_of, label_body, made_page_state
from tests.made import random_walk_bars


@pytest.fixture
def page_state(tmp_path):
    with_store = made_page_state(tmp_path)
    yield with_store
    with_store.store.close()


@pytest.fixture
def client(page_state) -> TestClient:
    return client_of(page_state)


@pytest.fixture
def first(page_state) -> str:
    """Where the label of the first window is saved."""
    return f"/api/label/{page_state.window_list.window_id[0]}"


def test_a_foreign_host_is_refused(client):
    for host in ("evil.example", f"evil.example:{PORT}", "127.0.0.1:1", f"127.0.0.1.evil:{PORT}", ""):
        for path in ("/", "/api/health", "/app.js"):
            assert client.get(path, headers={"Host": host}).status_code == 403, host


def test_a_foreign_origin_is_refused_and_the_pages_own_may_save(client, page_state, first):
    for origin in ("http://evil.example", "null", "https://127.0.0.1:8765", "http://127.0.0.1:1"):
        answer = client.put(first, json=label_body(), headers={"Origin": origin})
        assert (answer.status_code, "Origin" in answer.json()["error"]) == (403, True), origin
    assert page_state.store.all() == []
    for revision, origin in enumerate((f"http://127.0.0.1:{PORT}", f"http://localhost:{PORT}")):
        own = client.put(first, json=label_body(expected_revision=revision), headers={"Origin": origin})
        assert own.status_code == 200, origin


def test_every_answer_forbids_foreign_content(client):
    for path in ("/", "/api/health", "/nothing", "/api/window/none?annotator=anna"):
        headers = client.get(path).headers
        assert headers["content-security-policy"].startswith("default-src 'self'")
        assert headers["x-content-type-options"] == "nosniff"


def test_a_claimed_body_of_100_megabytes_is_refused_before_it_is_read(client, first):
    headers = {"Content-Type": "application/json", "Content-Length": "100000000"}
    assert client.put(first, content=b"{}", headers=headers).status_code == 413


def test_a_body_without_a_length_is_read_up_to_the_limit_only():
    sent, given = [], []

    async def receive():
        given.append(1)
        return {"type": "http.request", "body": b"x" * 100_000, "more_body": True}

    async def send(message):
        sent.append(message)

    async def never(scope, receive, send):
        raise AssertionError("the application must not see it")

    headers = [(b"host", f"127.0.0.1:{PORT}".encode()), (b"content-type", b"application/json")]
    scope = {"type": "http", "method": "PUT", "path": "/api/label/x", "headers": headers}
    asyncio.run(Guard(never, PORT)(scope, receive, send))
    assert sent[0]["status"] == 413
    assert len(given) == MAX_BODY_BYTES // 100_000 + 1


def marked(start: float, end: int, label: str = "consolidation") -> dict:
    return label_body(expansions=[{"start": start, "end": end, "label": label}])


MALFORMED = [
    (b"{", 400),
    (b"", 422),
    (b"[]", 422),
    (b"\xff\xfe", 400),
    (b"[" * 100_000, 400),
    (label_body(surprise=1), 422),
    (label_body(expected_revision="0"), 422),
    (label_body(annotator="  "), 422),
    (label_body(note="x" * 5000), 422),
    (label_body(note="\ud800"), 422),
    (label_body(note="\u0000"), 422),
    (label_body(grade="D"), 422),
    (label_body(status="rejected"), 422),
    (marked(40, 105), 422),
    (marked(40, 39), 422),
    (marked(4.5, 39), 422),
    (marked(4, 39, "unknown"), 422),
    (label_body(expansions=[{"start": 4, "end": 39, "label": "consolidation"}] * 2), 422),
]


def test_malformed_bodies_get_4xx_and_save_nothing(client, page_state, first):
    for body, status in MALFORMED:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        answer = client.put(first, content=content, headers={"Content-Type": "application/json"})
        assert answer.status_code == status, (content[:200], answer.text)
        assert answer.json()["error"]
    # A form cannot save either.
    assert client.put(first, content=b"{}", headers={"Content-Type": "text/plain"}).status_code == 415
    assert page_state.store.all() == []


def test_a_class_that_is_no_printable_line_is_not_saved(client, page_state, monkeypatch, first):
    """Not even where the page itself was opened with it."""
    schema = "must obey its schema"
    # What turns the direction of a line is no control character, and no printable one.
    turned = "the class of expansion 1 must be one printable line (found 'a\\u202eb')"
    for name, said in {"a\nb": schema, "a\x1b[31m": schema, "a\u202eb": turned}.items():
        monkeypatch.setattr(page_state, "classes", (name, "consolidation"))
        answer = client.put(first, json=marked(4, 39, name))
        assert (answer.status_code, said in answer.json()["error"]) == (422, True), answer.text
    assert page_state.store.all() == []


def test_what_is_not_there_is_404(client):
    assert client.get("/api/window/none?annotator=anna").status_code == 404
    assert client.put("/api/label/none", json=label_body()).status_code == 404
    assert client.get("/nothing").json()["error"]
    assert client.get("/../../etc/passwd").status_code == 404
    assert client.get("/%2e%2e/%2e%2e/pyproject.toml").status_code == 404


def test_marks_are_saved_at_the_times_of_their_bars(client, page_state):
    window = page_state.window_list.window_id[2]
    saved = client.put(f"/api/label/{window}", json=label_body(note="clear")).json()["label"]
    assert saved["revision"] == 1
    times = page_state.window_list.times(2)
    stored = page_state.store.get(window, "anna")
    assert (stored.start_us, stored.end_us) == (times[0], times[104])
    assert [(mark.start_us, mark.end_us) for mark in stored.expansions] == [(times[40], times[52])]
    again = client.get(f"/api/window/{window}?annotator=anna").json()
    assert again["label"] == saved
    assert again["times_us"][again["first"] + 40] == times[40]
    assert client.get(f"/api/window/{window}?annotator=ben").json()["label"] is None


def test_unusual_marks_are_saved_and_said(client, first):
    marks = [{"start": 10, "end": 40, "label": "consolidation"}, {"start": 40, "end": 40, "label": "retracement"}]
    answer = client.put(first, json=label_body(expansions=marks)).json()
    assert answer["label"]["revision"] == 1
    assert answer["warnings"] == [
        "expansion 1 (bars 10 to 40) is not inside the inner zone, bars 30 to 74",
        "expansion 1 (bars 10 to 40) shares bars with expansion 2",
        "expansion 2 (bars 40 to 40) has one bar",
        "expansion 2 (bars 40 to 40) shares bars with expansion 1",
    ]
    assert client.put(first, json=label_body(expected_revision=1)).json()["warnings"] == []


@pytest.mark.parametrize("how", ["removed", "moved", "replaced", "log removed"])
def test_a_save_into_a_store_that_is_gone_is_an_error_and_no_label(tmp_path, client, page_state, how):
    url, path = f"/api/label/{page_state.window_list.window_id[0]}", tmp_path / "labels.db"
    assert client.put(url, json=label_body()).status_code == 200
    if how == "log removed":
        (tmp_path / "labels.db-wal").unlink()
    elif how == "removed":
        path.unlink()
    else:
        path.rename(tmp_path / "elsewhere.db")
    if how == "replaced":
        LabelStore(path).close()
    answer = client.put(url, json=label_body(expected_revision=1, grade="B"))
    assert answer.status_code == 503
    assert "nothing was saved, and marks stay in the page" in answer.json()["error"]
    assert (
        client.post(url.replace("label", "undo", 1), json={"annotator": "anna", "expected_revision": 1}).status_code
        == 503
    )
    if how == "moved":
        assert page_state.store.get(page_state.window_list.window_id[0], "anna").revision == 1
        (tmp_path / "elsewhere.db").rename(path)
        assert client.put(url, json=label_body(expected_revision=1)).status_code == 200


def test_a_window_says_its_symbol_and_bar_length(tmp_path):
    page_state = made_page_state(tmp_path, random_walk_bars(150, symbol="EURUSD"))
    window = client_of(page_state).get("/api/next?annotator=anna").json()["window"]
    assert (window["symbol"], window["bar_us"]) == ("EURUSD", 3_600_000_000)
    page_state.store.close()


def test_the_second_of_two_pages_is_told_what_stands(client, first):
    stands = client.put(first, json=label_body(grade="B")).json()["label"]
    second = client.put(first, json=label_body(grade="C"))
    assert (second.status_code, second.json()["current"]) == (409, stands)
    assert client.put(first, json=label_body(grade="C", expected_revision=1)).json()["label"]["revision"] == 2


def test_undo_brings_the_save_before_back(client, page_state):
    window = page_state.window_list.window_id[0]
    client.put(f"/api/label/{window}", json=label_body(grade="B"))
    client.put(f"/api/label/{window}", json=label_body(grade="C", expected_revision=1))
    undone = client.post(f"/api/undo/{window}", json={"annotator": "anna", "expected_revision": 2})
    assert undone.json()["label"]["grade"] == "B"
    assert undone.json()["label"]["revision"] == 3
    stale = client.post(f"/api/undo/{window}", json={"annotator": "anna", "expected_revision": 2})
    assert stale.status_code == 409


def test_what_another_process_saved_is_not_given_again(client, page_state, tmp_path):
    names = page_state.window_list.window_id
    assert client.get("/api/next?annotator=anna").json()["window"]["id"] == names[0]
    other = made_page_state(tmp_path)
    client_of(other).put(f"/api/label/{names[0]}", json=label_body())
    other.store.close()
    answer = client.get("/api/next?annotator=anna").json()
    assert (answer["window"]["id"], answer["left"]) == (names[1], len(names) - 1)


def test_progress_counts_windows_and_classes(client, page_state):
    names = page_state.window_list.window_id
    client.put(f"/api/label/{names[0]}", json=label_body())
    client.put(f"/api/label/{names[1]}", json=label_body(status="rejected", grade="D", reason="too short"))
    client.put(f"/api/label/{names[2]}", json=label_body(status="skipped", grade="", expansions=[]))
    assert client.get("/api/progress?annotator=anna").json() == {
        "n_windows": len(names),
        "left": len(names) - 3,
        "labelled": 1,
        "rejected": 1,
        "skipped": 1,
        "classes": {"consolidation": 1, "retracement": 0},
    }


def test_markup_in_a_symbol_stays_text(tmp_path):
    symbol = "<img src=x onerror=alert(1)>/EUR"
    page_state = made_page_state(tmp_path, random_walk_bars(150, symbol=symbol))
    client = client_of(page_state)
    window = client.get("/api/next?annotator=anna").json()["window"]
    assert window["symbol"] == symbol
    url = f"/api/window/{quote(window['id'], safe='')}?annotator=anna"
    assert client.get(url).headers["content-type"] == "application/json"
    assert client.get(url).json()["id"] == window["id"]
    # The page never makes markup of text.
    for script in STATIC.glob("*.js"):
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", script.read_text())
    page_state.store.close()


def test_the_model_is_silent_until_the_person_has_spoken(tmp_path):
    before = made_page_state(tmp_path)
    window_list = before.window_list
    before.store.close()
    n = len(window_list)
    curves = np.full((n, 105, 2), 1 / 105, dtype=np.float32)
    answers = ModelAnswers(["consolidation", "retracement"], np.full((n, 2), 0.5), np.tile([40, 50], (n, 1)), curves)
    page_state = made_page_state(tmp_path, answers=answers)
    client, window = client_of(page_state), window_list.window_id[0]
    url = f"/api/window/{window}?annotator=anna"
    assert client.get(url).json()["model"] is None
    assert client.get("/api/next?annotator=anna&queue=uncertainty").json()["window"]["model"] is None
    told = client.get(url + "&assist=true").json()["model"]
    assert (told["start"], told["end"], len(told["curves"][0])) == (40, 50, 105)
    client.put(f"/api/label/{window}", json=label_body(status="skipped", grade="", expansions=[]))
    assert client.get(url).json()["model"] is None
    client.put(f"/api/label/{window}", json=label_body(expected_revision=1))
    assert client.get(url).json()["model"]["classes"] == {"consolidation": 0.5, "retracement": 0.5}
    assert client.get(f"/api/window/{window}?annotator=ben").json()["model"] is None
    page_state.store.close()


def test_a_label_over_other_bars_is_neither_shown_nor_replaced(tmp_path, client, page_state):
    window = page_state.window_list.window_id[0]
    client.put(f"/api/label/{window}", json=label_body())
    other = made_page_state(tmp_path, random_walk_bars(400, start="2021-01-01"))
    other.window_list.window_id[0] = window
    other.__post_init__()
    elsewhere = client_of(other)
    assert elsewhere.get(f"/api/window/{window}?annotator=anna").status_code == 422
    answer = elsewhere.put(f"/api/label/{window}", json=label_body(expected_revision=1))
    assert answer.status_code == 422
    assert "over others" in answer.json()["error"]
    assert page_state.store.get(window, "anna").revision == 1
    other.store.close()


def test_the_page_names_no_other_host_but_its_links():
    for path in [*STATIC.glob("*.js"), *STATIC.glob("*.css"), *STATIC.glob("*.html")]:
        assert not re.search(r"(?:src|url|import|fetch|from)\s*[=(]?\s*[\"']?(?:https?:)?//", path.read_text()), path


def test_the_page_and_its_scripts_are_served(client):
    assert "<title>moola label</title>" in client.get("/").text
    for name in ("app.js", "vendor/lightweight-charts.standalone.production.mjs"):
        assert client.get(f"/{name}").headers["content-type"].startswith("text/javascript")


BARS = "data/raw/eurusd_1h_2017.parquet"


@pytest.fixture
def served(monkeypatch) -> list:
    """What would be served; the command continues as after Ctrl-C."""
    page_states = []

    def serve(page_state, place):
        assert place.getsockname()[0] == "127.0.0.1"
        page_states.append(page_state)
        raise KeyboardInterrupt

    monkeypatch.setattr(page_server, "serve", serve)
    return page_states


def test_it_says_where_the_page_is_and_what_is_left(sample, moola, served):
    answer = moola("label", "--bars", BARS, "--annotator", "anna", "--port", "0", "--store", "l.db")
    assert answer.code == 0, answer.err
    assert "137 windows, 137 left for anna; labels in l.db" in answer.out
    assert "Open http://127.0.0.1:" in answer.out
    assert "0 labelled, 0 rejected, 0 skipped; all saved." in answer.out
    assert Path("l.db").is_file()


def test_json_is_one_object(sample, moola, served):
    windows = "data/processed/unlabeled/windows.parquet"
    answer = moola("label", "--bars", BARS, "--windows", windows, "--port", "0", "--annotator", "ben", "--json")
    assert answer.json["n_windows"] == len(served[0].window_list) > 1000
    assert answer.json["queues"] == ["time", "random", "diversity", "conflicts"]


@pytest.mark.slow
def test_a_model_adds_the_queue_by_uncertainty(made_run, moola, served):
    run = made_run("--n-heads", "3").name
    labelled = "data/processed/labeled/train_latest.parquet"
    arguments = ("--windows", labelled, "--model", *models(run), "--port", "0", "--device", "cpu")
    assert moola("label", "--bars", BARS, *arguments).code == 0
    page_state = served[0]
    assert "uncertainty" in page_state.queues.names
    entropy = page_state.answers.entropy()[page_state.queues.order("uncertainty")]
    assert (entropy[:-1] >= entropy[1:]).all()
    assert len(page_state.answers.of(0)["curves"][0]) == 105
    # Three heads can differ.
    apart = page_state.answers.disagreement[page_state.queues.order("disagreement")]
    assert (apart[:-1] >= apart[1:]).all()
    assert 0 <= apart.min() < apart.max() <= np.log(2)


def models(*runs: str) -> list[str]:
    return [f"artifacts/runs/{run}/model.pkl" for run in runs]


def test_predictions_add_the_queue_of_label_errors(made_run, moola, served):
    run = made_run("--n-heads", "3").name
    windows = ("--windows", "data/processed/labeled/train_latest.parquet", "--port", "0", "--device", "cpu")
    held_out = f"artifacts/runs/{run}/predictions.parquet"
    assert moola("label", "--bars", BARS, *windows, "--predictions", held_out).code == 0
    page_state = served[0]
    assert "label errors" in page_state.queues.names
    assert len(page_state.out_of_fold.order) == len(pl.read_parquet(held_out))
    moola("predict", "--model", *models(run), "--data", DATA, "--output", "in_sample.parquet")
    answer = moola("label", "--bars", BARS, *windows, "--predictions", "in_sample.parquet")
    assert answer.code == 3
    assert "did not learn from" in answer.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--classes", "a\nb", "c"), "a class must be one printable line"),
        (("--classes", "a\x1b[31m", "c"), "a class must be one printable line"),
        (("--classes", "a", "a"), "--classes must be 1 to 9 different names"),
        (("--context-bars", "-1"), "--context-bars must be"),
        (("--annotator", " "), "--annotator must have"),
        (("--port", "70000"), "--port must be"),
        (("--stride", "0"), "--stride must be"),
    ],
)
def test_wrong_options_leave_no_store(sample, moola, served, arguments, said):
    answer = moola("label", "--bars", BARS, *arguments)
    assert answer.code == 2
    assert said in answer.err
    assert not Path("artifacts/labels").exists()


@pytest.mark.parametrize(("words", "learns"), [((), True), (("--no-model",), False)])
def test_one_switch_turns_learning_off(sample, moola, served, words, learns):
    answer = moola("label", "--bars", BARS, "--annotator", "anna", "--port", "0", *words)
    assert answer.code == 0
    assert "chart.html" in answer.out
    (page_state,) = served
    assert page_state.learner.is_on is learns


def test_a_taken_port_is_said(sample, moola, served):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        answer = moola("label", "--bars", BARS, "--port", str(taken.getsockname()[1]))
    assert answer.code == 1
    assert "Give another --port" in answer.err


def test_missing_packages_are_named(sample, moola, monkeypatch):
    whole = builtins.__import__

    def without(name, *rest, **more):
        if name.split(".")[0] == "fastapi":
            raise ImportError("No module named 'fastapi'", name="fastapi")
        return whole(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    answer = moola("label", "--bars", BARS)
    assert answer.code == 1
    assert 'pip install "moola[label]"' in answer.err


def test_the_extra_is_declared():
    assert any("uvicorn" in line and "label" in line for line in requires("moola") or [])


def label_one(page_state) -> None:
    texts = {"grade": "", "reason": "", "note": ""}
    page_state.save(page_state.window_list.window_id[0], "anna", "labelled", [Mark(40, 50, "consolidation")], texts, 0)


def test_labels_do_not_cross_instruments(tmp_path, monkeypatch, moola, served):
    monkeypatch.chdir(tmp_path)
    write_bars(Path("gbp.parquet"), random_walk_bars(400, seed=1))
    write_bars(Path("aud.parquet"), random_walk_bars(400, seed=2))
    write_bars(Path("later.parquet"), random_walk_bars(400, seed=2, start="2022-01-01"))
    label = ("label", "--annotator", "anna", "--port", "0", "--store", "l.db", "--bars")

    def serve(page_state, place):
        label_one(page_state)
        raise KeyboardInterrupt

    monkeypatch.setattr(page_server, "serve", serve)
    assert moola(*label, "gbp.parquet").code == 0
    before = Path("l.db").read_bytes()
    for bars, said in (("aud.parquet", "105 of 105 bars have other prices"), ("later.parquet", "nothing shows it")):
        answer = moola(*label, bars)
        assert answer.code == 3, answer.err
        assert said in answer.err
        assert "--symbol NAME" in answer.err
    export = ("labels", "export", "--store", "l.db", "--output", "out.parquet", "--bars")
    assert moola(*export, "aud.parquet").code == 3
    assert moola("labels", "stats", "--store", "l.db", "--bars", "aud.parquet").code == 3
    assert not Path("out.parquet").exists()
    assert Path("l.db").read_bytes() == before
    assert moola(*export, "gbp.parquet").code == 0
    # Named, they are an instrument of their own, which the labels of the other do not reach.
    assert moola(*label, "aud.parquet", "--symbol", "AUDUSD").code == 0
    answer = moola(*export, "aud.parquet", "--symbol", "AUDUSD", "--json")
    assert (answer.json["n_windows"], len(answer.json["left_out"])) == (1, 1)
    assert "is not in the bars file" in answer.json["left_out"][0]["reason"]
    with LabelStore(Path("l.db")) as store:
        assert sorted(one.symbol for one in store.all()) == ["", "AUDUSD"]
    named = random_walk_bars(400, symbol="EURUSD")
    write_bars(Path("eur.parquet"), named)
    answer = moola(*label, "eur.parquet", "--symbol", "GBPUSD")
    assert (answer.code, "--symbol must name bars that have no symbol" in answer.err) == (2, True)


HOST = {"Host": f"127.0.0.1:{PORT}"}

CHECKS = [not_a_server_error, content_type_conformance, response_schema_conformance, status_code_conformance]

BOUNDED = settings(max_examples=3, phases=[Phase.generate], suppress_health_check=list(HealthCheck))


@pytest.mark.slow
@pytest.mark.parametrize("mode", list(GenerationMode))
def test_any_request_is_answered_as_the_schema_says(tmp_path, mode):
    asked = []
    page_state = made_page_state(tmp_path)
    SHOWN.now = page_state
    for found in schemathesis.openapi.from_asgi("/openapi.json", application(), headers=HOST).get_all_operations():
        operation = found.ok()
        if mode is GenerationMode.NEGATIVE and not (operation.body or operation.query or operation.path_parameters):
            continue

        @BOUNDED
        @given(operation.as_strategy(generation_mode=mode), st.booleans())
        def ask(case, known):
            if known and "window_id" in case.path_parameters:
                # Nobody guesses the id of a window, and what lies behind it is to be reached too.
                case.path_parameters["window_id"] = page_state.window_list.window_id[0]
            case.call_and_validate(headers=HOST, checks=CHECKS)

        ask()
        asked.append(operation.label)
    page_state.store.close()
    assert {"PUT /api/label/{window_id}", "POST /api/undo/{window_id}", "GET /api/next"} <= set(asked)
