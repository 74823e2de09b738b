"""From a window table to training targets."""

from __future__ import annotations

import logging
from collections import Counter
from pathlib import Path

import numpy as np

from moola.core.expansions import NO_POINTER, soft_curve
from moola.core.scaling import RobustScaler
from moola.core.splits import PARTS, Split
from moola.data.contracts.window_table import WindowTable
from moola.errors import InvalidData
from moola.evaluation.figures import TrainingFacts
from moola.training.finetune import Examples

log = logging.getLogger(__name__)
FEW_WINDOWS = 10


def to_examples(
    table: WindowTable, scaler: RobustScaler, classes: list[str], sigma_bars: float, visible_bars: int | None = None
) -> Examples:
    """Scale features, number classes and turn pointers into curves.

    With `visible_bars` the first ones alone are there, as if no others were known: features look back only, so
    theirs are the same, and a pointer behind them is none.
    """
    assert table.features is not None
    n_seen = table.window_bars if visible_bars is None else visible_bars
    pointers = (np.where(bars < n_seen, bars, NO_POINTER) for bars in (table.expansion_start, table.expansion_end))
    curves = [soft_curve(bars, n_seen, sigma_bars) for bars in pointers]
    index = np.array([classes.index(name) for name in table.label], dtype=np.int64)
    return Examples(scaler.transform(table.features[:, :n_seen]), index, np.stack(curves, axis=-1))


def require_trainable(table: WindowTable, split: Split, path: Path) -> list[str]:
    """Return the classes of the train rows, or say why these rows cannot be trained on.

    Raises
    ------
    InvalidData
        A row of the split has no label, train has one class, or a later part has a class that train
        has not.
    """
    for part in PARTS:
        rows = split.part(part)
        bare = [int(row) for row in rows if table.label[row] is None]
        if bare:
            raise InvalidData(
                f"every {part} row must have a label, but {len(bare)} of {len(rows)} have none ({path}, label, first "
                f"row {bare[0]}). Label them or leave them out of the split."
            )
    counts = Counter(table.label[split.train].tolist())
    if len(counts) < 2:
        raise InvalidData(
            f"train must have at least two classes, but its {len(split.train)} rows are all {next(iter(counts))!r} "
            f"({path}). Label windows of another class."
        )
    classes = sorted(counts)
    for part in ("val", "test"):
        strange = sorted(set(table.label[split.part(part)].tolist()) - set(classes))
        if strange:
            raise InvalidData(
                f"{part} must have classes that train has, but {', '.join(strange)} is not among {', '.join(classes)} "
                f"({path}). Change the split or the labels."
            )
    for name, count in counts.items():
        if count < FEW_WINDOWS:
            log.warning("Class %s has only %d training windows: expect little of it.", name, count)
    return classes


def facts_of(train: WindowTable, pointer_threshold: float | None) -> TrainingFacts:
    """Return what the trivial predictors know of train rows."""
    return TrainingFacts(
        dict(sorted(Counter(train.label.tolist()).items())),
        most_common(train.expansion_start),
        most_common(train.expansion_end),
        pointer_threshold,
    )


def most_common(bars: np.ndarray) -> int | None:
    """Return the most common pointer, the smallest of equals; None without pointers."""
    known = bars[bars >= 0]
    return int(np.bincount(known).argmax()) if len(known) else None
