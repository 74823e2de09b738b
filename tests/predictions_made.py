"""Made tables of predictions: small, seeded, with ties and gaps where asked."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from moola.tables.prediction_table import Predictions

TWO = ["consolidation", "retracement"]
THREE = ["consolidation", "retracement", "trend"]
DAY_US = 86_400_000_000


def ones(predictions: Predictions) -> np.ndarray:
    """Weights that count every window once."""
    return np.ones((1, len(predictions)))


def close(value: float, wanted: float) -> bool:
    """Return whether two figures are the same, or neither exists."""
    return (math.isnan(value) and math.isnan(wanted)) or value == pytest.approx(wanted, abs=1e-12)


def repeated(predictions: Predictions, counts: np.ndarray) -> Predictions:
    """Write each window down as often as it counts."""
    return predictions.take(np.repeat(np.arange(len(predictions)), counts.astype(int)))


def table_of(
    class_index: list[int] | np.ndarray,
    class_prob: list | np.ndarray,
    class_names: list[str] | None = None,
    true_bar: list | np.ndarray | None = None,
    predicted_bar: list | np.ndarray | None = None,
    pointer_prob: list | np.ndarray | None = None,
    block: int = 1,
) -> Predictions:
    """Build a table from its columns; each window overlaps `block - 1` later ones."""
    n = len(class_index)
    start_us = np.arange(n, dtype=np.int64) * DAY_US
    none = np.full((n, 2), -1)
    return Predictions(
        [f"w{i}" for i in range(n)],
        np.arange(n),
        np.full(n, "test", dtype=object),
        start_us,
        start_us + (block - 1) * DAY_US,
        list(class_names or TWO),
        np.asarray(class_index, dtype=np.int64),
        np.asarray(class_prob, dtype=np.float64),
        none if true_bar is None else np.asarray(true_bar),
        none if predicted_bar is None else np.asarray(predicted_bar),
        np.zeros((n, 2)) if pointer_prob is None else np.asarray(pointer_prob, dtype=np.float64),
    )


def expansions_table(seed: int, n_windows: int) -> tuple[Predictions, np.ndarray]:
    """Draw windows of one to three rows `<window>_exp_<number>`, and the window of each row.

    Most windows say one thing on all of their rows, as a model does; some say another on each. Pointers lie so close
    together that some are near two expansions.
    """
    rng = np.random.default_rng(seed)
    window = np.repeat(np.arange(n_windows), rng.integers(1, 4, size=n_windows))
    rows = random_table(seed, len(window))
    one_says_all = rng.random(n_windows)[window] < 0.7
    said = np.where(one_says_all, np.searchsorted(window, window), np.arange(len(window)))
    true = rows.true_bar
    # Rows without an expansion come alone: they say that the window has none.
    true[(true[:, 0] < 0) & (np.bincount(window)[window] > 1)] = (12, 18)
    ids = [f"w{number}_exp_{row}" for row, number in enumerate(window)]
    table = replace(rows, window_id=ids, predicted_bar=rows.predicted_bar[said], pointer_prob=rows.pointer_prob[said])
    return replace(table, start_us=window * DAY_US, end_us=window * DAY_US), window


def two_class(class_index: np.ndarray, prob_of_second: np.ndarray, block: int = 1) -> Predictions:
    """Build a table of two classes from the probability of the second."""
    prob = np.asarray(prob_of_second, dtype=np.float64)
    return table_of(class_index, np.stack([1 - prob, prob], axis=1), block=block)


def random_table(seed: int, n: int, class_names: list[str] | None = None, coarse: bool = True) -> Predictions:
    """Draw labels, probabilities and pointers; `coarse` puts probabilities on a grid so that many are equal.

    About a third of the windows has no expansion, and about a sixth no predicted pointers.
    """
    rng = np.random.default_rng(seed)
    names = list(class_names or TWO)
    if coarse:
        parts = rng.integers(1, 5, size=(n, len(names))).astype(np.float64)
        prob = parts / parts.sum(axis=1, keepdims=True)
    else:
        prob = rng.dirichlet(np.ones(len(names)), size=n)
    start = rng.integers(8, 20, size=n)
    true = np.stack([start, start + rng.integers(0, 10, size=n)], axis=1)
    said = true + rng.integers(-6, 7, size=(n, 2))
    true[rng.random(n) < 1 / 3] = -1
    said[rng.random(n) < 1 / 6] = -1
    pointer_prob = rng.integers(0, 5, size=(n, 2)) / 4
    return table_of(rng.integers(0, len(names), size=n), prob, names, true, said, pointer_prob)
