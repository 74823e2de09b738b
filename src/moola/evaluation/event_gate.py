"""The gate of events: does one table of events find a person's spans better than another, and how surely."""

from __future__ import annotations

import numpy as np

from moola.evaluation.comparisons import N_RESAMPLES
from moola.evaluation.event_figures import (
    ALARMS,
    AP_CLASS,
    ECE,
    LEAST_BLOCKS,
    N_DRAWS,
    random_figure,
    random_pieces,
    reliability,
    resampling_weights,
)
from moola.evaluation.gates import ECE_MARGIN, Gate, Rule, Verdict, compared, decide
from moola.evaluation.span_metrics import RIGHT_IOU, JudgedEvents, alarms_at, average_precision_at, event_ece
from moola.options.judging_options import EceRule
from moola.options.option_fields import MIN_GAIN

AP = average_precision_at(RIGHT_IOU, with_class=True)


def _more_bars(verdict: Verdict) -> str:
    if verdict.n_more is None:
        return "how many more annotated bars it takes is unknown"
    return (
        f"a gain as large as seen ({verdict.gain:.3f}) would be shown at 80 % power with some {verdict.n_more:,} more "
        "bars annotated like these"
    )


EVENTS = Gate(
    rules={
        AP_CLASS: Rule("average precision at IoU .5 with class must be higher", lambda more: more > 0, has_floor=True),
        ALARMS: Rule("false alarms per 1,000 bars must not be more", lambda more: more <= 0),
        ECE: Rule("ECE of event_prob must be at most 0.02 higher", lambda more: more <= ECE_MARGIN),
    },
    words={
        "figure": "average precision",
        "least": str(LEAST_BLOCKS),
        "floor": "random pieces of the same lengths",
        "same": "are the same events",
        "undefined": "(no spans, or a table without events)",
        "noise": "perfectly calibrated probabilities would show an ECE as high here (--ece-rule noise); the other "
        "rules hold",
    },
    more=_more_bars,
    record={
        "probability_better": "probability_better",
        "n_more": "n_more_bars",
        "detectable_gain": "detectable_gain",
    },
)


def judge_events(
    challenger: JudgedEvents,
    baseline: JudgedEvents,
    thresholds: tuple[float, float] = (0.0, 0.0),
    seed: int = 0,
    min_gain: float = MIN_GAIN,
    n_resamples: int = N_RESAMPLES,
    ece_rule: EceRule = "contract",
) -> Verdict:
    """Compare two tables of events on the same spans and stretches by a paired bootstrap over blocks of time.

    The rule: average precision at IoU .5 with class higher; false alarms per 1,000 bars, of events at or above each
    one's threshold, not more; ECE of `event_prob` at most 0.02 above the baseline's; and average precision above that
    of random pieces. With the rule kept, `promote` asks that average precision is better in at least 95 % of resamples,
    and by at least `min_gain` here; a smaller gain is `inconclusive`. `ece_rule` is as in `judge`.

    Raises
    ------
    ValueError
        The two are not of one chart and the same spans.
    """
    chart = challenger.chart
    if chart is not baseline.chart or not np.array_equal(challenger.spans.bar, baseline.spans.bar):
        raise ValueError("events are compared on one chart and the same spans")
    weights = resampling_weights(challenger, seed, n_resamples)
    mine, theirs = (alarms_at(threshold, with_class=True) for threshold in thresholds)
    metrics = {AP_CLASS: (AP, AP), ALARMS: (mine, theirs), ECE: (event_ece, event_ece)}
    draws = [random_pieces(challenger, seed, draw) for draw in range(N_DRAWS)]
    ones = np.ones((1, len(chart.bars_of_block)))
    comparisons, resampled = [], {}
    for name, (ours, other) in metrics.items():
        values = [ours(challenger, ones)[0], other(baseline, ones)[0]]
        floor = float("nan") if name == ECE else random_figure(challenger, ours, draws)
        resampled[name] = None if weights is None else ours(challenger, weights) - other(baseline, weights)
        comparisons.append(compared(name, EVENTS.rules[name], (*values, floor), resampled[name]))
    return decide(
        EVENTS,
        {"n_spans": len(challenger.spans), "n_bars": chart.n_bars, "n_blocks": len(chart.bars_of_block)},
        comparisons,
        resampled[AP_CLASS],
        n=chart.n_bars,
        gain=comparisons[0].difference or 0.0,
        is_same=_same_events(challenger, baseline),
        perfect=reliability(challenger, seed)[1],
        min_gain=min_gain,
        ece_rule=ece_rule,
    )


def _same_events(one: JudgedEvents, other: JudgedEvents) -> bool:
    def rows(judged: JudgedEvents) -> np.ndarray:
        events = judged.events
        table = np.column_stack([events.bar, events.label, events.prob])
        return table[np.lexsort(table.T)]

    return np.array_equal(rows(one), rows(other))
