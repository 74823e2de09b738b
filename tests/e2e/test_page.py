"""The labelling page in a real browser: what is marked comes out of the store at exactly these bars."""

from __future__ import annotations

import pytest

from tests.made import random_walk_bars

pytestmark = pytest.mark.e2e


def point_at(page, bar: int) -> None:
    """Move the mouse until the readout names a bar."""
    page.locator("#chart").scroll_into_view_if_needed()
    box = page.locator("#chart").bounding_box()
    y = box["y"] + 100
    low, high = box["x"] + 1, box["x"] + box["width"] - 80
    for _ in range(20):
        x = (low + high) / 2
        page.mouse.move(x, y)
        page.wait_for_function("document.getElementById('readout').textContent.startsWith('Bar')")
        # The chart tells of the crosshair in its next frame.
        page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
        here = int(page.inner_text("#readout").split(",")[0].removeprefix("Bar "))
        if here == bar:
            return
        low, high = (x, high) if here < bar else (low, x)
    raise AssertionError(f"no place on the chart is bar {bar}")


def marked_bars(served, number: int, annotator: str = "anna") -> list[tuple[int, int, str]]:
    times = served.desk.shelf.times(number).tolist()
    label = served.desk.store.get(served.desk.shelf.window_id[number], annotator)
    return [(times.index(m.start_us), times.index(m.end_us), m.label) for m in label.expansions]


def press(page, *keys: str) -> None:
    for key in keys:
        page.keyboard.press(key)


def save_and_wait(page) -> None:
    before = page.get_attribute("#title", "title")
    page.keyboard.press("Enter")
    page.wait_for_function("(old) => document.getElementById('title').title !== old", arg=before)


def test_marks_by_click_and_drag_are_at_exactly_these_bars(serve, page_of):
    served = serve()
    page = page_of(served)
    point_at(page, 41)
    page.mouse.down()
    page.mouse.up()
    point_at(page, 33)
    page.mouse.down()
    page.mouse.up()
    point_at(page, 58)
    page.mouse.down()
    point_at(page, 63)
    page.mouse.up()
    press(page, "2")
    save_and_wait(page)
    assert marked_bars(served, 0) == [(33, 41, "consolidation"), (58, 63, "retracement")]
    label = served.desk.store.get(served.desk.shelf.window_id[0], "anna")
    assert (label.status, label.revision) == ("labelled", 1)


def test_everything_works_by_keyboard_alone(serve, page_of):
    served = serve()
    page = page_of(served)
    # Two expansions: 52 to 57 and, from the zone's first bar, 30 to 74.
    press(page, "n", "e", *["ArrowRight"] * 5, "1", "n", "2", "Home", "Tab", "End", "a")
    press(page, "m")
    page.keyboard.type("clear n x d")
    press(page, "Escape")
    save_and_wait(page)
    assert marked_bars(served, 0) == [(52, 57, "consolidation"), (30, 74, "retracement")]
    first = served.desk.store.get(served.desk.shelf.window_id[0], "anna")
    assert (first.grade, first.note) == ("A", "clear n x d")
    # A rejected one with its reason, then a skipped one, then back to the first of them.
    press(page, "d", "ArrowDown")
    save_and_wait(page)
    second = served.desk.store.get(served.desk.shelf.window_id[1], "anna")
    assert (second.status, second.reason, second.expansions) == ("rejected", "two moves run together", ())
    before = page.get_attribute("#title", "title")
    press(page, "k")
    page.wait_for_function("(old) => document.getElementById('title').title !== old", arg=before)
    assert served.desk.store.get(before, "anna").status == "skipped"
    press(page, "p")
    page.wait_for_function("(old) => document.getElementById('title').title === old", arg=before)
    # Undo and help.
    press(page, "n", "z")
    assert page.locator("#expansions li").count() == 0
    press(page, "?")
    assert page.locator("#help").is_visible()
    press(page, "Escape")
    assert not page.locator("#help").is_visible()
    assert "3 of" in page.inner_text("#counts")


def test_unsaved_marks_survive_a_reload(serve, page_of):
    served = serve()
    page = page_of(served)
    press(page, "n", "e", "ArrowRight", "c")
    page.reload()
    page.wait_for_selector("#expansions li")
    assert "52 to 53" in page.inner_text("#expansions")
    assert page.inner_text("#saved") == "not saved yet"
    save_and_wait(page)
    assert marked_bars(served, 0) == [(52, 53, "consolidation")]


def test_the_second_page_sees_what_stands_and_keeps_its_marks(serve, page_of):
    served = serve()
    one = page_of(served)
    other = page_of(served)
    press(one, "n", "a")
    press(other, "n", "ArrowRight", "2", "b")
    save_and_wait(one)
    other.keyboard.press("Enter")
    other.wait_for_selector("#conflict:not([hidden])")
    assert "52 to 52" in other.inner_text("#expansions")
    assert marked_bars(served, 0) == [(52, 52, "consolidation")]
    other.click("#useMine")
    assert "53 to 53" in other.inner_text("#expansions")
    save_and_wait(other)
    assert marked_bars(served, 0) == [(53, 53, "retracement")]
    assert served.desk.store.get(served.desk.shelf.window_id[0], "anna").revision == 2


@pytest.mark.parametrize("width", [1280, 768, 390])
def test_no_width_scrolls_sideways(serve, page_of, width):
    symbol = "<b>EUR</b><script>document.title='x'</script>"
    served = serve(bars=random_walk_bars(150, symbol=symbol))
    page = page_of(served, width, 900)
    press(page, "n", "d")
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    # Markup in a symbol's name is text.
    assert symbol in page.inner_text("#title")
    assert page.title() == "moola label"
    point_at(page, 60)
    assert page.inner_text("#readout").startswith("Bar 60, 2020-01-03 12:00 UTC")


def test_light_and_dark_follow_the_key(serve, page_of):
    page = page_of(serve())
    first = page.evaluate("document.documentElement.dataset.theme")
    press(page, "t")
    assert {first, page.evaluate("document.documentElement.dataset.theme")} == {"light", "dark"}
