"""What a person does on the page: keys, the mouse at a bar, saving and continuing."""

from __future__ import annotations


def press(page, *keys: str) -> None:
    for key in keys:
        page.keyboard.press(key)


def window_id(page) -> str:
    return page.get_attribute("#title", "title")


def go(page, key: str) -> str:
    """Press a key that opens another window, and return the id of that."""
    before = window_id(page)
    page.keyboard.press(key)
    page.wait_for_selector(f'#title:not([title="{before}"])')
    page.wait_for_selector("body:not([aria-busy])")
    return window_id(page)


def save_and_wait(page) -> str:
    return go(page, "Enter")


def save_untouched(page) -> str:
    """Save a window of which nothing was said: the page asks first."""
    page.keyboard.press("Enter")
    page.wait_for_selector("#status:has-text('Nothing is marked here')")
    page.wait_for_selector("body:not([aria-busy])")
    return go(page, "Enter")


def choose_queue(page, name: str) -> None:
    page.select_option("#queue", name)
    page.click("#go")
    page.wait_for_selector("#queueLeft:not(:empty)")
    page.wait_for_selector("body:not([aria-busy])")


def name_annotator(page, name: str) -> None:
    page.fill("#annotator", name)
    page.keyboard.press("Enter")
    page.wait_for_selector("#chart:focus")
    page.wait_for_selector("body:not([aria-busy])")


def point_at(page, bar: int) -> None:
    """Move the mouse until the readout names a bar."""
    page.locator("#chart").scroll_into_view_if_needed()
    box = page.locator("#chart").bounding_box()
    y = box["y"] + 100
    low, high = box["x"] + 1, box["x"] + box["width"] - 80
    for _ in range(20):
        x = (low + high) / 2
        page.mouse.move(x, y)
        # The chart tells of the crosshair in its next frame.
        page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
        here = int(page.inner_text("#readout").split(",")[0].removeprefix("Bar "))
        if here == bar:
            return
        low, high = (x, high) if here < bar else (low, x)
    raise AssertionError(f"no place on the chart is bar {bar}")


def click_at(page, bar: int) -> None:
    point_at(page, bar)
    page.mouse.down()
    page.mouse.up()


def marked_bars(served, number: int, annotator: str = "anna") -> list[tuple[int, int, str]]:
    """Return what the store has of a window, as bars."""
    times = served.page_state.window_list.times(number).tolist()
    label = served.page_state.store.get(served.page_state.window_list.window_id[number], annotator)
    return [(times.index(m.start_us), times.index(m.end_us), m.label) for m in label.expansions]
