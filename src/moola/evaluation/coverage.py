"""Sets of classes, ranges of bars and intervals of probabilities with a stated coverage: conformal and Venn-Abers.

The guarantee (Vovk, Gammerman and Shafer 2005; Lei et al. 2018) is for exchangeable windows: calibration
and evaluated windows in any order equally likely. Windows that overlap, and markets that change, weaken it:
n overlapping windows carry less than n independent ones, so coverage varies more about 1 - alpha than n suggests.
Measure it on later windows with the coverage functions, and count windows in blocks of time.

Everything takes arrays. Out of fold, each fold is evaluated by the predictions of earlier folds (`forward_turns`); the
arrays may then hold one threshold or one k for each window.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.optimize import isotonic_regression

from moola.errors import WrongUsage
from moola.evaluation.class_metrics import Values, Weights, weighted_share

CANNOT_TELL = "unknown"
ENDS = ("start", "end", "both")
Sets = Bool[np.ndarray, "windows classes"]
# Rows that are evaluated together, and the rows that calibrate them.
Turn: TypeAlias = tuple[np.ndarray, np.ndarray]
Apart: TypeAlias = Callable[[np.ndarray, np.ndarray], np.ndarray]


def conformal_quantile(score: Float[np.ndarray, " calibration"], alpha: float) -> float:
    """Return the ceil((n + 1)(1 - alpha))-th smallest score; infinite when there are fewer scores.

    A further exchangeable score is at or below it with probability >= 1 - alpha, the finite-sample
    form of the 1 - alpha quantile. Raises `WrongUsage` unless 0 < alpha < 1.
    """
    if not 0 < alpha < 1:
        raise WrongUsage(f"alpha must be between 0 and 1, but it is {alpha}. Take 0.1 for a coverage of 90 %.")
    # The small number keeps a product such as 10 * (1 - 0.1) from being rounded up past a whole one.
    rank = math.ceil((len(score) + 1) * (1 - alpha) - 1e-9)
    return float(np.sort(score)[rank - 1]) if rank <= len(score) else math.inf


def class_thresholds(
    class_prob: Float[np.ndarray, "windows classes"],
    class_index: Int[np.ndarray, " windows"],
    alpha: float,
    by_class: bool = False,
) -> Float[np.ndarray, " classes"]:
    """Return for each class the largest score 1 - p at which it still belongs to a window's set.

    Sadinle, Lei and Wasserman (2019, "Least ambiguous set-valued classifiers"): the score of a
    calibration window is 1 - p of its true class, the threshold its conformal quantile.

    Parameters
    ----------
    class_prob, class_index
        Calibration windows that the model was not trained on; those without a label (-1) are left out.
    alpha
        Share of windows whose set may miss the true class, in (0, 1).
    by_class
        Calibrate each class on its own windows: every class is then covered at 1 - alpha, not all
        together, at the price of larger sets. Otherwise one threshold stands for all classes.
    """
    known = np.flatnonzero(class_index >= 0)
    score = 1 - class_prob[known, class_index[known]]
    if not by_class:
        return np.full(class_prob.shape[1], conformal_quantile(score, alpha))
    true = class_index[known]
    return np.array([conformal_quantile(score[true == k], alpha) for k in range(class_prob.shape[1])])


def class_sets(
    class_prob: Float[np.ndarray, "windows classes"], thresholds: Float[np.ndarray, "*windows classes"]
) -> Sets:
    """Return which classes each window's set holds: those with 1 - p at or below the threshold.

    A set without any class is filled with all: a window unlike every class rules out none.
    That only adds coverage.
    """
    sets = np.asarray(1 - class_prob <= thresholds)
    sets[~sets.any(axis=1)] = True
    return sets


def class_answers(sets: Sets, class_names: list[str]) -> list[str]:
    """Return the one class of each set, or "unknown" where the set holds several."""
    return [class_names[int(row.argmax())] if row.sum() == 1 else CANNOT_TELL for row in sets]


def pointer_errors(
    true_bar: Int[np.ndarray, "windows 2"], predicted_bar: Int[np.ndarray, "windows 2"], which: str
) -> Float[np.ndarray, " windows"]:
    """Return the bars between predicted and true `start`, `end`, or the larger of both.

    NaN where there is no true pointer, infinite where there is one and none was predicted.
    """
    ends = slice(None) if which == "both" else [ENDS.index(which)]
    true, predicted = true_bar[:, ends], predicted_bar[:, ends]
    error = np.abs(predicted - true).max(axis=1).astype(np.float64)
    error[(predicted < 0).any(axis=1)] = np.inf
    error[(true < 0).any(axis=1)] = np.nan
    return error


def error_bars(error: Float[np.ndarray, " calibration"], alpha: float) -> int | None:
    """Return the smallest whole k such that +-k bars cover 1 - alpha, None when no k is known to.

    k is the conformal quantile of the errors of calibration windows (`pointer_errors`), NaN left out.
    None, which stands for infinite, when there are too few windows (fewer than (1 - alpha) / alpha) or too
    many of them without a predicted pointer.
    """
    k = conformal_quantile(error[~np.isnan(error)], alpha)
    return None if math.isinf(k) else math.ceil(k)


def class_coverage(sets: Sets, class_index: Int[np.ndarray, " windows"], weights: Weights) -> Values:
    """Share of labelled windows whose set holds the true class; NaN without labelled windows.

    `weights` as for metrics: a row of ones gives the figure, rows of bootstrap counts its resamples.
    """
    known = class_index >= 0
    held = sets[np.arange(len(sets)), np.where(known, class_index, 0)] & known
    return weighted_share(weights @ held.astype(np.float64), weights @ known.astype(np.float64))


def mean_set_size(sets: Sets, weights: Weights) -> Values:
    """Mean number of classes per set; 1 where every window has an answer. NaN without windows."""
    return weighted_share(weights @ sets.sum(axis=1).astype(np.float64), weights.sum(axis=1))


def error_coverage(
    error: Float[np.ndarray, " windows"], within_bars: int | Float[np.ndarray, " windows"] | None, weights: Weights
) -> Values:
    """Share of windows with a true pointer whose error is within k bars, one k for all or one each.

    None and infinity, the k of too few calibration windows, cover every bar.
    """
    known = ~np.isnan(error)
    near = np.where(known, error, np.inf) <= (np.inf if within_bars is None else within_bars)
    return weighted_share(weights @ (near & known).astype(np.float64), weights @ known.astype(np.float64))


def forward_class_sets(
    class_prob: Float[np.ndarray, "windows classes"],
    class_index: Int[np.ndarray, " windows"],
    turns: list[Turn],
    alpha: float,
    by_class: bool = False,
) -> tuple[Sets, Bool[np.ndarray, " windows"]]:
    """Return each window's set, calibrated on the rows of its turn, and whether those were enough to leave a class out.

    A window of no turn, as one of the first fold, has every class in its set; so has one whose calibration rows are
    too few. Such sets hold the truth whatever the model is: coverage is of the others.

    Parameters
    ----------
    turns
        Rows that are evaluated together, with the rows that calibrate them (`forward_turns`).
    """
    sets, usable = np.ones(class_prob.shape, dtype=bool), np.zeros(len(class_prob), dtype=bool)
    for judged, calibration in turns:
        thresholds = class_thresholds(class_prob[calibration], class_index[calibration], alpha, by_class)
        sets[judged] = class_sets(class_prob[judged], thresholds)
        usable[judged] = np.isfinite(thresholds).all()
    return sets, usable


def forward_error_bars(
    error: Float[np.ndarray, " windows"], turns: list[Turn], alpha: float
) -> Float[np.ndarray, " windows"]:
    """Return each window's k, calibrated on the errors of its turn; infinite where there are none or too few."""
    within_bars = np.full(len(error), np.inf)
    for judged, calibration in turns:
        k = error_bars(error[calibration], alpha)
        within_bars[judged] = np.inf if k is None else k
    return within_bars


def forward_turns(fold: Int[np.ndarray, " windows"], apart: Apart | None = None) -> list[Turn]:
    """Return for each fold but the first its rows, and those of earlier folds: as they come in use.

    Later folds never help to evaluate earlier ones. Calibration on all other folds has about the coverage asked
    for whatever the model does, as each window is among the scores that set the bounds of the others: it says nothing
    of the windows to come.

    Parameters
    ----------
    fold
        Number of the fold whose model predicted the window, growing with time. Each window is one row: where
        several folds predicted it, average them first, or its own label helps to evaluate it.
    apart
        Given candidates and evaluated rows, returns the candidates that share no bar with an evaluated one; None: all.
    """
    turns = []
    for number in np.unique(fold)[1:]:
        judged, earlier = np.flatnonzero(fold == number), np.flatnonzero(fold < number)
        turns.append((judged, earlier if apart is None else earlier[apart(earlier, judged)]))
    return turns


# Venn-Abers prediction: for each window an interval of probabilities that says how much is not known.


@dataclass(frozen=True)
class VennAbers:
    """Probabilities of the second of two classes, one pair per window.

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
    follow each other in a market that changes, are not: take it as approximate, and evaluate it on later windows.
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
