"""Whether windows are like those that calibrated a model: distances in the encoder's vectors, and a test of them.

A window is the mean of its bars' vectors. For each block of time of the windows that calibrated the model, the mean of
the others is kept with the directions of most variance and the variance left; by these a window's distance is

    d = mean_k (c_k^2 / variance_k) + |rest|^2 / mean |rest|^2,

with c its coordinates in those directions and rest what they leave (as in probabilistic principal components, Tipping
and Bishop 1999). Windows that are read and those of the block were both not seen by that fit, so that where they are of
one kind neither is farther: theta = P(d_block < d_read) is .5.

The test is on the mean of theta over the blocks. Its variance is that over the blocks, corrected for fits that share
windows (Nadeau and Bengio 2003), and that of the windows read over `N_BLOCKS` blocks of their time (placements of
DeLong, DeLong and Clarke-Pearson 1988, in clusters as Obuchowski 1997), with Welch's degrees of freedom: windows near
in time are alike, and count as the one block that they are in. Simulated with 20 to 174 calibrating windows whose
vectors depend on those before and whose spread changes slowly, at most 4 in 100 tests warned without cause
(docs/log.md).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from scipy.special import stdtr

from moola.core.features import FEATURE_NAMES

N_DIRECTIONS, N_BLOCKS, MAX_BLOCKS = 8, 10, 100
# Fewer windows than these calibrated, or are read, tell nothing.
LEAST_CALIBRATING, LEAST_READ = 20, 40
# The warning is false at most so often; for that the test asks for a smaller p-value. Small differences never matter.
FALSE_ALARMS, LARGEST_P, LEAST_THETA = 0.05, 0.005, 0.6
# What a person can look at on a chart, in words and as `(windows,)`.
TRAITS = (
    "bodies, as a share of the bar's range",
    "upper wicks, as a share of the bar's range",
    "lower wicks, as a share of the bar's range",
    "bars without a range, as a share of all",
    "net move over the sum of all moves",
)
LEAST_SPREAD, LEAST_VARIANCE = 1e-3, 1e-12
Pooled = Float[np.ndarray, "windows hidden"]


@dataclass(frozen=True)
class Likeness:
    """What is kept of the windows that calibrated a model.

    Attributes
    ----------
    center, directions, variance, rest
        For each block of time, of the vectors outside it: their mean, directions of most variance (rows), the variance
        in each, and that left in all others.
    distances, block
        Distance of each calibrating window by the fit without its block, and the number of that block, from 0.
    trait_mean, trait_spread
        Mean and standard deviation over the calibrating windows of each of `TRAITS`.
    """

    center: Float[np.ndarray, "blocks hidden"]
    directions: Float[np.ndarray, "blocks directions hidden"]
    variance: Float[np.ndarray, "blocks directions"]
    rest: Float[np.ndarray, " blocks"]
    distances: Float[np.ndarray, " windows"]
    block: Int[np.ndarray, " windows"]
    trait_mean: Float[np.ndarray, " traits"]
    trait_spread: Float[np.ndarray, " traits"]

    def distance(self, block: int, pooled: Pooled) -> Float[np.ndarray, " windows"]:
        """Return how far windows are from those outside a block; about 2 for one of their kind."""
        away = pooled.astype(np.float64) - self.center[block]
        along = away @ self.directions[block].T
        left = np.maximum((away**2).sum(axis=1) - (along**2).sum(axis=1), 0.0)
        return np.asarray((along**2 / self.variance[block]).mean(axis=1) + left / self.rest[block])

    def check(self, n_hidden: int) -> None:
        """Refuse what cannot be used.

        Raises
        ------
        ValueError
            Shapes that do not fit each other or vectors of so many values, numbers that are not finite or not above 0.
        """
        n_blocks, n_directions = self.variance.shape
        shapes = [one.shape for one in (self.center, self.directions, self.rest, self.trait_mean, self.trait_spread)]
        due = [(n_blocks, n_hidden), (n_blocks, n_directions, n_hidden), (n_blocks,), (len(TRAITS),), (len(TRAITS),)]
        positive = np.concatenate([self.variance.ravel(), self.rest, self.trait_spread])
        others = [self.center, self.directions, self.distances, self.trait_mean]
        finite = all(np.isfinite(one).all() for one in (*others, positive))
        if shapes != due or not finite or not (positive > 0).all() or not 2 <= n_blocks <= MAX_BLOCKS:
            raise ValueError("a summary of the calibrating windows that cannot be used")
        if self.distances.ndim != 1 or self.block.shape != self.distances.shape:
            raise ValueError(f"distances of shape {self.distances.shape} in blocks of shape {self.block.shape}")
        if sorted(set(self.block.tolist())) != list(range(n_blocks)):
            raise ValueError("blocks without a calibrating window")


def traits_of(features: Float[np.ndarray, "windows bars 11"]) -> Float[np.ndarray, "windows traits"]:
    """Return `TRAITS` of windows, from unscaled features."""
    column = {name: features[:, 1:, place] for place, name in enumerate(FEATURE_NAMES)}
    shape = [column[name] for name in ("body_ratio", "upper_wick_ratio", "lower_wick_ratio")]
    flat = (np.sum(shape, axis=0) == 0).mean(axis=1)
    moves = column["log_return_close"]
    total = np.abs(moves).sum(axis=1)
    net = np.divide(np.abs(moves.sum(axis=1)), total, out=np.zeros(len(total)), where=total > 0)
    return np.stack([*(part.mean(axis=1) for part in shape), flat, net], axis=1)


def fit_likeness(
    pooled: Pooled, features: Float[np.ndarray, "windows bars 11"], folds: list[tuple[np.ndarray, np.ndarray]]
) -> Likeness | None:
    """Keep what is needed of the windows that calibrated a model; None where they are too few for it.

    Parameters
    ----------
    pooled
        Mean of each window's vectors.
    features
        Their features, unscaled.
    folds
        For each block of time the rows that share no bar with it, and its own.
    """
    folds = [(rest, block) for rest, block in folds if len(rest) >= LEAST_CALIBRATING // 2]
    if len(folds) < 2 or sum(len(block) for _, block in folds) < LEAST_CALIBRATING:
        return None
    # Ten windows a direction, so that its variance is known.
    n_kept = max(min(N_DIRECTIONS, min(len(rest) for rest, _ in folds) // 10), 1)
    found = [_directions(pooled[rest], n_kept) for rest, _ in folds]
    traits, nothing = traits_of(features), np.zeros(0)
    center, directions, variance, left = (np.stack(column) for column in zip(*found, strict=True))
    mean, spread = traits.mean(axis=0), np.maximum(traits.std(axis=0), LEAST_SPREAD)
    fitted = Likeness(center, directions, variance, left, nothing, nothing.astype(np.int64), mean, spread)
    distances = [fitted.distance(number, pooled[block]) for number, (_, block) in enumerate(folds)]
    numbers = np.repeat(np.arange(len(folds)), [len(block) for _, block in folds])
    return replace(fitted, distances=np.concatenate(distances), block=numbers)


def _directions(pooled: Pooled, n_kept: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    center = pooled.mean(axis=0, dtype=np.float64)
    _, size, directions = np.linalg.svd(pooled - center, full_matrices=False)
    variance = np.maximum(size**2 / len(pooled), LEAST_VARIANCE)
    left = np.maximum(variance[n_kept:].sum(), LEAST_VARIANCE)
    return center, directions[:n_kept], variance[:n_kept], left


@dataclass(frozen=True)
class Compared:
    """What came of comparing windows with those that calibrated a model.

    Attributes
    ----------
    n_windows
        Windows that were compared.
    theta
        Share of pairs in which the window read is farther than the calibrating one; .5 where they are alike.
    p_value
        Probability of as much or more where they are alike.
    trait, trait_read, trait_learned
        Which of `TRAITS` is most unlike, its mean here and that of the calibrating windows.
    """

    n_windows: int
    theta: float
    p_value: float
    trait: str
    trait_read: float
    trait_learned: float

    @property
    def unlike(self) -> bool:
        """Tell whether to warn."""
        return self.p_value < LARGEST_P and self.theta > LEAST_THETA

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, with the rate of false alarms that the test keeps."""
        return vars(self) | {"unlike": self.unlike, "false_alarm_rate": FALSE_ALARMS}

    def sentence(self) -> str:
        """Say what is unlike, how much, and what to do; empty where nothing is."""
        if not self.unlike:
            return ""
        return (
            f"The bars are unlike those that calibrated the model: in {100 * self.theta:.0f} of 100 pairs a window of "
            f"them ({self.n_windows} were compared) is farther from the calibrating windows than one of these is (50 "
            f"where they are alike; this warning is false at most once in {1 / FALSE_ALARMS:.0f} times). Most unlike: "
            f"{self.trait}, {self.trait_read:.2g} here and {self.trait_learned:.2g} there. Probabilities may not hold: "
            "label some windows of these bars and evaluate on them (`moola eval`), or train with them."
        )


def compare_with(likeness: Likeness, pooled: Pooled, features: Float[np.ndarray, "windows bars 11"]) -> Compared | None:
    """Test whether windows, in order of time and none sharing a bar with another, are farther than calibrating ones.

    None where they are fewer than 40: they tell nothing.
    """
    if len(pooled) < LEAST_READ:
        return None
    theta, p_value = farther(likeness, pooled)
    means = traits_of(features).mean(axis=0)
    most = int(np.argmax(np.abs(means - likeness.trait_mean) / likeness.trait_spread))
    return Compared(len(pooled), theta, p_value, TRAITS[most], float(means[most]), float(likeness.trait_mean[most]))


def farther(likeness: Likeness, pooled: Pooled) -> tuple[float, float]:
    """Return theta, ties by half, and the p-value of its being above .5 by chance."""
    n_blocks = len(likeness.rest)
    placed = [
        _share_below(likeness.distances[likeness.block == number], likeness.distance(number, pooled))
        for number in range(n_blocks)
    ]
    by_block = np.array([one.mean() for one in placed])
    theta = float(by_block.mean())
    of_fits = (1 / n_blocks + 1 / (n_blocks - 1)) * float(by_block.var(ddof=1))
    parts = np.array_split(np.mean(placed, axis=0), N_BLOCKS)
    of_read = float(np.var([part.mean() for part in parts], ddof=1)) / N_BLOCKS
    total = of_fits + of_read
    if total <= 0:
        return theta, float(theta <= 0.5)
    freedom = total**2 / (of_fits**2 / (n_blocks - 1) + of_read**2 / (N_BLOCKS - 1))
    return theta, float(stdtr(freedom, (0.5 - theta) / np.sqrt(total)))


def _share_below(known: np.ndarray, read: np.ndarray) -> np.ndarray:
    """For each distance read, the share of known ones below it."""
    known = np.sort(known)
    return (np.searchsorted(known, read, "left") + np.searchsorted(known, read, "right")) / (2 * len(known))
