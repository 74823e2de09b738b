"""Labelled windows of a window file (SPEC.md 2) to labels of the store."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass, field

import numpy as np

from moola.config.labels_options import LabelsImportOptions
from moola.core.windows import take_windows
from moola.data.contracts.label_store import GRADES, Expansion, WindowLabel
from moola.data.contracts.window_file import read_windows
from moola.data.contracts.window_table import WindowTable
from moola.errors import InvalidData, Problem, WrongUsage
from moola.pipeline.labels.places import PRICE_TOLERANCE, BarPlaces

ONE_OF_SEVERAL = re.compile(r"(.+)_exp_(\d{1,6})", flags=re.S)


@dataclass
class Drafts:
    """What a file holds: labels to save, broken rules, and what was passed over by kind."""

    labels: list[WindowLabel] = field(default_factory=list)
    broken: dict[str, list[tuple[int, str]]] = field(default_factory=lambda: defaultdict(list))
    passed_over: dict[str, int] = field(default_factory=dict)

    def breaks(self, rule: str, row: int, detail: str = "") -> None:
        """Note that a row breaks a rule."""
        self.broken[rule].append((row, detail))

    @property
    def problems(self) -> list[Problem]:
        """Every broken rule with its count, its first row and what stood there."""
        return [Problem(rule, len(found), *min(found)) for rule, found in self.broken.items()]


def window_file_drafts(options: LabelsImportOptions, places: BarPlaces) -> Drafts:
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
            "Cut windows anew with `moola windows`."
        )
    drafts = Drafts()
    annotators = _annotators(table, options)
    groups: dict[tuple[str, str], list[int]] = defaultdict(list)
    names = _window_names(table)
    for row, label in enumerate(table.label.tolist()):
        if label is None:
            drafts.passed_over["without a label"] = drafts.passed_over.get("without a label", 0) + 1
        elif not annotators[row]:
            drafts.breaks("annotator must be there in every row (or pass --annotator)", row)
        else:
            groups[names[row], annotators[row]].append(row)
    _compare_prices(table, places, drafts)
    for (name, annotator), rows in groups.items():
        _draft(name, annotator, rows, table, places, options, drafts)
    return drafts


def _annotators(table: WindowTable, options: LabelsImportOptions) -> list[str]:
    if options.annotator is not None:
        return [options.annotator] * len(table)
    if table.annotator is None:
        raise WrongUsage(
            f"an import must say who labelled, but {options.input} has no column annotator. Pass --annotator NAME."
        )
    return [str(name or "") for name in table.annotator.tolist()]


def _window_names(table: WindowTable) -> list[str]:
    """Return the window of each row: several rows `<window>_exp_N` over the same bars are one window's."""
    assert table.start_us is not None
    assert table.end_us is not None
    found: dict[tuple[str, str, int, int], list[int]] = defaultdict(list)
    for row, name in enumerate(table.window_id):
        if match := ONE_OF_SEVERAL.fullmatch(name):
            key = (match[1], table.symbol[row], int(table.start_us[row]), int(table.end_us[row]))
            found[key].append(row)
    names = list(table.window_id)
    for key, rows in found.items():
        if len(rows) > 1:
            for row in rows:
                names[row] = key[0]
    return names


def _compare_prices(table: WindowTable, places: BarPlaces, drafts: Drafts) -> None:
    assert table.start_us is not None
    assert table.end_us is not None
    spans = zip(table.symbol.tolist(), table.start_us.tolist(), table.end_us.tolist(), strict=True)
    found = [places.window(*span) for span in spans]
    for row, first in enumerate(found):
        if isinstance(first, str):
            drafts.breaks("a window must be in the bars file", row, f"{table.window_id[row]}: {first}")
    rows = np.array([row for row, first in enumerate(found) if isinstance(first, int)], dtype=np.int64)
    if table.ohlc is None or not len(rows):
        return
    firsts = np.array([first for first in found if isinstance(first, int)], dtype=np.int64)
    prices = take_windows(places.bars.ohlc, firsts, places.window_bars)
    other = ~np.isclose(table.ohlc[rows], prices, rtol=PRICE_TOLERANCE, atol=0.0).all(axis=(1, 2))
    for row in rows[other].tolist():
        drafts.breaks("a window must have the prices of the bars file", row, table.window_id[row])


def _draft(
    name: str,
    annotator: str,
    rows: list[int],
    table: WindowTable,
    places: BarPlaces,
    options: LabelsImportOptions,
    drafts: Drafts,
) -> None:
    assert table.start_us is not None
    assert table.end_us is not None
    rows = sorted(rows, key=lambda row: _number(table.window_id[row]))
    first = places.window(table.symbol[rows[0]], int(table.start_us[rows[0]]), int(table.end_us[rows[0]]))
    grade = _grade(rows, table, drafts)
    expansions = []
    for row in rows:
        start, end, label = int(table.expansion_start[row]), int(table.expansion_end[row]), str(table.label[row])
        if start < 0:
            if label != options.no_expansion:
                drafts.breaks("a label must have pointers (or be the class of --no-expansion)", row, label)
        elif isinstance(first, int):
            times = places.bars.start_us
            expansions.append(Expansion(int(times[first + start]), int(times[first + end]), label))
    if len({(one.start_us, one.end_us) for one in expansions}) < len(expansions):
        drafts.breaks("expansions of a window must not have the same bars", rows[0], name)
    drafts.labels.append(
        WindowLabel(
            window_id=name,
            symbol=str(table.symbol[rows[0]]),
            start_us=int(table.start_us[rows[0]]),
            end_us=int(table.end_us[rows[0]]),
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


def _grade(rows: list[int], table: WindowTable, drafts: Drafts) -> str:
    if "quality" not in table.extra.columns:
        return ""
    found = {row: table.extra["quality"][row] for row in rows}
    for row, value in found.items():
        if value not in (None, "", *GRADES):
            drafts.breaks("quality must be A to D or missing", row, f"found {value!r}")
    if len(set(found.values())) > 1:
        drafts.breaks("rows of one window must have one quality", rows[0])
    grade = found[rows[0]]
    return grade if grade in GRADES else ""
