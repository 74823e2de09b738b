"""One answer to "should I trust it?", in the same words wherever a model is shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from moola.evaluation.class_metrics import brier
from moola.evaluation.comparisons import block_length, block_weights, windows_for_power
from moola.evaluation.gates import SURE, Verdict
from moola.options.option_fields import MIN_GAIN
from moola.tables.prediction_table import Predictions

QUESTION = "Should I trust it?"
GUESSING = "not yet better than guessing"
IN_USE = "the model in use"


@dataclass(frozen=True)
class Trust:
    """The answer's words, and the sentence that says from what."""

    word: str
    sentence: str

    def __str__(self) -> str:
        return f"{QUESTION} {self.word[:1].upper()}{self.word[1:]}: {self.sentence}."


@dataclass(frozen=True)
class Gated:
    """What a gate came to.

    Attributes
    ----------
    rival
        What the model was compared with.
    n_windows, part
        How many labelled windows of which part it was of; None for those of the answer.
    says_n_more
        Whether nothing is to be added on how many windows would show a gain.
    """

    verdict: str
    reason: str
    rival: str = IN_USE
    n_windows: int | None = None
    part: str = "other"
    says_n_more: bool = True
    n_more_min_gain: int | None = None

    @classmethod
    def of(cls, verdict: Verdict, rival: str) -> Self:
        """Return what a gate of the windows of the answer came to."""
        return cls(
            verdict.verdict,
            verdict.reason,
            rival,
            says_n_more=verdict.says_n_more,
            n_more_min_gain=verdict.n_more_min_gain,
        )

    @classmethod
    def promoted(cls, entry: Mapping[str, Any]) -> Self:
        """Return what the promotion log says of a gate."""
        of = {name: entry[name] for name in ("n_windows", "part") if name in entry}
        return cls(entry["verdict"], entry["reason"], rival_of(entry["baseline_kind"], is_promoted=True), **of)


def trust(
    challenger: Predictions,
    guess: Predictions,
    leaks: Sequence[str],
    gated: Gated | None = None,
    seed: int = 0,
    min_gain: float = MIN_GAIN,
) -> Trust:
    """Answer from predictions of the same windows, in time order.

    Parameters
    ----------
    challenger, guess
        Predictions of the model and of the class share for the windows.
    leaks
        Sentences on what the model saw of them: figures of such windows answer nothing.
    gated
        What the gate came to; None where nothing was compared.
    """
    rows = np.flatnonzero(challenger.class_index >= 0)
    challenger, guess = challenger.take(rows), guess.take(rows)
    if not len(rows):
        return Trust(GUESSING, "no evaluated window has a label")
    if leaks:
        return Trust(GUESSING, f"the figures prove nothing, {'; '.join(leaks)}")
    weights = block_weights(len(rows), block_length(challenger.start_us, challenger.end_us), seed)
    gain = brier(guess, weights) - brier(challenger, weights)
    probability = float((gain > 0).mean())
    ones = np.ones((1, len(rows)))
    mine, theirs = float(brier(challenger, ones)[0]), float(brier(guess, ones)[0])
    seen = f"Brier {mine:.3f} against {theirs:.3f} of the class share on {len(rows)} windows"
    if probability < SURE or mine >= theirs:
        more = _more(windows_for_power(min_gain, gain, len(rows), level=SURE), len(rows), min_gain)
        return Trust(GUESSING, f"{seen}, better with probability {probability:.3f} ({SURE:g} is needed); {more}")
    if gated is None:
        return Trust("better than guessing", f"{seen}; moola gate compares it with {IN_USE}")
    # A gate of other windows than these says which, as a promotion on later ones does.
    is_same = gated.n_windows in (None, len(rows))
    gate = "the gate" if is_same else f"the gate on {gated.n_windows} {gated.part} windows"
    if gated.verdict == "promote":
        return Trust(f"better than {gated.rival}", f"{seen}, and {gate} says promote: {gated.reason}")
    needed = gated.n_more_min_gain
    more = _more(None if needed is None else len(rows) + needed, len(rows), min_gain)
    rest = "" if gated.says_n_more else f"; {more}"
    word = f"better than guessing, not than {gated.rival}"
    return Trust(word, f"{seen}; {gate} says {gated.verdict}: {gated.reason}{rest}")


def rival_of(baseline_kind: str, is_promoted: bool = False) -> str:
    """Name what a gate compared with, in the words of every page; `is_promoted`: the model in use was replaced."""
    if baseline_kind == "promoted model":
        return f"{IN_USE} before it" if is_promoted else IN_USE
    return (
        f"the {baseline_kind}" if baseline_kind == "from-scratch run" else f"the {baseline_kind} it was compared with"
    )


def _more(needed: int | None, n_windows: int, gain: float) -> str:
    """State how many windows would show which gain in Brier."""
    if needed is None:
        return "how many windows would show a gain is not known"
    if needed <= n_windows:
        return f"these windows are enough to show a gain of {gain:g} in Brier at 80 % power"
    return f"a gain of {gain:g} in Brier would be shown at 80 % power with some {needed - n_windows} more windows"
