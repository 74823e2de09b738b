"""Metrics of class probabilities (specification 6): ranking, proper scores, calibration, and the curves behind them.

Every metric takes predictions and `weights` of shape `(resamples, windows)`: how often each window
counts. One row of ones is the figure itself, rows of bootstrap counts are its resamples, and both
run through the same code. NaN marks a resample in which the metric does not exist.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy.special import expit, logit

from moola.tables.prediction_table import Predictions

Weights = Float[np.ndarray, "resamples windows"]
Values = Float[np.ndarray, " resamples"]
Metric = Callable[[Predictions, Weights], Values]
N_WIDTH_BINS = 10
N_MASS_BINS = 5


def weighted_share(numerator: Values, denominator: Values) -> Values:
    """Divide, NaN where there is nothing to divide by."""
    return np.divide(numerator, denominator, out=np.full_like(numerator, np.nan), where=denominator > 0)


def weighted_quantile(values: Float[np.ndarray, " windows"], weights: Weights, quantile: float) -> Values:
    """Return the smallest value with at least this share of the weight at or below it; NaN without weight."""
    if not len(values):
        return np.full(len(weights), np.nan)
    order = np.argsort(values, kind="stable")
    mass = np.cumsum(weights[:, order], axis=1)
    position = np.argmax(mass >= quantile * mass[:, -1:] - 1e-9, axis=1)
    return np.where(mass[:, -1] > 0, values[order][position], np.nan)


def average_precision(score: Float[np.ndarray, " windows"], positive: np.ndarray, weights: Weights) -> Values:
    """Average precision: the sum of precision times the gain in recall at each distinct score.

    AP = sum_k (R_k - R_{k-1}) P_k over descending distinct scores, without interpolation; windows with
    equal scores enter together, so their order does not matter. NaN without positives or negatives.
    """
    order = np.argsort(-score, kind="stable")
    ranked = score[order]
    group_end = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))
    counts = weights[:, order]
    hits = np.cumsum(counts * positive[order], axis=1)[:, group_end]
    seen = np.cumsum(counts, axis=1)[:, group_end]
    total = hits[:, -1]
    gain = np.diff(hits, axis=1, prepend=0.0)
    precision = np.divide(hits, seen, out=np.zeros_like(hits), where=seen > 0)
    area = weighted_share((gain * precision).sum(axis=1), total)
    area[seen[:, -1] == total] = np.nan
    return area


def pr_auc(predictions: Predictions, weights: Weights) -> Values:
    """Average precision of each class against the rest, averaged over classes; NaN if one is absent."""
    by_class = [
        average_precision(predictions.class_prob[:, k], predictions.class_index == k, weights)
        for k in range(len(predictions.class_names))
    ]
    return np.mean(by_class, axis=0)


def pr_auc_of(class_name: str) -> Metric:
    """Average precision of one class against the rest."""

    def metric(predictions: Predictions, weights: Weights) -> Values:
        k = predictions.class_names.index(class_name)
        return average_precision(predictions.class_prob[:, k], predictions.class_index == k, weights)

    return metric


def brier_by_window(predictions: Predictions) -> Float[np.ndarray, " windows"]:
    """Squared distance of the probabilities to the one-hot class, divided by 2, in [0, 1]."""
    one_hot = np.eye(len(predictions.class_names))[predictions.class_index]
    return ((predictions.class_prob - one_hot) ** 2).sum(axis=1) / 2


def brier(predictions: Predictions, weights: Weights) -> Values:
    """Mean squared distance to the one-hot class over 2 (Brier 1950; binary form for two classes)."""
    return weighted_share(weights @ brier_by_window(predictions), weights.sum(axis=1))


def confidence(predictions: Predictions) -> tuple[Float[np.ndarray, " windows"], np.ndarray]:
    """Return the largest probability of each window and whether its class is the true one."""
    predicted = predictions.class_prob.argmax(axis=1)
    return predictions.class_prob.max(axis=1), predicted == predictions.class_index


def width_bin(confidence_: Float[np.ndarray, " windows"]) -> Int[np.ndarray, " windows"]:
    """Number of the equal-width bin `(k/10, (k+1)/10]` of each confidence."""
    return np.clip(np.ceil(confidence_ * N_WIDTH_BINS).astype(np.int64) - 1, 0, N_WIDTH_BINS - 1)


def mass_bin(confidence_: Float[np.ndarray, " windows"]) -> Int[np.ndarray, " windows"]:
    """Number of the equal-mass bin of each confidence; equal confidences share a bin."""
    edges = np.quantile(confidence_, np.linspace(0, 1, N_MASS_BINS + 1)[1:-1])
    return np.searchsorted(edges, confidence_, side="left").astype(np.int64)


def membership(bin_: Int[np.ndarray, " windows"]) -> Float[np.ndarray, "windows bins"]:
    """1 where a window is in a bin, 0 elsewhere."""
    return (bin_[:, None] == np.arange(bin_.max() + 1)[None, :]).astype(np.float64)


def expected_calibration_error(
    confidence_: Float[np.ndarray, " windows"],
    correct: np.ndarray,
    bin_: Int[np.ndarray, " windows"],
    weights: Weights,
) -> Values:
    """Mean over windows of |accuracy - mean confidence| of their bin (Naeini et al., AAAI 2015)."""
    gap = np.abs(weights @ (membership(bin_) * (correct - confidence_)[:, None])).sum(axis=1)
    return weighted_share(gap, weights.sum(axis=1))


def ece(predictions: Predictions, weights: Weights) -> Values:
    """Expected calibration error of the predicted class in 10 equal-width bins."""
    sure, correct = confidence(predictions)
    return expected_calibration_error(sure, correct, width_bin(sure), weights)


def ece_equal_mass(predictions: Predictions, weights: Weights) -> Values:
    """Expected calibration error of the predicted class in 5 bins of equal mass."""
    sure, correct = confidence(predictions)
    return expected_calibration_error(sure, correct, mass_bin(sure), weights)


def accuracy(predictions: Predictions, weights: Weights) -> Values:
    """Share of windows whose most probable class is the true one."""
    return weighted_share(weights @ confidence(predictions)[1].astype(np.float64), weights.sum(axis=1))


def balanced_accuracy(predictions: Predictions, weights: Weights) -> Values:
    """Mean over the classes that are there of the share of their windows that is predicted right, in [0, 1].

    One class predicted for all has 1 / classes, however frequent it is (Brodersen et al., ICPR 2010).
    """
    right = confidence(predictions)[1].astype(np.float64)
    is_class = (predictions.class_index[:, None] == np.arange(len(predictions.class_names))).astype(np.float64)
    n_true = weights @ is_class
    recall = np.divide(weights @ (is_class * right[:, None]), n_true, out=np.zeros_like(n_true), where=n_true > 0)
    return weighted_share(recall.sum(axis=1), (n_true > 0).sum(axis=1).astype(np.float64))


def mcc(predictions: Predictions, weights: Weights) -> Values:
    """Matthews correlation of the predicted with the true class, in [-1, 1]; 0 is no better than chance.

    (c s - sum_k p_k t_k) / sqrt((s^2 - sum_k p_k^2) (s^2 - sum_k t_k^2)) with s windows, c of them right, t_k of
    class k and p_k said to be (Gorodkin 2004). 0 where one class alone is predicted, NaN where one alone is there.
    """
    classes = np.arange(len(predictions.class_names))
    predicted = predictions.class_prob.argmax(axis=1)
    n, right = weights.sum(axis=1), weights @ (predicted == predictions.class_index).astype(np.float64)
    n_predicted = weights @ (predicted[:, None] == classes).astype(np.float64)
    n_true = weights @ (predictions.class_index[:, None] == classes).astype(np.float64)
    spread_said, spread_true = n**2 - (n_predicted**2).sum(axis=1), n**2 - (n_true**2).sum(axis=1)
    together = right * n - (n_predicted * n_true).sum(axis=1)
    correlation = np.divide(
        together, np.sqrt(spread_said * spread_true), out=np.zeros_like(together), where=(spread_said * spread_true) > 0
    )
    return np.where(spread_true > 0, correlation, np.nan)


def f1_of(class_name: str) -> Metric:
    """F1 of one class; 0 where it is neither predicted nor right, NaN where it is neither there nor predicted."""

    def metric(predictions: Predictions, weights: Weights) -> Values:
        k = predictions.class_names.index(class_name)
        predicted = predictions.class_prob.argmax(axis=1) == k
        true = predictions.class_index == k
        both = weights @ (predicted & true).astype(np.float64)
        return weighted_share(2 * both, weights @ predicted.astype(np.float64) + weights @ true.astype(np.float64))

    return metric


def f1_macro(predictions: Predictions, weights: Weights) -> Values:
    """Mean F1 over the classes that are there or predicted."""
    by_class = np.stack([f1_of(name)(predictions, weights) for name in predictions.class_names])
    known = ~np.isnan(by_class)
    return weighted_share(np.where(known, by_class, 0.0).sum(axis=0), known.sum(axis=0).astype(np.float64))


# What lies behind single figures: the precision-recall steps of a class, and who is taken for whom.


@dataclass(frozen=True)
class PrecisionRecall:
    """Precision and recall at each distinct score, from the surest down, and the class's share of the windows.

    `area`, the sum of precision times the gain in recall, is the average precision (specification 6).
    """

    recall: Float[np.ndarray, " scores"]
    precision: Float[np.ndarray, " scores"]
    share: float

    @property
    def area(self) -> float:
        """Average precision."""
        return float((np.diff(self.recall, prepend=0.0) * self.precision).sum())


def precision_recall(score: Float[np.ndarray, " windows"], positive: np.ndarray) -> PrecisionRecall | None:
    """Return the steps of one class against the rest; windows with equal scores enter together.

    None without positives or without negatives, where the average precision does not exist either.
    """
    n_positive = int(positive.sum())
    if n_positive in (0, len(positive)):
        return None
    order = np.argsort(-score, kind="stable")
    group_end = np.flatnonzero(np.append(np.diff(score[order]) != 0, True))
    hits = np.cumsum(positive[order])[group_end]
    return PrecisionRecall(hits / n_positive, hits / (group_end + 1), n_positive / len(positive))


def confusion(predictions: Predictions) -> Int[np.ndarray, "classes classes"]:
    """Count labelled windows by true class (rows) and most probable class (columns)."""
    n_classes = len(predictions.class_names)
    counts = np.zeros((n_classes, n_classes), dtype=np.int64)
    labelled = predictions.class_index >= 0
    np.add.at(counts, (predictions.class_index[labelled], predictions.class_prob[labelled].argmax(axis=1)), 1)
    return counts


# Proper scores beyond Brier, what Brier is made of, and calibration without its small-sample bias.


# Probabilities stay this far from 0 and 1 where a logarithm is taken: scikit-learn's convention for float64.
SMALLEST_PROB = float(np.finfo(np.float64).eps)
MAX_STEPS = 100


class BrierParts(NamedTuple):
    """Parts of Brier, one figure a resample: reliability - resolution + uncertainty + within_bin."""

    reliability: Values
    resolution: Values
    uncertainty: Values
    within_bin: Values


def log_loss(predictions: Predictions, weights: Weights) -> Values:
    """Mean of -ln(probability of the true class), in nats (Good 1952); from 0 to 36.04.

    A probability below 2^-52 counts as that, so that one sure and wrong window does not make all else
    meaningless. NaN without windows.
    """
    prob = predictions.class_prob[np.arange(len(predictions)), predictions.class_index]
    by_window = -np.log(np.clip(prob, SMALLEST_PROB, 1.0))
    return weighted_share(weights @ by_window, weights.sum(axis=1))


def brier_skill(class_shares: dict[str, float]) -> Metric:
    """Build 1 - Brier / Brier of the class shares: 1 is perfect, 0 no better than the shares, below 0 worse.

    Parameters
    ----------
    class_shares
        Share or count of each class in training (`TrainingFacts.class_counts`); a class not named has
        none. Shares of the evaluated windows themselves would know what the model can't.

    Returns
    -------
    Metric
        NaN where the shares themselves make no error (all windows of a class with share 1).

    Raises
    ------
    ValueError
        A share is negative or not finite, or all are 0.
    """
    given = np.array(list(class_shares.values()), dtype=np.float64)
    if not np.isfinite(given).all() or (given < 0).any() or given.sum() <= 0:
        raise ValueError(f"class shares must be 0 or above with a sum above 0, but they are {class_shares}")

    def metric(predictions: Predictions, weights: Weights) -> Values:
        share = np.array([class_shares.get(name, 0.0) for name in predictions.class_names]) / given.sum()
        one_hot = np.eye(len(share))[predictions.class_index]
        reference = weighted_share(weights @ (((share - one_hot) ** 2).sum(axis=1) / 2), weights.sum(axis=1))
        return 1 - weighted_share(brier(predictions, weights), reference)

    return metric


def brier_decomposition(predictions: Predictions, weights: Weights, positive: str | None = None) -> BrierParts:
    """Split Brier into parts that sum to it exactly: reliability - resolution + uncertainty + within_bin.

    With bins k of n_k windows, mean probability f_k and share of positives o_k, and o over all:
    reliability = sum n_k (f_k - o_k)^2 / n, resolution = sum n_k (o_k - o)^2 / n, uncertainty = o (1 - o)
    (Murphy, Journal of Applied Meteorology 12, 1973), and what binning leaves: within_bin = mean of
    (f - f_k)^2 less twice the mean of (f - f_k)(y - o_k) (Stephenson, Coelho and Jolliffe, Weather and
    Forecasting 23, 2008). 10 equal-width bins `(k/10, (k+1)/10]`. within_bin may be negative, the others not.

    Parameters
    ----------
    positive
        Of two classes, the one whose probability is binned; by default the rarer one among these windows
        (ties go to the later name). Of more classes every one is taken against the rest, and the parts
        are half their sum, as Brier is.

    Returns
    -------
    BrierParts
        All NaN for a resample without windows.
    """
    names = predictions.class_names
    if len(names) != 2:
        of_each = [_parts_of(predictions, weights, k) for k in range(len(names))]
        return BrierParts(*(np.sum(part, axis=0) / 2 for part in zip(*of_each, strict=True)))
    n_second = int((predictions.class_index == 1).sum())
    rarer = names[1] if 2 * n_second <= len(predictions) else names[0]
    return _parts_of(predictions, weights, names.index(positive or rarer))


def _parts_of(predictions: Predictions, weights: Weights, k: int) -> BrierParts:
    prob, true = predictions.class_prob[:, k], (predictions.class_index == k).astype(np.float64)
    member = (width_bin(prob)[:, None] == np.arange(N_WIDTH_BINS)).astype(np.float64)
    n_bin, prob_sum, true_sum = (weights @ (member * column[:, None]) for column in (np.ones_like(prob), prob, true))
    n = weights.sum(axis=1)
    some = np.maximum(n_bin, 1e-300)
    prob_mean, true_mean = prob_sum / some, true_sum / some
    share = weighted_share(weights @ true, n)
    reliability = weighted_share((n_bin * (prob_mean - true_mean) ** 2).sum(axis=1), n)
    resolution = weighted_share((n_bin * (true_mean - share[:, None]) ** 2).sum(axis=1), n)
    # Sums of squares and products about the bins' means.
    spread = weights @ prob**2 - (n_bin * prob_mean**2).sum(axis=1)
    together = weights @ (prob * true) - (n_bin * prob_mean * true_mean).sum(axis=1)
    return BrierParts(reliability, resolution, share * (1 - share), weighted_share(spread - 2 * together, n))


def calibration_slope_intercept(predictions: Predictions, weights: Weights, class_name: str) -> tuple[Values, Values]:
    """Fit logit P(class) = intercept + slope * logit(predicted probability of the class), by maximum likelihood.

    Cox (Biometrika 45, 1958): slope 1 and intercept 0 are calibrated; a slope below 1 is a model too sure, an
    intercept above 0 one that gives the class too little. For two classes the other class has the same
    slope and the intercept with the other sign. Probabilities are kept 2^-52 away from 0 and 1.

    Returns
    -------
    tuple
        Slope and intercept a resample. Both NaN where no finite maximum exists (Albert and Anderson, Biometrika
        71, 1984): only one class, one probability for all, or a probability that separates the classes.
    """
    k = predictions.class_names.index(class_name)
    x = logit(np.clip(predictions.class_prob[:, k], SMALLEST_PROB, 1 - SMALLEST_PROB))
    true = predictions.class_index == k
    slope, intercept = np.full(len(weights), np.nan), np.full(len(weights), np.nan)
    rows = np.flatnonzero(_overlap(x, true, weights))
    if len(rows):
        centre, scale = x.mean(), x.std()
        beta = _newton((x - centre) / scale, true.astype(np.float64), weights[rows])
        slope[rows] = beta[:, 1] / scale
        intercept[rows] = beta[:, 0] - beta[:, 1] * centre / scale
    return slope, intercept


def _overlap(x: Float[np.ndarray, " windows"], true: np.ndarray, weights: Weights) -> np.ndarray:
    """Return in which resamples each class reaches beyond the other's nearest value."""
    if not len(x):
        return np.zeros(len(weights), dtype=np.bool_)
    counted = weights > 0
    highest = [np.where(counted & side, x, -np.inf).max(axis=1) for side in (true, ~true)]
    lowest = [np.where(counted & side, x, np.inf).min(axis=1) for side in (true, ~true)]
    return np.asarray((highest[0] > lowest[1]) & (highest[1] > lowest[0]))


def _newton(
    x: Float[np.ndarray, " windows"], true: Float[np.ndarray, " windows"], weights: Weights
) -> Float[np.ndarray, "resamples 2"]:
    """Newton's method for every resample at once; a step that does not lower the loss is halved."""
    beta, trial = np.zeros((len(weights), 2)), np.zeros((len(weights), 2))
    loss = np.full(len(weights), np.inf)
    step, size = np.zeros_like(beta), np.ones(len(weights))
    design = np.stack([np.ones_like(x), x], axis=1)
    n = weights.sum(axis=1)
    for _ in range(MAX_STEPS):
        line = trial @ design.T
        trial_loss = (weights * (np.logaddexp(0, line) - true * line)).sum(axis=1)
        better = trial_loss <= loss + 1e-12 * n
        size = np.where(better, 1.0, size / 2)
        prob = expit(line)
        gradient = (weights * (prob - true)) @ design
        curve = weights * prob * (1 - prob)
        a, b, c = curve.sum(axis=1), curve @ x, curve @ x**2
        flat = np.maximum(a * c - b**2, 1e-300)
        ahead = np.stack([c * gradient[:, 0] - b * gradient[:, 1], a * gradient[:, 1] - b * gradient[:, 0]], axis=1)
        beta = np.where(better[:, None], trial, beta)
        loss = np.where(better, trial_loss, loss)
        step = np.where(better[:, None], ahead / flat[:, None], step)
        if (np.abs(size[:, None] * step) < 1e-9 * (1 + np.abs(beta))).all():
            return beta
        trial = beta - size[:, None] * step
    unsettled = np.abs(size[:, None] * step).max(axis=1) > 1e-6 * (1 + np.abs(beta).max(axis=1))
    beta[unsettled] = np.nan
    return beta


def calibration_slope(class_name: str) -> Metric:
    """Slope of `calibration_slope_intercept` as a metric."""
    return lambda predictions, weights: calibration_slope_intercept(predictions, weights, class_name)[0]


def calibration_intercept(class_name: str) -> Metric:
    """Intercept of `calibration_slope_intercept` as a metric."""
    return lambda predictions, weights: calibration_slope_intercept(predictions, weights, class_name)[1]


def ece_debiased(predictions: Predictions, weights: Weights) -> Values:
    """Root mean squared calibration error of the predicted class, less what chance alone gives; in [0, 1].

    In each of 10 equal-width bins the squared gap (accuracy - mean confidence)^2 is estimated without bias from
    pairs of different windows: sum over i != j of d_i d_j w_i w_j / sum over i != j of w_i w_j with
    d = correct - confidence. At weights of one this is gap^2 - s^2 / n with s^2 the variance of d, the
    debiased estimator of Kumar, Liang and Ma (NeurIPS 2019, section 4.1) where a bin has one confidence.
    The mean over windows of these, 0 where it is negative, and its root. Plain ECE is above 0 for
    a perfect model, and the more so the fewer windows there are.

    Repeats of one window in a resample make no pair, so that resamples have no bias of their own. A bin with
    one window has no pair and is left out. NaN without any pair. Windows that overlap go together, which leaves
    some of the bias in. A root mean square is never below the mean gap that plain ECE estimates.
    """
    sure, correct = confidence(predictions)
    gap = correct - sure
    member = (width_bin(sure)[:, None] == np.arange(N_WIDTH_BINS)).astype(np.float64)
    n_bin = weights @ member
    n_pairs = n_bin**2 - weights**2 @ member
    products = (weights @ (member * gap[:, None])) ** 2 - weights**2 @ (member * gap[:, None] ** 2)
    paired = n_pairs > 0
    squared = np.divide(products, n_pairs, out=np.zeros_like(products), where=paired)
    mean = weighted_share((n_bin * squared).sum(axis=1), (n_bin * paired).sum(axis=1))
    return np.sqrt(np.maximum(mean, 0.0))
