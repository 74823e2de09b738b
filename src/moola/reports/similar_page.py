"""A page of charts: the marked span, and the spans that are similar to it."""

from __future__ import annotations

from pathlib import Path

from markupsafe import Markup

from moola import __version__
from moola.core.bars import Bars
from moola.core.utc_times import minute_text
from moola.files import write_atomic
from moola.reports.gallery import Card
from moola.reports.report_page import render
from moola.reports.svg_charts import span_chart
from moola.stages.find_similar import Found

TEMPLATE = "similar.html.j2"
# Bars drawn before and after a span: as many as it has, within these.
LEAST_AROUND, MOST_AROUND = 20, 60


def write_similar_page(path: Path, found: Found) -> None:
    """Write the page, atomically: HTML that needs no network, no script and no other file."""
    write_atomic(path, similar_page(found))


def similar_page(found: Found) -> bytes:
    """Build the page, the same bytes each time."""
    spans = found.spans
    cards = []
    for number in range(len(spans)):
        bars, (first, last) = found.tables[spans.table[number]], spans.bar[number].tolist()
        turned = ", upside down" if spans.mirrored[number] else ""
        lines = [f"similarity {spans.similarity[number]:.2f}{turned}", f"{last - first + 1} bars"]
        cards.append(_card(bars, first, last, f"{number + 1}. {bars.symbol[first]}".strip(), lines))
    first, last = found.at
    home = found.tables[0]
    name = f"{home.symbol[first]} {minute_text(int(home.start_us[first]))} UTC".strip()
    lead = (
        f"{len(spans)} spans of {spans.n_bars} bars, none of which shares a bar with another. Similarity is 1 for the "
        "marked span itself; it is not a probability."
    )
    marked = _card(home, first, last, name, [f"{last - first + 1} bars"])
    return render(TEMPLATE, marked=marked, found=cards, lead=lead, version=__version__)


def _card(bars: Bars, first: int, last: int, name: str, lines: list[str]) -> Card:
    around = min(max(last - first + 1, LEAST_AROUND), MOST_AROUND)
    low, high = max(first - around, 0), min(last + around, len(bars) - 1)
    while bars.symbol[low] != bars.symbol[first]:
        low += 1
    while bars.symbol[high] != bars.symbol[last]:
        high -= 1
    when = f"{minute_text(int(bars.start_us[first]))} to {minute_text(int(bars.start_us[last]))} UTC"
    said = f"{name}, {when}. {'. '.join(lines)}."
    chart: Markup = span_chart(bars.ohlc[low : high + 1], (first - low, last - low), said)
    return Card(name, when, chart, lines, None)
