"""Calibration: a temperature for logits, and what a perfectly calibrated model would show."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

from moola.core.seeds import generator
from moola.data.contracts.prediction_table import Predictions
from moola.evaluation.class_metrics import confidence, mass_bin, membership, width_bin

LOG_TEMPERATURE_RANGE = (-3.0, 3.0)
# A normal prior on ln(temperature), this wide per root of a window and at most 1 wide: .15 with 26 windows, where a
# width of 1 followed their noise and cost .02 of ECE (docs/log.md), and next to nothing where hundreds speak.
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
    sure, _ = confidence(predictions)
    bin_ = {"width": width_bin, "mass": mass_bin}[bins](sure)
    rng = generator(seed, "perfect ece", bins)
    drawn = rng.random((n_draws, len(sure))) < sure
    # Every window weighs the same, so that all draws are one product.
    values = np.abs((drawn - sure) @ membership(bin_)).sum(axis=1) / len(sure)
    low, high = np.quantile(values, [0.025, 0.975])
    return float(low), float(high)


def reliability_bins(predictions: Predictions, seed: int) -> list[dict[str, float | int]]:
    """Return the non-empty equal-width bins: count, mean confidence, accuracy, band of a perfect model."""
    sure, correct = confidence(predictions)
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
