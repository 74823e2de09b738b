"""Nothing is lost: a killed server, a full disk, a foreign page, a body that is too large."""

from __future__ import annotations

import http.client
import json
from urllib.parse import urlsplit

import pytest

from moola.tables.bar_table import write_bars
from moola.tables.label_store import LabelStore
from tests.e2e.hands import press, save_and_wait, window_id
from tests.label.page_states import label_body
from tests.made import random_walk_bars

pytestmark = pytest.mark.e2e


def test_a_killed_server_loses_no_label_and_no_mark(tmp_path, command, page_of):
    write_bars(tmp_path / "bars.parquet", random_walk_bars(400))
    options = ("--bars", "bars.parquet", "--store", "labels.db", "--annotator", "anna")
    server = command(*options, "--port", "0")
    page = page_of(server)
    first = window_id(page)
    press(page, "n", "e", "ArrowRight", "a")
    second = save_and_wait(page)
    press(page, "n", "2", "b")
    server.kill()
    press(page, "Enter")
    page.wait_for_selector("#status:has-text('The server does not answer')")
    assert page.inner_text("#saved") == "not saved yet"
    command(*options, "--port", str(urlsplit(server.url).port))
    page.reload()
    page.wait_for_selector("#chart:focus")
    assert window_id(page) == second
    assert page.locator("#expansions li").count() == 1
    save_and_wait(page)
    with LabelStore(tmp_path / "labels.db") as store:
        found = {label.window_id: (label.grade, label.class_text) for label in store.all("anna")}
    assert found == {first: ("A", "consolidation"), second: ("B", "retracement")}


def test_a_full_disk_is_said_and_the_marks_wait_for_room(serve, page_of):
    served = serve()
    page = page_of(served)
    name = window_id(page)
    connection, lock = served.page_state.store._connection, served.page_state.store._lock
    with lock:
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count = {pages}")
    # Larger than what is free in the last page.
    press(page, "n", "m")
    page.fill("#note", "x" * 4000)
    press(page, "Control+Enter")
    page.wait_for_selector("#status.wrong:has-text('full; nothing was changed')")
    assert served.page_state.store.all() == []
    page.reload()
    page.wait_for_selector("#chart:focus")
    assert (window_id(page), page.inner_text("#saved")) == (name, "not saved yet")
    with lock:
        connection.execute("PRAGMA max_page_count = 1000000")
    save_and_wait(page)
    assert [(label.window_id, len(label.note)) for label in served.page_state.store.all()] == [(name, 4000)]


def asked(served, method: str, path: str, headers: dict[str, str], body: bytes | None = None) -> int:
    place = urlsplit(served.url)
    connection = http.client.HTTPConnection(place.hostname, place.port, timeout=30)
    try:
        connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        for name, value in ({"Host": place.netloc} | headers).items():
            connection.putheader(name, value)
        connection.endheaders()
        try:
            for at in range(0, len(body or b""), 1_000_000):
                connection.send(body[at : at + 1_000_000])
        except (BrokenPipeError, ConnectionResetError):
            # It was refused before all was sent.
            pass
        return connection.getresponse().status
    finally:
        connection.close()


def test_a_foreign_host_and_broken_bodies_are_refused_over_the_wire(serve):
    served = serve()
    path = f"/api/label/{served.page_state.window_list.window_id[0]}"
    kind = {"Content-Type": "application/json", "Content-Length": "2"}
    assert asked(served, "GET", "/", {}) == 200
    assert asked(served, "GET", "/", {"Host": "evil.example"}) == 403
    assert asked(served, "PUT", path, kind | {"Origin": "http://evil.example"}, b"{}") == 403
    assert asked(served, "PUT", path, kind, b"{]") == 400
    assert asked(served, "PUT", path, kind | {"Content-Length": "100000000"}, b"x" * 100_000_000) == 413
    assert served.page_state.store.all() == []


STRANGER = """async ([url, body]) => {
  const tries = [
    { method: "PUT", headers: { "Content-Type": "application/json" }, body },
    { method: "POST", mode: "no-cors", headers: { "Content-Type": "text/plain" }, body },
    { method: "GET" },
  ];
  const read = [];
  for (const one of tries) {
    try { read.push((await fetch(url, one)).type); } catch { read.push("refused"); }
  }
  return read;
}"""


def test_a_page_of_another_origin_in_the_same_browser_reads_and_writes_nothing(serve, browser, tmp_path):
    served = serve()
    stranger = browser.new_page()
    # A page of another origin, with no policy of its own against asking elsewhere.
    place = tmp_path / "stranger.html"
    place.write_text("<title>stranger</title>")
    stranger.goto(place.as_uri())
    url = f"{served.url}api/label/{served.page_state.window_list.window_id[0]}"
    read = stranger.evaluate(STRANGER, [url, json.dumps(label_body())])
    # An opaque answer is one that the page cannot read.
    assert set(read) <= {"refused", "opaque"}
    stranger.close()
    assert served.page_state.store.all() == []
