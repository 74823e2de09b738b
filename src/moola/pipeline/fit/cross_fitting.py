"""A temperature from all labels: each window is judged by a network that saw neither it nor a bar of it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from moola.core.splits import Intervals
from moola.evaluation.calibration import fit_temperature
from moola.models.files import ModelFile
from moola.pipeline.fit.stages import Stages
from moola.pipeline.predicting import read_windows_both_ways

# A block of fewer windows, or a network without both classes, tells nothing of the model that is kept.
LEAST_A_BLOCK = 5


def cross_fitted_temperature(stages: Stages, model: ModelFile, known: np.ndarray, n_folds: int) -> float | None:
    """Fit the temperature of a model that trained on `known` rows out of fold (cross-fitting).

    Rows are cut into blocks of time. For each, a network of one head like the model's trains on the other blocks,
    less the windows that share a bar with the block, and judges the block.

    Returns
    -------
    The temperature; None where there are no two blocks, where they would have fewer than 5 windows, or where a class
    would be missing: a calibration from elsewhere has to do.
    """
    table, classes = stages.material.table, stages.material.classes
    if n_folds < 2 or len(known) < LEAST_A_BLOCK * n_folds:
        return None
    intervals = table.intervals()
    order = known if intervals.start_us is None else known[np.argsort(intervals.start_us[known], kind="stable")]
    folds = [(block, _others(intervals, known, block)) for block in np.array_split(order, n_folds)]
    if any(set(table.label[rest].tolist()) != set(classes) for _, rest in folds):
        return None
    logits = []
    for number, (block, rest) in enumerate(folds):
        judge = replace(model, network=stages.fold(number + 1, rest))
        features = table.take(block).features
        assert features is not None
        logits.append(read_windows_both_ways(judge, features, stages.device)[0])
    true = np.array([classes.index(name) for name in table.label[order]], dtype=np.int64)
    return fit_temperature(np.concatenate(logits), true)


def _others(intervals: Intervals, known: np.ndarray, block: np.ndarray) -> np.ndarray:
    """Rows outside the block that share no bar with it."""
    apart = known[~np.isin(intervals.group[known], intervals.group[block])]
    if intervals.start_us is None or intervals.end_us is None:
        return apart
    shares = (intervals.start_us[apart] < intervals.end_us[block].max()) & (
        intervals.end_us[apart] > intervals.start_us[block].min()
    )
    return apart[~shares]
