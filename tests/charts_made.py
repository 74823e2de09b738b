"""Events and spans made for tests: crowded ones at random, and a planted chart whose figures are known."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from moola.core.bars import Bars, utc_text
from moola.evaluation.span_metrics import Chart, JudgedEvents, Pieces, judged_events, make_chart
from moola.tables.event_table import Events, write_event_pieces
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
    found = rng.permutation(n_spans)[: round(share_found * n_spans)].tolist()
    events = [
        SlowPiece(one.first, one.last, one.label, 0.9 - 0.1 * float(rng.random()))
        for one in (spans[number] for number in sorted(found))
    ]
    for number in range(n_false):
        first = (number % n_spans) * step + step // 2 + 20 * (number // n_spans)
        events.append(SlowPiece(first, first + 9, 0, 0.5 - 0.1 * float(rng.random())))
    return events, spans


def write_events(path: Path, bars: Bars, slow: list[SlowPiece], class_names: list[str]) -> Path:
    """Write the event table that a scan of these bars would write of these pieces."""
    n, k = len(slow), len(class_names)
    row = np.array([(one.first, one.last) for one in slow], dtype=np.int64).reshape(-1, 2)
    time, none = bars.start_us[row], np.full(n, -1, dtype=np.int64)
    prob = np.array([one.prob for one in slow], dtype=np.float64)
    class_prob = np.full((n, k), 0.2 / k)
    class_prob[np.arange(n), [one.label for one in slow]] += 0.8
    one, no_gap = np.ones(n, dtype=np.int64), np.zeros(n, dtype=np.int64)
    ends = np.stack([prob, prob], axis=1).reshape(-1, 2)
    symbol = bars.symbol[row[:, 0]].tolist()
    cut = np.zeros(n, dtype=bool)
    events = Events(symbol, time, time, time, class_names, class_prob, ends, prob, one, one, no_gap, cut, none, none)
    write_event_pieces(path, iter([events]), class_names)
    return path


def write_spans(path: Path, bars: Bars, slow: list[SlowPiece], class_names: list[str]) -> Path:
    """Write a table of spans; the end is a moment inside the last bar."""
    lines = ["start,end,label"]
    for one in slow:
        start, end = (
            utc_text(int(bars.start_us[row]) + late) for row, late in ((one.first, 0), (one.last, 60_000_000))
        )
        lines.append(f"{start},{end},{class_names[one.label]}")
    path.write_text("\n".join(lines) + "\n")
    return path
