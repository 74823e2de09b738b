"""Slow twins: naive loops written for reading from docs/specification.md; the source is tested against them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise


def naive_features(window: Sequence[Sequence[float]]) -> list[list[float]]:
    """The eleven features of one window, bar by bar (specification 3)."""
    rows = []
    for t, (open_, high, low, close) in enumerate(window):
        returns = [0.0 if t == 0 else math.log(window[t][k] / window[t - 1][k]) for k in range(4)]
        span = high - low
        if span == 0:
            ratios = [0.0, 0.0, 0.0]
        else:
            ratios = [abs(close - open_) / span, (high - max(open_, close)) / span, (min(open_, close) - low) / span]
        zscores = []
        for k in range(4):
            last20 = [window[s][k] for s in range(max(0, t - 19), t + 1)]
            if max(last20) == min(last20):
                zscores.append(0.0)
                continue
            mean = math.fsum(last20) / len(last20)
            std = math.sqrt(math.fsum((price - mean) ** 2 for price in last20) / len(last20))
            zscores.append(max(-10.0, min(10.0, (window[t][k] - mean) / std)))
        rows.append(returns + ratios + zscores)
    return rows


def naive_first_bars(
    start_us: Sequence[int], symbol: Sequence[str], stride: int, window_bars: int, max_gap_us: float
) -> tuple[list[int], int]:
    """First bars of the windows at a stride in each symbol, and how many a gap forbids."""
    kept, n_dropped = [], 0
    for name in dict.fromkeys(symbol):
        rows = [row for row in range(len(symbol)) if symbol[row] == name]
        for place in range(0, len(rows) - window_bars + 1, stride):
            window = rows[place : place + window_bars]
            steps = [start_us[b] - start_us[a] for a, b in pairwise(window)]
            if all(step <= max_gap_us for step in steps):
                kept.append(window[0])
            else:
                n_dropped += 1
    return kept, n_dropped


def naive_forward_chain(
    start: Sequence[int], end: Sequence[int], n_val: int, n_test: int, embargo: int = 0
) -> tuple[list[int], list[int], list[int], list[int]]:
    """Rows of train, val, test and dropped, one window after the other."""
    n = len(start)
    ranked = sorted(start)
    val_begins = ranked[n - n_test - n_val] if n_val else math.inf
    test_begins = ranked[n - n_test] if n_test else math.inf
    train, val, test, dropped = [], [], [], []
    for row in range(n):
        if start[row] >= test_begins:
            test.append(row)
        elif start[row] >= val_begins:
            (val if end[row] < test_begins - embargo else dropped).append(row)
        else:
            (train if end[row] < min(val_begins, test_begins) - embargo else dropped).append(row)
    return train, val, test, dropped


def shared_bar_pairs(
    earlier: Sequence[int], later: Sequence[int], start: Sequence[int], end: Sequence[int]
) -> list[tuple[int, int]]:
    """Pairs of rows whose windows have a bar time in common, every bar of both listed."""
    pairs = []
    for a in earlier:
        for b in later:
            if set(range(start[a], end[a] + 1)) & set(range(start[b], end[b] + 1)):
                pairs.append((a, b))
    return pairs


def naive_best_pair(start_prob: Sequence[float], end_prob: Sequence[float]) -> tuple[int, int]:
    """The pair start <= end with the largest product; ties to the earliest end, then the earliest start."""
    best, pair = -1.0, (0, 0)
    for end in range(len(end_prob)):
        for start in range(end + 1):
            product = start_prob[start] * end_prob[end]
            if product > best:
                best, pair = product, (start, end)
    return pair


def naive_rule(window: Sequence[Sequence[float]]) -> tuple[str | None, int, int, str]:
    """The published rule as its text reads, for windows of 105 bars."""
    high, low, close = ([bar[k] for bar in window] for k in (1, 2, 3))
    bar_range = math.fsum(high[t] - low[t] for t in range(75)) / 75
    if bar_range <= 0:
        return None, -1, -1, "no_range"
    strongest = (0.0, -1, -1)
    for n_bars in range(5, 25):
        for a in range(30, 75 - n_bars + 1):
            b = a + n_bars - 1
            displacement = abs(close[b] - close[a - 1])
            path = math.fsum(abs(close[t] - close[t - 1]) for t in range(a, b + 1))
            if path == 0 or displacement / path < 0.6:
                continue
            strength = displacement / (bar_range * n_bars**0.4)
            if strength > strongest[0]:
                strongest = (strength, a, b)
    strength, a, b = strongest
    if strength < 1.3:
        return None, -1, -1, "no_expansion"
    direction = 1 if close[b] > close[a - 1] else -1
    unit = bar_range * math.sqrt(20)
    against = -direction * (close[a - 1] - close[a - 21]) / unit
    width = (max(high[a - 20 : a]) - min(low[a - 20 : a])) / unit
    if against >= 0.25:
        return "retracement", a, b, "came_back"
    if abs(against) <= 0.20 and width <= 0.90:
        return "consolidation", a, b, "went_nowhere"
    return None, a, b, "ambiguous"
