"""Spans of a chart that look like a marked one: where by vectors of bars, how much by the path of prices
(z-normalised, DTW)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

# Other spans are between a half of and twice as long; lengths of the ladder are at least so much apart.
LENGTH_RATIO, LENGTH_STEP = 2.0, 0.05
# What a doubled or halved length costs is this times ln 2; how much bars inside and the path count beside both ends.
LENGTH_WEIGHT, INSIDE_WEIGHT, PATH_WEIGHT = 0.5, 0.3, 1.0
# The path of closes: so many steps before the span, over its length and at least so many bars, and as many inside.
PATH_STEPS, LEAST_BEFORE = 24, 20
LEAST_SPREAD = 1e-12


@dataclass(frozen=True)
class SpanVectors:
    """Unit vectors of each bar of a chart, as a start, as an end and as a bar inside a span."""

    start: Float[np.ndarray, "bars values"]
    end: Float[np.ndarray, "bars values"]
    inside: Float[np.ndarray, "bars values"]


@dataclass(frozen=True)
class MarkedSpan:
    """One way of reading the marked span, upright or upside down.

    Attributes
    ----------
    start, end, inside
        Unit vectors: of its first bar as a start, of its last as an end, and of the mean of its bars.
    path
        Its `span_paths`, of unit length.
    sign
        1 upright, -1 upside down: the path of what looks like it is multiplied by it.
    """

    start: Float[np.ndarray, " values"]
    end: Float[np.ndarray, " values"]
    inside: Float[np.ndarray, " values"]
    path: Float[np.ndarray, " steps"]
    sign: int
    n_bars: int


@dataclass(frozen=True)
class Places:
    """Spans of one chart by first and last bar, with their similarity (1: the same span) and how they were read."""

    bar: Int[np.ndarray, "places 2"]
    similarity: Float[np.ndarray, " places"]
    mirrored: Bool[np.ndarray, " places"]

    def __len__(self) -> int:
        return len(self.bar)

    def take(self, rows: np.ndarray) -> Places:
        """Return some places, in this order."""
        return Places(self.bar[rows], self.similarity[rows], self.mirrored[rows])

    @staticmethod
    def joined(several: Sequence[Places]) -> Places:
        """Return all places of several, one behind the other."""
        return Places(
            np.concatenate([one.bar for one in several]),
            np.concatenate([one.similarity for one in several]),
            np.concatenate([one.mirrored for one in several]),
        )


def unit(vectors: Float[np.ndarray, "*rows values"]) -> Float[np.ndarray, "*rows values"]:
    """Return vectors of length 1; one of zeros stays as it is."""
    return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), LEAST_SPREAD))


def window_lengths(n_bars: int, longest: int) -> list[int]:
    """Return the lengths in bars that are tried for a span: its own, and others to a half and to twice of it."""
    n_steps = int(np.ceil(np.log(LENGTH_RATIO) / LENGTH_STEP))
    times = np.exp(np.linspace(-np.log(LENGTH_RATIO), np.log(LENGTH_RATIO), 2 * n_steps + 1))
    return sorted({max(round(n_bars * float(one)), 2) for one in times if round(n_bars * float(one)) <= longest})


def strongest_by_start(
    vectors: SpanVectors, marked: MarkedSpan
) -> tuple[Float[np.ndarray, " bars"], Int[np.ndarray, " bars"]]:
    """Return for each bar how well a span that begins there fits at best, and the length that fits best, in bars.

    The fit of bars `[s, e]` is the cosine of both starts, plus that of both ends, plus 0.3 of the mean cosine of the
    bars inside with the mean of the marked ones, less half the difference of the logarithms of both lengths. -inf where
    no length of the ladder has room. Equal fits go to the shorter one.
    """
    n_all = len(vectors.start)
    by_start = (vectors.start @ marked.start).astype(np.float32)
    by_end = (vectors.end @ marked.end).astype(np.float32)
    # Summed in 64 bits: a difference of two sums over a million bars has no 32 bits of its own.
    sums = np.concatenate([[0.0], np.cumsum(vectors.inside @ marked.inside, dtype=np.float64)])
    best = np.full(n_all, -np.inf, dtype=np.float32)
    best_bars = np.zeros(n_all, dtype=np.int32)
    for n_bars in window_lengths(marked.n_bars, n_all):
        n_starts = n_all - n_bars + 1
        fit = (sums[n_bars:] - sums[:-n_bars]).astype(np.float32)
        fit *= np.float32(INSIDE_WEIGHT / n_bars)
        fit += by_start[:n_starts]
        fit += by_end[n_bars - 1 :]
        fit -= np.float32(LENGTH_WEIGHT * abs(np.log(n_bars / marked.n_bars)))
        better = fit > best[:n_starts]
        np.copyto(best[:n_starts], fit, where=better)
        np.copyto(best_bars[:n_starts], np.int32(n_bars), where=better)
    return best, best_bars


def span_paths(close: Float[np.ndarray, " bars"], bar: Int[np.ndarray, "spans 2"]) -> Float[np.ndarray, "spans steps"]:
    """Return the z-normalised paths of log closes before and inside spans, each of mean 0 and length 1.

    Twenty-four steps lead over the bars before, as many as the span has and at least 20, to its last close before the
    span, and 24 over the span itself; between closes the path is straight. A path without any change is all zeros.
    Before the first bar its close is repeated.
    """
    n_bars = (bar[:, 1] - bar[:, 0] + 1)[:, None]
    share = np.arange(PATH_STEPS + 1) / PATH_STEPS
    base = bar[:, :1] - 1
    before = base - np.maximum(n_bars, LEAST_BEFORE) * (1 - share[None, :-1])
    spot = np.concatenate([before, base + n_bars * share[None]], axis=1)
    left = np.clip(np.floor(spot).astype(np.int64), 0, len(close) - 1)
    right = np.minimum(left + 1, len(close) - 1)
    part = np.clip(spot - left, 0.0, 1.0)
    logs = np.log(close)
    path = logs[left] * (1 - part) + logs[right] * part
    path -= path.mean(axis=1, keepdims=True)
    return np.where(np.ptp(path, axis=1, keepdims=True) > LEAST_SPREAD, unit(path), 0.0)


def similar_places(
    vectors: SpanVectors, close: Float[np.ndarray, " bars"], ways: Sequence[MarkedSpan], n_most: int
) -> Places:
    """Return the places of one chart that are most similar to a marked span in any of its ways, strongest first.

    Overlapping ones are among them: `without_overlaps` keeps the strongest.

    Parameters
    ----------
    vectors, close
        Of every bar of the chart.
    ways
        The marked span upright, and upside down where that counts too.
    n_most
        Most places that are compared by their paths in each way.
    """
    found = []
    for marked in ways:
        fit, n_bars = strongest_by_start(vectors, marked)
        rows = np.flatnonzero(np.isfinite(fit))
        if len(rows) > n_most:
            rows = np.sort(rows[np.argpartition(-fit[rows], n_most - 1)[:n_most]])
        bar = np.stack([rows, rows + n_bars[rows] - 1], axis=1).astype(np.int64)
        alike = span_paths(close, bar) @ (marked.sign * marked.path) if len(bar) else np.zeros(0)
        similarity = (fit[rows] + PATH_WEIGHT * alike) / (2.0 + INSIDE_WEIGHT + PATH_WEIGHT)
        found.append(Places(bar, similarity, np.full(len(bar), marked.sign < 0)))
    every = Places.joined(found)
    return every.take(np.lexsort((every.bar[:, 1], every.bar[:, 0], -every.similarity)))


def without_overlaps(
    places: Places, n_bars: int, n_most: int, taken: Sequence[tuple[int, int]] = ()
) -> Int[np.ndarray, " kept"]:
    """Return the rows of places that share no bar with a stronger one (non-maximum suppression at an IoU of 0).

    Parameters
    ----------
    places
        Places of one chart of so many bars, strongest first.
    n_most
        How many are kept.
    taken
        First and last bars of spans, the marked one, that none may share a bar with.
    """
    free = np.ones(n_bars, dtype=bool)
    for first, last in taken:
        free[max(first, 0) : last + 1] = False
    kept: list[int] = []
    for row, (first, last) in enumerate(places.bar.tolist()):
        if len(kept) == n_most:
            break
        if free[first : last + 1].all():
            free[first : last + 1] = False
            kept.append(row)
    return np.array(kept, dtype=np.int64)


LEAST_PATH_SPREAD = 1e-12


def z_normalised(paths: Float[np.ndarray, "*rows steps"]) -> Float[np.ndarray, "*rows steps"]:
    """Return paths of mean 0 and standard deviation 1 along the last axis; a path without any change is all zeros."""
    spread = paths.std(axis=-1, keepdims=True)
    return np.asarray(
        (paths - paths.mean(axis=-1, keepdims=True)) / np.where(spread > LEAST_PATH_SPREAD, spread, np.inf)
    )


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
