"""Events and spans made for tests: crowded ones at random, and a planted chart whose figures are known."""

from __future__ import annotations

import numpy as np

from moola.evaluation.span_metrics import Chart, JudgedEvents, Pieces, judged_events, make_chart
from tests.slow_spans import SlowPiece

HOUR_US = 3_600_000_000


def pieces_of(slow: list[SlowPiece]) -> Pieces:
    bar = np.array([(one.first, one.last) for one in slow], dtype=np.int64).reshape(-1, 2)
    return Pieces(bar, np.array([one.label for one in slow], dtype=np.int64), np.array([one.prob for one in slow]))


def slow_of(pieces: Pieces) -> list[SlowPiece]:
    rows = zip(pieces.bar.tolist(), pieces.label.tolist(), pieces.prob.tolist(), strict=True)
    return [SlowPiece(first, last, label, prob) for (first, last), label, prob in rows]


def chart_of(n_bars: int, spans: Pieces, inside: set[int] | None = None) -> Chart:
    """Hourly bars of one symbol, all of them looked at unless `inside` says which."""
    rows = np.arange(n_bars)
    looked = np.isin(rows, sorted(inside)) if inside is not None else np.ones(n_bars, dtype=bool)
    return make_chart(rows * HOUR_US, np.zeros(n_bars, dtype=np.int64), looked, spans)


def judged_of(
    events: list[SlowPiece], spans: list[SlowPiece], n_bars: int, inside: set[int] | None = None
) -> JudgedEvents:
    marked = pieces_of(spans)
    return judged_events(pieces_of(events), marked, chart_of(n_bars, marked, inside))


def crowded(seed: int, n: int, n_bars: int, n_probs: int = 4) -> list[SlowPiece]:
    """Pieces that compete: short, close together, of two classes, with coarse probabilities, a few twice."""
    rng = np.random.default_rng(seed)
    made = []
    for _ in range(n):
        first, length = int(rng.integers(0, n_bars)), int(rng.integers(1, 9))
        prob = int(rng.integers(0, n_probs + 1)) / n_probs
        made.append(SlowPiece(first, min(first + length - 1, n_bars - 1), int(rng.integers(0, 2)), prob))
    return made + made[: n // 6]


def planted(seed: int, n_spans: int, n_bars: int, share_found: float, n_false: int) -> tuple[list, list]:
    """Spans of 5 to 14 bars with background between; the found ones are the most probable events, the rest false."""
    rng = np.random.default_rng(seed)
    step = n_bars // n_spans
    spans = []
    for number in range(n_spans):
        length = int(rng.integers(5, 15))
        first = number * step + int(rng.integers(0, step // 2 - 15))
        spans.append(SlowPiece(first, first + length - 1, int(rng.integers(0, 2))))
    n_found = round(share_found * n_spans)
    events = [SlowPiece(one.first, one.last, one.label, 0.9 - 0.1 * float(rng.random())) for one in spans[:n_found]]
    for number in range(n_false):
        first = (number % n_spans) * step + step // 2 + 20 * (number // n_spans)
        events.append(SlowPiece(first, first + 9, 0, 0.5 - 0.1 * float(rng.random())))
    return events, spans
