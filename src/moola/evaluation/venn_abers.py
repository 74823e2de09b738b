"""Venn-Abers prediction: for each window an interval of probabilities that says how much is not known."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.optimize import isotonic_regression


@dataclass(frozen=True)
class VennAbers:
    """Probabilities of the second of two classes, one pair a window.

    Attributes
    ----------
    low_prob, high_prob
        p0 and p1, in [0, 1], p0 <= p1. One of the two is calibrated; a wide interval says that the
        calibration windows near this score are few.
    """

    low_prob: Float[np.ndarray, " windows"]
    high_prob: Float[np.ndarray, " windows"]

    @property
    def merged_prob(self) -> Float[np.ndarray, " windows"]:
        """One probability for both, p = p1 / (1 - p0 + p1): minimax for log-loss (Vovk and Petej 2014)."""
        return self.high_prob / (1 - self.low_prob + self.high_prob)

    @property
    def class_prob(self) -> Float[np.ndarray, "windows 2"]:
        """The merged probabilities of both classes, as a prediction table holds them."""
        merged = self.merged_prob
        return np.stack([1 - merged, merged], axis=1)


def venn_abers(
    calibration_score: Float[np.ndarray, " calibration"],
    calibration_class: Int[np.ndarray, " calibration"],
    score: Float[np.ndarray, " windows"],
) -> VennAbers:
    """Predict by the inductive Venn-Abers predictor (Vovk and Petej, UAI 2014).

    For a window with score s, p0 is the value at s of the isotonic regression of the calibration
    classes on their scores with (s, 0) added, p1 that with (s, 1) added. Only the order of scores
    matters, equal scores share one value.

    Parameters
    ----------
    calibration_score
        Any number that grows with the probability of the second class (a logit difference, or
        `class_prob[:, 1]`), of windows that the model was not trained on: a validation part, or the
        out-of-fold predictions of other folds.
    calibration_class
        True class, 0 or 1; windows without a label (-1) are left out.
    score
        The same number of the windows to predict.

    Returns
    -------
    VennAbers
        [0, 1] for every window where there are no calibration windows.

    Notes
    -----
    That one of p0 and p1 is calibrated holds for exchangeable windows. Windows that overlap, or that
    follow each other in a market that changes, are not: take it as approximate, and judge it on later windows.
    """
    known = calibration_class >= 0
    distinct, member = np.unique(np.asarray(calibration_score)[known], return_inverse=True)
    count = np.bincount(member, minlength=len(distinct)).astype(np.float64)
    second = (calibration_class[known] == 1).astype(np.float64)
    n_second = np.bincount(member, weights=second, minlength=len(distinct)).astype(np.float64)
    # Scores between the same two calibration scores share one answer: even slots are gaps, odd ones scores.
    slot = np.searchsorted(distinct, score, side="left") + np.searchsorted(distinct, score, side="right")
    needed, place = np.unique(slot, return_inverse=True)
    pairs = np.array([_pair_at(int(s), count, n_second) for s in needed], dtype=np.float64).reshape(-1, 2)
    return VennAbers(pairs[place, 0], pairs[place, 1])


def _pair_at(
    slot: int, count: Float[np.ndarray, " distinct"], n_second: Float[np.ndarray, " distinct"]
) -> tuple[float, float]:
    """Return p0 and p1 of a window in one slot of the distinct calibration scores."""
    at = slot // 2
    if slot % 2 == 0:
        count, n_second = np.insert(count, at, 0.0), np.insert(n_second, at, 0.0)
    weights = count.copy()
    weights[at] += 1
    pair = []
    for added in (0.0, 1.0):
        total = n_second.copy()
        total[at] += added
        pair.append(float(isotonic_regression(total / weights, weights=weights).x[at]))
    # Rounding alone can put p0 a hair above p1 or outside [0, 1].
    low, high = (min(max(prob, 0.0), 1.0) for prob in pair)
    return min(low, high), high
