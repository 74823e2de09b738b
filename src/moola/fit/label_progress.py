"""The learning curve of labels: figures on later labels by heads of earlier ones, and what more labels would bring."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from moola.core.splits import Intervals
from moola.errors import InvalidData
from moola.evaluation.calibration import calibrated
from moola.evaluation.class_metrics import average_precision
from moola.evaluation.comparisons import block_weights, percentile_interval
from moola.fit.label_learning import (
    QUICK,
    LearnedWindows,
    PersonMarks,
    WindowEncoder,
    fit_heads,
    learned_windows,
    read_heads,
)
from moola.models.model_files import EncoderFile

# Parts of time; the first one is learned from only. Spans before figures are shown, and resamples of each figure.
N_PARTS, LEAST_LABELS, N_RESAMPLES = 5, 20, 400
# An error that falls more slowly than this power of the labels is too slow to extrapolate.
LEAST_POWER, MOST_MORE = 0.1, 1000


@dataclass(frozen=True)
class Step:
    """Figures of one part by heads that learned from all before it, with resamples beside each."""

    n_labels: int
    ap: float
    brier: float
    ap_resampled: np.ndarray
    brier_resampled: np.ndarray
    gain_resampled: np.ndarray

    def as_dict(self) -> dict[str, Any]:
        """Return what the page draws."""
        return {
            "n_labels": self.n_labels,
            "ap": None if np.isnan(self.ap) else self.ap,
            "ap_interval": percentile_interval(self.ap_resampled),
            "brier": self.brier,
            "brier_interval": percentile_interval(self.brier_resampled),
        }


def learning_progress(marks: PersonMarks, file: EncoderFile, seed: int, device: torch.device) -> dict[str, Any]:
    """Evaluate labels forward in time, by those that a person made without a proposal.

    Each fifth of the windows, in order of time, is evaluated by linear heads that learned from all windows that end
    before it begins.

    Returns
    -------
    dict
        `message` (one sentence), `counts` (labels by class), `curve` (a row of figures for each part).
    """
    names = sorted(set(marks.label))
    counts = {name: marks.label.count(name) for name in names}
    own = np.flatnonzero(~marks.by_model)
    if len(own) < LEAST_LABELS:
        message = f"Figures come after {LEAST_LABELS} spans that were no proposals; there are {len(own)}."
        return {"message": message, "counts": counts, "curve": []}
    alone = replace(
        marks,
        span=marks.span[own],
        label=[marks.label[row] for row in own],
        by_model=marks.by_model[own],
        rejected=np.zeros((0, 2), dtype=np.int64),
    )
    learned = learned_windows(alone, WindowEncoder(file, sorted(set(alone.label)), device), seed)
    steps = [step for step in (_step(learned, part, seed) for part in range(1, N_PARTS)) if step is not None]
    return {"message": _sentence(steps), "counts": counts, "curve": [step.as_dict() for step in steps]}


def _step(learned: LearnedWindows, part: int, seed: int) -> Step | None:
    """Evaluate one part; None where the labels before it have too few classes."""
    times: Intervals = learned.windows.intervals
    assert times.start_us is not None
    assert times.end_us is not None
    order = np.argsort(times.start_us, kind="stable")
    judged = np.array_split(order, N_PARTS)[part]
    before = np.flatnonzero(times.end_us < times.start_us[judged].min())
    n_classes = len(learned.class_names)
    try:
        heads, _, temperature = fit_heads(learned.windows.take(before), n_classes, QUICK)
    except InvalidData:
        return None
    chosen = learned.windows.take(judged)
    vectors = [chosen.encoded] if chosen.mirrored is None else [chosen.encoded, chosen.mirrored]
    prob = calibrated(read_heads(heads, vectors, chosen.class_mirror)[0], temperature)
    true = np.eye(n_classes)[chosen.class_index]
    shares = np.bincount(learned.windows.class_index[before], minlength=n_classes) / len(before)
    error, guess = ((prob - true) ** 2).sum(axis=1) / 2, ((shares - true) ** 2).sum(axis=1) / 2
    weights = block_weights(len(judged), 1, seed, N_RESAMPLES)
    once = np.ones((1, len(judged)))
    total = weights.sum(axis=1)
    return Step(
        int((learned.span[before] >= 0).sum()),
        float(_precision(prob, true, once)[0]),
        float(error.mean()),
        _precision(prob, true, weights),
        weights @ error / total,
        weights @ (guess - error) / total,
    )


def _precision(prob: np.ndarray, true: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Average precision of each class against the rest, averaged over the classes that are there."""
    there = [column for column in range(true.shape[1]) if 0 < true[:, column].sum() < len(true)]
    if not there:
        return np.full(len(weights), np.nan)
    by_class = [average_precision(prob[:, column], true[:, column] > 0, weights) for column in there]
    return np.asarray(np.mean(by_class, axis=0))


def _sentence(steps: list[Step]) -> str:
    if not steps:
        return "Earlier labels do not have the classes of later ones yet: mark each class early on the chart too."
    last = steps[-1]
    gain = percentile_interval(last.gain_resampled)
    sentence = f"Brier {last.brier:.2f} on later bars after {last.n_labels} labels"
    if gain is None or gain[0] <= 0:
        return f"Not yet better than guessing: {sentence}."
    return f"Better than guessing: {sentence}.{_more(steps)}"


def _more(steps: list[Step]) -> str:
    """Estimate how many more labels would halve the Brier score, from its fall over the parts."""
    if len(steps) < 3:
        return ""
    log_n = np.log([step.n_labels for step in steps])
    brier = np.log(np.maximum([step.brier_resampled for step in steps], 1e-4))
    centred = log_n - log_n.mean()
    power = -(centred @ brier) / (centred @ centred)
    low, high = np.quantile(power, [0.25, 0.75])
    if low < LEAST_POWER:
        return ""
    fewest, most = (round(steps[-1].n_labels * (2 ** (1 / one) - 1), -1) for one in (high, low))
    if most > MOST_MORE:
        return ""
    return f" Between {max(fewest, 10):.0f} and {max(most, 20):.0f} more labels would likely halve it."
