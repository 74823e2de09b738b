"""Label Studio exports of long series (JSON, JSON-MIN, CSV): tasks, their annotations and regions; and one written."""

from __future__ import annotations

import json
import logging
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote

import numpy as np
import polars as pl

from moola.core.bars import utc_text
from moola.core.spans import Spans, bare_symbol, symbol_among
from moola.errors import InvalidData, Problem, WrongUsage
from moola.files import json_bytes, write_atomic

log = logging.getLogger(__name__)
MAX_BYTES = 512 << 20
LABELS = "timeserieslabels"
ADVICE = "Export it again from Label Studio."
# A symbol of so many letters or fewer must be a word of a file's name.
SHORT_SYMBOL = 4
# What JSON-MIN and CSV say of an annotation besides the fields of its task.
OWN_FIELDS = ("id", "annotator", "annotation_id", "created_at", "updated_at", "lead_time")


@dataclass(frozen=True)
class Task:
    """One annotator's marks on one series: the task's id, its file, its symbol, and the regions as they stand.

    Files of one name in several folders are several series.
    """

    number: str
    folder: str
    file: str
    symbol: str
    annotator: str
    marks: tuple[dict[str, Any], ...]
    place: int
    is_line: bool = False

    @property
    def name(self) -> str:
        """Name the task for a person."""
        return f"{self.number} ({self.file or self.symbol or 'no file'})"


@dataclass(frozen=True)
class Region:
    """One region as texts, and where its task stands."""

    start: str | None
    end: str | None
    label: str
    symbol: str
    annotator: str
    note: str
    place: int


def parsed(text: str, path: Path, what: str) -> Any:
    """Parse JSON, or JSON lines, with numbers as the texts that they are."""
    try:
        return json.loads(text, parse_float=str, parse_int=str, parse_constant=str)
    except (ValueError, RecursionError) as error:
        whole = error
    try:
        lines = [line for line in text.split("\n") if line.strip()]
        return [json.loads(line, parse_float=str, parse_int=str, parse_constant=str) for line in lines]
    except (ValueError, RecursionError):
        raise InvalidData(f"{what} must be JSON where it begins so, but {path} is not ({whole}). {ADVICE}") from whole


def tasks_of(text: str, path: Path, table: Callable[[], tuple[pl.DataFrame, np.ndarray, bool]]) -> list[Task] | None:
    """Return the tasks of an export of any of the three kinds; None where the text is none."""
    if not any(word in text for word in (LABELS, '"annotations"', '"completions"')):
        return None
    if text.lstrip()[:1] in ("[", "{"):
        value = parsed(text, path, "a Label Studio export")
        records = value if isinstance(value, list) else [value]
        if not all(isinstance(one, dict) for one in records):
            return None
        if any("data" in one and _annotations(one) is not None for one in records):
            return _all_tasks(records, path)
        if not any(_marks(one) for one in records):
            return None
        return [_minimal(one, place) for place, one in enumerate(records)]
    frame, lines, is_line = table()
    found = []
    for place, row in zip(lines.tolist(), frame.iter_rows(named=True), strict=True):
        found.append(replace(_minimal({name: _unpacked(cell) for name, cell in row.items()}, place), is_line=is_line))
    return found if any(task.marks for task in found) else None


def _unpacked(cell: str | None) -> Any:
    """Return a cell of a CSV export as what it holds: a list where it is JSON of one."""
    if cell is None or not cell.startswith("["):
        return cell
    try:
        return json.loads(cell, parse_float=str, parse_int=str, parse_constant=str)
    except (ValueError, RecursionError):
        return cell


def _annotations(record: dict[str, Any]) -> list[Any] | None:
    """Return a task's annotations, which Label Studio called completions before its version 1; None for no task."""
    found = record.get("annotations", record.get("completions"))
    return found if isinstance(found, list) else None


def _all_tasks(records: list[dict[str, Any]], path: Path) -> list[Task]:
    """Return every task of the JSON export, and say what else it holds, which is not read.

    Raises
    ------
    InvalidData
        No annotation has a region of time-series labels.
    """
    passed = Counter[str]()
    tasks = [task for place, one in enumerate(records) for task in _full(one, place, passed)]
    counts = ", ".join(f"{count} {what}" for what, count in passed.items() if count)
    if not any(task.marks for task in tasks):
        raise InvalidData(
            f"a Label Studio export must have annotations with {LABELS}, but {path} has none in {len(records)} tasks"
            f"{f' (it has {counts})' if counts else ''}. Mark regions there, submit them, and export again."
        )
    if counts:
        log.info("Passed over in %s: %s.", path, counts)
    if n_bare := passed["regions without a class"]:
        log.warning("%d regions have no class and are no spans: give each one in Label Studio (%s).", n_bare, path)
    return tasks


def _full(record: dict[str, Any], place: int, passed: Counter[str]) -> Iterator[Task]:
    """Yield the annotations of a task of the JSON export that were not cancelled; count what is not read."""
    data = record.get("data")
    data = data if isinstance(data, dict) else {}
    for name, what in (("predictions", "predictions by a model"), ("drafts", "drafts that were not submitted")):
        passed[what] += sum(bool(_results(one)) for one in record.get(name) or [] if isinstance(one, dict))
    for one in _annotations(record) or []:
        if not isinstance(one, dict) or one.get("was_cancelled"):
            passed["cancelled annotations"] += isinstance(one, dict)
            continue
        items = _results(one)
        notes = {item.get("id"): item["value"].get("text") for item in items if item.get("type") == "textarea"}
        labelled = [item for item in items if item.get("type") == LABELS]
        for item in items:
            kind = str(item.get("type"))
            if kind == "timeseries":
                passed["regions without a class"] += 1
            elif kind not in (LABELS, "textarea", "relation"):
                passed[f"results of the type {kind[:40]}"] += 1
        marks = tuple(
            item["value"] | {"meta": item.get("meta"), "text": notes.get(item.get("id"))} for item in labelled
        )
        number = str(record.get("id", place))
        yield Task(number, *_series(data), _symbol(data), _person(one.get("completed_by")), marks, place)


def _results(annotation: dict[str, Any]) -> list[dict[str, Any]]:
    found = annotation.get("result")
    return [
        item
        for item in (found if isinstance(found, list) else [])
        if isinstance(item, dict) and isinstance(item.get("value"), dict)
    ]


def _minimal(record: dict[str, Any], place: int) -> Task:
    """Return a record of JSON-MIN, or a row of CSV: the task's data beside the regions of each tag."""
    data = {name: value for name, value in record.items() if name not in OWN_FIELDS}
    number = str(record.get("id") or place)
    return Task(number, *_series(data), _symbol(data), _person(record.get("annotator")), _marks(record), place)


def _marks(record: dict[str, Any]) -> tuple[dict[str, Any], ...]:
    lists = [value for value in record.values() if isinstance(value, list)]
    return tuple(one for values in lists for one in values if isinstance(one, dict) and LABELS in one)


FILE_NAME = re.compile(r"\.(csv|tsv|txt|json|parquet)\b", re.IGNORECASE)


def _series(data: dict[str, Any]) -> tuple[str, str]:
    """Return the folder and the name of the series' file, without the code that an upload puts before it.

    Local storage has its path behind `?d=`; other addresses have signatures behind a question mark, if anything.
    """
    for value in data.values():
        if not isinstance(value, str) or not FILE_NAME.search(value):
            continue
        before, _, query = value.partition("?")
        parts = [before, *(part.partition("=")[2] for part in query.split("&"))]
        file = PurePosixPath(unquote(next(part for part in parts if FILE_NAME.search(part))).replace("\\", "/"))
        return str(file.parent), re.sub(r"^[0-9a-f]{8}-", "", file.name)
    return "", ""


def _symbol(data: dict[str, Any]) -> str:
    found = next((data[name] for name in ("symbol", "ticker", "instrument", "pair") if data.get(name)), "")
    return found if isinstance(found, str) else ""


def _person(value: Any) -> str:
    if isinstance(value, dict):
        return str(value.get("email") or value.get("username") or value.get("id") or "")
    return "" if value is None else str(value)


# Which tasks are of the bars.


def chosen(tasks: list[Task], asked: tuple[str, ...], symbols: list[str], path: Path) -> list[list[Task]]:
    """Return the tasks that were asked for, by id or file name; else those of the bars' symbols; as one group.

    A task belongs to the symbol that its data or its file name gives. Where bars or tasks name none, each series is a
    group of its own, and the bars must name which is theirs.

    Raises
    ------
    WrongUsage
        A task that was asked for is not there.
    InvalidData
        The export has no marks, or none of its tasks is of the bars' symbols.
    """
    if asked:
        return [_asked(tasks, asked, symbols, path)]
    known = [(task, _symbol_of(task, symbols)) for task in tasks]
    if any(symbol for _, symbol in known):
        left_out = [task.name for task, symbol in known if not symbol]
        if left_out:
            left_out_text = (len(left_out), ", ".join(dict.fromkeys(left_out)))
            log.info("%d tasks of other series are passed over: %s (--task takes them).", *left_out_text)
        return [[replace(task, symbol=symbol) for task, symbol in known if symbol]]
    named = sorted({task.symbol for task, _ in known if task.symbol})
    if named and symbols != [""]:
        raise InvalidData(
            f"tasks must be of the bars' symbols ({', '.join(symbols[:5])}), but {path} has {', '.join(named[:5])} "
            "alone. Give the bars that they were marked on, or name tasks with --task."
        )
    groups: dict[tuple[str, str, str], list[Task]] = {}
    for task in tasks:
        if task.marks:
            kept = task if symbols == [""] else replace(task, symbol="")
            groups.setdefault((task.folder, task.file, task.symbol), []).append(kept)
    return list(groups.values())


def _asked(tasks: list[Task], asked: tuple[str, ...], symbols: list[str], path: Path) -> list[Task]:
    found = [task for task in tasks if {task.number, task.file} & set(asked)]
    lost = set(asked) - {name for task in found for name in (task.number, task.file)}
    if lost:
        names = ", ".join(dict.fromkeys(task.name for task in tasks))
        raise WrongUsage(
            f"--task must name tasks of {path}, but {', '.join(sorted(lost))} is none of {len(tasks)} ({names[:300]}). "
            "Name them by id or by file."
        )
    folders = {task.folder for task in found if task.number not in asked}
    if len(folders) > 1:
        raise WrongUsage(
            f"--task must name one series, but {path} has files of that name in {len(folders)} folders "
            f"({', '.join(sorted(folders))[:300]}). Name tasks by id: {', '.join(task.number for task in found)[:80]}."
        )
    return [replace(task, symbol=_symbol_of(task, symbols)) for task in found]


def _symbol_of(task: Task, symbols: list[str]) -> str:
    """Return the symbol of the bars named by a task's data, file or folder; the empty string where there is none."""
    if task.symbol:
        return symbol_among(task.symbol, symbols) or ""
    for symbol in sorted(symbols, key=len, reverse=True):
        bare, words = bare_symbol(symbol), re.split(r"[^0-9a-z]+", task.file.lower())
        # Short symbols are in many words.
        if symbol and (bare in words or (len(bare) > SHORT_SYMBOL and bare in bare_symbol(task.file))):
            return symbol
    return symbol_among(PurePosixPath(task.folder).name, symbols) or ""


def regions(tasks: list[Task], path: Path) -> tuple[list[Region], list[Problem]]:
    """Return every region of some tasks, and the rules that regions break by the place of their task."""
    found, broken = [], []
    for task in tasks:
        for count, mark in enumerate(task.marks, start=1):
            names = mark.get(LABELS)
            where = f"task {task.name}, region {count}"
            if not isinstance(names, list) or len(names) != 1 or not str(names[0]).strip():
                broken.append((task, f"{where}: found {str(names)[:60]}"))
                continue
            start, end = (_text(mark.get(name)) for name in ("start", "end"))
            found.append(Region(start, end, str(names[0]), task.symbol, task.annotator, _note(mark), task.place))
    if not found and not broken:
        raise InvalidData(
            f"the tasks chosen of {path} must have {LABELS}, but they have none. Name others with --task."
        )
    if not broken:
        return found, []
    task, detail = broken[0]
    line = task.place if task.is_line else None
    return found, [Problem("a region must have one class", len(broken), task.place, detail, line)]


def _text(value: Any) -> str | None:
    return None if value is None or isinstance(value, bool | list | dict) else str(value)


def _note(mark: dict[str, Any]) -> str:
    meta = mark.get("meta")
    texts = [meta.get("text") if isinstance(meta, dict) else None, mark.get("text")]
    lists = [one if isinstance(one, list) else [one] for one in texts if one]
    return " ".join(str(text) for one in lists for text in one)


def write_studio(path: Path, spans: Spans) -> None:
    """Write spans as a JSON export of Label Studio: a task a symbol, an annotation an annotator, times in UTC."""
    tasks = []
    for number, symbol in enumerate(spans.symbols, start=1):
        mine = np.flatnonzero(spans.symbol == symbol)
        people = sorted(set(spans.annotator[mine].tolist()))
        annotations = [
            {
                "id": i,
                "completed_by": {"id": i, "email": person},
                "was_cancelled": False,
                "result": [_item(spans, int(row)) for row in mine if spans.annotator[row] == person],
            }
            for i, person in enumerate(people, start=1)
        ]
        tasks.append({"id": number, "data": {"symbol": symbol}, "annotations": annotations})
    write_atomic(path, json_bytes(tasks))


def _item(spans: Spans, row: int) -> dict[str, Any]:
    value = {
        "start": utc_text(spans.start_us[row]),
        "end": utc_text(spans.end_us[row]),
        "instant": bool(spans.start_us[row] == spans.end_us[row]),
        LABELS: [spans.label[row]],
    }
    item = {"id": f"span{row}", "type": LABELS, "from_name": "label", "to_name": "ts", "value": value}
    return item | ({"meta": {"text": [spans.note[row]]}} if spans.note[row] else {})
