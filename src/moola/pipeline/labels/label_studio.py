"""Label Studio's JSON export of time-series labels to labels of the store.

The form that is accepted, field by field (others may stand there and are not looked at):

- a list of tasks; each `{"data": {...}, "annotations": [{"was_cancelled": false, "result": [...]}]}`
- `data`: `window_id`, `start_ts` (first bar), optionally `end_ts` (last bar; else as many bars as a window has) and
  `symbol`
- an item of `result` of `"type": "timeserieslabels"` with `"value": {"start": ..., "end": ..., "timeserieslabels":
  ["class"]}` is an expansion; one of `"type": "choices"` whose one choice is A, B, C or D is the grade; items of other
  types are counted and passed over
- times: ISO 8601 text (UTC where it names no zone) or numbers since 1970 in the unit asked for; an instant within
  a bar means that bar

An annotation without items is a window without an expansion, a cancelled one is passed over, as is a task without any.
"""

from __future__ import annotations

import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from moola.config.labels_options import LabelsImportOptions
from moola.data.contracts.label_store import GRADES, Expansion, WindowLabel
from moola.errors import InvalidData, WrongUsage
from moola.files import read_bytes
from moola.pipeline.labels.drafts import Drafts
from moola.pipeline.labels.places import BarPlaces

ADVICE = "Export it anew from Label Studio as JSON."
PER_UNIT = {"s": 1_000_000, "ms": 1_000, "us": 1}
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MAX_BYTES = 512 << 20


class _Unread(Exception):
    """A task that breaks a rule: the rule and what stood there."""

    def __init__(self, rule: str, detail: str = "") -> None:
        super().__init__(rule)
        self.rule, self.detail = rule, detail


def label_studio_drafts(options: LabelsImportOptions, places: BarPlaces) -> Drafts:
    """Read the labels of a Label Studio export; a problem's row is the place of its task in the list, from 0.

    Raises
    ------
    WrongUsage
        `annotator` is missing: Label Studio knows numbers, not names.
    InvalidData
        The file is no JSON list of tasks.
    """
    if options.annotator is None:
        raise WrongUsage(
            f"an import from Label Studio must say who labelled, but {options.input} names numbers alone. "
            "Pass --annotator NAME."
        )
    drafts, passed = Drafts(), Counter[str]()
    for row, task in enumerate(_tasks(options.input)):
        try:
            label = _label(task, options, places, passed)
        except _Unread as unread:
            drafts.breaks(unread.rule, row, unread.detail)
            continue
        if label is not None:
            drafts.labels.append(label)
    drafts.passed_over = dict(passed)
    return drafts


def _tasks(path: Path) -> list[Any]:
    content = read_bytes(path, "a Label Studio export", ADVICE, MAX_BYTES)
    try:
        tasks = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise InvalidData(f"the input must be parquet or JSON, but {path} is neither ({error}). {ADVICE}") from error
    if not isinstance(tasks, list) or not tasks:
        raise InvalidData(f"a Label Studio export must be a list of tasks, but {path} holds none. {ADVICE}")
    return tasks


def _label(task: Any, options: LabelsImportOptions, places: BarPlaces, passed: Counter[str]) -> WindowLabel | None:
    data = _part(task, "data", dict, "a task")
    annotations = _part(task, "annotations", list, "a task")
    kept = [one for one in annotations if not (isinstance(one, dict) and one.get("was_cancelled"))]
    passed["cancelled annotations"] += len(annotations) - len(kept)
    if not kept:
        passed["tasks without an annotation"] += 1
        return None
    if len(kept) > 1:
        raise _Unread("a task must have one annotation (export one annotator at a time)", f"found {len(kept)}")
    window_id = _part(data, "window_id", str, "data")
    symbol = _part(data, "symbol", str, "data") if "symbol" in data else ""
    start_us = _time(data.get("start_ts"), "start_ts", options)
    end_us = _time(data["end_ts"], "end_ts", options) if "end_ts" in data else _last(symbol, start_us, places)
    found = places.window(symbol, start_us, end_us)
    if isinstance(found, str):
        raise _Unread("a window must be in the bars file", f"{window_id}: {found}")
    expansions, grade = [], ""
    for item in _part(kept[0], "result", list, "an annotation"):
        kind = item.get("type") if isinstance(item, dict) else None
        if kind == "timeserieslabels":
            expansions.append(_expansion(item, symbol, found, places, options))
        elif kind == "choices" and (choice := _choice(item)):
            grade = choice
        else:
            passed["items that are no time-series label"] += 1
    if len({(one.start_us, one.end_us) for one in expansions}) < len(expansions):
        raise _Unread("expansions of a window must not have the same bars", window_id)
    assert options.annotator is not None
    expansions.sort(key=lambda one: (one.start_us, one.end_us))
    return WindowLabel(
        window_id, symbol, start_us, end_us, options.annotator, grade, "", "", tuple(expansions), "labelled"
    )


def _last(symbol: str, start_us: int, places: BarPlaces) -> int:
    first = places.row(symbol, start_us)
    last = None if first is None else first + places.window_bars - 1
    if (
        first is None
        or last is None
        or last >= len(places.bars)
        or places.bars.symbol[first] != places.bars.symbol[last]
    ):
        raise _Unread("a window must be in the bars file", f"no {places.window_bars} bars from start_ts on")
    return int(places.bars.start_us[last])


def _expansion(
    item: dict[str, Any], symbol: str, first: int, places: BarPlaces, options: LabelsImportOptions
) -> Expansion:
    value = _part(item, "value", dict, "a label")
    names = _part(value, "timeserieslabels", list, "a label's value")
    if len(names) != 1 or not isinstance(names[0], str) or not names[0].strip():
        raise _Unread("a label must have one class", f"found {str(names)[:80]}")
    rows = []
    for what in ("start", "end"):
        row = places.row_around(symbol, _time(value.get(what), what, options))
        if row is None or not first <= row < first + places.window_bars:
            raise _Unread("an expansion must lie inside its window", f"{what} is {str(value.get(what))[:40]}")
        rows.append(row)
    if rows[1] < rows[0]:
        raise _Unread("an expansion must not end before its start")
    times = places.bars.start_us
    return Expansion(int(times[rows[0]]), int(times[rows[1]]), names[0])


def _choice(item: dict[str, Any]) -> str:
    value = item.get("value")
    choices = value.get("choices") if isinstance(value, dict) else None
    return choices[0] if isinstance(choices, list) and len(choices) == 1 and choices[0] in GRADES else ""


def _part(value: Any, name: str, kind: type[dict] | type[list] | type[str], where: str) -> Any:
    part = value.get(name) if isinstance(value, dict) else None
    if not isinstance(part, kind):
        shape = {"dict": "an object", "list": "a list", "str": "text"}[kind.__name__]
        raise _Unread(f"{where} must have {name} ({shape})", f"found {str(part)[:40]}")
    return part


def _time(value: Any, name: str, options: LabelsImportOptions) -> int:
    """Return microseconds since 1970 of a text or a number."""
    if isinstance(value, str):
        try:
            time = datetime.fromisoformat(value.strip())
        except ValueError:
            raise _Unread(f"{name} must be a time", f"found {value[:40]!r}") from None
        aware = time if time.tzinfo is not None else time.replace(tzinfo=UTC)
        return (aware - EPOCH) // timedelta(microseconds=1)
    known = isinstance(value, int | float) and not isinstance(value, bool)
    # NaN is within nothing; a whole number of any length can be compared, but not made a float.
    if not known or not abs(value) * PER_UNIT[options.timestamp_unit] <= 2**62:
        raise _Unread(f"{name} must be a time", f"found {str(value)[:40]}")
    return round(value * PER_UNIT[options.timestamp_unit])
