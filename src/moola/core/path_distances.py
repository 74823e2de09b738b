"""Distances of paths of prices by their form alone: z-normalised, and with time warped (DTW)."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

LEAST_SPREAD = 1e-12


def z_normalised(paths: Float[np.ndarray, "*rows steps"]) -> Float[np.ndarray, "*rows steps"]:
    """Return paths of mean 0 and standard deviation 1 along the last axis; a path without any change is all zeros."""
    spread = paths.std(axis=-1, keepdims=True)
    return np.asarray((paths - paths.mean(axis=-1, keepdims=True)) / np.where(spread > LEAST_SPREAD, spread, np.inf))


def dtw_squared(
    paths: Float[np.ndarray, "rows steps"], query: Float[np.ndarray, " steps"], band: int
) -> Float[np.ndarray, " rows"]:
    """Return the least sum of squared differences over warpings within a band (Sakoe and Chiba 1978), path by path.

    A step of the query may be laid on a step of the path at most `band` away; both ends are laid on both ends. All
    paths are warped side by side. A band of 0 gives the squared Euclidean distance.
    """
    by_step = np.ascontiguousarray(paths.T)
    n_steps, n_paths = by_step.shape
    before = np.full((n_steps + 1, n_paths), np.inf)
    before[0] = 0.0
    for i in range(n_steps):
        now = np.full((n_steps + 1, n_paths), np.inf)
        for j in range(max(i - band, 0), min(i + band + 1, n_steps)):
            now[j + 1] = (query[i] - by_step[j]) ** 2 + np.minimum(np.minimum(before[j], before[j + 1]), now[j])
        before = now
    return np.asarray(before[n_steps])
