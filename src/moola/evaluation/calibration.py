"""Calibrators of class probabilities, what a perfectly calibrated model would show, and how calibration drifts by
blocks of time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from scipy.optimize import minimize, minimize_scalar
from scipy.special import expit, log_softmax, softmax

from moola.core.bars import utc_text
from moola.core.seeds import generator
from moola.errors import WrongUsage
from moola.evaluation.class_metrics import confidence, ece, mass_bin, membership, width_bin
from moola.evaluation.comparisons import block_length, block_weights, percentile_interval, without_resampling_bias
from moola.tables.prediction_table import Predictions

LOG_TEMPERATURE_RANGE = (-3.0, 3.0)
# A normal prior on ln(temperature), this wide per root of a window and at most 1 wide: .15 with 26 windows, where a
# width of 1 followed their noise and cost .02 of ECE (docs/log.md), and next to nothing where there are hundreds.
PRIOR_STD_PER_ROOT = 0.03


def fit_temperature(logits: Float[np.ndarray, "windows classes"], class_index: Int[np.ndarray, " windows"]) -> float:
    """Return the temperature that minimises the log-loss (Guo et al., ICML 2017), shrunk towards 1.

    With a normal prior on ln(temperature), so that a handful of validation windows that happen to be
    all right do not make the model certain. 1 where there are no windows.
    """
    if not len(logits):
        return 1.0
    rows = np.arange(len(logits))
    width = min(PRIOR_STD_PER_ROOT * np.sqrt(len(logits)), 1.0)

    def penalised(log_temperature: float) -> float:
        log_prob = log_softmax(logits / np.exp(log_temperature), axis=1)
        return float(-log_prob[rows, class_index].sum() + 0.5 * (log_temperature / width) ** 2)

    best = minimize_scalar(penalised, bounds=LOG_TEMPERATURE_RANGE, method="bounded")
    return float(np.exp(best.x))


def calibrated(
    logits: Float[np.ndarray, "windows classes"], temperature: float
) -> Float[np.ndarray, "windows classes"]:
    """Turn raw logits into calibrated probabilities."""
    return np.asarray(softmax(logits / temperature, axis=1))


def perfect_ece_range(predictions: Predictions, bins: str, seed: int, n_draws: int = 2000) -> tuple[float, float]:
    """Return the central 95 % range of ECE if every confidence were exactly right.

    Outcomes are drawn with these confidences as their probabilities (consistency resampling, Bröcker
    and Smith 2007): a measured ECE inside the range is no evidence of miscalibration.
    """
    return perfect_range(confidence(predictions)[0], bins, seed, n_draws)


def perfect_range(
    sure: Float[np.ndarray, " windows"], bins: str, seed: int, n_draws: int = 2000
) -> tuple[float, float]:
    """Return `perfect_ece_range` of confidences alone, one at least."""
    bin_ = {"width": width_bin, "mass": mass_bin}[bins](sure)
    rng = generator(seed, "perfect ece", bins)
    drawn = rng.random((n_draws, len(sure))) < sure
    # Every window weighs the same, so that all draws are one product.
    values = np.abs((drawn - sure) @ membership(bin_)).sum(axis=1) / len(sure)
    low, high = np.quantile(values, [0.025, 0.975])
    return float(low), float(high)


def reliability_bins(predictions: Predictions, seed: int) -> list[dict[str, float | int]]:
    """Return the non-empty equal-width bins: count, mean confidence, accuracy, band of a perfect model."""
    return bins_of_outcomes(*confidence(predictions), seed)


def bins_of_outcomes(
    sure: Float[np.ndarray, " windows"], correct: np.ndarray, seed: int
) -> list[dict[str, float | int]]:
    """Return `reliability_bins` of confidences and whether each was right."""
    bin_ = width_bin(sure)
    rng = generator(seed, "reliability band")
    bins = []
    for number in np.unique(bin_):
        member = bin_ == number
        drawn = (rng.random((2000, int(member.sum()))) < sure[member]).mean(axis=1)
        low, high = np.quantile(drawn, [0.025, 0.975])
        bins.append(
            {
                "bin": int(number),
                "n": int(member.sum()),
                "confidence": float(sure[member].mean()),
                "accuracy": float(correct[member].mean()),
                "perfect_low": float(low),
                "perfect_high": float(high),
            }
        )
    return bins


# Calibrators of class probabilities, chosen by name: a temperature, or Platt's slope and intercept.


Logits = Float[np.ndarray, "windows classes"]
Classes = Int[np.ndarray, " windows"]
LOWEST_PROB = 1e-12


def logits_of(class_prob: Float[np.ndarray, "windows classes"]) -> Logits:
    """Turn probabilities back into logits (their logarithm), where a table kept only probabilities.

    Probabilities below 1e-12 count as 1e-12, so that every logit is finite.
    """
    return np.log(np.maximum(class_prob, LOWEST_PROB))


def fit_platt(logit_difference: Float[np.ndarray, " windows"], class_index: Classes) -> tuple[float, float]:
    """Fit Platt's sigmoid: P(second class) = 1 / (1 + exp(-(slope * difference + intercept))).

    The targets are smoothed as Platt (1999, "Probabilistic outputs for support vector machines")
    proposes, t = (n1 + 1) / (n1 + 2) for the second class and 1 / (n0 + 2) for the first, so that a
    handful of windows that are all right do not make the model certain. Log-loss with these targets is
    convex; its one minimum is found by Newton steps in a trust region.

    Parameters
    ----------
    logit_difference
        Logit of the second class less that of the first; any real number.
    class_index
        True class, 0 or 1. Windows without a label (-1) are left out.

    Returns
    -------
    tuple
        Slope and intercept. (1, 0), which changes nothing, without windows; slope 0 where all
        differences are equal. A negative slope says that the logits rank these windows backwards.
    """
    known = class_index >= 0
    difference, second = np.asarray(logit_difference, dtype=np.float64)[known], class_index[known] == 1
    if not len(difference):
        return 1.0, 0.0
    n_second = int(second.sum())
    n_first = len(second) - n_second
    target = np.where(second, (n_second + 1) / (n_second + 2), 1 / (n_first + 2))
    # The fit runs on differences of mean 0 and deviation 1, so that it does not depend on their scale.
    centre, spread = float(difference.mean()), float(difference.std())
    is_flat = spread <= 1e-12 * max(1.0, abs(centre))
    inputs = np.stack([(difference - centre) / (1.0 if is_flat else spread), np.ones(len(difference))], axis=1)
    if is_flat:
        inputs[:, 0] = 0.0
    slope, intercept = _logistic_minimum(inputs, target)
    if is_flat:
        return 0.0, intercept
    return slope / spread, intercept - slope * centre / spread


def _logistic_minimum(
    inputs: Float[np.ndarray, "windows 2"], target: Float[np.ndarray, " windows"]
) -> tuple[float, float]:
    """Minimise the mean log-loss of smoothed targets over two coefficients."""
    n = len(target)

    def loss(coefficients: np.ndarray) -> float:
        z = inputs @ coefficients
        return float((np.logaddexp(0.0, z) - target * z).mean())

    def gradient(coefficients: np.ndarray) -> np.ndarray:
        return np.asarray(inputs.T @ (expit(inputs @ coefficients) - target) / n)

    def curvature(coefficients: np.ndarray) -> np.ndarray:
        prob = expit(inputs @ coefficients)
        return np.asarray((inputs.T * (prob * (1 - prob))) @ inputs / n)

    best = minimize(
        loss, np.zeros(2), method="trust-exact", jac=gradient, hess=curvature, options={"gtol": 1e-9, "maxiter": 500}
    )
    return float(best.x[0]), float(best.x[1])


@dataclass(frozen=True)
class Calibrator:
    """A fitted calibration as plain values, so that a file can hold it.

    Attributes
    ----------
    method
        `temperature` or `platt`.
    parameters
        (temperature,), or (slope, intercept) of the logit difference of two classes.
    """

    method: str
    parameters: tuple[float, ...]

    def __post_init__(self) -> None:
        _known(self.method)

    def apply(self, logits: Logits) -> Float[np.ndarray, "windows classes"]:
        """Turn raw logits into calibrated probabilities, each row with sum 1."""
        if self.method == "temperature":
            return calibrated(logits, self.parameters[0])
        slope, intercept = self.parameters
        z = slope * _difference(logits) + intercept
        return np.stack([expit(-z), expit(z)], axis=1)


def _difference(logits: Logits) -> Float[np.ndarray, " windows"]:
    return np.asarray(logits[:, 1] - logits[:, 0])


def temperature_calibrator(logits: Logits, class_index: Classes) -> Calibrator:
    """Fit one temperature (Guo et al., ICML 2017); windows without a label (-1) are left out."""
    known = class_index >= 0
    return Calibrator("temperature", (fit_temperature(logits[known], class_index[known]),))


def platt_calibrator(logits: Logits, class_index: Classes) -> Calibrator:
    """Fit Platt's slope and intercept; a temperature where there are not two classes.

    More than two classes would need a slope and an intercept each (vector scaling), which some hundred
    windows do not settle. The calibrator's method then says `temperature`.
    """
    if logits.shape[1] != 2:
        return temperature_calibrator(logits, class_index)
    return Calibrator("platt", fit_platt(_difference(logits), class_index))


CALIBRATORS: dict[str, Callable[[Logits, Classes], Calibrator]] = {
    "temperature": temperature_calibrator,
    "platt": platt_calibrator,
}


def _known(method: str) -> None:
    if method not in CALIBRATORS:
        names = ", ".join(CALIBRATORS)
        raise WrongUsage(f"The calibration must be one of {names}, but it is {method!r}. Choose one of these.")


def fit_calibrator(method: str, logits: Logits, class_index: Classes) -> Calibrator:
    """Fit the calibration of this name; raises `WrongUsage` for an unknown one."""
    _known(method)
    return CALIBRATORS[method](logits, class_index)


N_BLOCKS, LEAST_WINDOWS = 4, 20


def calibration_by_time(predictions: Predictions, seed: int) -> list[dict[str, Any]]:
    """Return the calibration of each block of time, earliest first; empty where no two blocks have 20 windows.

    Intervals are 95 %, by bootstrap over blocks of windows that share bars.

    Parameters
    ----------
    predictions
        Labelled windows; without times their order stands for it.

    Returns
    -------
    list of dict
        `first` and `last` (UTC, of first bars; None without times), `n_windows`, `ece` with `ece_low`, `ece_high`, the
        range of a perfectly calibrated model with these confidences `perfect_low`, `perfect_high`; `classes`: for each
        class its `mean_prob`, its `share` of the labels, and their `difference` with `low` and `high`. A difference is
        `off` where its interval leaves 0 out.
    """
    start_us = predictions.start_us
    order = np.arange(len(predictions)) if start_us is None else np.argsort(start_us, kind="stable")
    n_blocks = min(N_BLOCKS, len(predictions) // LEAST_WINDOWS)
    if n_blocks < 2:
        return []
    return [_of_block(predictions.take(rows), seed) for rows in np.array_split(order, n_blocks)]


def _of_block(block: Predictions, seed: int) -> dict[str, Any]:
    n_windows = len(block)
    weights = block_weights(n_windows, block_length(block.start_us, block.end_us), seed)
    value = float(ece(block, np.ones((1, n_windows)))[0])
    resampled = percentile_interval(without_resampling_bias(ece(block, weights), value))
    low, high = resampled or (None, None)
    perfect_low, perfect_high = perfect_ece_range(block, "width", seed)
    times = (None, None) if block.start_us is None else (utc_text(block.start_us[0]), utc_text(block.start_us[-1]))
    return {
        "first": times[0],
        "last": times[1],
        "n_windows": n_windows,
        "ece": value,
        "ece_low": low,
        "ece_high": high,
        "perfect_low": perfect_low,
        "perfect_high": perfect_high,
        "classes": [_of_class(block, number, weights) for number in range(len(block.class_names))],
    }


def _of_class(block: Predictions, number: int, weights: Float[np.ndarray, "resamples windows"]) -> dict[str, Any]:
    true = (block.class_index == number).astype(np.float64)
    error = block.class_prob[:, number] - true
    low, high = percentile_interval(weights @ error / weights.sum(axis=1)) or (None, None)
    return {
        "class": block.class_names[number],
        "mean_prob": float(block.class_prob[:, number].mean()),
        "share": float(true.mean()),
        "difference": float(error.mean()),
        "low": low,
        "high": high,
        "off": low is not None and high is not None and not low <= 0 <= high,
    }


DRIFT_HEADER = ("first window", "windows", "ECE", "perfect model", "class", "mean probability", "share", "difference")


def drift_rows(found: list[dict[str, Any]]) -> list[list[str]]:
    """Write blocks as rows of text under `DRIFT_HEADER`; of two classes the second one, for the first mirrors it."""
    rows = []
    for block in found:
        classes = block["classes"][1:] if len(block["classes"]) == 2 else block["classes"]
        first = "-" if block["first"] is None else block["first"][:10]
        perfect = f"{block['perfect_low']:.3f} .. {block['perfect_high']:.3f}"
        head = [first, str(block["n_windows"]), f"{block['ece']:.3f}", perfect]
        for place, one in enumerate(classes):
            interval = (
                "" if one["low"] is None else f" [{one['low']:+.3f}, {one['high']:+.3f}]{' *' if one['off'] else ''}"
            )
            values = [one["class"], f"{one['mean_prob']:.3f}", f"{one['share']:.3f}"]
            rows.append([*(head if place == 0 else [""] * len(head)), *values, f"{one['difference']:+.3f}{interval}"])
    return rows
