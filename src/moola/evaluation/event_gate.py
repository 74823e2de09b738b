"""The gate of events: does one table of events find a person's spans better than another, and how surely."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from moola.evaluation.class_metrics import Weights
from moola.evaluation.comparisons import (
    N_RESAMPLES,
    detectable_difference,
    windows_for_power,
)
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
from moola.evaluation.gates import (
    ECE_MARGIN,
    SURE,
    Answer,
    Comparison,
    Rule,
    broken_rules,
    compared,
    ece_may_be_noise,
)
from moola.evaluation.span_metrics import (
    RIGHT_IOU,
    JudgedEvents,
    SpanMetric,
    alarms_at,
    average_precision_at,
    event_ece,
)
from moola.options.judging_options import EceRule
from moola.options.option_fields import MIN_GAIN

AP = average_precision_at(RIGHT_IOU, with_class=True)
RULES = {
    AP_CLASS: Rule("average precision at IoU .5 with class must be higher", lambda difference: difference > 0),
    ALARMS: Rule("false alarms per 1,000 bars must not be more", lambda difference: difference <= 0),
    ECE: Rule("ECE of event_prob must be at most 0.02 higher", lambda difference: difference <= ECE_MARGIN),
}


class EventOutcome(Answer):
    """What the gate of events may come to."""

    PROMOTE = "every rule holds, and average precision is better with probability {probability:.3f} (0.95 is asked)"
    INCONCLUSIVE = (
        "every rule holds, but average precision is better only with probability {probability:.3f} (0.95 is asked); "
        "{more}"
    )
    INCONCLUSIVE_SMALL = (
        "every rule holds and average precision is better with probability {probability:.3f}, but the gain of "
        "{gain:.4f} is smaller than worth having ({min_gain:g}, --min-gain)"
    )
    INCONCLUSIVE_SHORT = (
        "every rule holds, but the stretches hold {n_blocks} blocks of time and an interval must have {least}; "
        "annotate longer stretches"
    )
    INCONCLUSIVE_ECE = (
        "{broken}, and perfectly calibrated probabilities would show an ECE as high here (--ece-rule noise); the other "
        "rules hold"
    )
    HOLD_RULE = "{broken}"
    HOLD_RANDOM = "the challenger is not better than random pieces of the same lengths: {broken}"
    HOLD_SAME = "challenger and baseline are the same events"
    HOLD_UNDEFINED = "a rule cannot be judged: {broken}"


@dataclass(frozen=True)
class EventVerdict:
    """What the gate says of events, why, and from what.

    Attributes
    ----------
    n_more_bars
        Bars to annotate besides, so that a true gain as large as the one seen would be shown (better with probability
        0.95) in four of five cases. The seen gain is no proof of the true one.
    detectable_gain
        The smallest true gain in average precision that these stretches would show in four of five cases.
    perfect_ece
        Central 95 % range of the ECE that the challenger's `event_prob` would show here if it were right; None without
        events.
    """

    verdict: str
    reason: str
    n_spans: int
    n_bars: int
    n_blocks: int
    probability_better: float | None = None
    n_more_bars: int | None = None
    detectable_gain: float | None = None
    min_gain: float = MIN_GAIN
    comparisons: list[Comparison] = field(default_factory=list)
    perfect_ece: tuple[float, float] | None = None
    ece_rule: EceRule = "contract"

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for a file."""
        return asdict(self)


def judge_events(
    challenger: JudgedEvents,
    baseline: JudgedEvents,
    thresholds: tuple[float, float] = (0.0, 0.0),
    seed: int = 0,
    min_gain: float = MIN_GAIN,
    n_resamples: int = N_RESAMPLES,
    ece_rule: EceRule = "contract",
) -> EventVerdict:
    """Compare two tables of events on the same spans and stretches by a paired bootstrap over blocks of time.

    The rule: average precision at IoU .5 with class higher; false alarms per 1,000 bars, of events at or above each
    one's threshold, not more; ECE of `event_prob` at most 0.02 above the baseline's; and average precision above that
    of random pieces. With the rule kept, `promote` asks that average precision is better in at least 95 % of resamples,
    and by at least `min_gain` here; a smaller gain is `inconclusive`. `ece_rule` is as in `gates.judge`.

    Raises
    ------
    ValueError
        The two are not of one chart and the same spans.
    """
    if challenger.chart is not baseline.chart or not np.array_equal(challenger.spans.bar, baseline.spans.bar):
        raise ValueError("events are compared on one chart and the same spans")
    weights = resampling_weights(challenger, seed, n_resamples)
    comparisons = _comparisons(challenger, baseline, thresholds, weights, seed)
    gain = None if weights is None else AP(challenger, weights) - AP(baseline, weights)
    seen = comparisons[0].difference or 0.0
    probability = None if gain is None else float((gain > 0).mean())
    n_bars = challenger.chart.n_bars
    needed = None if gain is None else windows_for_power(seen, gain, n_bars, level=SURE)
    n_more = None if needed is None else max(needed - n_bars, 1)
    outcome, broken = _outcome(comparisons, challenger, baseline)
    outcome = _strength(outcome, probability, seen, min_gain)
    perfect = reliability(challenger, seed)[1]
    if outcome is EventOutcome.HOLD_RULE and ece_rule == "noise" and ece_may_be_noise(comparisons, perfect):
        outcome = EventOutcome.INCONCLUSIVE_ECE
    n_blocks = len(challenger.chart.bars_of_block)
    reason = outcome.value.format(
        probability=probability if probability is not None else float("nan"),
        gain=seen,
        min_gain=min_gain,
        broken=broken,
        n_blocks=n_blocks,
        least=LEAST_BLOCKS,
        more=_more(seen, n_more),
    )
    is_known = gain is not None and float(np.nanstd(gain)) > 0
    return EventVerdict(
        outcome.verdict,
        reason,
        len(challenger.spans),
        n_bars,
        n_blocks,
        probability,
        n_more,
        float(detectable_difference(gain)) if gain is not None and is_known else None,
        min_gain,
        comparisons,
        perfect,
        ece_rule,
    )


def _comparisons(
    challenger: JudgedEvents,
    baseline: JudgedEvents,
    thresholds: tuple[float, float],
    weights: Weights | None,
    seed: int,
) -> list[Comparison]:
    draws = [random_pieces(challenger, seed, draw) for draw in range(N_DRAWS)]
    mine, theirs = (alarms_at(threshold, with_class=True) for threshold in thresholds)
    return [
        _compare(AP_CLASS, (AP, AP), (challenger, baseline), weights, random_figure(challenger, AP, draws)),
        _compare(ALARMS, (mine, theirs), (challenger, baseline), weights, random_figure(challenger, mine, draws)),
        _compare(ECE, (event_ece, event_ece), (challenger, baseline), weights, float("nan")),
    ]


def _compare(
    name: str,
    metrics: tuple[SpanMetric, SpanMetric],
    judged: tuple[JudgedEvents, JudgedEvents],
    weights: Weights | None,
    random: float,
) -> Comparison:
    ones = np.ones((1, len(judged[0].chart.bars_of_block)))
    mine, theirs = (float(metric(one, ones)[0]) for metric, one in zip(metrics, judged, strict=True))
    resampled = None if weights is None else metrics[0](judged[0], weights) - metrics[1](judged[1], weights)
    return compared(name, RULES[name], (mine, theirs, random), resampled)


def _outcome(
    comparisons: list[Comparison], challenger: JudgedEvents, baseline: JudgedEvents
) -> tuple[EventOutcome, str]:
    unknown = [row.metric for row in comparisons if row.difference is None]
    if unknown:
        return EventOutcome.HOLD_UNDEFINED, f"{', '.join(unknown)} does not exist (no spans, or a table without events)"
    if _same(challenger, baseline):
        return EventOutcome.HOLD_SAME, ""
    precision = comparisons[0]
    if precision.trivial is not None and (precision.challenger or 0.0) <= precision.trivial:
        return (
            EventOutcome.HOLD_RANDOM,
            f"{precision.metric} {precision.challenger:.3f} against {precision.trivial:.3f}",
        )
    if broken := broken_rules(comparisons, RULES):
        return EventOutcome.HOLD_RULE, broken
    return EventOutcome.PROMOTE, ""


def _strength(outcome: EventOutcome, probability: float | None, gain: float, min_gain: float) -> EventOutcome:
    """Weaken a verdict on thin evidence."""
    if outcome is not EventOutcome.PROMOTE:
        return outcome
    if probability is None:
        return EventOutcome.INCONCLUSIVE_SHORT
    if probability < SURE:
        return EventOutcome.INCONCLUSIVE
    return EventOutcome.INCONCLUSIVE_SMALL if gain < min_gain else outcome


def _same(one: JudgedEvents, other: JudgedEvents) -> bool:
    def rows(judged: JudgedEvents) -> np.ndarray:
        events = judged.events
        table = np.column_stack([events.bar, events.label, events.prob])
        return table[np.lexsort(table.T)]

    return np.array_equal(rows(one), rows(other))


def _more(gain: float, n_more: int | None) -> str:
    if n_more is None:
        return "how many more annotated bars it takes is unknown"
    return (
        f"a gain as large as seen ({gain:.3f}) would be shown in four of five cases with some {n_more:,} more bars "
        "annotated like these"
    )
