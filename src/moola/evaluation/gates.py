"""The gate: is the challenger better than the baseline, on the same windows or the same chart, and how surely
(specification 7).

One procedure decides for windows (here) and for events (`event_gate`): known leaks, figures that do not exist, equal
predictions, the uninformed baseline, the rules, and, with all of them kept, how sure and how large the gain is. A
`Gate` holds the rules and words of each; `judge` and `judge_events` give the figures and their resampled differences.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
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


class Outcome(Enum):
    """What a gate may come to: its name begins with the verdict, and its value is the sentence that explains it."""

    PROMOTE = "every rule holds, and {figure} is better with probability {probability:.3f} (0.95 is needed)"
    INCONCLUSIVE = (
        "every rule holds, but {figure} is better only with probability {probability:.3f} (0.95 is needed); {more}"
    )
    INCONCLUSIVE_SMALL = (
        "every rule holds and {figure} is better with probability {probability:.3f}, but the gain of {gain:.4f} is "
        "smaller than worth having ({min_gain:g}, --min-gain)"
    )
    INCONCLUSIVE_SHORT = (
        "every rule holds, but the stretches hold {n_blocks} blocks of time and an interval must have {least}; "
        "annotate longer stretches"
    )
    INCONCLUSIVE_ECE = "{broken}, and {noise}"
    HOLD_RULE = "{broken}"
    HOLD_TRIVIAL = "the challenger is not better than {floor}: {broken}"
    HOLD_LEAK = "the challenger's figures prove nothing: {broken}"
    HOLD_SAME = "challenger and baseline {same}"
    HOLD_UNDEFINED = "a rule cannot be evaluated: {broken}"

    @property
    def verdict(self) -> str:
        """Return `promote`, `inconclusive` or `hold`."""
        return self.name.split("_")[0].lower()


@dataclass(frozen=True)
class Rule:
    """A rule on one metric.

    Attributes
    ----------
    holds
        Whether a difference (challenger less baseline) keeps it.
    has_floor
        Whether the difference from the uninformed baseline must keep it too.
    """

    sentence: str
    holds: Callable[[float], bool]
    has_floor: bool = False


@dataclass(frozen=True)
class Gate:
    """The rules by metric, the words for the sentences of `Outcome`, and the names in a record, of one kind of gate."""

    rules: dict[str, Rule]
    words: dict[str, str]
    more: Callable[[Verdict], str]
    record: dict[str, str]


@dataclass(frozen=True)
class Comparison:
    """One metric of both, and the paired difference with its 95 % interval."""

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
    """What the gate came to, and its figures.

    Attributes
    ----------
    counts
        What was evaluated: `n_windows` and `block_windows`, or `n_spans`, `n_bars` and `n_blocks`.
    broken
        The rules that do not hold or what else decided, with figures; empty where all hold.
    gain
        By how much Brier, or average precision, is better here.
    probability_better
        Share of resamples in which it is better; None with too few blocks of time.
    n_more
        Windows or bars to add so that a true gain as large as the one seen would be shown (better with probability
        0.95) at 80 % power, at least 1. The seen gain is no proof of the true one: it is the larger, the luckier.
    n_more_min_gain
        The same for a true gain of `min_gain`, the smallest worth having; 0 where these are enough.
    detectable_gain
        The smallest true gain that would be shown here at 80 % power.
    perfect_ece
        Central 95 % range of the ECE that the challenger's probabilities would show here if every one of them were
        right; None without events.
    """

    gate: Gate
    outcome: Outcome
    counts: dict[str, int]
    comparisons: list[Comparison] = field(default_factory=list)
    broken: str = ""
    gain: float = 0.0
    probability_better: float | None = None
    n_more: int | None = None
    n_more_min_gain: int | None = None
    detectable_gain: float | None = None
    min_gain: float = MIN_GAIN
    perfect_ece: tuple[float, float] | None = None
    ece_rule: EceRule = "contract"

    @property
    def verdict(self) -> str:
        """Return `promote`, `inconclusive` or `hold`."""
        return self.outcome.verdict

    @property
    def reason(self) -> str:
        """Return the sentence that explains the outcome."""
        low, high = self.perfect_ece or (np.nan, np.nan)
        values = {
            **self.gate.words,
            **self.counts,
            "broken": self.broken,
            "gain": self.gain,
            "min_gain": self.min_gain,
            "probability": np.nan if self.probability_better is None else self.probability_better,
            "perfect": f"{low:.3f} to {high:.3f}",
            "more": self.gate.more(self),
        }
        return self.outcome.value.format(**values | {"noise": self.gate.words["noise"].format(**values)})

    @property
    def says_n_more(self) -> bool:
        """Return whether the reason says how many more windows or bars would show a gain."""
        return self.outcome is Outcome.INCONCLUSIVE and self.n_more is not None

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for a file."""
        record = {"verdict": self.verdict, "reason": self.reason, **self.counts}
        record |= {shown: getattr(self, name) for name, shown in self.gate.record.items()}
        record |= {name: getattr(self, name) for name in ("min_gain", "perfect_ece", "ece_rule")}
        return record | {"comparisons": [asdict(row) for row in self.comparisons]}


def decide(
    gate: Gate,
    counts: dict[str, int],
    comparisons: list[Comparison],
    resampled: Values | None,
    *,
    n: int,
    gain: float,
    is_same: bool,
    perfect: tuple[float, float] | None,
    min_gain: float,
    ece_rule: EceRule,
    leaks: Sequence[str] = (),
) -> Verdict:
    """Come to a verdict from comparisons on `n` windows or bars, the gain in Brier or average precision, and that gain
    in resamples (None with too few blocks of time)."""
    probability = None if resampled is None else float((resampled > 0).mean())
    is_spread = resampled is not None and float(np.nanstd(resampled)) > 0
    outcome, broken = _outcome(gate, comparisons, leaks, is_same)
    if outcome is Outcome.PROMOTE:
        outcome = _strength(probability, gain, min_gain)
    elif outcome is Outcome.HOLD_RULE and ece_rule == "noise" and ece_may_be_noise(comparisons, perfect):
        outcome = Outcome.INCONCLUSIVE_ECE
    return Verdict(
        gate,
        outcome,
        counts,
        comparisons,
        broken,
        gain,
        probability,
        _to_add(gain, resampled, n, 1),
        _to_add(min_gain, resampled, n, 0),
        float(detectable_difference(resampled)) if resampled is not None and is_spread else None,
        min_gain,
        perfect,
        ece_rule,
    )


def _outcome(gate: Gate, comparisons: list[Comparison], leaks: Sequence[str], is_same: bool) -> tuple[Outcome, str]:
    """Ask what holds whatever the evidence; `PROMOTE` where nothing does."""
    if leaks:
        return Outcome.HOLD_LEAK, "; ".join(leaks)
    if unknown := ", ".join(row.metric for row in comparisons if row.difference is None):
        return Outcome.HOLD_UNDEFINED, f"{unknown} does not exist {gate.words['undefined']}"
    if is_same:
        return Outcome.HOLD_SAME, ""
    if lost := ", ".join(
        f"{row.metric} {row.challenger:.3f} against {row.trivial:.3f}"
        for row in comparisons
        if not _beats_floor(gate.rules[row.metric], row)
    ):
        return Outcome.HOLD_TRIVIAL, lost
    broken = "; ".join(
        f"{gate.rules[row.metric].sentence}, but it is {row.challenger:.3f} against {row.baseline:.3f}"
        for row in comparisons
        if not row.holds
    )
    return (Outcome.HOLD_RULE if broken else Outcome.PROMOTE), broken


def _beats_floor(rule: Rule, row: Comparison) -> bool:
    if not rule.has_floor or row.trivial is None or row.challenger is None:
        return True
    return rule.holds(row.challenger - row.trivial)


def _strength(probability: float | None, gain: float, min_gain: float) -> Outcome:
    """Return what evidence with every rule kept is good for."""
    if probability is None:
        return Outcome.INCONCLUSIVE_SHORT
    if probability < SURE:
        return Outcome.INCONCLUSIVE
    return Outcome.INCONCLUSIVE_SMALL if gain < min_gain else Outcome.PROMOTE


def ece_may_be_noise(comparisons: list[Comparison], perfect: tuple[float, float] | None) -> bool:
    """Return whether ECE alone breaks its rule, and is no higher than that of a perfectly calibrated model may be."""
    broken = [row for row in comparisons if not row.holds]
    if len(broken) != 1 or not broken[0].is_ece or broken[0].challenger is None or perfect is None:
        return False
    return broken[0].challenger <= perfect[1]


def _to_add(true_gain: float, resampled: Values | None, n: int, least: int) -> int | None:
    """Return how many windows or bars to add until a true gain would be `SURE` at 80 % power."""
    needed = None if resampled is None else windows_for_power(true_gain, resampled, n, level=SURE)
    return None if needed is None else max(needed - n, least)


def compared(name: str, rule: Rule, values: Sequence[float], resampled: Values | None) -> Comparison:
    """Compare a metric of challenger, baseline and uninformed baseline; `resampled` differences give the interval."""
    mine, theirs, floor = (None if np.isnan(value) else float(value) for value in values)
    if mine is None or theirs is None:
        return Comparison(name, mine, theirs, floor, None, None, None, False)
    low, high = (None if resampled is None else percentile_interval(resampled)) or (None, None)
    difference = mine - theirs
    return Comparison(name, mine, theirs, floor, difference, low, high, rule.holds(difference))


# Windows.


COMPARED: dict[str, Metric] = {"pr_auc": pr_auc, "brier": brier, "ece": ece}


def _more_windows(verdict: Verdict) -> str:
    if verdict.n_more is None:
        return "how many more labelled windows it takes is unknown"
    seen = (
        f"a gain is shown at 80 % power with some {verdict.n_more} more labelled windows like these if the true gain "
        f"is as large as seen ({verdict.gain:.3f})"
    )
    if verdict.n_more_min_gain is None:
        return seen
    least = f"with some {verdict.n_more_min_gain} more" if verdict.n_more_min_gain else "with these windows already"
    return f"{seen}, {least} if it is {verdict.min_gain:g}, the smallest worth having"


WINDOWS = Gate(
    rules={
        "pr_auc": Rule("PR-AUC must be higher", lambda difference: difference > 0, has_floor=True),
        "brier": Rule("Brier must be lower", lambda difference: difference < 0, has_floor=True),
        "ece": Rule("ECE must be at most 0.02 higher", lambda difference: difference <= ECE_MARGIN),
    },
    words={
        "figure": "Brier",
        "floor": "the class share",
        "same": "give the same probabilities",
        "undefined": "on these windows (one class only)",
        "noise": "a perfectly calibrated model would show an ECE as high here ({perfect}, --ece-rule noise); the other "
        "rules hold, and Brier is better with probability {probability:.3f} (0.95 is needed)",
    },
    more=_more_windows,
    record={
        "probability_better": "probability_brier_better",
        "n_more": "n_more_windows",
        "n_more_min_gain": "n_more_windows_min_gain",
        "detectable_gain": "detectable_brier_gain",
    },
)


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
    if not challenger.is_of_windows_of(baseline):
        raise InvalidData(
            "challenger and baseline must be evaluated on the same windows, labels and classes, but they are "
            f"not ({len(challenger)} and {len(baseline)} windows). Train both on the same data and split."
        )
    labelled = np.flatnonzero(challenger.class_index >= 0)
    trivial = (trivial if trivial is not None else trivial_predictions(challenger, facts)).take(labelled)
    challenger, baseline = challenger.take(labelled), baseline.take(labelled)
    if not len(challenger):
        counts, broken = {"n_windows": 0, "block_windows": 1}, "no evaluated window has a label"
        return Verdict(WINDOWS, Outcome.HOLD_UNDEFINED, counts, broken=broken, min_gain=min_gain, ece_rule=ece_rule)
    block = block_length(challenger.start_us, challenger.end_us)
    weights = block_weights(len(challenger), block, seed)
    ones = np.ones((1, len(challenger)))
    comparisons = []
    for name, metric in COMPARED.items():
        values = [metric(predictions, ones)[0] for predictions in (challenger, baseline, trivial)]
        resampled = metric(challenger, weights) - metric(baseline, weights)
        comparisons.append(compared(name, WINDOWS.rules[name], values, resampled))
    return decide(
        WINDOWS,
        {"n_windows": len(challenger), "block_windows": block},
        comparisons,
        brier(baseline, weights) - brier(challenger, weights),
        n=len(challenger),
        gain=-(comparisons[1].difference or 0.0),
        is_same=np.array_equal(challenger.class_prob, baseline.class_prob),
        perfect=perfect_ece_range(challenger, "width", seed),
        min_gain=min_gain,
        ece_rule=ece_rule,
        leaks=leaks,
    )
