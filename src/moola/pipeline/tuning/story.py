"""Stage `tune`: trials on inner folds, the best against the defaults with fresh seeds, and a settings file."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from moola.config.ranges import refuse_out_of_range
from moola.config.tune_options import TUNING_ROOT, TuneOptions
from moola.errors import TrainingDiverged
from moola.models.sealed import digest
from moola.pipeline.lengths import with_window_bars
from moola.pipeline.tuning import study as studies
from moola.pipeline.tuning.inner_folds import seen_by_encoder
from moola.pipeline.tuning.outcome import Outcome, best_of, comment, compare, sentence
from moola.pipeline.tuning.plan import Plan, deciding, make_plan, with_values
from moola.pipeline.tuning.settings_file import check_settings, unjudged, write_settings

if TYPE_CHECKING:
    import optuna

log = logging.getLogger(__name__)
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
    backup = write_settings(options.output, found.values, comment(plan, found, str(options.split)))
    return {
        "study": str(path),
        "metric": plan.metric,
        "trials": dict(sorted(Counter(trial.state for trial in trials).items())),
        "folds": plan.inner.sizes,
        "n_train_windows": len(plan.inner.table),
        "defaults": plan.defaults,
        **found.as_dict(),
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
        log.info("The study has %d finished trials: going on.", len(done))
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
    if others := unjudged(options.output, with_values(plan.base, plan.defaults | found.values)):
        notes.append(f"{options.output} makes train do what was not judged here: {', '.join(others)}")
    return notes
