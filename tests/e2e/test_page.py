"""The labelling page in a real browser: what is marked comes out of the store at exactly these bars."""

from __future__ import annotations

import pytest

from tests.e2e.hands import (
    choose_queue,
    click_at,
    go,
    marked_bars,
    name_annotator,
    point_at,
    press,
    save_and_wait,
    window_id,
)
from tests.made import random_walk_bars

pytestmark = pytest.mark.e2e


def test_marks_by_click_and_drag_are_at_exactly_these_bars(serve, page_of):
    served = serve()
    page = page_of(served)
    click_at(page, 41)
    click_at(page, 33)
    point_at(page, 58)
    page.mouse.down()
    point_at(page, 63)
    page.mouse.up()
    press(page, "2")
    save_and_wait(page)
    assert marked_bars(served, 0) == [(33, 41, "consolidation"), (58, 63, "retracement")]
    label = served.page_state.store.get(served.page_state.window_list.window_id[0], "anna")
    assert (label.status, label.revision) == ("labelled", 1)


def test_a_pointer_is_pulled_by_the_mouse_and_one_undo_puts_it_back(serve, page_of):
    served = serve()
    page = page_of(served)
    point_at(page, 45)
    page.mouse.down()
    point_at(page, 60)
    page.mouse.up()
    # The end's edge is the right edge of bar 60: the first place, from the right, where the cursor says so.
    box = page.locator("#chart").bounding_box()
    x, y = box["x"] + box["width"] - 100, box["y"] + 100
    cursor = "() => document.getElementById('chart').style.cursor"
    while page.evaluate(cursor) != "col-resize" and x > box["x"]:
        x -= 3
        page.mouse.move(x, y)
    page.mouse.down()
    point_at(page, 52)
    page.mouse.up()
    assert "45 to 52" in page.inner_text("#expansions")
    assert page.locator("#expansions li").count() == 1
    press(page, "z")
    assert "45 to 60" in page.inner_text("#expansions")
    press(page, "ArrowRight")
    save_and_wait(page)
    assert marked_bars(served, 0) == [(45, 61, "consolidation")]


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
    first = served.page_state.store.get(served.page_state.window_list.window_id[0], "anna")
    assert (first.grade, first.note) == ("A", "clear n x d")
    # A rejected one with its reason, then a skipped one, then back to the first of them.
    press(page, "d", "ArrowDown")
    save_and_wait(page)
    second = served.page_state.store.get(served.page_state.window_list.window_id[1], "anna")
    assert (second.status, second.reason, second.expansions) == ("rejected", "two moves run together", ())
    before = window_id(page)
    go(page, "k")
    assert served.page_state.store.get(before, "anna").status == "skipped"
    assert go(page, "p") == before
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
    assert served.page_state.store.get(served.page_state.window_list.window_id[0], "anna").revision == 2


@pytest.mark.parametrize("width", [1280, 768, 390])
def test_no_width_scrolls_sideways(serve, page_of, width):
    symbol = "<b>EUR</b><script>document.title='x'</script>"
    served = serve(bars=random_walk_bars(150, symbol=symbol))
    page = page_of(served, width, 900)
    press(page, "n", "d")
    assert page.evaluate("() => document.documentElement.scrollWidth <= window.innerWidth")
    # Markup in a symbol's name is text.
    assert symbol in page.inner_text("#title")
    assert page.title() == "moola label"
    point_at(page, 60)
    assert page.inner_text("#readout").startswith("Bar 60, 2020-01-03 12:00 UTC")


def test_light_and_dark_follow_the_key(serve, page_of):
    page = page_of(serve())
    theme = "() => document.documentElement.dataset.theme"
    first = page.evaluate(theme)
    press(page, "t")
    assert {first, page.evaluate(theme)} == {"light", "dark"}
    page.reload()
    page.wait_for_selector("#chart:focus")
    assert page.evaluate(theme) != first


def test_undo_of_a_save_brings_the_one_before_back(serve, page_of):
    served = serve()
    page = page_of(served)
    first = window_id(page)
    press(page, "n", "b")
    save_and_wait(page)
    assert go(page, "p") == first
    press(page, "c")
    save_and_wait(page)
    assert go(page, "p") == first
    press(page, "Shift+Z")
    page.wait_for_selector('#grades [data-value="B"][aria-pressed="true"]')
    assert [one.grade for one in served.page_state.store.history(first, "anna")] == ["B", "C", "B"]


def test_a_screen_reader_is_told_what_is_where(serve, page_of):
    page = page_of(serve())
    roles = page.evaluate(
        "() => [...document.querySelectorAll('button, input, select, textarea, [role]')].filter((one) => "
        "one.checkVisibility() && !(one.getAttribute('aria-label') || one.textContent.trim() || one.labels?.length)"
        ").map((one) => one.id)"
    )
    # Nothing that can be used is without a name.
    assert roles == []
    assert page.get_attribute("#status", "aria-live") == "polite"
    press(page, "n", "ArrowRight")
    page.wait_for_selector("#status:has-text('Expansion 1, start. Bar 53, 2020-01-03 05:00 UTC')")
    assert page.locator("#expansions button[aria-current=true]").count() == 1
    save_and_wait(page)
    page.wait_for_selector("#status:has-text('Saved. 2020-01-02')")


def test_the_name_stays_in_this_tab_and_each_name_has_its_own_label(serve, page_of):
    served = serve()
    page = page_of(served)
    first = window_id(page)
    press(page, "n", "1")
    save_and_wait(page)
    name_annotator(page, "ben")
    page.reload()
    page.wait_for_selector("#chart:focus")
    assert page.input_value("#annotator") == "ben"
    choose_queue(page, "time")
    assert window_id(page) == first
    # What anna said is not shown to ben.
    assert page.locator("#expansions li").count() == 0
    press(page, "n", "2")
    save_and_wait(page)
    assert marked_bars(served, 0) == [(52, 52, "consolidation")]
    assert marked_bars(served, 0, "ben") == [(52, 52, "retracement")]


def test_symbol_and_bar_length_are_shown_and_unusual_marks_are_said_when_saved(serve, page_of):
    served = serve(bars=random_walk_bars(400, symbol="EURUSD"))
    page = page_of(served)
    assert page.inner_text("#bars") == "EURUSD, bars of 1 h"
    press(page, "n", *["Shift+ArrowLeft"] * 6)
    save_and_wait(page)
    assert page.inner_text("#warningsList") == "expansion 1 (bars 22 to 52) is not inside the inner zone, bars 30 to 74"
    press(page, "n", "e", "ArrowRight")
    save_and_wait(page)
    assert not page.locator("#warnings").is_visible()


def test_enter_on_an_untouched_window_asks(serve, page_of):
    served = serve()
    page = page_of(served)
    first = window_id(page)
    press(page, "Enter")
    page.wait_for_selector("#status.wrong:has-text('Nothing is marked here')")
    assert (window_id(page), served.page_state.store.all()) == (first, [])
    go(page, "Enter")
    assert served.page_state.store.get(first, "anna").status == "labelled"


def test_a_store_that_was_moved_is_said_and_the_marks_wait(serve, page_of, tmp_path):
    served = serve()
    page = page_of(served)
    first = window_id(page)
    (tmp_path / "labels.db").rename(tmp_path / "moved.db")
    press(page, "n", "Enter")
    page.wait_for_selector("#status.wrong:has-text('removed or moved')")
    assert (window_id(page), page.inner_text("#saved")) == (first, "not saved yet")
    (tmp_path / "moved.db").rename(tmp_path / "labels.db")
    save_and_wait(page)
    assert marked_bars(served, 0) == [(52, 52, "consolidation")]
