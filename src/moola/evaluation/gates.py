"""The gate: is the challenger better than the baseline, on the same windows, and how surely (specification 7)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import Enum
from typing import Any

import numpy as np

from moola.errors import InvalidData
from moola.evaluation.calibration import perfect_ece_range
from moola.evaluation.class_metrics import Metric, Values, brier, ece, pr_auc
from moola.evaluation.comparisons import (
    block_length,
    block_weights,
    detectable_difference,
    percentile_interval,
    windows_for_power,
)
from moola.evaluation.figures import TrainingFacts, trivial_predictions
from moola.options.judging_options import EceRule
from moola.options.option_fields import MIN_GAIN
from moola.tables.prediction_table import Predictions

ECE_MARGIN = 0.02
SURE = 0.95
COMPARED: dict[str, Metric] = {"pr_auc": pr_auc, "brier": brier, "ece": ece}
HIGHER_IS_BETTER = {"pr_auc": True, "brier": False, "ece": False}


@dataclass(frozen=True)
class Rule:
    """What a gate asks of one metric: a sentence, and whether a difference (challenger less baseline) keeps it."""

    sentence: str
    holds: Callable[[float], bool]


RULES = {
    "pr_auc": Rule("PR-AUC must be higher", lambda difference: difference > 0),
    "brier": Rule("Brier must be lower", lambda difference: difference < 0),
    "ece": Rule("ECE must be at most 0.02 higher", lambda difference: difference <= ECE_MARGIN),
}


class Answer(Enum):
    """An outcome of a gate: its name begins with the verdict, and its value is the sentence that explains it."""

    @property
    def verdict(self) -> str:
        """Return `promote`, `inconclusive` or `hold`."""
        return self.name.split("_")[0].lower()


class Outcome(Answer):
    """What the gate of windows may come to."""

    PROMOTE = "every rule holds, and Brier is better with probability {probability:.3f} (0.95 is asked)"
    INCONCLUSIVE = (
        "every rule holds, but Brier is better only with probability {probability:.3f} (0.95 is asked); {more}"
    )
    INCONCLUSIVE_SMALL = (
        "every rule holds and Brier is better with probability {probability:.3f}, but the gain of {gain:.4f} is "
        "smaller than worth having ({min_gain:g}, --min-gain)"
    )
    INCONCLUSIVE_ECE = (
        "{broken}, and a perfectly calibrated model would show an ECE as high here ({perfect}, --ece-rule noise); the "
        "other rules hold, and Brier is better with probability {probability:.3f} (0.95 is asked)"
    )
    HOLD_RULE = "{broken}"
    HOLD_TRIVIAL = "the challenger is not better than the class share: {broken}"
    HOLD_LEAK = "the challenger's figures prove nothing: {broken}"
    HOLD_SAME = "challenger and baseline give the same probabilities"
    HOLD_UNDEFINED = "a rule cannot be evaluated: {broken}"


@dataclass(frozen=True)
class Comparison:
    """One metric of both on the same windows, and the paired difference with its 95 % interval."""

    metric: str
    challenger: float | None
    baseline: float | None
    trivial: float | None
    difference: float | None
    low: float | None
    high: float | None
    holds: bool

    @property
    def is_ece(self) -> bool:
        """Return whether the metric is a calibration error."""
        return self.metric in ("ece", "event_ece")


@dataclass(frozen=True)
class Verdict:
    """The gate's verdict, its reason and its figures.

    Attributes
    ----------
    n_more_windows
        Windows to add so that a true gain as large as the one seen would be shown (Brier better with probability 0.95)
        in four of five cases, at least 1. The seen gain is no proof of the true one: it is the larger, the luckier.
    n_more_windows_min_gain
        The same for a true gain of `min_gain`, the smallest worth having; 0 where these windows are enough.
    detectable_brier_gain
        The smallest true gain that these windows would show in four of five cases.
    perfect_ece
        Central 95 % range of the ECE that a model with the challenger's probabilities would show here if every one of
        them were right.
    """

    verdict: str
    reason: str
    n_windows: int
    block_windows: int
    probability_brier_better: float | None
    n_more_windows: int | None
    comparisons: list[Comparison]
    detectable_brier_gain: float | None = None
    min_gain: float = MIN_GAIN
    n_more_windows_min_gain: int | None = None
    perfect_ece: tuple[float, float] | None = None
    ece_rule: EceRule = "contract"

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for a file."""
        return asdict(self)


def judge(
    challenger: Predictions,
    baseline: Predictions,
    facts: TrainingFacts,
    leaks: list[str],
    seed: int = 0,
    trivial: Predictions | None = None,
    min_gain: float = MIN_GAIN,
    ece_rule: EceRule = "contract",
) -> Verdict:
    """Compare two tables of predictions of the same windows by a paired block bootstrap.

    `leaks` are sentences on what the challenger saw of these windows; any of them is a `hold`.

    The rule: PR-AUC higher, Brier lower, ECE at most 0.02 above the baseline's, and Brier and PR-AUC
    better than the class share's. With the rule kept, `promote` asks that Brier is better in at least
    95 % of resamples, and lower by at least `min_gain` on these windows; a smaller gain is `inconclusive`.
    With the `ece_rule` noise a broken ECE rule alone is `inconclusive`, not `hold`, where the challenger's ECE is no
    higher than that of a perfectly calibrated model may be.

    Raises
    ------
    InvalidData
        The two tables are not of the same windows with the same labels and classes.
    """
    _same_windows(challenger, baseline)
    labelled = np.flatnonzero(challenger.class_index >= 0)
    trivial = (trivial if trivial is not None else trivial_predictions(challenger, facts)).take(labelled)
    challenger, baseline = challenger.take(labelled), baseline.take(labelled)
    if not len(challenger):
        reason = Outcome.HOLD_UNDEFINED.value.format(broken="no evaluated window has a label")
        return Verdict(
            Outcome.HOLD_UNDEFINED.verdict, reason, 0, 1, None, None, [], min_gain=min_gain, ece_rule=ece_rule
        )
    block = block_length(challenger.start_us, challenger.end_us)
    weights = block_weights(len(challenger), block, seed)
    comparisons = [_compare(name, challenger, baseline, trivial, weights) for name in COMPARED]
    gain = brier(baseline, weights) - brier(challenger, weights)
    probability = float((gain > 0).mean())
    detectable = float(detectable_difference(gain)) if float(np.nanstd(gain)) > 0 else None
    seen_gain = -(comparisons[1].difference or 0.0)
    n_more = _windows_to_add(seen_gain, gain, len(challenger), 1)
    n_more_min = _windows_to_add(min_gain, gain, len(challenger), 0)
    perfect = perfect_ece_range(challenger, "width", seed)
    outcome, broken = _outcome(comparisons, probability, leaks, challenger, baseline)
    if outcome is Outcome.PROMOTE and seen_gain < min_gain:
        outcome = Outcome.INCONCLUSIVE_SMALL
    if outcome is Outcome.HOLD_RULE and ece_rule == "noise" and ece_may_be_noise(comparisons, perfect):
        outcome = Outcome.INCONCLUSIVE_ECE
    reason = outcome.value.format(
        probability=probability,
        more=_more_windows(seen_gain, n_more, min_gain, n_more_min),
        broken=broken,
        gain=seen_gain,
        min_gain=min_gain,
        perfect=f"{perfect[0]:.3f} to {perfect[1]:.3f}",
    )
    return Verdict(
        outcome.verdict,
        reason,
        len(challenger),
        block,
        probability,
        n_more,
        comparisons,
        detectable,
        min_gain,
        n_more_min,
        perfect,
        ece_rule,
    )


def ece_may_be_noise(comparisons: list[Comparison], perfect: tuple[float, float] | None) -> bool:
    """Return whether ECE alone breaks its rule, and is no higher than that of a perfectly calibrated model may be."""
    broken = [row for row in comparisons if not row.holds]
    if len(broken) != 1 or not broken[0].is_ece or broken[0].challenger is None or perfect is None:
        return False
    return broken[0].challenger <= perfect[1]


def _same_windows(challenger: Predictions, baseline: Predictions) -> None:
    same = (
        challenger.window_id == baseline.window_id
        and challenger.class_names == baseline.class_names
        and np.array_equal(challenger.class_index, baseline.class_index)
    )
    if not same:
        raise InvalidData(
            "challenger and baseline must be evaluated on the same windows, labels and classes, but they are "
            f"not ({len(challenger)} and {len(baseline)} windows). Train both on the same data and split."
        )


def _compare(
    name: str, challenger: Predictions, baseline: Predictions, trivial: Predictions, weights: np.ndarray
) -> Comparison:
    metric = COMPARED[name]
    ones = np.ones((1, len(challenger)))
    values = [metric(predictions, ones)[0] for predictions in (challenger, baseline, trivial)]
    return compared(name, RULES[name], values, metric(challenger, weights) - metric(baseline, weights))


def compared(name: str, rule: Rule, values: Sequence[float], resampled: Values | None) -> Comparison:
    """Compare a metric of challenger, baseline and uninformed baseline; `resampled` differences give the interval."""
    mine, theirs, floor = (None if np.isnan(value) else float(value) for value in values)
    if mine is None or theirs is None:
        return Comparison(name, mine, theirs, floor, None, None, None, False)
    low, high = (None if resampled is None else percentile_interval(resampled)) or (None, None)
    difference = mine - theirs
    return Comparison(name, mine, theirs, floor, difference, low, high, rule.holds(difference))


def broken_rules(comparisons: list[Comparison], rules: Mapping[str, Rule]) -> str:
    """State every rule that does not hold, with both figures; empty where all hold."""
    return "; ".join(
        f"{rules[row.metric].sentence}, but it is {row.challenger:.3f} against {row.baseline:.3f}"
        for row in comparisons
        if not row.holds
    )


def _outcome(
    comparisons: list[Comparison], probability: float, leaks: list[str], challenger: Predictions, baseline: Predictions
) -> tuple[Outcome, str]:
    if leaks:
        return Outcome.HOLD_LEAK, "; ".join(leaks)
    unknown = [row.metric for row in comparisons if row.difference is None]
    if unknown:
        return Outcome.HOLD_UNDEFINED, f"{', '.join(unknown)} does not exist on these windows (one class only)"
    if np.array_equal(challenger.class_prob, baseline.class_prob):
        return Outcome.HOLD_SAME, ""
    if worse := _not_above_trivial(comparisons):
        return Outcome.HOLD_TRIVIAL, worse
    if broken := broken_rules(comparisons, RULES):
        return Outcome.HOLD_RULE, broken
    return (Outcome.PROMOTE if probability >= SURE else Outcome.INCONCLUSIVE), ""


def _not_above_trivial(comparisons: list[Comparison]) -> str:
    lost = []
    for row in comparisons:
        if row.metric == "ece" or row.trivial is None or row.challenger is None:
            continue
        better = row.challenger > row.trivial if HIGHER_IS_BETTER[row.metric] else row.challenger < row.trivial
        if not better:
            lost.append(f"{row.metric} {row.challenger:.3f} against {row.trivial:.3f}")
    return ", ".join(lost)


def _windows_to_add(true_gain: float, gain: np.ndarray, n_windows: int, least: int) -> int | None:
    """Windows to add until a true Brier gain would be `SURE` in four of five cases."""
    needed = windows_for_power(true_gain, gain, n_windows, level=SURE)
    return None if needed is None else max(needed - n_windows, least)


def _more_windows(seen_gain: float, n_more: int | None, min_gain: float, n_more_min: int | None) -> str:
    """State how many windows would show a gain as large as seen, and the smallest worth having."""
    if n_more is None:
        return "how many more labelled windows it takes is unknown"
    seen = (
        f"a gain is shown in four of five cases with some {n_more} more labelled windows like these if the true gain "
        f"is as large as seen ({seen_gain:.3f})"
    )
    if n_more_min is None:
        return seen
    least = f"with some {n_more_min} more" if n_more_min else "with these windows already"
    return f"{seen}, {least} if it is {min_gain:g}, the smallest worth having"
