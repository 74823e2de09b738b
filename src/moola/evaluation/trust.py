"""One answer to "should I trust it?", in the same words wherever a model is shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from moola.evaluation.class_metrics import brier
from moola.evaluation.comparisons import block_length, block_weights, windows_for_power
from moola.evaluation.gates import SURE
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

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for a file."""
        return asdict(self)


def trust(
    challenger: Predictions,
    guess: Predictions,
    leaks: Sequence[str],
    verdict: Mapping[str, Any] | None = None,
    rival: str = IN_USE,
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
    verdict
        The gate's `verdict` and `reason` against `rival`, with `n_more_windows_min_gain` where known; None where
        nothing was compared.
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
    if verdict is None:
        return Trust("better than guessing", f"{seen}; moola gate compares it with {rival}")
    word, reason = verdict["verdict"], verdict["reason"]
    # A gate of other windows than these says which, as a promotion on later ones does.
    n_gated = verdict.get("n_windows", len(rows))
    gate = "the gate" if n_gated == len(rows) else f"the gate on {n_gated} {verdict.get('part', 'other')} windows"
    if word == "promote":
        return Trust(f"better than {rival}", f"{seen}, and {gate} says promote: {reason}")
    needed = verdict.get("n_more_windows_min_gain")
    more = _more(None if needed is None else len(rows) + needed, len(rows), min_gain)
    # An inconclusive gate says by itself how many windows would show that gain.
    rest = "" if "80 % power" in reason else f"; {more}"
    return Trust(f"better than guessing, not than {rival}", f"{seen}; {gate} says {word}: {reason}{rest}")


def rival_of(gated: Mapping[str, Any] | None) -> str:
    """Name what a gate compared with, in the words of every page."""
    if gated is None:
        return IN_USE
    kind = gated["baseline_kind"]
    if kind == "promoted model":
        return f"{IN_USE} before it" if gated.get("promoted_at") else IN_USE
    return f"the {kind}" if kind == "from-scratch run" else f"the {kind} it was compared with"


def _more(needed: int | None, n_windows: int, gain: float) -> str:
    """State how many windows would show which gain in Brier."""
    if needed is None:
        return "how many windows would show a gain is not known"
    if needed <= n_windows:
        return f"these windows are enough to show a gain of {gain:g} in Brier at 80 % power"
    return f"a gain of {gain:g} in Brier would be shown at 80 % power with some {needed - n_windows} more windows"
