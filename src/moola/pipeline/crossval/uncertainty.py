"""What can be said of single windows: conformal sets, Venn-Abers intervals, pointer ranges, with coverage.

All of it is cross-fitted: what is said of a window comes from the other folds' windows alone.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from moola.data.contracts.prediction_table import Predictions
from moola.evaluation.conformal import (
    class_answers,
    class_coverage,
    cross_class_sets,
    cross_error_bars,
    error_coverage,
    mean_set_size,
    pointer_errors,
)
from moola.evaluation.venn_abers import venn_abers


def uncertainty(pooled: Predictions, block: np.ndarray, alpha: float) -> dict[str, Any]:
    """Return answers, set coverage and size, interval widths, and pointer ranges with their coverage."""
    labelled = np.flatnonzero(pooled.class_index >= 0)
    known, fold = pooled.take(labelled), block[labelled]
    ones = np.ones((1, len(known)))
    sets = cross_class_sets(known.class_prob, known.class_index, fold, alpha)
    content: dict[str, Any] = {
        "alpha": alpha,
        "answers": dict(sorted(Counter(class_answers(sets, known.class_names)).items())),
        "class_coverage": float(class_coverage(sets, known.class_index, ones)[0]),
        "mean_set_size": float(mean_set_size(sets, ones)[0]),
        "pointers": {which: _pointer_range(pooled, block, which, alpha) for which in ("start", "end")},
    }
    if len(known.class_names) == 2:
        low, high = _venn_abers(known, fold)
        content["venn_abers_width"] = float(np.mean(high - low))
    return content


def _venn_abers(known: Predictions, fold: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Ends of each window's Venn-Abers interval of the second class's probability."""
    low, high = np.zeros(len(known)), np.zeros(len(known))
    for number in np.unique(fold):
        mine = fold == number
        found = venn_abers(known.class_prob[~mine, 1], known.class_index[~mine], known.class_prob[mine, 1])
        low[mine], high[mine] = found.low_prob, found.high_prob
    return low, high


def single_windows(pooled: Predictions, block: np.ndarray, alpha: float) -> dict[str, list[Any]]:
    """Return columns, a row a pooled window: answer, Venn-Abers interval, bars around each pointer.

    A window without a label has an answer too; None where the other folds are too few to say.
    """
    sets = cross_class_sets(pooled.class_prob, pooled.class_index, block, alpha)
    table: dict[str, list[Any]] = {
        "window_id": list(pooled.window_id),
        "row": pooled.row.tolist(),
        "answer": class_answers(sets, pooled.class_names),
    }
    if len(pooled.class_names) == 2:
        low, high = _venn_abers(pooled, block)
        name = pooled.class_names[1]
        table |= {f"prob_{name}_low": low.tolist(), f"prob_{name}_high": high.tolist()}
    for which in ("start", "end"):
        if pooled.predicts_pointers:
            error = pointer_errors(pooled.true_bar, pooled.predicted_bar, which)
            within = cross_error_bars(error, block, alpha)
            table[f"{which}_within_bars"] = [int(bars) if np.isfinite(bars) else None for bars in within]
    return table


def _pointer_range(pooled: Predictions, block: np.ndarray, which: str, alpha: float) -> dict[str, Any] | None:
    """Median range in bars over folds and the share of pointers inside; None without pointers."""
    if not pooled.predicts_pointers or not (pooled.true_bar >= 0).any():
        return None
    error = pointer_errors(pooled.true_bar, pooled.predicted_bar, which)
    within = cross_error_bars(error, block, alpha)
    share = float(error_coverage(error, within, np.ones((1, len(pooled))))[0])
    finite = within[np.isfinite(within)]
    return {"within_bars": float(np.median(finite)) if len(finite) else None, "coverage": share}
