"""Places that look like a marked span: the vectorised search against a loop, lengths, the mirror, no shared bars."""

from __future__ import annotations

import numpy as np
import pytest

from moola.core.span_matching import (
    INSIDE_WEIGHT,
    LENGTH_WEIGHT,
    MarkedSpan,
    Places,
    SpanVectors,
    dtw_squared,
    similar_places,
    span_paths,
    strongest_by_start,
    unit,
    window_lengths,
    without_overlaps,
    z_normalised,
)


def vectors_and_span(n: int = 60, seed: int = 0, at: tuple[int, int] = (20, 27)) -> tuple[SpanVectors, MarkedSpan]:
    rng = np.random.default_rng(seed)
    found = SpanVectors(*(unit(rng.normal(size=(n, 5))).astype(np.float32) for _ in range(3)))
    inside = unit(found.inside[at[0] : at[1] + 1].mean(axis=0))
    path = np.zeros(49)
    return found, MarkedSpan(found.start[at[0]], found.end[at[1]], inside, path, 1, at[1] - at[0] + 1)


def slow_fit(vectors: SpanVectors, marked: MarkedSpan, start: int, n_bars: int) -> float:
    end = start + n_bars - 1
    inside = np.mean([vectors.inside[bar] @ marked.inside for bar in range(start, end + 1)])
    ends = vectors.start[start] @ marked.start + vectors.end[end] @ marked.end
    return float(ends + INSIDE_WEIGHT * inside - LENGTH_WEIGHT * abs(np.log(n_bars / marked.n_bars)))


def test_the_best_length_of_every_start_is_that_of_a_loop():
    vectors, marked = vectors_and_span()
    best, n_bars = strongest_by_start(vectors, marked)
    for start in range(60):
        fits = {one: slow_fit(vectors, marked, start, one) for one in window_lengths(8, 60) if start + one <= 60}
        if not fits:
            assert best[start] == -np.inf
            continue
        assert best[start] == pytest.approx(max(fits.values()), abs=1e-5)
        assert fits[int(n_bars[start])] == pytest.approx(max(fits.values()), abs=1e-5)
    assert best.argmax() == 20
    assert n_bars[20] == 8


def test_lengths_reach_from_a_half_to_twice_and_hold_the_own_one():
    assert window_lengths(8, 1000)[0] == 4
    assert window_lengths(8, 1000)[-1] == 16
    assert 8 in window_lengths(8, 1000)
    assert window_lengths(2, 1000) == [2, 3, 4]
    assert 110 < max(window_lengths(100, 120)) <= 120
    assert len(window_lengths(105, 10_000)) < 30


def test_paths_are_free_of_price_of_size_and_of_length_and_turn_with_the_prices():
    rng = np.random.default_rng(1)
    close = np.exp(np.cumsum(rng.normal(scale=0.01, size=200)))
    bar = np.array([[100, 129]])
    path = span_paths(close, bar)[0]
    assert np.linalg.norm(path) == pytest.approx(1)
    assert path.mean() == pytest.approx(0, abs=1e-12)
    assert span_paths(7 * close**3, bar)[0] == pytest.approx(path)
    assert span_paths(1 / close, bar)[0] == pytest.approx(-path)
    # The same path in bars of half the length: each move in two steps.
    slow = np.exp(np.interp(np.arange(399) / 2, np.arange(200), np.log(close)))
    assert span_paths(slow, np.array([[199, 258]]))[0] == pytest.approx(path, abs=1e-9)
    assert not span_paths(np.ones(200), bar).any()


def test_no_place_shares_a_bar_with_a_stronger_one_or_with_the_marked_span():
    bar = np.array([[10, 19], [19, 25], [20, 25], [40, 44], [44, 50], [30, 35]])
    places = Places(bar, np.linspace(1, 0.5, 6), np.zeros(6, dtype=bool))
    assert without_overlaps(places, 60, 10).tolist() == [0, 2, 3, 5]
    assert without_overlaps(places, 60, 2).tolist() == [0, 2]
    assert without_overlaps(places, 60, 10, [(22, 41)]).tolist() == [0, 4]
    assert without_overlaps(places.take(np.zeros(0, dtype=int)), 60, 10).tolist() == []


def test_of_both_ways_the_path_decides_and_few_places_are_those_that_fit_best():
    vectors, marked = vectors_and_span(200, 2, (100, 119))
    close = np.exp(np.cumsum(np.random.default_rng(4).normal(scale=0.01, size=200)))
    path = span_paths(close, np.array([[100, 119]]))[0]
    ways = [MarkedSpan(marked.start, marked.end, marked.inside, path, sign, 20) for sign in (1, -1)]
    found = similar_places(vectors, close, ways, 50)
    assert found.bar[0].tolist() == [100, 119]
    assert not found.mirrored[0]
    assert found.similarity[0] == pytest.approx(1, abs=0.1)
    assert (np.diff(found.similarity) <= 0).all()
    assert len(found) == 100
    every = similar_places(vectors, close, ways, 10_000)
    assert len(every) > 300
    # The strongest of few are the strongest of all.
    assert every.bar[0].tolist() == [100, 119]


def test_warping_is_that_of_a_loop_and_a_band_of_none_is_euclid():
    rng = np.random.default_rng(5)
    paths, query = rng.normal(size=(6, 12)), rng.normal(size=12)

    def slow(path: np.ndarray, band: int) -> float:
        cost = np.full((13, 13), np.inf)
        cost[0, 0] = 0
        for i in range(12):
            for j in range(12):
                if abs(i - j) <= band:
                    cost[i + 1, j + 1] = (query[i] - path[j]) ** 2 + min(cost[i, j], cost[i, j + 1], cost[i + 1, j])
        return float(cost[12, 12])

    for band in (0, 2, 12):
        assert dtw_squared(paths, query, band) == pytest.approx([slow(path, band) for path in paths])
    assert dtw_squared(paths, query, 0) == pytest.approx(((paths - query) ** 2).sum(axis=1))
    assert not z_normalised(np.ones((2, 5))).any()
