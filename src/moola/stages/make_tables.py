"""Stages that make tables: bars, windows (also around spans, with background beside them), relative windows, labels
and splits."""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from moola.core.bars import Bars, allowed_gap_s, bar_interval_us, split_doubts, time_doubt, utc_text
from moola.core.expansions import RULE_NAME, least_window_bars
from moola.core.seeds import generator
from moola.core.spans import BACKGROUND, PlacedSpans, Spans, bars_covered, place_spans, window_bars_for, window_starts
from moola.core.splits import PARTS, Split, forward_chain
from moola.core.windows import WINDOW_BARS, CutWindows, cut_windows, inner_zone
from moola.errors import InvalidData, WrongUsage
from moola.files import sha256_file
from moola.labels.label_positions import read_named_bars
from moola.labels.span_labels import requested_stretches
from moola.options.option_fields import COUNT, refuse_number, refuse_out_of_range
from moola.options.table_options import (
    AutolabelOptions,
    ConvertOptions,
    ImportOptions,
    SplitOptions,
    WindowsOptions,
)
from moola.tables.bar_table import bars_from_frame, read_bars
from moola.tables.cutting import cut_within_gaps, label_by_rule, pieces_of_bars, rows_of_bars, windows_of_bars
from moola.tables.foreign.importing import import_frame
from moola.tables.frames import write_frame
from moola.tables.span_file import Stretches, bars_of, read_spans, spans_on_bars, stretch_rows
from moola.tables.split_file import SplitFile, verify_split, write_split
from moola.tables.window_file import WindowFile, WindowTable, read_windows, write_window_pieces, write_windows

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
            "--background comes from annotated stretches alone, for bars in no span are unlabelled, but none is given. "
            "Name what was looked at: --annotated FROM TO, or --stretches FILE."
        )
    bars = read_named_bars(options.bars, options.symbol)
    spans = read_spans(path, options, bars)
    bars = bars_of(spans, bars)
    spans, met = spans_on_bars(spans, bars, path, options.drop_outside)
    if BACKGROUND in spans.label and options.background is not None:
        raise InvalidData(f"no span may have the class {BACKGROUND!r} beside --background. Rename it.")
    stretches = requested_stretches(options.stretches, options.annotated, options, bars)
    if len(stretches) and options.background is None:
        log.info("Annotated stretches are used for background alone, and --background is not given.")
    placed = place_spans(spans, bars)
    window_bars = options.window_bars or window_bars_for(placed.last - placed.first + 1)
    starts = _starts(bars, window_bars, options.max_gap_hours)
    cut = _around(spans, placed, window_bars, starts, options.seed)
    if not cut.rows:
        raise InvalidData(
            f"{path} must have spans that fit windows of {window_bars} bars, but none of {len(spans)} "
            f"does ({dict(cut.left_out)}). Lower --window-bars or raise --max-gap-hours."
        )
    _tell_lost_classes(spans, placed, window_bars, cut)
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
    """Return which rows may be the first one of a window: enough bars follow, without too long a gap."""
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


def _tell_lost_classes(spans: Spans, placed: PlacedSpans, window_bars: int, cut: _Cut) -> None:
    """Warn of classes that no window has, for nothing learns them from these windows."""
    for name in sorted(set(spans.label.tolist()) - {row[3] for row in cut.rows}):
        n_bars = (placed.last - placed.first + 1)[spans.label == name]
        is_long = float(np.median(n_bars)) > window_bars
        log.warning(
            "No window has the class %s, for none holds one of its %d spans of %d to %d bars: nothing will learn it. "
            "Set %s.",
            name,
            len(n_bars),
            n_bars.min(),
            n_bars.max(),
            f"--window-bars {window_bars_for(n_bars)}" if is_long else "--max-gap-hours",
        )


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


SPLITS_TOLD = 5


def check_bars(path: Path) -> dict[str, Any]:
    """Read a bar table and describe it; raises with every broken rule."""
    bars = read_bars(path)
    symbols = []
    for symbol in bars.symbols:
        times = bars.start_us[bars.symbol == symbol]
        step = np.diff(times)
        usual = bar_interval_us(times)
        symbols.append(
            {
                "symbol": symbol,
                "n_bars": len(times),
                "first_ts": utc_text(times[0]),
                "last_ts": utc_text(times[-1]),
                "bar_interval_s": usual / 1e6,
                "n_gaps": int((step > usual).sum()),
                "longest_gap_h": float(step.max() / 3.6e9) if len(step) else 0.0,
            }
        )
    warnings = [message for symbol in bars.symbols for message in _doubts(bars, symbol, path)]
    for message in warnings:
        log.warning("%s", message)
    return {"file": str(path), "n_bars": len(bars), "symbols": symbols, "warnings": warnings}


def _doubts(bars: Bars, symbol: str, path: Path) -> list[str]:
    """State what a symbol's bars may have wrong although they obey every rule."""
    mine = bars.symbol == symbol
    times, ohlc = bars.start_us[mine], bars.ohlc[mine]
    of = f"{symbol}: " if symbol else ""
    messages = []
    if doubt := time_doubt(times):
        messages.append(f"{of}{doubt} ({path}). Check the times: --timestamp-unit, --day-first, --timestamp-format.")
    found = split_doubts(times, ohlc)
    for one in found[:SPLITS_TOLD]:
        row = f"row {one.bar}" if len(bars.symbols) == 1 else f"bar {one.bar} of the symbol"
        when = utc_text(times[one.bar])
        messages.append(
            f"{of}{row} ({when}) opens at {one.open_after:g} after a close of {one.close_before:g}, "
            f"as after a split of {one.name}: earlier prices look unadjusted ({path}). Adjust them."
        )
    if len(found) > SPLITS_TOLD:
        messages.append(f"{of}{len(found) - SPLITS_TOLD} more bars look like splits ({path}).")
    return messages


def import_bars(options: ImportOptions) -> dict[str, Any]:
    """Bring a foreign file to the bar contract."""
    frame = import_frame(options)
    bars_from_frame(frame, f"what was read of {options.input}")
    write_frame(options.output, frame)
    return check_bars(options.output)


def cut(options: WindowsOptions) -> dict[str, Any]:
    """Cut windows from bars: labelled ones around spans where a file of them is given, else without labels."""
    if options.spans is not None:
        return cut_around_spans(options, options.spans)
    for name in ("stretches", "annotated", "background"):
        if getattr(options, name):
            raise WrongUsage(f"--{name} goes with --spans, but there is no file of spans. Give one, or leave it out.")
    bars = read_bars(options.bars)
    found = find_windows(bars, options)
    write_window_pieces(options.output, rows_of_bars(bars, found), pieces_of_bars(bars, found))
    return {"output": str(options.output), "n_windows": len(found), "n_dropped_gap": found.n_dropped_gap}


def find_windows(bars: Bars, options: WindowsOptions | AutolabelOptions) -> CutWindows:
    """Find windows in bars; there must be one."""
    refuse_out_of_range(options)
    return cut_within_gaps(
        bars, options.stride, options.window_bars or WINDOW_BARS, options.max_gap_hours, options.bars
    )


def convert(options: ConvertOptions) -> dict[str, Any]:
    """Add the eleven relative features to 4-D windows."""
    file = WindowFile.open(options.input, options.window_bars)
    if file.is_relative:
        raise InvalidData(f"{options.input} must hold 4-D windows, but it is relative already. Use it as it is.")
    write_window_pieces(options.output, file.rows, (piece.with_features() for piece in file.pieces()))
    return {"output": str(options.output), "n_windows": len(file.rows), "feature_type": "relative_11d"}


def autolabel(options: AutolabelOptions) -> dict[str, Any]:
    """Label windows by the published rule."""
    bars = read_bars(options.bars)
    found = find_windows(bars, options)
    windows = windows_of_bars(bars, found)
    table, counts = label_windows(windows, options.n_windows, options.bars)
    write_windows(options.output, table)
    kept = dict(sorted(Counter(table.label.tolist()).items()))
    return {"output": str(options.output), "labelled_by": RULE_NAME, "candidates": counts, "kept": kept} | {
        "n_dropped_gap": found.n_dropped_gap
    }


def label_windows(table: WindowTable, n_windows: int | None, name: Path | str) -> tuple[WindowTable, dict[str, int]]:
    """Label windows by the published rule, and count its answers; it must label one."""
    refuse_number("n_windows", COUNT, n_windows)
    labelled, counts = label_by_rule(table, n_windows)
    if not len(labelled):
        reasons = ", ".join(f"{count} {reason.removeprefix('unlabelled: ')}" for reason, count in counts.items())
        too_short = counts.get("unlabelled: window_too_short") == len(table)
        advice = f"Cut windows of at least {least_window_bars()} bars" if too_short else "Give more bars"
        raise InvalidData(
            f"{name} must have windows that the rule labels, but it labels none of {len(table)} ({reasons}). {advice}."
        )
    return labelled, counts


def split(options: SplitOptions) -> dict[str, Any]:
    """Divide windows by forward chaining, purge by time, and prove the result by reading it back."""
    table = read_windows(options.data, options.window_bars)
    found, purge = divide(table, options.val, options.test, options.purge_window)
    data_sha256 = sha256_file(options.data)
    file = SplitFile(options.output.stem, found, purge, data_sha256, {}, table.window_bars)
    leak_proof = verify_split(file, options.output, table, data_sha256, allow_overlap=False)
    write_split(options.output, file, table)
    return split_summary(options.output, found, table) | {"leak_proof": leak_proof, "purge_window": purge}


def divide(table: WindowTable, val: float, test: float, purge_window: int | None) -> tuple[Split, int]:
    """Divide windows by forward chaining; returns the purge too, in bars."""
    purge = purge_window if purge_window is not None else table.window_bars - 1
    if purge < table.window_bars - 1:
        raise WrongUsage(
            f"--purge-window must be at least {table.window_bars - 1} bars (one window less one bar), but it is "
            f"{purge}: windows on both sides would share bars. Leave it out for the least."
        )
    if not (0 < val < 1 and 0 <= test < 1 and val + test < 1):
        raise WrongUsage(f"--val and --test must be shares that leave train rows, but they are {val} and {test}.")
    embargo = (purge - (table.window_bars - 1)) * table.usual_interval_us
    found = forward_chain(table.intervals(), val, test, embargo)
    for part in PARTS[: 3 if test else 2]:
        if not len(found.part(part)):
            raise InvalidData(
                f"every part must have windows, but the purge leaves {part} none of {len(table)}. "
                "Label windows of a longer time, cut shorter ones (moola windows --window-bars), or give other shares "
                "(--val, --test)."
            )
    return found, purge


def split_summary(path: Path, found: Split, table: WindowTable) -> dict[str, Any]:
    """Describe each part: windows, classes, first and last bar."""
    parts = []
    for part in PARTS:
        rows = found.part(part)
        if len(rows):
            classes = dict(sorted(Counter(str(name) for name in table.label[rows]).items()))
            span = _span(table, rows)
            parts.append(
                {"part": part, "n_windows": len(rows), "classes": classes, "first_ts": span[0], "last_ts": span[1]}
            )
    purged = [{"window_id": table.window_id[row], "reason": why} for row, why in sorted(found.dropped.items())]
    return {"output": str(path), "parts": parts, "purged": purged}


def _span(table: WindowTable, rows: np.ndarray) -> tuple[str | None, str | None]:
    if table.start_us is None or table.end_us is None:
        return None, None
    return utc_text(table.start_us[rows].min()), utc_text(table.end_us[rows].max())
