"""The study: trials in SQLite through Optuna, gone on with after a kill as if nothing had happened.

Trials are drawn by the tree-structured Parzen estimator (Bergstra et al. 2011, "Algorithms for hyper-parameter
optimization") and stopped by the median rule (Golovin et al. 2017, "Google Vizier"). The sampler is seeded anew
for each trial, from the trial's place among the finished ones: the draws do not depend on where a study stopped.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moola.config.tune_ranges import Choices, Range, Ranges, Value, tunable
from moola.core.seeds import derive_seed
from moola.errors import OperationFailed, UntrustedFile, WrongUsage
from moola.locks import alone, lock_beside

if TYPE_CHECKING:
    import optuna

NAME = "moola tune"
# Trials before the estimator is asked, and complete ones before the median rule stops any.
RANDOM_TRIALS, UNPRUNED_TRIALS = 10, 5
DEFAULTS, DIVERGED, VALUES, BY_FOLD, DECIDING = "defaults", "diverged", "values", "by_fold", "deciding"


@dataclass(frozen=True)
class Finished:
    """One finished trial.

    Attributes
    ----------
    place
        Its place among the finished ones, from 1; the first is the defaults.
    state
        `complete`, `pruned` or `diverged`.
    by_fold
        The figure of each fold that was fitted.
    value
        Their mean, where the trial is complete.
    """

    place: int
    state: str
    values: dict[str, Value]
    by_fold: list[float]
    value: float | None


def require_optuna() -> None:
    """Say what to install where Optuna is missing."""
    try:
        import optuna
    except ImportError as error:
        raise OperationFailed(
            f"`moola tune` must have Optuna, but {error.name or 'optuna'} is not installed. "
            'Install it: pip install "moola[tune]".'
        ) from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)


@contextmanager
def open_study(path: Path, deciding: dict[str, Any], higher_is_better: bool) -> Iterator[optuna.Study]:
    """Open or begin the study at a path, alone, with trials that a kill left half done marked as failed.

    Raises
    ------
    WrongUsage
        The study was begun with other data, split, ranges or options; names which.
    UntrustedFile
        The file is no study.
    OperationFailed
        Another process is at it, or the disk refuses.
    """
    import optuna
    from sqlalchemy import URL
    from sqlalchemy.exc import SQLAlchemyError

    _require_study_or_nothing(path)
    with alone(lock_beside(path), f"work on the study {path}"):
        storage = None
        try:
            url = URL.create("sqlite", database=str(path)).render_as_string(hide_password=False)
            storage = optuna.storages.RDBStorage(url)
            study = optuna.create_study(
                storage=storage,
                study_name=NAME,
                direction="maximize" if higher_is_better else "minimize",
                pruner=optuna.pruners.MedianPruner(n_startup_trials=UNPRUNED_TRIALS, n_warmup_steps=0),
                load_if_exists=True,
            )
            _require_same(path, study, deciding)
            for trial in study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.RUNNING,)):
                study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
            yield study
        except (SQLAlchemyError, optuna.exceptions.StorageInternalError) as error:
            raise OperationFailed(
                f"the study must be readable and writable, but {path}: {str(error).splitlines()[0]}. "
                "Free space, or name another --study."
            ) from error
        finally:
            if storage is not None:
                storage.remove_session()
                storage.engine.dispose()


def _require_study_or_nothing(path: Path) -> None:
    """Refuse a file that is no study before Optuna writes its tables into it."""
    if not path.exists():
        return
    # As a file that nobody writes, so that a foreign store's log and index are not made beside it by looking.
    mode = "ro" if Path(f"{path}-journal").exists() else "ro&immutable=1"
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode={mode}", uri=True)) as database:
            database.execute("PRAGMA trusted_schema = OFF")
            found = database.execute("SELECT name, type FROM sqlite_master").fetchall()
    except sqlite3.Error as error:
        raise UntrustedFile(f"--study must be a study in SQLite, but {path} is not ({error}). Name another.") from error
    tables = {name for name, kind in found if kind == "table"}
    if tables and not {"studies", "trials", "version_info"} <= tables:
        raise UntrustedFile(f"--study must be a study, but {path} is another SQLite file. Name another.")
    # Optuna makes none: a statement of its own would run what stands in them.
    foreign = sorted(f"{kind} {name}"[:80] for name, kind in found if kind in ("trigger", "view"))
    if foreign:
        raise UntrustedFile(
            f"--study must have no triggers or views, but {path} has {len(foreign)} (first {foreign[0]!r}); nothing in "
            "it was run. Name another."
        )


def _require_same(path: Path, study: optuna.Study, deciding: dict[str, Any]) -> None:
    plain = json.loads(json.dumps(deciding, default=str))
    begun = study.user_attrs.get(DECIDING)
    if begun is None:
        study.set_user_attr(DECIDING, plain)
        return
    others = [name for name in sorted({*begun, *plain}) if begun.get(name) != plain.get(name)]
    if others:
        raise WrongUsage(
            f"a study must go on with what it was begun with, but {path} had other {', '.join(others)}. Give the same "
            "again, or leave --study out for a study of its own."
        )


def finished(study: optuna.Study) -> list[Finished]:
    """Return the finished trials, in their order; those that a kill cut short are not among them."""
    from optuna.trial import TrialState

    words = {TrialState.COMPLETE: "complete", TrialState.PRUNED: "pruned"}
    found: list[Finished] = []
    for trial in study.get_trials(deepcopy=False):
        state = words.get(trial.state, "diverged" if trial.user_attrs.get(DIVERGED) else "")
        if state:
            value = trial.value if state == "complete" else None
            attributes = trial.user_attrs
            found.append(Finished(len(found) + 1, state, attributes[VALUES], attributes.get(BY_FOLD, []), value))
    return found


def next_trial(
    study: optuna.Study, ranges: Ranges, defaults: dict[str, Value], seed: int
) -> tuple[optuna.Trial, dict[str, Value]]:
    """Draw the next trial's values; those of the first are the defaults, whether the ranges hold them or not."""
    import optuna

    done = finished(study)
    study.sampler = optuna.samplers.TPESampler(
        n_startup_trials=RANDOM_TRIALS,
        multivariate=False,
        constant_liar=False,
        seed=derive_seed(seed, "tune", len(done)) % 2**32,
    )
    held = {name: value for name, value in defaults.items() if ranges[name].holds(value)}
    if not done and not study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.WAITING,)):
        study.enqueue_trial(held, user_attrs={DEFAULTS: True})
    trial = study.ask()
    values: dict[str, Value] = {}
    for name in ranges:
        if name == "encoder_rate" and values.get("freeze_encoder") is True:
            continue  # A frozen encoder has no rate.
        drawn = _draw(trial, name, ranges[name]) if done or name in held else None
        values[name] = drawn if done and drawn is not None else defaults[name]
    trial.set_user_attr(VALUES, values)
    return trial, values


def _draw(trial: optuna.Trial, name: str, found: Range | Choices) -> Value:
    if isinstance(found, Choices):
        chosen: Value = trial.suggest_categorical(name, list(found.values))
        return chosen
    if tunable()[name] is int:
        return trial.suggest_int(name, int(found.low), int(found.high), log=found.log)
    drawn = trial.suggest_float(name, found.low, found.high, log=found.log)
    # Three digits: what is judged is what stands in the settings file, for a person to read.
    return min(max(float(f"{drawn:.3g}"), found.low), found.high)
