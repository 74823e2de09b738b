"""Whether the best trial is better than the defaults, said with its spread."""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from moola.config.tune_ranges import Value
from moola.core.seeds import derive_seed
from moola.errors import TrainingDiverged
from moola.pipeline.tuning.inner_folds import trivial_figures
from moola.pipeline.tuning.plan import Plan
from moola.pipeline.tuning.study import Finished

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Confirmed:
    """The defaults and the best trial, fitted again with seeds that chose nothing; figures are means over them."""

    seeds: list[int]
    defaults_by_fold: list[float]
    best_by_fold: list[float]
    difference: float
    standard_error: float


@dataclass(frozen=True)
class Outcome:
    """What a study came to.

    Attributes
    ----------
    best
        The best complete trial, None where no trial could be judged to its end.
    trivial_by_fold
        What the class share (and the most common pointers) of each fold's train rows gets.
    confirmed
        None where the best trial is the defaults themselves, or diverged with a fresh seed.
    """

    n_trials: int
    best: Finished | None
    trivial_by_fold: list[float]
    confirmed: Confirmed | None
    beats_defaults: bool

    @property
    def values(self) -> dict[str, Value]:
        """What `train` should do otherwise than by default; empty where the defaults stay."""
        return self.best.values if self.best is not None and self.beats_defaults else {}

    def as_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)


def best_of(trials: list[Finished], sign: int) -> Finished | None:
    """Return the best complete trial, the earlier of equals; None where none is complete."""
    complete = [trial for trial in trials if trial.value is not None]
    return max(complete, key=lambda trial: (sign * (trial.value or 0.0), -trial.place)) if complete else None


def compare(plan: Plan, trials: list[Finished], n_seeds: int) -> Outcome:
    """Set the best trial beside the defaults, fold by fold, both fitted again with fresh seeds.

    The best takes the place of the defaults only if its mean gain over the folds is above the standard error
    of that mean: the rule of one standard error (Breiman et al. 1984, "Classification and regression trees").
    """
    best = best_of(trials, plan.sign)
    trivial = trivial_figures(plan.inner, plan.metric)
    undecided = Outcome(len(trials), best, trivial, None, beats_defaults=False)
    if best is None or best.place == 1:
        return undecided
    seeds = [derive_seed(plan.seed, "confirm", number) % 2**31 for number in range(n_seeds)]
    log.info("Fitting the defaults and the best trial again with %d fresh seeds ...", n_seeds)
    try:
        defaults, challenger = (_by_fold(plan, values, seeds) for values in (trials[0].values, best.values))
    except TrainingDiverged as error:
        log.warning("With a fresh seed it diverged: %s", error)
        return undecided
    difference = challenger - defaults
    standard_error = float(difference.std(ddof=1) / np.sqrt(len(difference)))
    mean = float(difference.mean())
    confirmed = Confirmed(seeds, defaults.tolist(), challenger.tolist(), mean, standard_error)
    return Outcome(len(trials), best, trivial, confirmed, plan.sign * mean > standard_error)


def _by_fold(plan: Plan, values: dict[str, Value], seeds: list[int]) -> np.ndarray:
    folds = range(len(plan.inner.folds))
    return np.array([np.mean([plan.figure(fold, values, seed) for seed in seeds]) for fold in folds])


def sentence(plan: Plan, found: Outcome) -> str:
    """Say in one sentence what the study came to."""
    best, row, n_trials = found.best, found.confirmed, found.n_trials
    if best is None:
        return f"None of {n_trials} trials could be judged to its end: the defaults stay."
    if best.place == 1:
        return f"No trial of {n_trials} was better than the defaults ({plan.metric} {best.value:.4f}): they stay."
    if row is None:
        return f"Trial {best.place}, the best of {n_trials}, diverged with a fresh seed: the defaults stay."
    n_seeds = f"{len(row.seeds)} fresh seed{'' if len(row.seeds) == 1 else 's'}"
    shown = (
        f"{plan.metric} {np.mean(row.best_by_fold):.4f} against {np.mean(row.defaults_by_fold):.4f} of the defaults "
        f"and {np.mean(found.trivial_by_fold):.4f} of the class share, {row.difference:+.4f} with a standard error of "
        f"{row.standard_error:.4f} over {len(row.best_by_fold)} folds and {n_seeds}"
    )
    if found.beats_defaults:
        return f"Trial {best.place}, the best of {n_trials}, beats the defaults: {shown}."
    return f"Trial {best.place}, the best of {n_trials}, does not beat the defaults: {shown}. The defaults stay."


def comment(plan: Plan, found: Outcome, split: str) -> list[str]:
    """Return lines above the values; where the defaults stay, what the best had is there to read."""
    lines = [
        f"chosen on {len(plan.inner.folds)} inner folds of the {len(plan.inner.table)} train rows of {split}.",
        sentence(plan, found),
    ]
    if not found.beats_defaults and found.best is not None and found.best.place > 1:
        lines += [f"the best had {name} = {value}" for name, value in found.best.values.items()]
    return lines
