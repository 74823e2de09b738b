"""Every figure of events on a chart, with its interval over blocks of time and beside random pieces and the
strongest moves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace

import numpy as np
from jaxtyping import Float, Int

from moola.core.seeds import generator
from moola.evaluation.calibration import bins_of_outcomes, perfect_range
from moola.evaluation.class_metrics import Weights
from moola.evaluation.comparisons import N_RESAMPLES, block_weights, percentile_interval, without_resampling_bias
from moola.evaluation.span_metrics import (
    ENDS,
    IOUS,
    PER_BARS,
    RIGHT_IOU,
    Chart,
    JudgedEvents,
    Pieces,
    SpanMetric,
    alarms_at,
    average_precision_at,
    event_brier,
    event_curve,
    event_ece,
    event_outcomes,
    judged_events,
    late_bars,
    precision_at,
    recall_at,
    recall_at_alarms,
)

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
    spans evaluated here, which makes this reference look better.
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


THRESHOLDS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
# Fewer blocks of time say nothing about how much a figure would differ on another stretch.
LEAST_BLOCKS = 8
QUARTILES = (("q25", 0.25), ("median", 0.5), ("q75", 0.75))
# A curve of every distinct threshold would be most of the file.
MAX_POINTS = 200
AP_CLASS, ALARMS, ECE = "ap_iou50_class", "alarms_per_1000", "event_ece"


def event_metric_table(threshold: float, is_live: bool = False) -> dict[str, SpanMetric]:
    """Every metric by name; those of `threshold` are of events at or above it, right with their class at IoU .5.

    Of events that were reported as bars came, also how late after the end of their span.
    """
    table: dict[str, SpanMetric] = {}
    for with_class, suffix in ((True, "_class"), (False, "")):
        for iou in IOUS:
            table[f"ap_iou{round(100 * iou)}{suffix}"] = average_precision_at(iou, with_class)
    for with_class, suffix in ((True, "_class"), (False, "")):
        table[f"recall_at_1_per_1000{suffix}"] = recall_at_alarms(1.0, with_class)
    table |= {
        "precision": precision_at(threshold, with_class=True),
        "recall": recall_at(threshold, with_class=True),
        ALARMS: alarms_at(threshold, with_class=True),
        ECE: event_ece,
        "event_brier": event_brier,
    }
    for which in (*ENDS, "known") if is_live else ENDS:
        table |= {f"late_bars_{which}_{label}": late_bars(which, quantile) for label, quantile in QUARTILES}
    return table


@dataclass(frozen=True)
class EventFigure:
    """One metric: its value (None with a reason), 95 % interval, and the same figure of both references."""

    name: str
    value: float | None
    low: float | None
    high: float | None
    random: float | None
    moves: float | None
    reason: str = ""


# Probabilities of a reference are those of the events or ranks: how far they can be trusted is no figure of it.
WITHOUT_REFERENCE = (ECE, "event_brier")
WITHOUT_MOVES = (*WITHOUT_REFERENCE, "precision", "recall", ALARMS)


def resampling_weights(judged: JudgedEvents, seed: int, n_resamples: int = N_RESAMPLES) -> Weights | None:
    """Draw how often each block of time counts; None where there are fewer than `LEAST_BLOCKS`."""
    n_blocks = len(judged.chart.bars_of_block)
    return None if n_blocks < LEAST_BLOCKS else block_weights(n_blocks, 1, seed, n_resamples)


def event_figures(
    judged: JudgedEvents,
    threshold: float,
    seed: int,
    ohlc: Float[np.ndarray, "bars 4"] | None,
) -> list[EventFigure]:
    """Evaluate events; without prices (`ohlc`) there are no strongest moves to compare with."""
    weights = resampling_weights(judged, seed)
    draws = [random_pieces(judged, seed, draw) for draw in range(N_DRAWS)]
    moves = None if ohlc is None else strongest_moves(judged, ohlc)
    figures = []
    for name, metric in event_metric_table(threshold, judged.events.known_after is not None).items():
        ones = np.ones((1, len(judged.chart.bars_of_block)))
        value = _known(metric(judged, ones)[0])
        if value is None:
            figures.append(EventFigure(name, None, None, None, None, None, _undefined(judged)))
            continue
        low, high = _interval(name, metric, judged, weights, value) or (None, None)
        random = None if name in WITHOUT_REFERENCE else _known(random_figure(judged, metric, draws))
        against = None if moves is None or name in WITHOUT_MOVES else _known(metric(moves, ones)[0])
        figures.append(EventFigure(name, value, low, high, random, against))
    return figures


def _known(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _interval(
    name: str, metric: SpanMetric, judged: JudgedEvents, weights: Weights | None, value: float
) -> tuple[float, float] | None:
    if weights is None:
        return None
    values = metric(judged, weights)
    return percentile_interval(without_resampling_bias(values, value) if name == ECE else values)


def _undefined(judged: JudgedEvents) -> str:
    if not len(judged.spans):
        return "no span lies in the stretches"
    if not len(judged.events):
        return "no event lies in the stretches"
    return "no event is right, or none is at or above the threshold"


def threshold_rows(judged: JudgedEvents) -> list[dict[str, float | int | None]]:
    """Precision, recall and false alarms per 1,000 bars, with the class at IoU .5, at thresholds from 0 to 0.9."""
    ones = np.ones((1, len(judged.chart.bars_of_block)))
    makers: dict[str, Callable[[float, bool], SpanMetric]] = {
        "precision": precision_at,
        "recall": recall_at,
        ALARMS: alarms_at,
    }
    rows = []
    for threshold in THRESHOLDS:
        row: dict[str, float | int | None] = {"threshold": threshold}
        row["n_events"] = int((judged.events.prob >= threshold).sum())
        rows.append(row | {name: _known(make(threshold, True)(judged, ones)[0]) for name, make in makers.items()})
    return rows


def curve_points(judged: JudgedEvents, with_class: bool) -> dict[str, list[float]]:
    """Return the curve of precision and recall as plain values, at most 200 thresholds of it."""
    curve = asdict(event_curve(judged, with_class))
    n = len(curve["threshold"])
    chosen = np.unique(np.linspace(0, n - 1, MAX_POINTS).round().astype(np.int64)) if n else np.zeros(0, dtype=np.int64)
    return {name: values[chosen].tolist() for name, values in curve.items()}


def reliability(judged: JudgedEvents, seed: int) -> tuple[list[dict[str, float | int]], tuple[float, float] | None]:
    """Return bins of `event_prob` with the share that is right, and the 95 % range of ECE were it exactly right."""
    prob, right = event_outcomes(judged)
    if not len(prob):
        return [], None
    return bins_of_outcomes(prob, right, seed), perfect_range(prob, "width", seed)


@dataclass(frozen=True)
class Example:
    """One event, one span, or both where the event found the span; `bar` is the rows to look at."""

    bar: tuple[int, int]
    event: int | None
    span: int | None


def chosen_examples(judged: JudgedEvents, n_each: int) -> dict[str, list[Example]]:
    """Choose events and spans to look at, at most `n_each` a group; ties go to the earlier bar.

    The most probable events that are right; missed spans spread over the time; the false events of the middle
    probability, as most of them are; and the most probable false ones, none of which is in another group.
    """
    found = judged.found(RIGHT_IOU, with_class=False)
    order = np.lexsort((judged.events.bar[:, 0], -judged.events.prob))
    right, false = order[found[order] >= 0], order[found[order] < 0]
    missed = np.setdiff1d(np.arange(len(judged.spans)), found)
    missed = missed[np.argsort(judged.spans.bar[missed, 0], kind="stable")]
    sure, others = false[:n_each], false[n_each:]
    middle = others[max(len(others) // 2 - n_each // 2, 0) :][:n_each]
    spread = missed[np.linspace(0, len(missed) - 1, min(n_each, len(missed))).round().astype(np.int64)]

    def of_events(rows: np.ndarray) -> list[Example]:
        spans = [int(found[row]) if found[row] >= 0 else None for row in rows]
        bars = judged.events.bar[rows].tolist()
        return [Example((a, b), int(row), span) for row, span, (a, b) in zip(rows, spans, bars, strict=True)]

    of_spans = zip(spread.tolist(), judged.spans.bar[spread].tolist(), strict=True)
    return {
        "Found": of_events(right[:n_each]),
        "Missed": [Example((first, last), None, row) for row, (first, last) in of_spans],
        "False": of_events(middle),
        "Most probable false": of_events(sure),
    }


__all__ = [
    "AP_CLASS",
    "PER_BARS",
    "RIGHT_IOU",
    "EventFigure",
    "Example",
    "chosen_examples",
    "curve_points",
    "event_figures",
    "event_metric_table",
    "reliability",
    "resampling_weights",
    "threshold_rows",
]
