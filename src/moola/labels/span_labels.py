"""Spans and annotated stretches into the label store, and out of it as a table or for Label Studio."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from moola.core.bars import Bars
from moola.core.event_merging import overlap
from moola.core.label_rules import GRADES, ChartLabels, ChartSpan, WindowLabel
from moola.core.spans import MARKED, Spans
from moola.core.windows import WINDOW_BARS
from moola.errors import InvalidData, WrongUsage
from moola.labels.label_positions import BarPlaces, on_bars, read_named_bars, require_same_bars
from moola.options.label_options import LabelsExportOptions, LabelsImportOptions
from moola.tables.label_store import LabelStore
from moola.tables.span_file import (
    Stretches,
    bars_of,
    named_stretches,
    read_spans,
    read_stretches,
    spans_on_bars,
    write_spans,
    write_stretches,
)
from moola.tables.studio_file import write_studio

# Spans that share so much of the bars in either are one piece, marked again.
SAME_PIECE = 0.5


@dataclass
class _Merged:
    """What an import makes of one chart, by kind."""

    added: int = 0
    unchanged: int = 0
    overwritten: int = 0
    kept: list[ChartSpan] = field(default_factory=list)


def import_spans(options: LabelsImportOptions) -> dict[str, Any]:
    """Save spans, and the stretches that were annotated, under each annotator and symbol: all of them or none.

    A span that the store has is left alone. One that is the same piece as another of the same annotator in the store
    is kept as the store has it, or put in its place with `overwrite`. Pieces inside others are pieces of their own.

    Returns
    -------
    dict
        `added`, `unchanged`, `overwritten`, `kept` (counts), `kept_spans`, `n_stretches`, `classes`, `annotators`,
        `timezone`, and how the spans met the bars (see `spans_on_bars`).

    Raises
    ------
    WrongUsage
        Nothing says who marked the spans.
    InvalidData
        The file breaks rules (all listed); nothing is written.
    LabelConflict
        Somebody saved one of these charts meanwhile; nothing is written.
    """
    bars = read_named_bars(options.bars, options.symbol)
    spans = read_spans(options.input, options, bars)
    if (spans.annotator == "").any():
        raise WrongUsage(
            f"an import must name who marked the spans, but {options.input} names nobody in "
            f"{int((spans.annotator == '').sum())} of {len(spans)} rows. Pass --annotator NAME."
        )
    bars = bars_of(spans, bars)
    spans, met = spans_on_bars(spans, bars, options.input, options.drop_outside)
    stretches = requested_stretches(options.stretches, options.annotated, options, bars)
    with LabelStore(options.store) as store:
        known = {(chart.symbol, chart.annotator): chart for chart in store.charts()}
        charts, merged = [], _Merged()
        for symbol in sorted({*spans.symbols, *stretches.symbol.tolist()}):
            for annotator in sorted({*spans.annotators, *stretches.annotators}):
                mine = np.flatnonzero((spans.symbol == symbol) & (spans.annotator == annotator))
                seen = _pairs(stretches, symbol, annotator)
                old = known.get((symbol, annotator), ChartLabels(symbol, annotator, ()))
                # Where a person looked and marked nothing is background too.
                if len(mine) or seen:
                    charts.append((old, _merge(old, spans.take(mine), seen, bars, options.overwrite, merged)))
        require_same_bars(store, BarPlaces(bars, WINDOW_BARS), options.bars, set(spans.symbols))
        laid = [on_bars(new, bars) for old, new in charts if new != old]
        store.save_charts([new for new, _ in laid], dict(pair for _, known in laid for pair in known.items()))
    return {
        "store": str(options.store),
        "added": merged.added,
        "unchanged": merged.unchanged,
        "overwritten": merged.overwritten,
        "kept": len(merged.kept),
        "kept_spans": [{name: value for name, value in vars(span).items() if name != "bars"} for span in merged.kept],
        "n_stretches": sum(len(new.stretches) for _, new in charts),
        "classes": dict(sorted(Counter(spans.label.tolist()).items())),
        "annotators": spans.annotators,
        "symbols": spans.symbols,
        "timezone": options.timezone,
        **met,
    }


def requested_stretches(path: Path | None, annotated: tuple[str, ...], reading: Any, bars: Bars) -> Stretches:
    """Return the stretches of a file and of `--annotated FROM TO`, together."""
    found = [] if path is None else [read_stretches(path, reading, bars)]
    found += [named_stretches(annotated, reading, bars)] if annotated else []
    return Stretches.joined(found)


def _pairs(stretches: Stretches, symbol: str, annotator: str) -> tuple[tuple[int, int], ...]:
    mine = (stretches.symbol == symbol) & np.isin(stretches.annotator.astype(str), ["", annotator])
    return tuple(zip(stretches.from_us[mine].tolist(), stretches.to_us[mine].tolist(), strict=True))


def _merge(
    old: ChartLabels, spans: Spans, seen: tuple[tuple[int, int], ...], bars: Bars, overwrite: bool, merged: _Merged
) -> ChartLabels:
    held = {(one.start_us, one.end_us): one for one in old.spans}
    others = np.array([[one.start_us, one.end_us] for one in old.spans], dtype=np.int64).reshape(-1, 2)
    times = bars.start_us[bars.symbol == old.symbol]
    other_bars = np.searchsorted(times, others)
    sources = np.full(len(spans), "", dtype=object) if spans.source is None else spans.source
    for start, end, label, note, source in zip(
        spans.start_us.tolist(), spans.end_us.tolist(), spans.label, spans.note, sources, strict=True
    ):
        new, same = ChartSpan(start, end, label, note, "" if source == MARKED else source), held.get((start, end))
        if same is not None and same.label == label and note in ("", same.note):
            merged.unchanged += 1
            continue
        met = others[overlap(np.searchsorted(times, [start, end]), other_bars) >= SAME_PIECE]
        if len(met) and not overwrite:
            merged.kept.append(new)
            continue
        for key in map(tuple, met.tolist()):
            held.pop(key, None)
        held[start, end] = new
        merged.overwritten += bool(len(met))
        merged.added += not len(met)
    ordered = tuple(held[key] for key in sorted(held))
    return replace(old, spans=ordered, stretches=tuple(sorted({*old.stretches, *seen})))


def export_spans(options: LabelsExportOptions) -> dict[str, Any]:
    """Write everything marked in a store as spans: what was imported so, and the expansions of labelled windows.

    Returns
    -------
    dict
        `n_spans`, `n_stretches`, `classes` and `annotators` of what was written.

    Raises
    ------
    WrongUsage
        `annotator` names nobody of the store.
    InvalidData
        The store has no spans (of this annotator), or no stretches where they are asked for; nothing is written.
    """
    with LabelStore(options.store, must_exist=True) as store:
        charts, labels = store.charts(), store.all()
    people = sorted({chart.annotator for chart in charts} | {label.annotator for label in labels})
    if options.annotator is not None and options.annotator not in people:
        raise WrongUsage(
            f"--annotator must be an annotator of {options.store}, but {options.annotator!r} is none of "
            f"{len(people)}: {', '.join(people[:10]) or 'nobody labelled yet'}. Choose one of these."
        )
    asked = people if options.annotator is None else [options.annotator]
    charts = [chart for chart in charts if chart.annotator in asked]
    rows = {
        (chart.symbol, chart.annotator, span.start_us, span.end_us, span.label): (span.note, span.source or MARKED)
        for chart in charts
        for span in chart.spans
    }
    for label in labels:
        if label.annotator in asked and _counts(label, options.min_grade):
            for one in label.expansions:
                rows.setdefault((label.symbol, label.annotator, one.start_us, one.end_us, one.label), ("", MARKED))
    stretches = _all_stretches(charts, asked)
    if not rows:
        raise InvalidData(f"{options.store} must have spans to export, but it has none. Import some, or label windows.")
    if options.stretches is not None and not len(stretches):
        raise InvalidData(
            f"{options.store} must have annotated stretches for --stretches, but it has none. Import some with "
            "`moola labels import --annotated FROM TO`, or leave it out."
        )
    spans = _spans(rows)
    (write_studio if options.as_ == "label-studio" else write_spans)(options.output, spans)
    if options.stretches is not None:
        write_stretches(options.stretches, stretches)
    return {
        "output": str(options.output),
        "n_spans": len(spans),
        "classes": dict(sorted(Counter(spans.label.tolist()).items())),
        "annotators": spans.annotators,
        "stretches": None if options.stretches is None else str(options.stretches),
        "n_stretches": len(stretches),
    }


def _counts(label: WindowLabel, min_grade: str | None) -> bool:
    if label.status != "labelled":
        return False
    return min_grade is None or (label.grade != "" and GRADES.index(label.grade) <= GRADES.index(min_grade))


def _all_stretches(charts: list[ChartLabels], people: list[str]) -> Stretches:
    """Return the stretches of charts, with the person who looked where people looked at different ones."""
    seen = {(chart.symbol, chart.annotator): set(chart.stretches) for chart in charts}
    alike = all(seen.get((symbol, name), set()) == own for (symbol, _), own in seen.items() for name in people)
    pieces = []
    for (symbol, annotator), own in seen.items():
        times = np.array(sorted(own), dtype=np.int64).reshape(-1, 2)
        texts = [np.full(len(times), text, dtype=object) for text in (symbol, "" if alike else annotator)]
        pieces.append(Stretches(times[:, 0], times[:, 1], *texts))
    return Stretches.joined(pieces)


def _spans(rows: dict[tuple[str, str, int, int, str], tuple[str, str]]) -> Spans:
    ordered = sorted(rows, key=lambda key: (key[0], key[2], key[3], key[1], key[4]))
    symbol, annotator, start, end, label = (list(column) for column in zip(*ordered, strict=True))
    notes, sources = zip(*(rows[key] for key in ordered), strict=True)
    texts = [np.array(column, dtype=object) for column in (label, symbol, annotator, notes, sources)]
    times = [np.array(column, dtype=np.int64) for column in (start, end)]
    return Spans(times[0], times[1], texts[0], texts[1], texts[2], texts[3], np.arange(len(rows)), False, texts[4])
