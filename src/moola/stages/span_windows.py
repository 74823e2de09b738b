"""`windows --spans`: labelled windows around spans, at places that tell nothing, and background beside them."""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from moola.core.bars import Bars
from moola.core.seeds import generator
from moola.core.spans import BACKGROUND, PlacedSpans, Spans, bars_covered, place_spans, window_bars_for, window_starts
from moola.core.windows import CutWindows, allowed_gap_s, cut_windows, inner_zone
from moola.errors import InvalidData, WrongUsage
from moola.labels.label_positions import read_named_bars
from moola.labels.span_labels import asked_stretches
from moola.options.option_ranges import refuse_out_of_range
from moola.options.table_options import WindowsOptions
from moola.tables.cutting import windows_of_bars
from moola.tables.span_file import Stretches, bars_of, read_spans, spans_on_bars, stretch_rows
from moola.tables.window_file import WindowTable, write_windows

log = logging.getLogger(__name__)


@dataclass
class _Cut:
    """Windows found so far: first row, pointers, class and annotator of each; and spans left out, by reason."""

    rows: list[tuple[int, int, int, str, str]] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)


def cut_around_spans(options: WindowsOptions, path: Path) -> dict[str, Any]:
    """Cut a labelled window around each span, and background windows from annotated stretches where asked.

    The place of a span in its window is drawn evenly over all places in the inner zone that hold it whole, by a seed
    of its own: other spans change nothing.

    Returns
    -------
    dict
        `n_windows`, `classes`, `window_bars`, what was left out (`n_too_long`, `n_dropped_gap`, `n_contradicting`),
        `n_outside_zone`, `n_holding_others`, and how spans met the bars.

    Raises
    ------
    InvalidData
        The spans break rules, no window can be cut, or the stretches have too little background.
    WrongUsage
        Background is asked for without a stretch that was annotated.
    """
    refuse_out_of_range(options)
    if options.background is not None and options.stretches is None and not options.annotated:
        raise WrongUsage(
            "--background comes from annotated stretches alone, for bars in no span say nothing, but none is given. "
            "Say what was looked at: --annotated FROM TO, or --stretches FILE."
        )
    bars = read_named_bars(options.bars, options.symbol)
    spans = read_spans(path, options, bars)
    bars = bars_of(spans, bars)
    spans, met = spans_on_bars(spans, bars, path, options.drop_outside)
    if BACKGROUND in spans.label and options.background is not None:
        raise InvalidData(f"no span may have the class {BACKGROUND!r} beside --background. Rename it.")
    stretches = asked_stretches(options.stretches, options.annotated, options, bars)
    if len(stretches) and options.background is None:
        log.info("Annotated stretches matter to background alone, and none is asked for (--background).")
    placed = place_spans(spans, bars)
    window_bars = options.window_bars or window_bars_for(placed.last - placed.first + 1)
    starts = _starts(bars, window_bars, options.max_gap_hours)
    cut = _around(spans, placed, window_bars, starts, options.seed)
    if not cut.rows:
        raise InvalidData(
            f"{path} must have spans that fit windows of {window_bars} bars, but none of {len(spans)} "
            f"does ({dict(cut.left_out)}). Lower --window-bars or raise --max-gap-hours."
        )
    if options.background is not None:
        cut.rows += _background(options, bars, stretches, placed, starts, window_bars, cut)
    table = _table(cut, bars, window_bars)
    write_windows(options.output, table)
    low, high = inner_zone(window_bars)
    has = table.expansion_start >= 0
    return {
        "output": str(options.output),
        "n_windows": len(table),
        "classes": dict(sorted(Counter(table.label.tolist()).items())),
        "window_bars": window_bars,
        **{name: cut.left_out[name] for name in ("n_too_long", "n_dropped_gap", "n_contradicting")},
        "n_outside_zone": int((has & ((table.expansion_start < low) | (table.expansion_end >= high))).sum()),
        "n_holding_others": _holding_others(cut, placed, window_bars),
        "timezone": options.timezone,
        **met,
    }


def _starts(bars: Bars, window_bars: int, max_gap_hours: float | None) -> np.ndarray:
    """Tell which rows may be the first one of a window: enough bars follow, without too long a gap."""
    is_whole = np.zeros(len(bars), dtype=bool)
    for symbol in bars.symbols:
        rows = np.flatnonzero(bars.symbol == symbol)
        own = Bars(bars.start_us[rows], bars.ohlc[rows], bars.symbol[rows])
        limit = allowed_gap_s(own.start_us, max_gap_hours)
        is_whole[rows[cut_windows(own, 1, window_bars, limit).first_bar]] = True
    return is_whole


def _around(spans: Spans, placed: PlacedSpans, window_bars: int, is_whole: np.ndarray, seed: int) -> _Cut:
    cut, zone = _Cut(), inner_zone(window_bars)
    taken: set[tuple[int, int, int]] = set()
    for row in range(len(spans)):
        first, last = int(placed.first[row]), int(placed.last[row])
        if last - first >= window_bars:
            cut.left_out["n_too_long"] += 1
            continue
        starts = window_starts(first, last, window_bars, zone, is_whole)
        if not len(starts):
            cut.left_out["n_dropped_gap"] += 1
            continue
        # Where another annotator marked the same bars, the same window with the same pointers would be one row twice.
        free = [start for start in starts.tolist() if (start, first, last) not in taken]
        if not free:
            cut.left_out["n_contradicting"] += 1
            continue
        own = (spans.symbol[row], int(spans.start_us[row]), int(spans.end_us[row]), spans.annotator[row])
        start = free[int(generator(seed, "place of a span", *own).integers(len(free)))]
        taken.add((start, first, last))
        cut.rows.append((start, first - start, last - start, str(spans.label[row]), str(spans.annotator[row])))
    return cut


def _background(
    options: WindowsOptions,
    bars: Bars,
    stretches: Stretches,
    placed: PlacedSpans,
    is_whole: np.ndarray,
    window_bars: int,
    cut: _Cut,
) -> list[tuple[int, int, int, str, str]]:
    """Choose windows that lie in a stretch, whole, and whose inner zone no span touches."""
    low, high = inner_zone(window_bars)
    marked = np.concatenate([[0], np.cumsum(bars_covered(len(bars), placed.first, placed.last))])
    candidates: set[int] = set()
    for row in range(len(stretches)):
        seen = stretch_rows(stretches, row, bars)
        starts = seen[: max(len(seen) - window_bars + 1, 0)]
        starts = starts[is_whole[starts]]
        candidates.update(starts[marked[starts + high] == marked[starts + low]].tolist())
    asked = options.background or 0.0
    n = round(len(cut.rows) * asked / (1 - asked)) if asked < 1 else round(asked)
    free = np.array(sorted(candidates - {row[0] for row in cut.rows}), dtype=np.int64)
    if len(free) < n:
        raise InvalidData(
            f"annotated stretches must hold {n} windows without a span for --background, but they hold {len(free)}. "
            "Lower --background, or annotate more."
        )
    chosen = np.sort(generator(options.seed, "background").choice(free, n, replace=False))
    return [(int(start), -1, -1, BACKGROUND, "") for start in chosen]


def _table(cut: _Cut, bars: Bars, window_bars: int) -> WindowTable:
    rows = sorted(cut.rows)
    first = np.array([row[0] for row in rows], dtype=np.int64)
    table = windows_of_bars(bars, CutWindows(first, 0, window_bars))
    known = Counter(first.tolist())
    numbers: dict[int, int] = defaultdict(int)
    names = list(table.window_id)
    for i, start in enumerate(first.tolist()):
        if known[start] > 1:
            numbers[start] += 1
            names[i] = f"{names[i]}_exp_{numbers[start]}"
    people = [row[4] for row in rows]
    return replace(
        table,
        window_id=names,
        label=np.array([row[3] for row in rows], dtype=object),
        expansion_start=np.array([row[1] for row in rows], dtype=np.int64),
        expansion_end=np.array([row[2] for row in rows], dtype=np.int64),
        extra=pl.DataFrame({"annotator": pl.Series([name or None for name in people], dtype=pl.String)})
        if any(people)
        else pl.DataFrame(),
    )


def _holding_others(cut: _Cut, placed: PlacedSpans, window_bars: int) -> int:
    n = 0
    for start, a, b, _, _ in cut.rows:
        inside = (placed.first >= start) & (placed.last < start + window_bars)
        own = (placed.first == start + a) & (placed.last == start + b)
        n += bool((inside & ~own).any()) and a >= 0
    return n
