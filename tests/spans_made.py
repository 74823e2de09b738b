"""Files of spans as other programs write them, on bars with a gap."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from moola.core.bars import Bars
from moola.core.spans import Spans
from tests.made import HOUR_US, random_walk_bars

# Hours 300 to 347 are missing, as over a weekend.
GAP = (300, 348)
HOURS = np.setdiff1d(np.arange(2400), np.arange(*GAP))
MADE = random_walk_bars(2400, symbol="EURUSD")
BARS = Bars(MADE.start_us[HOURS], MADE.ohlc[HOURS], MADE.symbol[HOURS])
FIRST_US = int(BARS.start_us[0])


def at(hour: float, form: str = "%Y-%m-%d %H:%M:%S") -> str:
    """Write the time so many hours after the first bar, 2020-01-01 00:00 UTC."""
    return np.datetime64(FIRST_US + round(hour * HOUR_US), "us").astype(object).strftime(form)


def made_spans(*pieces: tuple[float, float, str], annotator: str = "ana", symbol: str = "EURUSD") -> Spans:
    """Return spans of first hour, last hour and class."""
    start, end, label = (list(column) for column in zip(*pieces, strict=True))
    texts = (np.full(len(pieces), text, dtype=object) for text in (symbol, annotator, ""))
    hours = [FIRST_US + np.round(np.array(values) * HOUR_US).astype(np.int64) for values in (start, end)]
    return Spans(hours[0], hours[1], np.array(label, dtype=object), *texts, np.arange(len(pieces)))


def forty(offset: int = 0) -> list[tuple[int, int, str]]:
    """Return forty pieces, first and last hour and class, in two halves."""
    return [(400 + 45 * i + offset, 404 + 45 * i + i % 9 + offset, "bull" if i % 3 else "bear") for i in range(40)]


def table(pieces: list[tuple[int, int, str]], separator: str = ",", form: str = "%Y-%m-%d %H:%M:%S") -> str:
    """Write a table of spans as text."""
    rows = [separator.join((at(a, form), at(b, form), label)) for a, b, label in pieces]
    return "\n".join([separator.join(("start", "end", "label")), *rows]) + "\n"


def mark(first: float, last: float, label: str) -> dict[str, Any]:
    """Return a region of Label Studio."""
    return {"start": at(first), "end": at(last), "instant": False, "timeserieslabels": [label]}


def full_task(number: int, file: str, pieces: list[tuple[int, int, str]], *people: object) -> dict[str, Any]:
    """Return a task of the JSON export, marked alike by some people."""
    tag = {"type": "timeserieslabels", "from_name": "label", "to_name": "ts"}
    result = [{"id": str(i), "value": mark(*piece)} | tag for i, piece in enumerate(pieces)]
    annotations = [
        {"id": 10 * number + i, "completed_by": person, "was_cancelled": False, "result": result}
        for i, person in enumerate(people)
    ]
    return {"id": number, "data": {"csv": f"/data/upload/1/0a1b2c3d-{file}"}, "annotations": annotations}


def minimal_task(number: int, file: str, pieces: list[tuple[int, int, str]], person: object = 1) -> dict[str, Any]:
    """Return a record of the JSON-MIN export."""
    marks = [mark(*piece) for piece in pieces]
    own = {"annotator": person, "annotation_id": number, "created_at": "2024-01-01T00:00:00Z", "lead_time": 3.5}
    return {"id": number, "csv": f"/data/upload/1/0a1b2c3d-{file}", "label": marks, **own}


def csv_export(records: list[dict[str, Any]]) -> str:
    """Write JSON-MIN records as Label Studio's CSV export does."""
    cells = [[value if isinstance(value, str) else json.dumps(value) for value in one.values()] for one in records]
    lines = [",".join('"' + cell.replace('"', '""') + '"' for cell in row) for row in cells]
    return "\n".join([",".join(records[0]), *lines]) + "\n"


def write_json(path: Path, value: object) -> Path:
    """Write JSON to a file."""
    path.write_text(json.dumps(value))
    return path
