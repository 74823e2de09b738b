"""`labels export`: the label store and its bars to a window file (specification 2), with warnings of unusual marks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from moola.core.label_rules import GRADES, WindowLabel
from moola.core.windows import inner_zone, take_windows
from moola.errors import InvalidData, Problem, WrongUsage
from moola.labels.label_positions import BarPlaces, Mark, PlacedLabel, learn_bars, read_named_bars, require_same_bars
from moola.labels.label_stats import NotChosen, by_window, choose, disagreement, mean_marks, unlike
from moola.labels.span_labels import export_spans
from moola.options.label_options import LabelsExportOptions
from moola.tables.label_store import LabelStore
from moola.tables.window_file import WindowTable, label_problems, write_windows

# Marks that a window may have and that are often a slip: reported where they are saved and where they are exported.


# The text of each kind.
OUTSIDE, ONE_BAR, OVERLAPPING = "outside_inner_zone", "one_bar", "overlapping"


def mark_warnings(marks: Sequence[Mark], window_bars: int) -> list[tuple[str, str]]:
    """Return kind and sentence of what is unusual about each expansion of one window.

    An expansion is outside the inner zone where either pointer is; overlapping ones share a bar.
    """
    first, stop = inner_zone(window_bars)
    found = []
    for i, mark in enumerate(marks):
        name = f"expansion {i + 1} (bars {mark.start} to {mark.end})"
        if mark.start < first or mark.end >= stop:
            found.append((OUTSIDE, f"{name} is not inside the inner zone, bars {first} to {stop - 1}"))
        if mark.start == mark.end:
            found.append((ONE_BAR, f"{name} has one bar"))
        others = [k + 1 for k, one in enumerate(marks) if k != i and one.start <= mark.end and mark.start <= one.end]
        if others:
            found.append((OVERLAPPING, f"{name} shares bars with expansion {', '.join(map(str, others))}"))
    return found


def count_warnings(windows: Sequence[Sequence[Mark]], window_bars: int) -> dict[str, int]:
    """Count the expansions of several windows by kind of warning, 0 included."""
    counted = Counter(kind for marks in windows for kind, _ in mark_warnings(marks, window_bars))
    return {kind: counted[kind] for kind in (OUTSIDE, ONE_BAR, OVERLAPPING)}


ADVICE = "Fix these labels in the page, or leave one annotator out (--annotator)."


@dataclass(frozen=True)
class _Window:
    """One window to write; `marks` of one without an expansion is empty."""

    window_id: str
    symbol: str
    first_row: int
    annotator: str
    grade: str
    marks: tuple[Mark, ...]


def export(options: LabelsExportOptions) -> dict[str, Any]:
    """Write the labelled windows of a store with the bars that they were labelled on, or its spans (`as_`).

    Positions are counted in the bar file, from the times in the store. Rows are symbol by symbol in time order; a
    window with several expansions has as many rows, `<window>_exp_1` and so on.

    Returns
    -------
    dict
        `n_windows`, `n_rows`, `classes` (rows by class), `left_out` and `conflicts` (window and reason of each),
        `disagreements` (windows on which annotators differ where `resolve` took the label of one, and whose) and
        `mark_warnings` (expansions outside the inner zone, of one bar, overlapping another of their window); of spans
        what `export_spans` returns.

    Raises
    ------
    WrongUsage
        `annotator` or `resolve` name nobody of the store.
    InvalidData
        No window is left to write, or two labels contradict each other; nothing is written.
    """
    if options.as_ != "windows":
        return export_spans(options)
    if options.bars is None or options.stretches is not None:
        wrong = "need --bars" if options.bars is None else "take no --stretches"
        raise WrongUsage(f"windows {wrong}; spans do not (--as spans). Change the options.")
    places = BarPlaces(read_named_bars(options.bars, options.symbol), options.window_bars)
    with LabelStore(options.store, must_exist=True) as store:
        labels = _labels(store, options)
        if not labels and store.charts():
            raise InvalidData(
                f"{options.store} must have labelled windows to export, but it has spans alone. Export them with --as "
                "spans, and cut windows around them with `moola windows --spans`."
            )
        require_same_bars(store, places, options.bars)
        result = _export(labels, places, options)
        learn_bars(store, places, options.bars)
    return result


def _export(labels: list[WindowLabel], places: BarPlaces, options: LabelsExportOptions) -> dict[str, Any]:
    windows: list[_Window] = []
    left_out: list[dict[str, str]] = []
    conflicts: list[dict[str, str]] = []
    disagreements: list[dict[str, str]] = []
    for window_id, opinions in by_window(labels).items():
        found = _window(opinions, places, options)
        if reason := _settled(opinions, places, options):
            disagreements.append({"window_id": window_id, "reason": reason})
        if isinstance(found, _Window):
            windows.append(found)
        else:
            (conflicts if found.conflict else left_out).append({"window_id": window_id, "reason": found.reason})
    if not windows:
        reasons = Counter(entry["reason"] for entry in left_out + conflicts)
        reason = "; ".join(f"{count} {reason}" for reason, count in reasons.most_common(5)) or "it has no labels"
        raise InvalidData(
            f"{options.store} must have labelled windows to export, but none of {len(left_out) + len(conflicts)} can "
            f"be ({reason}). Label more, or check --bars, --annotator and --min-grade."
        )
    windows.sort(key=lambda window: (window.first_row, window.window_id))
    table = _table(windows, places, options)
    _check(table, options)
    write_windows(options.output, table)
    return {
        "output": str(options.output),
        "n_windows": len(windows),
        "n_rows": len(table),
        "classes": dict(sorted(Counter(table.label.tolist()).items())),
        "left_out": left_out,
        "conflicts": conflicts,
        "disagreements": disagreements,
        "mark_warnings": count_warnings([window.marks for window in windows], options.window_bars),
    }


def _labels(store: LabelStore, options: LabelsExportOptions) -> list[WindowLabel]:
    known = store.annotators()
    asked = {"--annotator": options.annotator}
    asked["--resolve"] = None if options.resolve in ("latest", "agree") else options.resolve
    for option, name in asked.items():
        if name is not None and name not in known:
            words = "latest, agree or " if option == "--resolve" else ""
            raise WrongUsage(
                f"{option} must be {words}an annotator of {options.store}, but {name!r} is none of "
                f"{len(known)}: {', '.join(known[:10]) or 'nobody labelled yet'}. Choose one of these."
            )
    return store.all(options.annotator)


def _window(opinions: list[WindowLabel], places: BarPlaces, options: LabelsExportOptions) -> _Window | NotChosen:
    chosen = choose(opinions, options.resolve)
    if isinstance(chosen, NotChosen):
        return chosen
    placed = []
    for label in chosen:
        found = places.place(label)
        if isinstance(found, str):
            return NotChosen(found)
        placed.append(found)
    marks = [one.marks for one in placed]
    if len(placed) > 1 and (reason := disagreement({one.label.annotator: one.marks for one in placed})):
        return NotChosen(reason, conflict=True)
    # Of several the worst grade holds, and none at all is no grade.
    grades = [label.grade for label in chosen]
    grade = "" if "" in grades else max(grades)
    if options.min_grade is not None and (not grade or GRADES.index(grade) > GRADES.index(options.min_grade)):
        reason = f"grade {grade} is worse than {options.min_grade}" if grade else "it was not graded"
        return NotChosen(f"{reason} (--min-grade {options.min_grade})")
    if not marks[0] and options.no_expansion is None:
        return NotChosen("it has no expansion (--no-expansion NAME writes it as a class)")
    annotator = "+".join(sorted(label.annotator for label in chosen))
    return _Window(chosen[0].window_id, chosen[0].symbol, placed[0].first_row, annotator, grade, mean_marks(marks))


def _settled(opinions: list[WindowLabel], places: BarPlaces, options: LabelsExportOptions) -> str | None:
    """Report on what the annotators of a window differ and whose label was taken; None where none was."""
    judged = [label for label in opinions if label.status != "skipped"]
    chosen = choose(opinions, options.resolve)
    if len(judged) < 2 or (isinstance(chosen, NotChosen) and chosen.conflict):
        return None
    reason = unlike(judged)
    if reason is None:
        placed = [places.place(label) for label in judged if label.status == "labelled"]
        found = {one.label.annotator: one.marks for one in placed if isinstance(one, PlacedLabel)}
        reason = disagreement(found) if len(found) > 1 else None
    if reason is None:
        return None
    taken = [judged[-1]] if options.resolve == "latest" else [one for one in judged if one.annotator == options.resolve]
    names = " and ".join(sorted(one.annotator for one in taken))
    how = ", the last saved" if options.resolve == "latest" else " (--resolve)"
    return f"{reason}; that of {names}{how} was taken" if taken else None


def _table(windows: list[_Window], places: BarPlaces, options: LabelsExportOptions) -> WindowTable:
    rows: list[tuple[str, _Window, Mark]] = []
    for window in windows:
        marks = window.marks or (Mark(-1, -1, options.no_expansion or ""),)
        for i, mark in enumerate(marks, start=1):
            name = f"{window.window_id}_exp_{i}" if len(marks) > 1 else window.window_id
            rows.append((name, window, mark))
    first = np.array([window.first_row for _, window, _ in rows], dtype=np.int64)
    extra = {"annotator": pl.Series([window.annotator for _, window, _ in rows], dtype=pl.String)}
    if any(window.grade for window in windows):
        extra["quality"] = pl.Series([window.grade or None for _, window, _ in rows], dtype=pl.String)
    return WindowTable(
        [name for name, _, _ in rows],
        take_windows(places.bars.ohlc, first, options.window_bars),
        None,
        np.array([mark.label for _, _, mark in rows], dtype=object),
        np.array([mark.start for _, _, mark in rows], dtype=np.int64),
        np.array([mark.end for _, _, mark in rows], dtype=np.int64),
        places.bars.start_us[first],
        places.bars.start_us[first + options.window_bars - 1],
        np.array([window.symbol for _, window, _ in rows], dtype=object),
        pl.DataFrame(extra),
    )


def _check(table: WindowTable, options: LabelsExportOptions) -> None:
    """What is written must be readable again by every command that learns from it."""
    problems = label_problems(table, options.window_bars, table.equal_bars())
    repeated = [name for name, count in Counter(table.window_id).items() if count > 1]
    if repeated:
        problems.append(Problem("window_id must name one row each", len(repeated), None, repeated[0]))
    if problems:
        raise InvalidData.from_problems(options.store, problems, ADVICE)
