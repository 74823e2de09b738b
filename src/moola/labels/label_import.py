"""`labels import`: labels of window files, of Label Studio and of spans into the label store."""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import numpy as np

from moola.core.label_rules import GRADES, Expansion, WindowLabel, check_label
from moola.core.windows import take_windows
from moola.errors import InvalidData, Problem, WrongUsage
from moola.files import read_bytes
from moola.labels.label_positions import PRICE_TOLERANCE, BarPlaces, learn_bars, read_named_bars, require_same_bars
from moola.labels.span_labels import import_spans
from moola.options.label_options import LabelsImportOptions
from moola.tables.frames import PARQUET_MAGIC, scan_frame
from moola.tables.label_store import LabelStore
from moola.tables.window_file import WindowTable, read_windows

# Labelled windows of a window file (specification 2) to labels of the store.


ONE_OF_SEVERAL = re.compile(r"(.+)_exp_(\d{1,6})", flags=re.S)


@dataclass
class ImportedLabels:
    """What a file holds: labels to save, broken rules, and what was passed over by kind."""

    labels: list[WindowLabel] = field(default_factory=list)
    broken: dict[str, list[tuple[int, str]]] = field(default_factory=lambda: defaultdict(list))
    passed_over: dict[str, int] = field(default_factory=dict)

    def breaks(self, rule: str, row: int, detail: str = "") -> None:
        """Note that a row breaks a rule."""
        self.broken[rule].append((row, detail))

    @property
    def problems(self) -> list[Problem]:
        """Every broken rule with its count, its first row and what was there."""
        return [Problem(rule, len(found), *min(found)) for rule, found in self.broken.items()]


def labels_of_window_file(options: LabelsImportOptions, places: BarPlaces) -> ImportedLabels:
    """Read the labels of a window file.

    Rows `<window>_exp_1`, `<window>_exp_2` over the same bars are the expansions of one window; such a name that stands
    alone is a window's own. Rows without a label are passed over. Where the file holds prices, they must be those
    of the bars: a file of another time zone is found out so.

    Raises
    ------
    InvalidData
        The file breaks the contract of window files, or has no times.
    WrongUsage
        Neither `annotator` nor the file says who labelled.
    """
    table = read_windows(options.input, options.window_bars)
    if table.start_us is None or table.end_us is None:
        raise InvalidData(
            f"windows must have start_ts and end_ts to be found among the bars, but {options.input} has none. "
            "Cut windows again with `moola windows`."
        )
    imported = ImportedLabels()
    annotators = _annotators(table, options)
    groups: dict[tuple[str, str], list[int]] = defaultdict(list)
    names = _window_names(table)
    for row, label in enumerate(table.label.tolist()):
        if label is None:
            imported.passed_over["without a label"] = imported.passed_over.get("without a label", 0) + 1
        elif not annotators[row]:
            imported.breaks("annotator must be there in every row (or pass --annotator)", row)
        else:
            groups[names[row], annotators[row]].append(row)
    _compare_prices(table, places, imported)
    for (name, annotator), rows in groups.items():
        _add_label(name, annotator, rows, table, places, options, imported)
    return imported


def _annotators(table: WindowTable, options: LabelsImportOptions) -> list[str]:
    if options.annotator is not None:
        return [options.annotator] * len(table)
    if table.annotator is None:
        raise WrongUsage(
            f"an import must name the annotator, but {options.input} has no column annotator. Pass --annotator NAME."
        )
    return [str(name or "") for name in table.annotator.tolist()]


def _window_names(table: WindowTable) -> list[str]:
    """Return the window of each row: several rows `<window>_exp_N` over the same bars are one window's."""
    start_us, end_us = table.times_us
    found: dict[tuple[str, str, int, int], list[int]] = defaultdict(list)
    for row, name in enumerate(table.window_id):
        if match := ONE_OF_SEVERAL.fullmatch(name):
            key = (match[1], table.symbol[row], int(start_us[row]), int(end_us[row]))
            found[key].append(row)
    names = list(table.window_id)
    for key, rows in found.items():
        if len(rows) > 1:
            for row in rows:
                names[row] = key[0]
    return names


def _compare_prices(table: WindowTable, places: BarPlaces, imported: ImportedLabels) -> None:
    spans = zip(table.symbol.tolist(), *(times.tolist() for times in table.times_us), strict=True)
    found = [places.window(*span) for span in spans]
    for row, first in enumerate(found):
        if isinstance(first, str):
            imported.breaks("a window must be in the bars file", row, f"{table.window_id[row]}: {first}")
    rows = np.array([row for row, first in enumerate(found) if isinstance(first, int)], dtype=np.int64)
    if table.ohlc is None or not len(rows):
        return
    firsts = np.array([first for first in found if isinstance(first, int)], dtype=np.int64)
    prices = take_windows(places.bars.ohlc, firsts, places.window_bars)
    other = ~np.isclose(table.ohlc[rows], prices, rtol=PRICE_TOLERANCE, atol=0.0).all(axis=(1, 2))
    for row in rows[other].tolist():
        imported.breaks("a window must have the prices of the bars file", row, table.window_id[row])


def _add_label(
    name: str,
    annotator: str,
    rows: list[int],
    table: WindowTable,
    places: BarPlaces,
    options: LabelsImportOptions,
    imported: ImportedLabels,
) -> None:
    rows = sorted(rows, key=lambda row: _number(table.window_id[row]))
    start_us, end_us = (int(times[rows[0]]) for times in table.times_us)
    first = places.window(table.symbol[rows[0]], start_us, end_us)
    grade = _grade(rows, table, imported)
    expansions = []
    for row in rows:
        start, end, label = int(table.expansion_start[row]), int(table.expansion_end[row]), str(table.label[row])
        if start < 0:
            if label != options.no_expansion:
                imported.breaks("a label must have pointers (or be the class of --no-expansion)", row, label)
        elif isinstance(first, int):
            times = places.bars.start_us
            expansions.append(Expansion(int(times[first + start]), int(times[first + end]), label))
    if len({(one.start_us, one.end_us) for one in expansions}) < len(expansions):
        imported.breaks("expansions of a window must not have the same bars", rows[0], name)
    imported.labels.append(
        WindowLabel(
            window_id=name,
            symbol=str(table.symbol[rows[0]]),
            start_us=start_us,
            end_us=end_us,
            annotator=annotator,
            grade=grade,
            reason="",
            note="",
            expansions=tuple(expansions),
            status="labelled",
        )
    )


def _number(name: str) -> int:
    match = ONE_OF_SEVERAL.fullmatch(name)
    return int(match[2]) if match else 0


def _grade(rows: list[int], table: WindowTable, imported: ImportedLabels) -> str:
    if "quality" not in table.extra.columns:
        return ""
    found = {row: table.extra["quality"][row] for row in rows}
    for row, value in found.items():
        if value not in (None, "", *GRADES):
            imported.breaks("quality must be A to D or missing", row, f"found {value!r}")
    if len(set(found.values())) > 1:
        imported.breaks("rows of one window must have one quality", rows[0])
    grade = found[rows[0]]
    return grade if grade in GRADES else ""


# Label Studio's JSON export of time-series labels to labels of the store.


STUDIO_ADVICE = "Export it again from Label Studio as JSON."
# Label Studio counts in milliseconds by default.
PER_UNIT = {"auto": 1_000, "s": 1_000_000, "ms": 1_000, "us": 1}
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MAX_BYTES = 512 << 20


class _Unread(Exception):
    """A task that breaks a rule: the rule and what was there."""

    def __init__(self, rule: str, detail: str = "") -> None:
        super().__init__(rule)
        self.rule, self.detail = rule, detail


def labels_of_label_studio(options: LabelsImportOptions, places: BarPlaces) -> ImportedLabels:
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
            f"an import from Label Studio must name the annotator, but {options.input} names numbers alone. "
            "Pass --annotator NAME."
        )
    imported, passed = ImportedLabels(), Counter[str]()
    for row, task in enumerate(_tasks(options.input)):
        try:
            label = _label(task, options, places, passed)
        except _Unread as unread:
            imported.breaks(unread.rule, row, unread.detail)
            continue
        if label is not None:
            imported.labels.append(label)
    imported.passed_over = dict(passed)
    return imported


def _tasks(path: Path) -> list[Any]:
    content = read_bytes(path, "a Label Studio export", STUDIO_ADVICE, MAX_BYTES)
    try:
        tasks = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise InvalidData(
            f"the input must be parquet or JSON, but {path} is neither ({error}). {STUDIO_ADVICE}"
        ) from error
    if not isinstance(tasks, list) or not tasks:
        raise InvalidData(f"a Label Studio export must be a list of tasks, but {path} holds none. {STUDIO_ADVICE}")
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
            passed["items that are not time-series labels"] += 1
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
            raise _Unread("an expansion must be inside its window", f"{what} is {str(value.get(what))[:40]}")
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
    unit = PER_UNIT.get(options.timestamp_unit)
    known = isinstance(value, int | float) and not isinstance(value, bool)
    # NaN is within nothing; a whole number of any length can be compared, but not made a float.
    if unit is None or not known or not abs(value) * unit <= 2**62:
        raise _Unread(f"{name} must be a time", f"found {str(value)[:40]}")
    return round(value * unit)


ADVICE = "Nothing was imported: fix the file, or check --bars and --window-bars."


def import_labels(options: LabelsImportOptions) -> dict[str, Any]:
    """Save the labels of a window file, of a Label Studio export or of a file of spans, all of them or none.

    A label that the store has already is left alone; one that differs is kept as the store has it, or saved as a
    new revision with `overwrite`. A note in the store survives that.

    Returns
    -------
    dict
        `added`, `unchanged`, `overwritten`, `kept` (counts), `kept_windows` (window and annotator of each that differs)
        and `passed_over` (counts by kind); of spans what `import_spans` returns.

    Raises
    ------
    InvalidData
        The file breaks rules (all listed), or has no labels; nothing is written.
    LabelConflict
        Somebody saved one of these windows meanwhile; nothing is written.
    """
    holds = _kind(options)
    if holds == "spans":
        return import_spans(options)
    places = BarPlaces(read_named_bars(options.bars, options.symbol), options.window_bars)
    imported = (labels_of_window_file if holds == "windows" else labels_of_label_studio)(options, places)
    _repeated(imported)
    if not imported.labels and not imported.broken:
        raise InvalidData(f"{options.input} must have labels, but it has none. Check --input.")
    # A file that is refused leaves no new store behind either.
    if imported.broken and not options.store.exists():
        raise InvalidData.from_problems(options.input, imported.problems, ADVICE)
    for label in imported.labels:
        check_label(label)
    with LabelStore(options.store) as store:
        known = {(label.window_id, label.annotator): label for label in store.all()}
        _other_bars(imported, known)
        if imported.broken:
            raise InvalidData.from_problems(options.input, imported.problems, ADVICE)
        require_same_bars(store, places, options.bars, {label.symbol for label in imported.labels})
        result = _save(imported, known, store, places, options)
        learn_bars(store, places, options.bars)
        return result


def _kind(options: LabelsImportOptions) -> Literal["windows", "tasks", "spans"]:
    """Return what it holds: labelled windows, tasks of Label Studio with a window each, or spans of a long chart."""
    content = read_bytes(options.input, "the input", "Check --input.", MAX_BYTES)
    if content.startswith(PARQUET_MAGIC):
        columns = scan_frame(options.input, "the input", "Check --input.").collect_schema().names()
        return "windows" if {"features", "window_id"} & set(columns) else "spans"
    begins = content.removeprefix(b"\xef\xbb\xbf").lstrip()[:1]
    if begins and begins not in b"[{":
        return "spans"
    try:
        records = json.loads(content)
    except (ValueError, RecursionError):
        return "tasks" if content.count(b"\n") < 2 else "spans"
    if not isinstance(records, list) or not all(isinstance(one, dict) for one in records):
        return "tasks" if not isinstance(records, dict) or not records else "spans"
    has_window = any("window_id" in one["data"] for one in records if isinstance(one.get("data"), dict))
    return "tasks" if has_window or not records else "spans"


def _repeated(imported: ImportedLabels) -> None:
    seen: set[tuple[str, str]] = set()
    for row, label in enumerate(imported.labels):
        if (label.window_id, label.annotator) in seen:
            imported.breaks("a window must come once for each annotator", row, label.window_id)
        seen.add((label.window_id, label.annotator))


def _other_bars(imported: ImportedLabels, known: dict[tuple[str, str], WindowLabel]) -> None:
    stands = {label.window_id: (label.symbol, label.start_us, label.end_us) for label in known.values()}
    for row, label in enumerate(imported.labels):
        if stands.get(label.window_id, own := (label.symbol, label.start_us, label.end_us)) != own:
            imported.breaks("a window must be of the same bars as in the store", row, label.window_id)


def _save(
    imported: ImportedLabels,
    known: dict[tuple[str, str], WindowLabel],
    store: LabelStore,
    places: BarPlaces,
    options: LabelsImportOptions,
) -> dict[str, Any]:
    changes: list[tuple[WindowLabel, int]] = []
    added = unchanged = 0
    kept = []
    for given in imported.labels:
        stands = known.get((given.window_id, given.annotator))
        if stands is None:
            added += 1
            changes.append((given, 0))
            continue
        # Files carry no notes, so that an import has nothing to say about them.
        label = replace(given, note=stands.note)
        if label.has_same_content(stands):
            unchanged += 1
        elif options.overwrite:
            changes.append((label, stands.revision))
        else:
            kept.append({"window_id": label.window_id, "annotator": label.annotator})
    if changes:
        bars = {label.window_id: places.content(label.symbol, label.start_us, label.end_us) for label, _ in changes}
        store.save_all(changes, {name: content for name, content in bars.items() if content is not None})
    return {
        "store": str(options.store),
        "added": added,
        "unchanged": unchanged,
        "overwritten": len(changes) - added,
        "kept": len(kept),
        "kept_windows": kept,
        "passed_over": {name: count for name, count in imported.passed_over.items() if count},
    }
