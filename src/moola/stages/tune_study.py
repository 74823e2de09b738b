"""The study of `tune`: trials on folds inside the train rows, kept in SQLite and gone on with after a kill."""

from __future__ import annotations

import hashlib
import json
import logging
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from moola.core.seeds import derive_seed
from moola.core.splits import Split, make_folds
from moola.core.windows import WINDOW_BARS, rows_of
from moola.errors import InvalidData, OperationFailed, UntrustedFile, WrongUsage
from moola.evaluation.figures import TrainingFacts, evaluate, trivial_predictions
from moola.files import sha256_file
from moola.fit.fitting import predict_held_out
from moola.fit.inputs import FitInputs, Job, facts_of, require_trainable, resolve_options
from moola.fit.jobs import fit_job, quiet
from moola.fit.reference_fits import with_common_pointers
from moola.locks import alone, lock_beside
from moola.models.model_files import EncoderFile, each_encoder, encoder_sha256, read_encoder
from moola.options.option_sources import recorded_options
from moola.options.study_options import (
    HELD,
    HIGHER_IS_BETTER,
    Choices,
    Range,
    Ranges,
    TuneOptions,
    Value,
    declared_ranges,
    plain_ranges,
    tunable,
)
from moola.options.training_options import TrainOptions
from moola.provenance.learned_times import seen_among
from moola.tables.prediction_table import Predictions
from moola.tables.split_file import read_split, verify_split
from moola.tables.window_file import WindowTable, read_windows
from moola.training.device import prepare_device
from moola.training.loop import epoch_lines

if TYPE_CHECKING:
    import optuna


# What a metric's name on the command line asks `evaluate` for.
ASKED: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "brier": (("brier",), ()),
    "log_loss": (("log_loss",), ()),
    "pr_auc": (("pr_auc",), ()),
    "hit_at_pm3_both": ((), ("hit_at_pm3",)),
}


@dataclass(frozen=True)
class InnerFolds:
    """The train rows alone, and the folds inside them.

    Attributes
    ----------
    table
        The train rows of the split, in their order; row numbers of `folds` count in it.
    classes
        Classes of all train rows: a fold may lack one.
    rows_sha256
        Digest of what these rows hold.
    """

    table: WindowTable
    classes: list[str]
    folds: list[Split]
    encoder: EncoderFile | None
    encoder_sha256: str | None
    rows_sha256: str

    @property
    def sizes(self) -> list[dict[str, int]]:
        """Windows of each part of each fold."""
        return [{part: len(fold.part(part)) for part in ("train", "val", "test")} for fold in self.folds]


def gather_inner(options: TuneOptions) -> InnerFolds:
    """Read data, split and encoder, keep the train rows and cut the folds.

    Raises
    ------
    InvalidData
        What `train` would refuse, no times, or a fold that has no windows of two classes to learn from.
    """
    everything = read_windows(options.data, options.window_bars)
    file = read_split(options.split)
    verify_split(file, options.split, everything, sha256_file(options.data), allow_overlap=False)
    table = everything.take(file.split.train).with_features()
    every_row, none = np.arange(len(table)), np.empty(0, dtype=np.int64)
    classes = require_trainable(table, Split(every_row, none, none), options.data)
    folds = make_folds(
        table.intervals(),
        "expanding",
        options.inner_folds,
        options.initial_fraction,
        options.val_fraction,
        options.embargo * table.usual_interval_us,
    )
    for number, fold in enumerate(folds, start=1):
        if len(set(table.label[fold.train].tolist())) < 2:
            raise InvalidData(
                f"every inner fold must have train windows of two classes, but the {len(fold.train)} of fold {number} "
                f"of {len(folds)} have one ({options.data}). Raise --initial-fraction, or label more windows."
            )
    encoder = read_encoder(options.pretrained_encoder) if options.pretrained_encoder else None
    encoder_hash = encoder_sha256(options.pretrained_encoder)
    return InnerFolds(table, classes, folds, encoder, encoder_hash, rows_digest(table))


def rows_digest(table: WindowTable) -> str:
    """Return the SHA-256 of all that a fit can learn from a table's rows."""
    state = hashlib.sha256()
    for name in ("features", "ohlc", "expansion_start", "expansion_end", "start_us", "end_us"):
        values = getattr(table, name)
        state.update(f"{name} {None if values is None else (values.dtype, values.shape)}\n".encode())
        state.update(b"" if values is None else np.ascontiguousarray(values).tobytes())
    for names in (table.label, table.symbol):
        state.update(repr(names.tolist()).encode())
    return state.hexdigest()


def judge_fold(
    inner: InnerFolds, number: int, options: TrainOptions, metric: str, seed: int, device: torch.device
) -> float:
    """Fit on one fold's train rows, choose the epoch on its val rows, and return the figure of its test rows.

    Raises
    ------
    InvalidData
        The figure cannot be had, as that of pointers where there are none.
    TrainingDiverged
        The options make the loss infinite.
    """
    fold = inner.folds[number]
    hashes: dict[str, str | None] = {"rows_sha256": inner.rows_sha256, "encoder_sha256": inner.encoder_sha256}
    inputs = FitInputs(inner.table, fold, f"inner-{number + 1}", inner.classes, inner.encoder, hashes, [], True)
    job = Job(resolved(inner, number, replace(options, seed=seed)), inputs, device)
    # A study is some hundred fits: no more than warnings of each.
    with quiet(logging.WARNING):
        fitted = fit_job(job, epoch_lines(f"inner fold {number + 1}"))
    return _figure(inner, number, metric, predict_held_out(fitted, job.inputs, job.device), fitted.facts)


def resolved(inner: InnerFolds, number: int, options: TrainOptions) -> TrainOptions:
    """Fill in what options leave open as `train` would: by the classes of all train rows, not of the fold's few."""
    fold = inner.folds[number]
    judged_alike = Split(np.arange(len(inner.table)), fold.val, fold.test)
    return resolve_options(options, inner.table, judged_alike, inner.encoder)


def trivial_figures(inner: InnerFolds, metric: str) -> list[float]:
    """Return what the class share and the most common pointers of each fold's train rows get on its test rows."""
    found = []
    for number, fold in enumerate(inner.folds):
        train, judged = inner.table.take(fold.train), inner.table.take(fold.test)
        facts, part = facts_of(train, None), np.full(len(judged), "test", dtype=object)
        even = np.full((len(judged), len(inner.classes)), 1 / len(inner.classes))
        laid_out = with_common_pointers(even, train, judged, inner.classes, fold.test, part)
        found.append(_figure(inner, number, metric, trivial_predictions(laid_out, facts), facts))
    return found


def _figure(inner: InnerFolds, number: int, metric: str, predictions: Predictions, facts: TrainingFacts) -> float:
    judged = predictions.of_part("test")
    figure = evaluate(judged, facts, *ASKED[metric], intervals=False).figure(metric)
    if figure.value is None:
        raise InvalidData(
            f"every inner fold must have a {metric}, but fold {number + 1} of {len(inner.folds)} has none: "
            f"{figure.reason}. Choose another --metric or fewer --inner-folds."
        )
    return figure.value


def seen_by_encoder(inner: InnerFolds) -> str:
    """State how many evaluated windows are in the encoder's pretraining; empty without any or without encoder."""
    record = inner.encoder.pretraining if inner.encoder else {}
    judged = np.concatenate([fold.test for fold in inner.folds])
    seen = seen_among(record, rows_of(inner.table.start_us, judged), rows_of(inner.table.close_us, judged))
    if seen is None or not seen.any():
        return ""
    return (
        f"the encoder was pretrained, without labels, on times of {int(seen.sum())} of {len(judged)} inner test "
        f"windows: inner metrics are optimistic for it, the best's and the defaults' alike"
    )


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
    """State what to install where Optuna is missing."""
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
    # Optuna makes none: a statement of its own would run what is in them.
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
            f"a study must continue with what it was begun with, but {path} had other {', '.join(others)}. Give "
            "the same again, or leave --study out for a study of its own."
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
    # Three digits: what is evaluated is what is in the settings file, for a person to read.
    return min(max(float(f"{drawn:.3g}"), found.low), found.high)


# What does not decide a trial's figure, or is in the digest of the rows.
IDLE = ("data", "split", "pretrained_encoder", "device", "threads", "seed", "save_run", "resume", "cache")


@dataclass(frozen=True)
class Plan:
    """Inner folds, today's defaults, and what may be chosen.

    Attributes
    ----------
    base
        Options of `train` as they are today, with what is held; what they leave open, each fold fills in.
    defaults
        What that comes to, of each option that may be chosen.
    held
        What is held for every trial, and is not written into the settings file.
    """

    inner: InnerFolds
    base: TrainOptions
    defaults: dict[str, Value]
    ranges: Ranges
    held: dict[str, Any]
    metric: str
    seed: int
    device: torch.device

    @property
    def sign(self) -> int:
        """1 where higher is better, else -1."""
        return 1 if self.metric in HIGHER_IS_BETTER else -1

    def figure(self, fold: int, values: dict[str, Any], seed: int) -> float:
        """Return the figure of one fold under some values."""
        return judge_fold(self.inner, fold, replace(self.base, **values), self.metric, seed, self.device)


def make_plan(options: TuneOptions) -> Plan:
    """Read what there is to evaluate on, and try each end of each range before the first fit.

    Raises
    ------
    WrongUsage
        A range has a value that `train` refuses, or nothing is left to choose.
    """
    held = {name: value for name in HELD if (value := getattr(options, name)) not in (None, ())}
    with_encoder = options.pretrained_encoder is not None
    if len(each_encoder(options.pretrained_encoder)) > 1:
        # Two encoders are read as they are: whether to freeze them is not to be chosen.
        held["freeze_encoder"] = True
    ranges = declared_ranges(with_encoder, options.ranges, held)
    for name, found in list(ranges.items()):
        if isinstance(found, Choices) and len(set(found.values)) == 1:
            held[name] = found.values[0]
            del ranges[name]
    inner = gather_inner(options)
    # Linear heads choose their penalties themselves, so that only the other kind has anything to tune.
    if options.head == "linear":
        raise WrongUsage(
            "tune must have --head mlp, but it is linear, which leaves nothing to tune: penalties and calibration are "
            "chosen by blocks of time in every fit. Run `moola train`."
        )
    if with_encoder:
        held["head"] = "mlp"
    base = TrainOptions(
        data=options.data,
        split=options.split,
        pretrained_encoder=options.pretrained_encoder,
        window_bars=options.window_bars,
        save_run=False,
        cache=False,
        device=options.device,
        threads=options.threads,
        seed=options.seed,
        **held,
    )
    for name, found in ranges.items():
        for end in found.ends:
            tried: dict[str, Any] = {name: end}
            resolved(inner, 0, replace(base, **tried))
    today = resolved(inner, 0, base)
    if today.freeze_encoder and "freeze_encoder" not in ranges:
        ranges.pop("encoder_rate", None)
    if not ranges:
        raise WrongUsage("tune must have an option to choose, but each of them is held. Hold fewer of them.")
    if options.window_bars not in (None, WINDOW_BARS):
        held["window_bars"] = options.window_bars
    if with_encoder:
        held["pretrained_encoder"] = recorded_options(options)["pretrained_encoder"]
    device = prepare_device(options.device, options.threads)
    defaults = {name: getattr(today, name) for name in ranges}
    return Plan(inner, base, defaults, ranges, held, options.metric, options.seed, device)


def deciding(plan: Plan) -> dict[str, str]:
    """What decides a trial's figure: a study that was begun with other is another study."""
    inner = plan.inner
    return {
        "train rows": inner.rows_sha256,
        "encoder": inner.encoder_sha256 or "",
        "ranges": str(plain_ranges(plan.ranges)),
        "inner folds": str([(fold.train.tolist(), fold.val.tolist(), fold.test.tolist()) for fold in inner.folds]),
        "metric": plan.metric,
        "seed": str(plan.seed),
        "defaults": str(plan.defaults),
        "options": str({name: value for name, value in asdict(plan.base).items() if name not in IDLE}),
    }
