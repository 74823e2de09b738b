"""`autolabel`: the published rule of `core.rules` applied to windows cut from bars."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import polars as pl

from moola.core.bars import Bars
from moola.core.rules import RULE_NAME, label_window
from moola.core.windows import CutWindows, take_windows
from moola.data.contracts.window_file import piece_rows
from moola.data.contracts.window_table import WindowTable
from moola.errors import InvalidData


def windows_of_bars(bars: Bars, cut: CutWindows) -> WindowTable:
    """Lay windows cut from bars out as a table without labels."""
    return replace(rows_of_bars(bars, cut), ohlc=take_windows(bars.ohlc, cut.first_bar, cut.window_bars))


def pieces_of_bars(bars: Bars, cut: CutWindows) -> Iterator[WindowTable]:
    """Yield the same windows some at a time, so that no more are in memory."""
    rows = rows_of_bars(bars, cut)
    for piece in piece_rows(len(cut)):
        yield replace(rows.take(piece), ohlc=take_windows(bars.ohlc, cut.first_bar[piece], cut.window_bars))


def rows_of_bars(bars: Bars, cut: CutWindows) -> WindowTable:
    """Return what `windows_of_bars` does, without the prices."""
    n = len(cut)
    last = cut.first_bar + cut.window_bars - 1
    symbol = bars.symbol[cut.first_bar]
    start_us = bars.start_us[cut.first_bar]
    # Minutes name a window unless bars are shorter than that.
    length = 16 if not (start_us % 60_000_000).any() else 26
    stamp = [str(np.datetime64(int(time), "us"))[:length].replace(":", "").replace("-", "") for time in start_us]
    names = [f"{name or 'window'}_{time}" for name, time in zip(symbol, stamp, strict=True)]
    nothing = np.full(n, -1, dtype=np.int64)
    return WindowTable(
        names,
        None,
        None,
        np.full(n, None, dtype=object),
        nothing,
        nothing,
        start_us,
        bars.start_us[last],
        symbol,
        pl.DataFrame(),
    )


def label_by_rule(table: WindowTable, n_windows: int | None) -> tuple[WindowTable, dict[str, int]]:
    """Keep the windows that the rule labels, and count what it said of all of them.

    `n_windows` keeps that many, evenly spread over the labelled ones in order.

    Raises
    ------
    InvalidData
        Fewer windows can be labelled than were asked, or windows carry no prices.
    """
    if table.ohlc is None:
        raise InvalidData(
            f"the rule must see prices, but {len(table)} windows have features alone. Give windows as they were cut."
        )
    labels = [label_window(window) for window in table.ohlc]
    counts = Counter(label.label or f"unlabelled: {label.reason}" for label in labels)
    rows = np.array([i for i, label in enumerate(labels) if label.label is not None], dtype=np.int64)
    if n_windows is not None:
        # Where the rule labels none, the caller says why.
        if 0 < len(rows) < n_windows:
            raise InvalidData(
                f"--n-windows {n_windows} must be labelled, but the rule labels {len(rows)} of {len(table)} "
                "windows. Lower --n-windows or --stride."
            )
        rows = rows[np.linspace(0, len(rows) - 1, n_windows).round().astype(np.int64)] if len(rows) else rows
    kept = table.take(rows)
    chosen = [labels[row] for row in rows]
    annotator = pl.DataFrame({"annotator": [RULE_NAME] * len(rows)}, schema={"annotator": pl.String})
    labelled = WindowTable(
        kept.window_id,
        kept.ohlc,
        None,
        np.array([label.label for label in chosen], dtype=object),
        np.array([label.expansion_start for label in chosen], dtype=np.int64),
        np.array([label.expansion_end for label in chosen], dtype=np.int64),
        kept.start_us,
        kept.end_us,
        kept.symbol,
        annotator,
    )
    return labelled, dict(sorted(counts.items()))
