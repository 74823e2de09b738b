"""Slow twins of calibrators, conformal answers and detected events: plain loops, written for reading."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import pairwise

NAN = math.nan


def slow_platt_loss(slope: float, intercept: float, differences: list[float], classes: list[int]) -> float:
    """Log-loss of Platt's smoothed targets."""
    n_second = sum(classes)
    n_first = len(classes) - n_second
    total = 0.0
    for difference, second in zip(differences, classes, strict=True):
        target = (n_second + 1) / (n_second + 2) if second else 1 / (n_first + 2)
        prob = 1 / (1 + math.exp(-(slope * difference + intercept)))
        total -= target * math.log(prob) + (1 - target) * math.log(1 - prob)
    return total


def slow_isotonic(scores: list[float], values: list[float]) -> dict[float, Fraction]:
    """Isotonic regression by pooling neighbours that fall, over distinct scores, in exact fractions."""
    pools: list[tuple[list[float], Fraction, int]] = []
    for score in sorted(set(scores)):
        own = [Fraction(v) for s, v in zip(scores, values, strict=True) if s == score]
        pools.append(([score], sum(own, Fraction(0)), len(own)))
    while True:
        falls = [i for i, (a, b) in enumerate(pairwise(pools)) if a[1] / a[2] > b[1] / b[2]]
        if not falls:
            return {score: total / n for members, total, n in pools for score in members}
        i = falls[0]
        (first, total, n), (second, more, m) = pools[i], pools[i + 1]
        pools[i : i + 2] = [(first + second, total + more, n + m)]


def slow_venn_abers(scores: list[float], classes: list[int], score: float) -> tuple[float, float]:
    """Two isotonic regressions with the window added, once as each class."""
    low, high = (slow_isotonic([*scores, score], [*classes, added])[score] for added in (0, 1))
    return float(low), float(high)


def slow_conformal_quantile(scores: list[float], alpha: Fraction) -> float:
    """The smallest score with at least (n + 1)(1 - alpha) scores at or below it."""
    for score in sorted(scores):
        if sum(other <= score for other in scores) >= (len(scores) + 1) * (1 - alpha):
            return score
    return math.inf


def slow_answer(
    prob: list[float], names: list[str], calibration: list[tuple[list[float], int]], alpha: Fraction, by_class: bool
) -> str:
    """The one class that fits, or cannot tell."""
    fits = []
    for k, name in enumerate(names):
        scores = [1 - p[true] for p, true in calibration if true >= 0 and (not by_class or true == k)]
        if 1 - prob[k] <= slow_conformal_quantile(scores, alpha):
            fits.append(name)
    return fits[0] if len(fits) == 1 else "unknown"


def slow_error_bars(
    true: list[tuple[int, int]], said: list[tuple[int, int]], ends: list[int], alpha: Fraction
) -> int | None:
    """Try k = 0, 1, 2, ... until enough windows with a true pointer are within k bars."""
    errors = []
    for a, b in zip(true, said, strict=True):
        if all(a[i] >= 0 for i in ends):
            found = all(b[i] >= 0 for i in ends)
            errors.append(max(abs(a[i] - b[i]) for i in ends) if found else math.inf)
    for k in range(1000):
        if sum(error <= k for error in errors) >= (len(errors) + 1) * (1 - alpha):
            return k
    return None


Pair = tuple[int, int]


class SlowWindow:
    """One window: its detections with confidence, its true expansions, how often it counts."""

    def __init__(self, said: list[tuple[Pair, float]], true: list[Pair], count: int = 1) -> None:
        self.said, self.true, self.count = said, true, count


def slow_matches(window: SlowWindow, tolerance: int) -> list[tuple[float, bool]]:
    """Confidence and hit of each detection, the surest first."""
    best: dict[Pair, float] = {}
    for pair, confidence in window.said:
        best[pair] = max(confidence, best.get(pair, 0.0))
    free = sorted(set(window.true))
    judged = []
    for pair, confidence in sorted(best.items(), key=lambda item: (-item[1], item[0])):
        chosen, chosen_off = None, (math.inf, math.inf)
        for event in free:
            off = (max(abs(pair[0] - event[0]), abs(pair[1] - event[1])), sum(abs(pair[i] - event[i]) for i in (0, 1)))
            if off[0] <= tolerance and off < chosen_off:
                chosen, chosen_off = event, off
        if chosen is not None:
            free.remove(chosen)
        judged.append((confidence, chosen is not None))
    return judged


def slow_detection_ap(windows: list[SlowWindow], tolerance: int) -> float:
    """Walk down the distinct confidences; each gain in recall counts with the precision there."""
    n_true = sum(len(set(window.true)) * window.count for window in windows)
    if not n_true:
        return NAN
    judged = [match for window in windows for match in slow_matches(window, tolerance) * window.count]
    area, recall_before = 0.0, 0.0
    for threshold in sorted({confidence for confidence, _ in judged}, reverse=True):
        flagged = [hit for confidence, hit in judged if confidence >= threshold]
        recall = sum(flagged) / n_true
        area += (recall - recall_before) * sum(flagged) / len(flagged)
        recall_before = recall
    return area


def slow_iou(true: Pair, said: Pair) -> float:
    """Count bars, one by one."""
    if min(true) < 0:
        return NAN
    in_true = set(range(true[0], true[1] + 1))
    in_said = set(range(said[0], said[1] + 1)) if min(said) >= 0 else set()
    return len(in_true & in_said) / len(in_true | in_said)
