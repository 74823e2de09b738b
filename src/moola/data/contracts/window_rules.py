"""The rules that windows obey: shape, prices, features, labels and pointers."""

from __future__ import annotations

import contextlib

import numpy as np
import polars as pl

from moola.core.bars import price_problems
from moola.core.features import FEATURE_NAMES, ZSCORE_CLIP
from moola.core.windows import WINDOW_BARS, inner_zone
from moola.data.contracts.window_table import WindowTable
from moola.errors import Problem

ADVICE = "Mend the file, or cut windows anew with `moola windows` and `moola autolabel`."


def nested_array(
    column: pl.Series, name: str, width: int, window_bars: int | None, problems: list[Problem]
) -> np.ndarray | None:
    """Turn a column of nested lists into `(rows, bars, width)`, or say which rows do not fit."""
    nested = pl.List(pl.List(pl.Float64))
    with contextlib.suppress(pl.exceptions.PolarsError):
        column = column.cast(nested)
    if column.dtype != nested:
        problems.append(Problem(f"{name} must be nested lists of numbers", len(column), 0, str(column.dtype)))
        return None
    n_bars = column.list.len().fill_null(0).to_numpy()
    expected = window_bars or WINDOW_BARS
    wrong = n_bars != expected
    if wrong.any():
        first = int(wrong.argmax())
        rule = f"{name} must have {expected} bars a window (--window-bars)"
        problems.append(Problem(rule, int(wrong.sum()), first, f"found {int(n_bars[first])} bars"))
        return None
    bars = column.explode()
    widths = bars.list.len().fill_null(0).to_numpy()
    wrong = widths != width
    if wrong.any():
        first = int(wrong.argmax())
        rule = f"{name} must have {width} values a bar"
        problems.append(Problem(rule, int(wrong.sum()), first // expected, f"found {int(widths[first])} values"))
        return None
    flat = bars.explode().fill_null(float("nan")).to_numpy()
    return flat.reshape(len(column), expected, width)


def feature_problems(features: np.ndarray | None, ohlc: np.ndarray | None) -> list[Problem]:
    """Return broken rules of features (finite, in range) and of prices (the bar rules)."""
    problems = []
    if ohlc is not None:
        n_bars = ohlc.shape[1]
        for problem in price_problems(ohlc.reshape(-1, 4)):
            bar = problem.first_row or 0
            detail = f"bar {bar % n_bars} of that window"
            problems.append(Problem(problem.rule, problem.count, bar // n_bars, detail))
        if not problems:
            problems += _jumps(ohlc)
    if features is not None:
        for column, name in enumerate(FEATURE_NAMES):
            values = features[:, :, column]
            low, high = _range_of(name)
            broken = ~((values >= low) & (values <= high))
            if broken.any():
                rule = f"{name} must be a finite number within {low:g}..{high:g}"
                row, bar_ = divmod(int(broken.argmax()), broken.shape[1])
                problems.append(Problem(rule, int(broken.sum()), row, f"bar {bar_} of that window"))
    return problems


def _jumps(ohlc: np.ndarray) -> list[Problem]:
    """Prices whose log return would be out of its range."""
    most = np.exp(_range_of("log_return")[1])
    factor = ohlc[:, 1:] / ohlc[:, :-1]
    broken = ((factor > most) | (factor < 1 / most)).any(axis=2)
    if not broken.any():
        return []
    row, bar = divmod(int(broken.argmax()), broken.shape[1])
    rule = f"a price must be within a factor of {most:,.0f} of the bar before"
    return [Problem(rule, int(broken.sum()), row, f"bar {bar + 1} of that window")]


def _range_of(name: str) -> tuple[float, float]:
    # A log return of 10 is a price that grew 22,000-fold in one bar: an error, not a market.
    if name.startswith("log_return"):
        return -10.0, 10.0
    return (-ZSCORE_CLIP, ZSCORE_CLIP) if name.startswith("zscore") else (0.0, 1.0 + 1e-9)


def label_problems(table: WindowTable, n_bars: int, group: np.ndarray | None) -> list[Problem]:
    """Return broken rules of pointers and labels; contradictions too where the `group` of equal bars is known."""
    problems = []
    start, end = table.expansion_start, table.expansion_end
    for name, bars in (("expansion_start", start), ("expansion_end", end)):
        outside = (bars < -1) | (bars >= n_bars)
        if outside.any():
            first = int(outside.argmax())
            rule = f"{name} must be within 0..{n_bars - 1}"
            problems.append(Problem(rule, int(outside.sum()), first, f"found {int(bars[first])}"))
    lone = (start < 0) != (end < 0)
    if lone.any():
        rule = "expansion_start and expansion_end must come together"
        problems.append(Problem(rule, int(lone.sum()), int(lone.argmax())))
    crossed = (start > end) & (end >= 0)
    if crossed.any():
        rule = "expansion_start must be at most expansion_end"
        problems.append(Problem(rule, int(crossed.sum()), int(crossed.argmax())))
    empty = np.array([isinstance(name, str) and not name.strip() for name in table.label])
    if empty.any():
        problems.append(Problem("label must be a word or missing", int(empty.sum()), int(empty.argmax())))
    return problems + (_contradictions(table, group) if group is not None and table.classes else [])


def _contradictions(table: WindowTable, group: np.ndarray) -> list[Problem]:
    """Rows with the same bars and the same pointers must have the same label."""
    seen: dict[tuple[int, int, int], int] = {}
    pairs = []
    for row, key in enumerate(
        zip(group.tolist(), table.expansion_start.tolist(), table.expansion_end.tolist(), strict=True)
    ):
        first = seen.setdefault(key, row)
        if table.label[row] != table.label[first]:
            pairs.append((first, row))
    if not pairs:
        return []
    first, row = pairs[0]
    detail = f"rows {first} ({table.label[first]}) and {row} ({table.label[row]})"
    rule = "rows with the same bars and pointers must have the same label"
    return [Problem(rule, len(pairs), first, detail)]


def pointer_warning(table: WindowTable, n_bars: int) -> str:
    """Say how many pointers lie outside the inner zone; the empty string when none does."""
    first, last = inner_zone(n_bars)
    bars = np.stack([table.expansion_start, table.expansion_end])
    outside = ((bars >= 0) & ((bars < first) | (bars >= last))).any(axis=0)
    if not outside.any():
        return ""
    row = int(outside.argmax())
    return (
        f"{int(outside.sum())} of {len(table)} windows have a pointer outside the inner zone "
        f"[{first}, {last}), first at row {row} ({table.window_id[row]})."
    )
