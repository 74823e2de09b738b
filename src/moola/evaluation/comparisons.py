"""Intervals by block bootstrap over time, and comparisons over folds, seeds and sets with corrected tests."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from scipy.special import ndtri, stdtr, stdtrit

from moola.core.seeds import generator
from moola.evaluation.class_metrics import Metric, Values, Weights
from moola.tables.prediction_table import Predictions

POWER = 0.8
LEVEL = 0.95


@dataclass(frozen=True)
class ResampledT:
    """A corrected resampled t-test: the statistic, its two-sided p-value, the mean and its interval."""

    t: float
    p_two_sided: float
    mean: float
    low: float
    high: float


def paired_differences(challenger: Predictions, baseline: Predictions, metric: Metric, weights: Weights) -> Values:
    """Return metric(challenger) - metric(baseline) on the same resamples of the same windows.

    Pairing keeps what both find hard out of the spread. NaN where either does not exist.

    Raises
    ------
    ValueError
        The tables are of other windows or labels: such differences would mean nothing.
    """
    if challenger.window_id != baseline.window_id or not np.array_equal(challenger.class_index, baseline.class_index):
        raise ValueError("paired differences need the same windows with the same labels in the same order")
    return metric(challenger, weights) - metric(baseline, weights)


def tested_difference(difference: float, resampled: Values | None) -> dict[str, float | None]:
    """Return a difference with its 95 % interval, the least detectable one and a two-sided p-value.

    p is twice the share of resamples beyond 0, at least one of them. All but the difference are None where hardly any
    resample has one, or nothing was resampled.
    """
    interval = None if resampled is None else percentile_interval(resampled)
    if resampled is None or interval is None:
        return {"difference": difference, "low": None, "high": None, "detectable": None, "p": None}
    known = resampled[~np.isnan(resampled)]
    tail = max(min((known <= 0).mean(), (known >= 0).mean()), 1 / len(known))
    return {
        "difference": difference,
        "low": interval[0],
        "high": interval[1],
        "detectable": float(detectable_difference(known)),
        "p": float(min(1.0, 2 * tail)),
    }


def corrected_resampled_t(differences: Float[np.ndarray, " repeats"], n_train: int, n_test: int) -> ResampledT:
    """Test the mean difference of k repeated splits, whose training rows are largely the same rows.

    t = mean / sqrt((1/k + n_test/n_train) s^2) with k - 1 degrees of freedom (Nadeau and Bengio, Machine
    Learning 52, 2003, section 3), s^2 the sample variance of the k differences. The plain 1/k takes
    repeats for independent and finds differences that are not there.

    Parameters
    ----------
    differences
        One difference a repeat (fold or random split), challenger minus baseline.
    n_train, n_test
        Windows in the training and in the test part of one repeat; both above 0.

    Returns
    -------
    ResampledT
        With the 95 % interval. All NaN but the mean for k < 2, and all NaN for k = 0. With no variance at all: t is 0
        and p is 1 for a mean of 0, else t is infinite with the mean's sign and p is 0; the interval is the mean alone.

    Raises
    ------
    ValueError
        n_train or n_test is not above 0, or a difference is not finite.
    """
    values = np.asarray(differences, dtype=np.float64)
    if n_train <= 0 or n_test <= 0:
        raise ValueError(f"n_train and n_test must be above 0, but they are {n_train} and {n_test}")
    if not np.isfinite(values).all():
        raise ValueError(f"differences must be finite, but {int((~np.isfinite(values)).sum())} are not")
    k = len(values)
    mean = float(values.mean()) if k else math.nan
    if k < 2:
        return ResampledT(math.nan, math.nan, mean, math.nan, math.nan)
    # Equal values may leave a variance of rounding errors, which is none.
    variance = 0.0 if values.min() == values.max() else float(values.var(ddof=1))
    if variance == 0:
        mean = float(values[0])
        t = math.copysign(math.inf, mean) if mean else 0.0
        return ResampledT(t, 0.0 if mean else 1.0, mean, mean, mean)
    error = math.sqrt((1 / k + n_test / n_train) * variance)
    half = float(stdtrit(k - 1, (1 + LEVEL) / 2)) * error
    p = 2 * float(stdtr(k - 1, -abs(mean) / error))
    return ResampledT(mean / error, p, mean, mean - half, mean + half)


def holm(p_values: dict[str, float]) -> dict[str, float]:
    """Return adjusted p-values of tests made together, names in the order given.

    Holm (Scandinavian Journal of Statistics 6, 1979): with p ascending, adjusted p_(i) is the largest of
    (m - j + 1) p_(j) over j <= i, and at most 1. Rejecting those below alpha keeps the chance of any false
    rejection below alpha, whatever the tests' dependence. Empty in, empty out; equal p-values stay equal.

    Raises
    ------
    ValueError
        A p-value is not in [0, 1] (NaN: leave out a test that does not exist).
    """
    wrong = [name for name, p in p_values.items() if not 0 <= p <= 1]
    if wrong:
        raise ValueError(f"p-values must be in [0, 1], but {len(wrong)} are not, first {wrong[0]}")
    ordered = sorted(p_values, key=lambda name: p_values[name])
    adjusted: dict[str, float] = {}
    largest = 0.0
    for i, name in enumerate(ordered):
        largest = max(largest, min((len(ordered) - i) * p_values[name], 1.0))
        adjusted[name] = largest
    return {name: adjusted[name] for name in p_values}


def correct_together(rows: Sequence[dict[str, Any]], metric: str) -> None:
    """Write Holm's correction over the names of a table of differences into `p_holm` of one metric's rows."""
    tested = [row for row in rows if row["metric"] == metric and row["p"] is not None]
    corrected = holm({row["name"]: row["p"] for row in tested})
    for row in tested:
        row["p_holm"] = corrected[row["name"]]


def standard_error(resampled_differences: Values) -> float:
    """Return the standard deviation of the resampled differences that exist; NaN when fewer than two do."""
    known = resampled_differences[~np.isnan(resampled_differences)]
    return float(known.std()) if len(known) > 1 else math.nan


def detectable_difference(resampled_differences: Values, power: float = POWER, level: float = LEVEL) -> float:
    """Return the smallest true difference that this many windows show, one-sided, with this power.

    (z_level + z_power) times the standard error (Cohen 1988, chapter 2; Bloom's minimum detectable effect,
    Evaluation Review 19, 1995), in the unit of the differences. Not negative; NaN without a standard error.
    """
    return max(float(ndtri(level) + ndtri(power)), 0.0) * standard_error(resampled_differences)


def windows_for_power(
    difference: float, resampled_differences: Values, n_windows: int, level: float = LEVEL
) -> int | None:
    """Return how many windows in all show a true difference at 80 % power, one-sided.

    ceil(n ((z_level + z_power) standard error / difference)^2): the error falls with sqrt(n), windows that
    overlap as these do. At least 1. None where no number does (a difference of 0 or less) or where the
    standard error does not exist.
    """
    needed = detectable_difference(resampled_differences, level=level)
    if difference <= 0 or math.isnan(needed):
        return None
    return max(math.ceil(n_windows * (needed / difference) ** 2), 1)


# Block bootstrap over time: windows that share bars are no independent evidence.


N_RESAMPLES = 2000


def block_length(start_us: Int[np.ndarray, " windows"] | None, end_us: Int[np.ndarray, " windows"] | None) -> int:
    """Windows a block: one more than the most later windows that one window overlaps.

    A block then spans every chain of bars that a window shares. Windows in time order; 1 where no
    times are known, which takes windows for independent.
    """
    if start_us is None or end_us is None or len(start_us) < 2:
        return 1
    n_started = np.searchsorted(start_us, end_us, side="right")
    return int(max((n_started - np.arange(len(start_us))).max(), 1))


def drawn_block(n_windows: int, block: int) -> int:
    """Windows that are drawn in one piece: as many as overlap (`block`), up to 3 times that from 20 pieces on.

    Longer pieces see more of what goes together, and fewer of them say less about the spread. 1 where windows
    do not overlap.
    """
    return block if block == 1 else max(block, min(3 * block, n_windows // 20))


def resample_size(n_windows: int, block: int) -> int:
    """Windows per resample, so that its figures spread as widely as the figure of `n_windows` truly would.

    A resample of m < n windows spreads by sqrt(n / m) more, which makes up for three shortfalls of n windows
    drawn in pieces of l (`drawn_block`), all of them large when windows overlap and are few:

    - Deviations are taken from the sample's own mean, which takes l / n of the variance away. Drawing
      n - l is the answer of McCarthy and Snowden (1985) and Rao and Wu (1988) for n / l drawn units.
    - Neighbours k apart count with 1 - k/l alone (Künsch, Annals of Statistics 17, 1989). Windows that go
      together as much as they share bars, 1 - k/b with b = `block`, have b times the variance of independent
      ones; pieces see 1 + 2 sum_k (1 - k/b)(1 - k/l) of it, the share 1 - (b^2 - 1) / (3 b l). Those that go
      together less get wider intervals than they need.
    - The variance itself is estimated, with 3 l n / (2 l^2 + 1) - 1 degrees of freedom (n - 1 for l = 1, some
      1.5 n / l for long pieces: Meketon and Schmeiser 1984): Student's quantile takes the normal's place.

    m = (n - l) (1 - (b^2 - 1) / (3 b l)) (z / t)^2 at 97.5 %, rounded; at least 1, where one block spans
    nearly all windows and there is next to no evidence. Measured by `benchmarks/interval_coverage.py`.
    """
    piece = drawn_block(n_windows, block)
    seen = 1 - (block**2 - 1) / (3 * block * piece)
    freedom = max(3 * piece * n_windows / (2 * piece**2 + 1) - 1, 1.0)
    widening = stdtrit(freedom, 0.975) / ndtri(0.975)
    return max(round((n_windows - piece) * seen / widening**2), 1)


def block_weights(
    n_windows: int, block: int, seed: int, n_resamples: int = N_RESAMPLES
) -> Float[np.ndarray, "resamples windows"]:
    """Draw circular block bootstrap counts (Politis and Romano 1992): how often each window counts.

    Every resample has exactly `resample_size(n_windows, block)` windows; the last piece is cut short.
    """
    rng = generator(seed, "bootstrap", n_windows, block)
    n_drawn, piece = resample_size(n_windows, block), drawn_block(n_windows, block)
    n_pieces = -(-n_drawn // piece)
    first = rng.integers(0, n_windows, size=(n_resamples, n_pieces, 1))
    rows = ((first + np.arange(piece)) % n_windows).reshape(n_resamples, -1)[:, :n_drawn]
    flat = rows + np.arange(n_resamples)[:, None] * n_windows
    counts = np.bincount(flat.ravel(), minlength=n_resamples * n_windows)
    return counts.reshape(n_resamples, n_windows).astype(np.float64)


def without_resampling_bias(values: Float[np.ndarray, " resamples"], value: float) -> Float[np.ndarray, " resamples"]:
    """Move resampled figures so that their mean is the figure itself, and no lower than 0.

    For figures such as ECE that can only grow when windows repeat: a resample's bins hold fewer distinct
    windows, so its gaps are wider than the sample's own, and a plain percentile interval may lie wholly
    above the figure it is of.
    """
    return np.maximum(values - (np.nanmean(values) - value), 0.0)


def percentile_interval(values: Float[np.ndarray, " resamples"], level: float = 0.95) -> tuple[float, float] | None:
    """Return the central interval of resampled figures, None when hardly any resample has one."""
    known = values[~np.isnan(values)]
    if len(known) < 0.5 * len(values) or not len(known):
        return None
    low, high = np.quantile(known, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
