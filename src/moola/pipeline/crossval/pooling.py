"""Out-of-fold predictions pooled: seeds averaged, then calibrated on the other folds."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from jaxtyping import Int

from moola.core.folds import near_any
from moola.core.splits import Intervals
from moola.core.windows import WINDOW_BARS
from moola.data.contracts.prediction_table import Predictions
from moola.evaluation.calibration import calibrated
from moola.evaluation.platt import Calibrator, fit_calibrator, logits_of
from moola.pipeline.predicting import pointing_together


def average(members: list[Predictions]) -> Predictions:
    """Average predictions of the same windows: log-probabilities (so logits) and pointer curves.

    A single member comes out as it is.
    """
    if len(members) == 1:
        return members[0]
    logits = np.mean([logits_of(one.class_prob) for one in members], axis=0)
    return replace(pointing_together(members), class_prob=calibrated(logits, 1.0))


def pool(by_fold: list[Predictions]) -> tuple[Predictions, Int[np.ndarray, " windows"]]:
    """Lay the folds' test windows out in time order, and say which block of time each is of.

    A window that several folds judge (combinatorial) is averaged over them; its block is the first fold
    that judges it.
    """
    members: dict[int, list[tuple[int, Predictions, int]]] = {}
    for number, fold in enumerate(by_fold):
        for place, row in enumerate(fold.row.tolist()):
            members.setdefault(row, []).append((number, fold, place))
    rows = sorted(members)
    single = [average([fold.take(np.array([place])) for _, fold, place in members[row]]) for row in rows]
    pooled = _concatenate(single)
    block = np.array([members[row][0][0] for row in rows])
    order = np.argsort(pooled.row if pooled.start_us is None else pooled.start_us, kind="stable")
    return pooled.take(order), block[order]


def _concatenate(parts: list[Predictions]) -> Predictions:
    def joined(values: list[np.ndarray | None]) -> np.ndarray | None:
        known = [value for value in values if value is not None]
        return np.concatenate(known) if len(known) == len(values) else None

    return replace(
        parts[0],
        window_id=[name for part in parts for name in part.window_id],
        row=np.concatenate([part.row for part in parts]),
        part=np.concatenate([part.part for part in parts]),
        start_us=joined([part.start_us for part in parts]),
        end_us=joined([part.end_us for part in parts]),
        class_index=np.concatenate([part.class_index for part in parts]),
        class_prob=np.concatenate([part.class_prob for part in parts]),
        true_bar=np.concatenate([part.true_bar for part in parts]),
        predicted_bar=np.concatenate([part.predicted_bar for part in parts]),
        pointer_prob=np.concatenate([part.pointer_prob for part in parts]),
        curves=joined([part.curves for part in parts]),
        annotator=joined([part.annotator for part in parts]),
        shared_bars=np.concatenate([part.shared_bars for part in parts]),
        length_weight=joined([part.length_weight for part in parts]),
    )


def calibrate_out_of_fold(
    pooled: Predictions,
    block: Int[np.ndarray, " windows"],
    method: str = "temperature",
    window_bars: int = WINDOW_BARS,
    earlier_only: bool = False,
) -> tuple[Predictions, list[Calibrator]]:
    """Calibrate each block's probabilities by a calibrator fitted on the other blocks.

    No window has a part in its own calibration, nor has one that shares a bar with its block. Windows of later blocks
    have: what is wrong in the same way in all of them is set right, so ECE and Brier are those of a model that was
    calibrated on windows like the judged ones. `earlier_only` takes earlier blocks alone, as use does; the first
    block then stays as its model gave it. Returns the calibrators by block.
    """
    intervals = Intervals(pooled.start_us, pooled.close_us(window_bars), np.arange(len(pooled)))
    logits = logits_of(pooled.class_prob)
    probability = pooled.class_prob.copy()
    calibrators = []
    for number in range(int(block.max()) + 1):
        mine = block == number
        others = ((block < number) if earlier_only else ~mine) & (pooled.class_index >= 0)
        others[others] = ~near_any(intervals, np.flatnonzero(others), np.flatnonzero(mine), 0)
        calibrator = fit_calibrator(method, logits[others], pooled.class_index[others])
        probability[mine] = calibrator.apply(logits[mine])
        calibrators.append(calibrator)
    return replace(pooled, class_prob=probability), calibrators


def paths(by_fold: list[Predictions]) -> list[Predictions]:
    """Lay combinatorial folds out as paths: in each, every window is judged by one fold, in time order.

    The p-th path takes, for each window, the p-th fold that judges it (Lopez de Prado 2018, ch. 12.4).
    """
    places: dict[int, list[tuple[int, int]]] = {}
    for number, fold in enumerate(by_fold):
        for place, row in enumerate(fold.row.tolist()):
            places.setdefault(row, []).append((number, place))
    n_paths = min(len(found) for found in places.values())
    laid = []
    for path in range(n_paths):
        chosen = [places[row][path] for row in sorted(places)]
        laid.append(_concatenate([by_fold[number].take(np.array([place])) for number, place in chosen]))
    return laid
