"""`tune`: trials on inner folds, the best against the defaults with fresh seeds, and a settings file."""

from __future__ import annotations

import json
import logging
import re
import time
import tomllib
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from moola.core.seeds import derive_seed
from moola.errors import OperationFailed, TrainingDiverged, WrongUsage
from moola.files import sha256_bytes, write_atomic
from moola.models.sealed import digest
from moola.options.option_fields import refuse_out_of_range
from moola.options.option_sources import file_settings
from moola.options.study_options import TUNING_ROOT, TuneOptions, Value
from moola.options.toml_files import read_text
from moola.options.training_options import TrainOptions
from moola.provenance.learned_times import with_window_bars
from moola.stages import tune_study as studies
from moola.stages.tune_study import Finished, Plan, deciding, make_plan, seen_by_encoder, trivial_figures

if TYPE_CHECKING:
    import optuna


# Whether the best trial is better than the defaults, said with its spread.


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
        The best complete trial, None where no trial could be evaluated to its end.
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
    """Summarise in one sentence what the study came to."""
    best, row, n_trials = found.best, found.confirmed, found.n_trials
    if best is None:
        return f"None of {n_trials} trials was completed: the defaults stay."
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


# Chosen values into the `[train]` table of a settings file, with nothing of it lost.


MARK = "# tune: "
HEADER = re.compile(r"^\s*\[\s*train\s*\]\s*(#.*)?$")
TABLE = re.compile(r"^\s*\[")
KEY = re.compile(r"^\s*([A-Za-z0-9_-]+)\s*=")
# What is no matter of a trial: files, machines, seeds, and what is kept.
NOT_JUDGED = ("data", "split", "seed", "device", "threads", "save_run", "resume", "input_dim", "allow_overlap")


def check_settings(path: Path) -> None:
    """Refuse, before any work, a file that the values could not be put into.

    Raises
    ------
    WrongUsage
        It is no TOML, has an unknown key, or its `[train]` is not a table that lines can be put into.
    """
    if path.exists():
        file_settings("train", path)
        merged(path, {"epochs": 1}, [])


def merged(path: Path, values: dict[str, Any], comment: list[str]) -> str:
    """Return the file's text with these values in `[train]`, in place of its own.

    Comments, order and every other key stay; lines that an earlier `tune` marked as its own go.
    """
    text = read_text(path, f"--output {path}") if path.is_file() else ""
    block = [f"{MARK}{line}" for line in comment] + [f"{name} = {_toml(value)}" for name, value in values.items()]
    lines = text.splitlines()
    headers = [number for number, line in enumerate(lines) if HEADER.match(line)]
    if headers:
        first = headers[0] + 1
        end = next((n for n in range(first, len(lines)) if TABLE.match(lines[n])), len(lines))
        kept = [line for line in lines[first:end] if not line.startswith(MARK) and _key(line) not in values]
        lines = [*lines[:first], *block, *kept, *lines[end:]]
    else:
        lines = [*lines, *([""] if lines else []), "[train]", *block]
    new = "\n".join(lines) + "\n"
    if _parsed(new) != _expected(_parsed(text), values):
        raise WrongUsage(
            f"--output must have a [train] table of plain lines, but {path} has another layout. "
            "Name another --output and carry the values over by hand."
        )
    return new


def _key(line: str) -> str:
    found = KEY.match(line)
    return found[1].replace("-", "_") if found else ""


def _parsed(text: str) -> dict[str, Any] | None:
    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError):
        return None


def _expected(before: dict[str, Any] | None, values: dict[str, Any]) -> dict[str, Any] | None:
    if before is None or not isinstance(before.get("train", {}), dict):
        return None
    train = {name: value for name, value in before.get("train", {}).items() if name.replace("-", "_") not in values}
    plain = {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}
    return before | {"train": train | plain}


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(_toml(one) for one in value)}]"
    return repr(value) if isinstance(value, (int, float)) else json.dumps(str(value))


def write_settings(path: Path, values: dict[str, Any], comment: list[str]) -> Path | None:
    """Put the values into the file; what it was before, if it changes, is kept beside it under its hash.

    Returns
    -------
    Path or None
        The copy of what was before.
    """
    new = merged(path, values, comment).encode()
    backup = None
    try:
        before = path.read_bytes() if path.is_file() else None
    except OSError as error:
        raise OperationFailed(f"{path} must be readable, but {error.strerror}. Fix its permissions.") from error
    if before is not None and before != new:
        backup = path.with_name(f"{path.name}.{sha256_bytes(before)[:8]}.bak")
        write_atomic(backup, before)
    write_atomic(path, new)
    return backup


def unjudged(path: Path, judged: TrainOptions) -> list[str]:
    """Return what the file makes `train` do otherwise than the trials did, as `name = value`."""
    settings = {name: value for name, value in file_settings("train", path).items() if name not in NOT_JUDGED}
    return [
        f"{name} = {_toml(value)}"
        for name, value in sorted(settings.items())
        if str(value) != str(list(now) if isinstance(now := getattr(judged, name), tuple) else now)
    ]


OnTrial = Callable[[dict[str, Any]], None]


def tune(options: TuneOptions, on_trial: OnTrial) -> dict[str, Any]:
    """Choose options of `train` on inner folds of the train rows, and write them where `train` reads them."""
    started = time.monotonic()
    studies.require_optuna()
    refuse_out_of_range(options)
    check_settings(options.output)
    options = with_window_bars(options)
    plan = make_plan(options)
    decides = deciding(plan)
    path = options.study or TUNING_ROOT / f"{options.data.stem}-{digest(decides)[:8]}.db"
    until = started + options.timeout_minutes * 60 if options.timeout_minutes else float("inf")
    with studies.open_study(path, decides, plan.sign > 0) as study:
        _run_trials(plan, study, options.trials, until, on_trial)
        trials = studies.finished(study)
    found = compare(plan, trials, options.confirm_seeds)
    values: dict[str, Any] = dict(found.values)
    if options.pretrained_encoder is not None and values:
        # Without it a frozen encoder would take linear heads, which these values do not concern.
        values = values | {"head": "mlp"}
    backup = write_settings(options.output, values, comment(plan, found, str(options.split)))
    return {
        "study": str(path),
        "metric": plan.metric,
        "trials": dict(sorted(Counter(trial.state for trial in trials).items())),
        "folds": plan.inner.sizes,
        "n_train_windows": len(plan.inner.table),
        "defaults": plan.defaults,
        **asdict(found),
        "sentence": sentence(plan, found),
        "chosen": found.values,
        "held": plan.held,
        "output": str(options.output),
        "backup": str(backup) if backup else None,
        "notes": _notes(plan, options, found),
        "seconds": time.monotonic() - started,
    }


def _run_trials(plan: Plan, study: optuna.Study, n_trials: int, until: float, on_trial: OnTrial) -> None:
    """Run trials until the study has so many, or the time is over."""
    done = studies.finished(study)
    if done:
        log.info("The study has %d finished trials: continuing.", len(done))
    while len(done) < n_trials and (not done or time.monotonic() < until):
        _run_trial(plan, study)
        done = studies.finished(study)
        last, best = done[-1], best_of(done, plan.sign)
        on_trial(asdict(last) | {"best_value": None if best is None else best.value, "best_place": best and best.place})


def _run_trial(plan: Plan, study: optuna.Study) -> None:
    from optuna.trial import TrialState

    trial, values = studies.next_trial(study, plan.ranges, plan.defaults, plan.seed)
    figures: list[float] = []
    try:
        for fold in range(len(plan.inner.folds)):
            figures.append(plan.figure(fold, values, plan.seed))
            trial.set_user_attr(studies.BY_FOLD, figures)
            trial.report(float(np.mean(figures)), fold)
            if fold + 1 < len(plan.inner.folds) and trial.should_prune():
                study.tell(trial, state=TrialState.PRUNED)
                return
    except TrainingDiverged as error:
        log.warning("Trial %d diverged and is out: %s", trial.number + 1, error)
        trial.set_user_attr(studies.DIVERGED, True)
        study.tell(trial, state=TrialState.FAIL)
    except BaseException:
        study.tell(trial, state=TrialState.FAIL)
        raise
    else:
        study.tell(trial, float(np.mean(figures)))


def _notes(plan: Plan, options: TuneOptions, found: Outcome) -> list[str]:
    notes = [note] if (note := seen_by_encoder(plan.inner)) else []
    if options.pretrained_encoder is not None and options.head is None:
        notes.append(
            "this is of --head mlp: linear heads, the default of train on a frozen encoder, leave nothing to tune, for "
            "penalties and calibration are chosen by blocks of time in every fit"
        )
    chosen: dict[str, Any] = plan.defaults | found.values
    if others := unjudged(options.output, replace(plan.base, **chosen)):
        notes.append(f"{options.output} makes train do what was not evaluated here: {', '.join(others)}")
    return notes
