"""Simulated predictions of overlapping windows whose true Brier is known, for the other benchmarks.

Every bar has independent standard normal draws, and a window has the mean of its bars' draws, scaled
to variance 1: two windows correlate as much as they share bars. A window's class is 1 where
`signal + noise > threshold`. A model sees `signal + blur * (its own noise)` and gives the exact
probability of the class given that, so that it is perfectly calibrated and the blur alone says how
good it is.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import brentq
from scipy.stats import norm

from moola.tables.prediction_table import Predictions

CLASS_NAMES = ["consolidation", "retracement"]
SHARE_OF_SECOND = 0.35
THRESHOLD = float(np.sqrt(2.0) * norm.ppf(1 - SHARE_OF_SECOND))
WINDOW_BARS = 105
BAR_US = 60_000_000
# How much of two models' noise is the same noise.
SHARED_NOISE = 0.5


def window_means(rng: np.random.Generator, n: int, stride: int, n_columns: int) -> np.ndarray:
    """Return scaled means of the bars' draws `(windows, columns)`, each column standard normal."""
    bars = rng.normal(size=((n - 1) * stride + WINDOW_BARS, n_columns))
    total = np.concatenate([np.zeros((1, n_columns)), bars.cumsum(axis=0)])
    first = np.arange(n) * stride
    return (total[first + WINDOW_BARS] - total[first]) / np.sqrt(WINDOW_BARS)


def class_prob(seen: np.ndarray, blur: float) -> np.ndarray:
    """Return the probability of the second class given what a model of this blur sees."""
    kept = 1 / (1 + blur**2)
    return np.asarray(norm.cdf((seen * kept - THRESHOLD) / np.sqrt(2 - kept)))


def simulate(rng: np.random.Generator, n: int, stride: int, blurs: tuple[float, ...]) -> list[Predictions]:
    """Return one table of predictions a model, all of the same windows."""
    columns = window_means(rng, n, stride, 3 + len(blurs))
    signal, label_noise, shared = columns[:, 0], columns[:, 1], columns[:, 2]
    class_index = (signal + label_noise > THRESHOLD).astype(np.int64)
    tables = []
    for i, blur in enumerate(blurs):
        noise = np.sqrt(SHARED_NOISE) * shared + np.sqrt(1 - SHARED_NOISE) * columns[:, 3 + i]
        tables.append(table_of(class_index, class_prob(signal + blur * noise, blur), stride))
    return tables


def table_of(class_index: np.ndarray, prob_of_second: np.ndarray, stride: int) -> Predictions:
    """Lay classes and probabilities out as windows of 105 bars at a stride."""
    n = len(class_index)
    start_us = np.arange(n, dtype=np.int64) * stride * BAR_US
    none = np.full((n, 2), -1)
    return Predictions(
        [f"w{i}" for i in range(n)],
        np.arange(n),
        np.full(n, "test", dtype=object),
        start_us,
        start_us + (WINDOW_BARS - 1) * BAR_US,
        CLASS_NAMES,
        class_index,
        np.stack([1 - prob_of_second, prob_of_second], axis=1),
        none,
        none,
        np.zeros((n, 2)),
    )


def true_brier(blur: float) -> float:
    """Return the expected Brier of a model: the mean of p (1 - p), by Gauss-Hermite quadrature."""
    node, weight = np.polynomial.hermite_e.hermegauss(80)
    prob = class_prob(node * np.sqrt(1 + blur**2), blur)
    return float(weight @ (prob * (1 - prob)) / weight.sum())


def blur_of(brier: float) -> float:
    """Return the blur of the model whose expected Brier this is."""
    return float(brentq(lambda blur: true_brier(blur) - brier, 0.0, 50.0))
