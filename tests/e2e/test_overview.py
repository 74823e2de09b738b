"""The overview page in a browser, opened as a file: drawn, filtered and stepped through."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from moola.options.scan_options import ScanOptions
from moola.reports.overview.events_page import write_overview
from moola.scan import window_reading as scan_reading
from moola.scan.scanning import Scan, overview
from tests.scans_made import made_bars, made_model, seeing_moves

pytestmark = pytest.mark.e2e
MOVES = [(40, 46, 1), (80, 84, -1), (150, 155, 1)]


@pytest.fixture
def page_file(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    made_model(Path("model.pt"))
    monkeypatch.setattr(scan_reading, "read_windows_both_ways", seeing_moves)
    one = made_bars(400, MOVES, 1).with_columns(symbol=pl.lit("A"))
    two = made_bars(120, [(60, 69, -1)], 2).with_columns(symbol=pl.lit("<b>B</b>"))
    pl.concat([one, two]).write_parquet("bars.parquet")
    scan = Scan(
        ScanOptions(model=Path("model.pt"), bars=Path("bars.parquet"), output=Path("e.csv"), device="cpu", live=True)
    )
    scan.run(lambda *_: None)
    write_overview(Path("page.html"), overview(scan, 10_000))
    scan.parts.clear()
    return tmp_path / "page.html"


def test_candles_events_zoom_and_filters_work_from_a_file(page_file, browser):
    context = browser.new_context(viewport={"width": 1200, "height": 900}, offline=True)
    page = context.new_page()
    troubles: list[str] = []
    page.on("pageerror", lambda error: troubles.append(str(error)))
    page.on("console", lambda message: troubles.append(message.text) if message.type == "error" else None)
    page.on("request", lambda request: troubles.append(request.url) if not request.url.startswith("file:") else None)
    page.goto(page_file.as_uri())
    page.wait_for_selector("#rows tr")
    assert page.locator("#rows tr").count() == 4
    assert page.locator("#symbol option").all_text_contents() == ["A", "<b>B</b>"]
    # Something is drawn: the canvas has many colours.
    colours = page.evaluate(
        "() => { const c = document.getElementById('chart'); const d = c.getContext('2d')"
        ".getImageData(0, 0, c.width, c.height).data; const s = new Set();"
        " for (let i = 0; i < d.length; i += 4) s.add(d[i] << 16 | d[i + 1] << 8 | d[i + 2]); return s.size }"
    )
    assert colours > 5
    before = page.locator("#readout").text_content()
    page.keyboard.press("p")
    assert page.locator("#readout").text_content() != before
    page.locator("#f-class").select_option(label="falling")
    assert page.locator("#rows tr").count() == 2
    page.locator("#f-agree").fill("99")
    assert page.locator("#count").text_content() == "0 of 4 events"
    page.locator("#f-clear").click()
    page.locator("#rows tr", has_text="<b>B</b>").locator("button").click()
    assert page.locator("#symbol").evaluate("(select) => select.selectedOptions[0].textContent") == "<b>B</b>"
    assert page.locator('#rows tr[aria-selected="true"]').count() == 1
    page.locator("#chart").hover(position={"x": 300, "y": 200})
    assert "open" in page.locator("#readout").text_content()
    for key in ("+", "+", "-", "0", "ArrowLeft", "n"):
        page.keyboard.press(key)
    page.mouse.wheel(0, -300)
    page.locator("#head button", has_text="bars until known").click()
    assert troubles == []
    context.close()
