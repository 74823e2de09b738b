"""The chart of all bars, from raw bars and an empty store to exported spans: once by mouse, once by keyboard."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime
from urllib.request import Request, urlopen

import polars as pl
import pytest
from matplotlib.image import imread

from moola.core.expansions import PRIOR_BARS
from moola.label.chart_state import BarSpan, Change
from moola.tables.bar_table import write_bars
from moola.tables.label_store import LabelStore
from tests.e2e.hands import press
from tests.label.page_states import made_page_state, planted_bars

pytestmark = pytest.mark.e2e

CHART, FIRST_S = "chart.html", 1_500_000_000


def settled(page) -> None:
    """Wait until what was marked is on disk."""
    page.wait_for_function(
        "() => !Object.keys(localStorage).some((name) => name.includes('.chart.') && localStorage[name])"
    )
    page.wait_for_timeout(50)


def mark_by_keys(page, start: int, end: int, key: str) -> None:
    """Go to the time of a bar, mark from it to another, and give the class."""
    press(page, "Escape", "Home")
    press(page, "j")
    page.keyboard.type(f"{datetime.fromtimestamp(FIRST_S + 3600 * start, UTC):%Y-%m-%d %H:%M}")
    press(page, "Enter")
    page.wait_for_selector(f"#readout:has-text('Bar {start},')")
    press(page, "n", *["ArrowRight"] * (end - start), "n", key)


def saved(page_state) -> list[tuple[int, int, str, str]]:
    told = page_state.chart.labels("EURUSD", "anna")
    return [(one["start"], one["end"], one["label"], one["source"]) for one in told["spans"]]


def appears(page, selector: str, timeout_ms: int) -> bool:
    """Tell whether something is on the page before the time is over."""
    from playwright.sync_api import TimeoutError as TooLate

    try:
        page.wait_for_selector(selector, timeout=timeout_ms)
    except TooLate:
        return False
    return True


def x_of(page, bar: int) -> tuple[float, float]:
    """Move the mouse over the chart until the readout names a bar, however late the page draws."""
    for _ in range(20):
        x, y = x_of_static(page, bar)
        page.mouse.move(x, y)
        if appears(page, f"#readout:has-text('Bar {bar},')", 500):
            return x, y
    raise AssertionError(f"no place on the chart is bar {bar}: {page.inner_text('#readout')}")


def drag(page, start: int, end: int) -> None:
    x_of(page, start)
    page.mouse.down()
    page.mouse.move(*[part + 1 for part in x_of_static(page, end)], steps=3)
    page.mouse.up()


def shown(page) -> tuple[float, float]:
    """Return the edges of the bars shown."""
    first, last = page.get_attribute("#chart", "data-range").split()
    return float(first), float(last)


def x_of_static(page, bar: int) -> tuple[float, float]:
    """Place of a bar by the view's own range, for the mouse is down."""
    box = page.locator("#chart").bounding_box()
    width = page.evaluate("() => document.querySelector('#chart td:nth-child(2)').clientWidth")
    first, last = shown(page)
    return box["x"] + 1 + (bar - first) / (last - first) * width, box["y"] + 150


def test_by_keyboard_from_raw_bars_to_exported_spans(tmp_path, page_of, serve_chart):
    bars, moves = planted_bars(20)
    served = serve_chart(bars)
    page = page_of(served, path=CHART)
    for start, end, label in moves[:10]:
        mark_by_keys(page, start, end, "1" if label == "consolidation" else "2")
    settled(page)
    assert [row[:3] for row in saved(served.page_state)] == moves[:10]
    # A deletion is undone, and an end that was moved is moved back.
    press(page, "x")
    settled(page)
    assert len(saved(served.page_state)) == 9
    press(page, "z", "[", "e", "ArrowRight")
    settled(page)
    assert len(saved(served.page_state)) == 10
    press(page, "ArrowLeft", "Escape", "Home", "l")
    page.wait_for_selector("#status:has-text('Looked at all')")
    settled(page)
    # Proposals come by themselves; one is accepted, one rejected, one accepted and corrected.
    press(page, "j")
    page.keyboard.type("2017-09-08")
    press(page, "Enter")
    page.wait_for_selector("#nextProposal:not([disabled])", timeout=120_000)
    for keys in (("y",), ("r",), ("y", "ArrowRight")):
        press(page, "Escape", ".")
        page.wait_for_selector("#proposed:not([hidden])")
        press(page, *keys)
        settled(page)
    rows, told = saved(served.page_state), served.page_state.chart.labels("EURUSD", "anna")
    assert sorted(row[3] for row in rows if row[3]) == ["accepted", "corrected"]
    assert [row[:3] for row in rows if not row[3]] == moves[:10]
    assert (len(told["rejected"]), len(told["stretches"])) == (1, 1)
    page.focus("[data-export=spans]")
    press(page, "Enter")
    page.wait_for_selector("#status:has-text('Written')", timeout=60_000)
    table = pl.read_csv(tmp_path / "page/spans.csv")
    assert table["label"].to_list() == [row[2] for row in rows]
    assert (tmp_path / "page/stretches.csv").exists()


def test_by_mouse_spans_are_marked_moved_listed_and_deleted(page_of, serve_chart):
    bars, _ = planted_bars(10)
    served = serve_chart(bars, learns=False)
    page = page_of(served, path=CHART)
    drag(page, 40, 60)
    settled(page)
    for bar in (100, 120):
        page.mouse.click(*x_of(page, bar))
    page.click("#classes button[data-value=retracement]")
    settled(page)
    assert [row[:3] for row in saved(served.page_state)] == [(40, 60, "consolidation"), (100, 120, "retracement")]
    # An end is pulled; the wheel zooms about the mouse; the strip goes elsewhere and the list comes back.
    page.mouse.move(*[part - 0.5 for part in x_of_static(page, 121)])
    x, y = x_of_static(page, 120)
    half = (x_of_static(page, 121)[0] - x) / 2
    page.mouse.move(x + half, y)
    page.mouse.down()
    page.mouse.move(x_of_static(page, 130)[0], y, steps=4)
    page.mouse.up()
    settled(page)
    assert saved(served.page_state)[1][:2] == (100, 130)
    first, last = shown(page)
    page.mouse.wheel(0, -400)
    closer = "(w) => { const [a, b] = document.getElementById('chart').dataset.range.split(' '); return b - a < w; }"
    page.wait_for_function(closer, arg=last - first)
    box = page.locator("#strip").bounding_box()
    page.mouse.click(box["x"] + box["width"] * 0.9, box["y"] + 20)
    assert shown(page)[0] > 600
    page.fill("#search", "retracement")
    page.click("#list li button")
    assert shown(page)[0] < 130
    page.click("#list li button[aria-label^=Delete]")
    settled(page)
    assert len(saved(served.page_state)) == 1
    page.click("#undo")
    settled(page)
    assert len(saved(served.page_state)) == 2
    page.click("#looked")
    settled(page)
    assert len(served.page_state.chart.labels("EURUSD", "anna")["stretches"]) == 1


def test_bars_that_a_class_speaks_of_are_shaded_and_said_so(page_of, serve_chart):
    bars, _ = planted_bars(10)
    served = serve_chart(bars, learns=False)
    page = page_of(served, path=CHART)
    mark_by_keys(page, 300, 320, "1")
    settled(page)
    assert f"the class describes the {PRIOR_BARS} shaded bars before it" in page.inner_text("#chosen")
    far, near = (colour_above(page, bar) for bar in (300 - PRIOR_BARS - 8, 300 - PRIOR_BARS // 2))
    assert near != far
    press(page, "x")
    settled(page)
    assert colour_above(page, 300 - PRIOR_BARS // 2) == far


def colour_above(page, bar: int) -> tuple[float, ...]:
    """Colour of the chart at a bar, above all candles."""
    x, _ = x_of_static(page, bar)
    box = page.locator("#chart").bounding_box()
    image = imread(io.BytesIO(page.screenshot()))
    return tuple(image[int(box["y"]) + 4, int(x)].tolist())


def test_another_page_that_saved_first_loses_nothing(page_of, serve_chart):
    served = serve_chart(planted_bars(4)[0], learns=False)
    page, other = page_of(served, path=CHART), page_of(served, path=CHART)
    mark_by_keys(page, 10, 14, "1")
    settled(page)
    mark_by_keys(other, 30, 34, "2")
    other.wait_for_selector("#conflict:not([hidden])")
    assert [row[:2] for row in saved(served.page_state)] == [(10, 14)]
    other.click("#useMine")
    settled(other)
    assert [row[:2] for row in saved(served.page_state)] == [(10, 14), (30, 34)]


def test_a_killed_server_loses_no_span_that_was_answered(tmp_path, command):
    write_bars(tmp_path / "bars.parquet", planted_bars(4)[0])
    words = ("--bars", "bars.parquet", "--store", "labels.db", "--annotator", "anna", "--port", "0", "--no-model")
    server = command(*words)
    for number in range(5):
        body = {"annotator": "anna", "symbol": "EURUSD", "expected_revision": number,
                "add": [{"start": number, "end": number + 4, "label": "flag"}]}  # fmt: skip
        asked = Request(
            f"{server.url}api/chart/labels", json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        with urlopen(asked) as answer:
            assert json.load(answer)["revision"] == number + 1
    server.kill()
    with LabelStore(tmp_path / "labels.db") as store:
        (chart,) = store.charts()
    assert (chart.revision, len(chart.spans)) == (5, 5)


def test_spans_like_one_are_answered_from_a_contact_sheet(page_of, serve_chart):
    bars, moves = planted_bars(12)
    served = serve_chart(bars)
    start, end, label = moves[5]
    served.page_state.chart.change("EURUSD", "anna", 0, Change(add=(BarSpan(start, end, label),)))
    page = page_of(served, width=390, height=844, path=CHART)
    assert page.is_visible("#annotator")
    assert page.evaluate("() => document.documentElement.scrollWidth") <= 390
    press(page, "End", "[", "f")
    page.wait_for_selector("#cards button[aria-label]", timeout=120_000)
    shown_before = page.locator("#cards button:not([hidden])").count()
    other = "2" if label == "consolidation" else "1"
    for keys in ((".", "y"), (other,), ("r",)):
        press(page, *keys)
        settled(page)
    rows, told = saved(served.page_state), served.page_state.chart.labels("EURUSD", "anna")
    assert sorted(row[3] for row in rows) == ["", "accepted", "corrected"]
    assert [row[2] == label for row in sorted(rows, key=lambda row: row[3])] == [True, True, False]
    assert len(told["rejected"]) == 1
    assert page.locator("#cards button:not([hidden])").count() <= shown_before - 3
    press(page, "Escape")
    assert page.locator("#alike").is_hidden()


def proposed_end(page) -> int:
    """Return the last bar of the proposal that is shown."""
    return int(page.inner_text("#proposed").split(" to ")[1])


class Keyboard:
    """A person who never touches the mouse."""

    def __init__(self, page, n_bars: int) -> None:
        self.page, self.n_bars = page, n_bars

    def mark(self, start: int, end: int, label: str) -> None:
        mark_by_keys(self.page, start, end, "1" if label == "consolidation" else "2")

    def go_on_from(self, bar: int) -> None:
        """Show a bar and ask for the next proposal."""
        press(self.page, "Escape", "j")
        self.page.keyboard.type(f"{datetime.fromtimestamp(FIRST_S + 3600 * bar, UTC):%Y-%m-%d %H:%M}")
        press(self.page, "Enter")
        if appears(self.page, "#nextProposal:not([disabled])", 20_000):
            press(self.page, ".")

    def answer(self, how: str, _: int) -> None:
        press(self.page, *{"accepted": "y", "corrected": "y ArrowLeft", "rejected": "r"}[how].split())

    def choose(self, selector: str) -> None:
        """Use a button."""
        self.page.focus(selector)
        press(self.page, "Enter")


class Mouse:
    """A person who never touches the keyboard."""

    def __init__(self, page, n_bars: int) -> None:
        self.page, self.n_bars = page, n_bars

    def show(self, bar: int) -> None:
        box = self.page.locator("#strip").bounding_box()
        self.page.mouse.click(box["x"] + box["width"] * bar / self.n_bars, box["y"] + 20)

    def mark(self, start: int, end: int, label: str) -> None:
        self.show(start)
        for bar in (start, end):
            self.page.mouse.click(*x_of(self.page, bar))
        self.page.click(f"#classes button[data-value={label}]")
        settled(self.page)

    def go_on_from(self, bar: int) -> None:
        self.show(bar)
        if appears(self.page, "#nextProposal:not([disabled])", 20_000):
            self.page.click("#nextProposal")

    def answer(self, how: str, end: int) -> None:
        """Accept, reject, or accept and pull the last bar to the one before."""
        self.page.click("#reject" if how == "rejected" else "#accept")
        if how == "corrected":
            settled(self.page)
            x, y = x_of_static(self.page, end)
            half = (x_of_static(self.page, end + 1)[0] - x) / 2
            self.page.mouse.move(x + half, y)
            self.page.mouse.down()
            self.page.mouse.move(x_of_static(self.page, end - 1)[0], y, steps=4)
            self.page.mouse.up()

    def choose(self, selector: str) -> None:
        self.page.click(selector)


@pytest.mark.slow
@pytest.mark.parametrize("hands", [Keyboard, Mouse])
def test_from_raw_bars_to_a_scan_with_proposals_answered(tmp_path, page_of, serve_chart, monkeypatch, hands):
    monkeypatch.chdir(tmp_path)
    bars, moves = planted_bars(60)
    served = serve_chart(bars)
    page = page_of(served, path=CHART)
    person = hands(page, len(bars))
    for start, end, label in moves[:20]:
        person.mark(start, end, label)
    settled(page)
    assert [row[:3] for row in saved(served.page_state)] == moves[:20]
    wanted = {"accepted": 10, "corrected": 5, "rejected": 5}
    # Twice over all moves, for a proposal can be late.
    for bar in [*range(2000, 6300, 105)] * 2:
        if not any(wanted.values()):
            break
        person.go_on_from(bar)
        if appears(page, "#proposed:not([hidden])", 20_000):
            what = next(name for name, n in wanted.items() if n)
            person.answer(what, proposed_end(page))
            settled(page)
            wanted[what] -= 1
    rows, told = saved(served.page_state), served.page_state.chart.labels("EURUSD", "anna")
    sources = [row[3] for row in rows]
    assert (sources.count("accepted"), sources.count("corrected"), len(told["rejected"])) == (10, 5, 5)
    # Nothing that was marked by hand has moved.
    assert [row[:3] for row in rows if not row[3]] == moves[:20]
    person.choose("[data-export=spans]")
    page.wait_for_selector("#status:has-text('Written')", timeout=120_000)
    table = pl.read_csv(tmp_path / "page/spans.csv")
    assert sorted(table["source"].to_list()) == ["accepted"] * 10 + ["corrected"] * 5 + ["marked"] * 20
    person.choose("#train")
    page.wait_for_selector("#lines:has-text('$ moola windows')", timeout=300_000)
    while served.page_state.files.status()["is_busy"]:
        page.wait_for_timeout(500)
    assert served.page_state.files.status()["is_well"], page.inner_text("#lines")
    assert (tmp_path / "page/events.parquet").exists()


@pytest.fixture
def serve_chart(tmp_path):
    from tests.e2e.conftest import Served

    running = []

    def start(bars, learns: bool = True) -> Served:
        path = tmp_path / "bars.parquet"
        write_bars(path, bars)
        running.append(Served(made_page_state(tmp_path, bars, stride=105, learns=learns, bars_path=path)))
        return running[-1]

    yield start
    for served in running:
        served.page_state.learner.wait()
        served.stop()
