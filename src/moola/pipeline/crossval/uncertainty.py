"""What can be said of single windows: conformal sets, Venn-Abers intervals, pointer ranges, with coverage.

All of it is forward: what is said of a window comes from windows of earlier folds that share no bar with its fold,
by the probabilities that the folds' models gave. Those are calibrated on each fold's own val windows; the
calibration over all folds (`calibrate_out_of_fold`) has no part in it, as labels of later windows are in that.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np

from moola.config.options import DEFAULT_SEED
from moola.core.folds import near_any
from moola.core.splits import Intervals
from moola.core.windows import WINDOW_BARS
from moola.data.contracts.prediction_table import Predictions
from moola.evaluation.class_metrics import Values, Weights
from moola.evaluation.conformal import (
    Turn,
    class_answers,
    class_coverage,
    error_coverage,
    forward_class_sets,
    forward_error_bars,
    forward_turns,
    mean_set_size,
    pointer_errors,
)
from moola.evaluation.event_metrics import nearest_pointers
from moola.evaluation.intervals import block_length, block_weights, percentile_interval
from moola.evaluation.venn_abers import venn_abers

Share = Callable[[np.ndarray, Weights], Values]


def uncertainty(
    raw: Predictions, block: np.ndarray, alpha: float, window_bars: int = WINDOW_BARS, seed: int = DEFAULT_SEED
) -> dict[str, Any]:
    """Return answers, set coverage and size, interval widths, and pointer ranges with their coverage.

    Coverage is of the windows whose earlier folds were enough to leave something out, with a 95 % interval over blocks
    of time and fold by fold; None where there is no such window.

    Parameters
    ----------
    raw
        Pooled out-of-fold predictions before they are calibrated over all folds, in time order.
    block
        Fold of each window, growing with time.
    """
    labelled = np.flatnonzero(raw.class_index >= 0)
    known, fold = raw.take(labelled), block[labelled]
    turns = _turns(known, fold, window_bars)
    sets, told = forward_class_sets(known.class_prob, known.class_index, turns, alpha)
    covered = _coverage(
        known,
        fold,
        turns,
        told,
        lambda rows, weights: class_coverage(sets[rows], known.class_index[rows], weights),
        seed,
    )
    n_told = int(told.sum())
    content: dict[str, Any] = {
        "alpha": alpha,
        "answers": dict(sorted(Counter(class_answers(sets, known.class_names)).items())),
        **{f"class_{name}": value for name, value in covered.items()},
        "mean_set_size": float(mean_set_size(sets[told], np.ones((1, n_told)))[0]) if n_told else None,
        "pointers": {which: _pointer_range(raw, block, which, alpha, window_bars, seed) for which in ("start", "end")},
    }
    if len(known.class_names) == 2:
        low, high = _venn_abers(known, turns)
        judged = np.concatenate([rows for rows, _ in turns]) if turns else np.empty(0, dtype=np.int64)
        content["venn_abers_width"] = float(np.mean((high - low)[judged])) if len(judged) else None
    return content


def _turns(pooled: Predictions, fold: np.ndarray, window_bars: int) -> list[Turn]:
    """Return the turns of the folds, less calibration windows that share a bar with the judged fold."""
    close_us = pooled.close_us(window_bars)
    if pooled.start_us is None or close_us is None:
        return forward_turns(fold)
    intervals = Intervals(pooled.start_us, close_us, np.arange(len(pooled)))
    return forward_turns(fold, lambda rows, judged: ~near_any(intervals, rows, judged, 0))


def _coverage(
    pooled: Predictions, fold: np.ndarray, turns: list[Turn], told: np.ndarray, share: Share, seed: int
) -> dict[str, Any]:
    """Return the share covered among told windows, its interval, and the same fold by fold with their numbers."""
    rows = np.flatnonzero(told)
    found: dict[str, Any] = {"coverage": None, "coverage_low": None, "coverage_high": None, "n_judged": len(rows)}
    by_fold = []
    for judged, calibration in turns:
        mine = judged[told[judged]]
        value = _share(share, mine)
        by_fold.append(
            {
                "fold": int(fold[judged[0]]) + 1,
                "n_calibration": len(calibration),
                "n_judged": len(mine),
                "coverage": value,
            }
        )
    if len(rows):
        judged_only = pooled.take(rows)
        weights = block_weights(len(rows), block_length(judged_only.start_us, judged_only.end_us), seed)
        low, high = percentile_interval(share(rows, weights)) or (None, None)
        found |= {"coverage": _share(share, rows), "coverage_low": low, "coverage_high": high}
    return found | {"coverage_by_fold": by_fold}


def _share(share: Share, rows: np.ndarray) -> float | None:
    value = float(share(rows, np.ones((1, len(rows))))[0]) if len(rows) else np.nan
    return None if np.isnan(value) else value


def _venn_abers(known: Predictions, turns: list[Turn]) -> tuple[np.ndarray, np.ndarray]:
    """Ends of each window's Venn-Abers interval of the second class's probability; [0, 1] without earlier windows."""
    low, high = np.zeros(len(known)), np.ones(len(known))
    for mine, earlier in turns:
        found = venn_abers(known.class_prob[earlier, 1], known.class_index[earlier], known.class_prob[mine, 1])
        low[mine], high[mine] = found.low_prob, found.high_prob
    return low, high


def single_windows(
    raw: Predictions, block: np.ndarray, alpha: float, window_bars: int = WINDOW_BARS
) -> dict[str, list[Any]]:
    """Return columns, a row a pooled window: answer, Venn-Abers interval, bars around each pointer.

    A window without a label has an answer too; None where the earlier folds are too few to say.
    """
    turns = _turns(raw, block, window_bars)
    sets, _ = forward_class_sets(raw.class_prob, raw.class_index, turns, alpha)
    table: dict[str, list[Any]] = {
        "window_id": list(raw.window_id),
        "row": raw.row.tolist(),
        "answer": class_answers(sets, raw.class_names),
    }
    if len(raw.class_names) == 2:
        low, high = _venn_abers(raw, turns)
        name = raw.class_names[1]
        table |= {f"prob_{name}_low": low.tolist(), f"prob_{name}_high": high.tolist()}
    for which in ("start", "end"):
        if raw.predicts_pointers:
            error = pointer_errors(nearest_pointers(raw), raw.predicted_bar, which)
            within = forward_error_bars(error, turns, alpha)
            table[f"{which}_within_bars"] = [int(bars) if np.isfinite(bars) else None for bars in within]
    return table


def _pointer_range(
    raw: Predictions, block: np.ndarray, which: str, alpha: float, window_bars: int, seed: int
) -> dict[str, Any] | None:
    """Median range in bars over folds and the share of pointers inside; None without pointers."""
    if not raw.predicts_pointers or not (raw.true_bar >= 0).any():
        return None
    turns = _turns(raw, block, window_bars)
    error = pointer_errors(nearest_pointers(raw), raw.predicted_bar, which)
    within = forward_error_bars(error, turns, alpha)
    told = np.isfinite(within) & ~np.isnan(error)
    covered = _coverage(
        raw, block, turns, told, lambda rows, weights: error_coverage(error[rows], within[rows], weights), seed
    )
    return {"within_bars": float(np.median(within[told])) if told.any() else None} | covered
