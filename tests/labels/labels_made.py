"""A small bar table, labels at known bars of it, and a store of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from moola.core.bars import Bars
from moola.core.label_rules import Expansion, WindowLabel
from moola.tables.bar_table import write_bars
from moola.tables.label_store import LabelStore
from tests.made import random_walk_bars

WINDOW_BARS = 20
BARS = random_walk_bars(200, symbol="EURUSD")


def write_made_bars(path: Path, leave_out: tuple[int, ...] = ()) -> Path:
    """Write the bars, or all but some rows."""
    rows = np.setdiff1d(np.arange(len(BARS)), leave_out)
    write_bars(path, Bars(BARS.start_us[rows], BARS.ohlc[rows], BARS.symbol[rows]))
    return path


def made_label(first: int, *marks: tuple[int, int, str], annotator: str = "ana", **fields: object) -> WindowLabel:
    """Label the window that begins at a row; marks are bar positions of it."""
    time = BARS.start_us
    expansions = tuple(Expansion(int(time[first + a]), int(time[first + b]), name) for a, b, name in marks)
    values = {
        "window_id": f"w{first}",
        "symbol": "EURUSD",
        "start_us": int(time[first]),
        "end_us": int(time[first + WINDOW_BARS - 1]),
        "grade": "",
        "reason": "",
        "note": "",
        "status": "labelled",
    } | fields
    return WindowLabel(annotator=annotator, expansions=expansions, **values)


def made_store(path: Path, *labels: WindowLabel) -> Path:
    """Save labels in this order."""
    with LabelStore(path) as store:
        for label in labels:
            seen = store.get(label.window_id, label.annotator)
            store.save(label, seen.revision if seen else 0)
    return path
