"""What events must beat: pieces of the same lengths at random places, and the strongest moves."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from jaxtyping import Float, Int

from moola.core.seeds import generator
from moola.evaluation.span_metrics import Chart, JudgedEvents, Pieces, SpanMetric, judged_events

N_DRAWS = 20
N_TRIES = 50
# Bars that the usual range of a bar is taken over.
RANGE_BARS = 105
LENGTH_QUANTILES = (0.25, 0.5, 0.75)


def _runs(chart: Chart) -> Int[np.ndarray, " bars"]:
    """Number of the run of bars inside stretches, of one symbol, that each bar is in; -1 outside."""
    begins = np.append(True, (np.diff(chart.symbol) != 0) | (np.diff(chart.inside.astype(np.int8)) != 0))
    return np.where(chart.inside, np.cumsum(begins), -1)


def random_pieces(judged: JudgedEvents, seed: int, draw: int) -> JudgedEvents:
    """Move every event to a random place in the stretches of its symbol, all places that hold it being equally likely.

    Lengths, classes and probabilities stay. An event that no stretch of its symbol holds whole is left out.
    """
    chart, events = judged.chart, judged.events
    rng = generator(seed, "random pieces", draw)
    run, symbol = _runs(chart), chart.symbol[events.bar[:, 0]]
    start = np.full(len(events), -1, dtype=np.int64)
    for number in np.unique(symbol):
        places = np.flatnonzero(chart.inside & (chart.symbol == number))
        left = np.flatnonzero(symbol == number)
        for _ in range(N_TRIES if len(places) else 0):
            at = places[rng.integers(0, len(places), len(left))]
            last = at + events.length[left] - 1
            fits = (last < len(run)) & (run[np.minimum(last, len(run) - 1)] == run[at])
            start[left[fits]] = at[fits]
            left = left[~fits]
    placed = np.flatnonzero(start >= 0)
    bar = np.stack([start, start + events.length - 1], axis=1)
    return replace(judged, events=replace(events, bar=bar).take(placed), _found={})


def random_figure(judged: JudgedEvents, metric: SpanMetric, draws: list[JudgedEvents]) -> float:
    """Return the mean figure of several draws of random pieces; NaN where no draw has one."""
    ones = np.ones((1, len(judged.chart.bars_of_block)))
    values = np.array([metric(draw, ones)[0] for draw in draws])
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")


def strongest_moves(judged: JudgedEvents, ohlc: Float[np.ndarray, "bars 4"]) -> JudgedEvents:
    """Return the strongest moves of the stretches as events, as many as there are events or spans.

    The strength of a piece is its net move in log prices, first open to last close, over the usual range of a bar there
    and the root of its length. Lengths are the quartiles of the spans' own; moves that share a bar with a stronger one
    are left out. A move has the class that most spans of its direction have. Both lengths and classes are read from the
    spans judged here, which flatters this reference.
    """
    spans, chart = judged.spans, judged.chart
    n_wanted = max(len(judged.events), len(spans))
    if not len(spans):
        return replace(judged, events=judged.events.take(np.zeros(0, dtype=np.int64)), _found={})
    lengths = np.unique(np.quantile(spans.length, LENGTH_QUANTILES).round().astype(np.int64))
    bar, move = _candidates(chart, ohlc, lengths)
    order = np.argsort(-np.abs(move), kind="stable")
    kept, is_free = [], np.ones(len(ohlc), dtype=bool)
    for row in order.tolist():
        first, last = bar[row].tolist()
        if is_free[first] and is_free[last] and is_free[first : last + 1].all():
            is_free[first : last + 1] = False
            kept.append(row)
            if len(kept) == n_wanted:
                break
    chosen = np.array(kept, dtype=np.int64)
    label = _class_of_direction(spans, ohlc)[(move[chosen] > 0).astype(np.int64)]
    prob = 1.0 - np.arange(len(chosen)) / max(len(chosen), 1)
    return judged_events(Pieces(bar[chosen], label, prob), spans, chart)


def _net_move(bar: Int[np.ndarray, "pieces 2"], ohlc: Float[np.ndarray, "bars 4"]) -> Float[np.ndarray, " pieces"]:
    return np.asarray(np.log(ohlc[bar[:, 1], 3] / ohlc[bar[:, 0], 0]))


def _candidates(
    chart: Chart, ohlc: Float[np.ndarray, "bars 4"], lengths: Int[np.ndarray, " lengths"]
) -> tuple[Int[np.ndarray, "pieces 2"], Float[np.ndarray, " pieces"]]:
    """Every piece of these lengths that lies whole in a stretch, with its signed strength."""
    run = _runs(chart)
    total = np.concatenate([[0.0], np.cumsum(np.log(ohlc[:, 1] / ohlc[:, 2]))])
    rows = np.arange(len(ohlc))
    first, last = np.maximum(rows - RANGE_BARS // 2, 0), np.minimum(rows + RANGE_BARS // 2 + 1, len(ohlc))
    usual = (total[last] - total[first]) / (last - first)
    bars, moves = [], []
    for length in lengths.tolist():
        start = np.arange(max(len(ohlc) - length + 1, 0))
        start = start[(run[start] >= 0) & (run[start] == run[start + length - 1])]
        bar = np.stack([start, start + length - 1], axis=1)
        scale = usual[bar.sum(axis=1) // 2] * np.sqrt(length)
        net = _net_move(bar, ohlc)
        bars.append(bar)
        moves.append(np.divide(net, scale, out=np.zeros_like(net), where=scale > 0))
    return np.concatenate(bars), np.concatenate(moves)


def _class_of_direction(spans: Pieces, ohlc: Float[np.ndarray, "bars 4"]) -> Int[np.ndarray, " 2"]:
    """Return the most common class of the spans that fall, and of those that rise; of all spans where none does."""
    rises = _net_move(spans.bar, ohlc) > 0
    common = np.bincount(spans.label).argmax()
    mine = [spans.label[rises == up] for up in (False, True)]
    return np.array([np.bincount(label).argmax() if len(label) else common for label in mine], dtype=np.int64)
