"""`cv`: folds, pretraining, fits, negative controls, pooled figures and tables."""

from __future__ import annotations

import contextlib
import logging
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from moola.core.splits import Split, make_folds
from moola.errors import WrongUsage
from moola.evaluation.calibration import Calibrator
from moola.evaluation.class_metrics import brier
from moola.evaluation.figures import TrainingFacts, evaluate
from moola.evaluation.gates import judge
from moola.evaluation.trust import Gated, trust
from moola.files import sha256_file
from moola.fit.jobs import run_missing
from moola.fit.processes import OnFit
from moola.leakcheck.checking import leakcheck
from moola.models.model_files import each_encoder, encoder_sha256, read_encoder
from moola.models.references import REFERENCES
from moola.models.sealed import digest
from moola.options.judging_options import LeakcheckOptions
from moola.options.option_fields import refuse_out_of_range
from moola.options.option_sources import option_sources, recorded_options
from moola.options.study_options import CV_ROOT, CvOptions
from moola.options.table_options import SPAN_TABLE, tell_reading_without_spans
from moola.options.training_options import PretrainOptions
from moola.provenance.learned_times import with_window_bars
from moola.runs import run_store, tracking
from moola.stages.cv_pooling import (
    FitTask,
    average,
    calibrate_out_of_fold,
    paths,
    pool,
    read_fit,
    run_task,
    seedless,
    single_windows,
    tasks_of,
    uncertainty,
)
from moola.stages.pretrain import pretrain
from moola.tables.frames import write_frame
from moola.tables.prediction_table import Predictions, write_predictions
from moola.tables.split_file import SplitFile, read_split, verify_split, write_split
from moola.tables.window_file import WindowTable, read_windows
from moola.training.loop import epoch_lines

# Negative controls of a cross-validation: what `leakcheck` reports of its folds.


log = logging.getLogger(__name__)


def run_controls(options: CvOptions, folder: Path, n_folds: int) -> dict[str, Any]:
    """Check every fold, and train the control networks on the last one, which has the most labels.

    Combinatorial folds are left out: they train on later bars by design, which these checks call a leak.
    """
    if not options.controls or options.scheme == "combinatorial":
        why = "--controls false" if not options.controls else "combinatorial folds train on later bars by design"
        return {"run": False, "why_not": why, "leaks": []}
    leaks: list[str] = []
    n_checks = 0
    assert options.data is not None
    for number in range(1, n_folds + 1):
        settings = LeakcheckOptions(
            data=options.data,
            split=folder / "folds" / f"fold-{number}.json",
            quick=number < n_folds,
            window_bars=options.window_bars,
            device=options.device,
            seed=options.seed,
        )
        log.info("Controls of fold %d of %d ...", number, n_folds)
        found = leakcheck(settings)["findings"]
        n_checks += len(found)
        leaks += [f"fold {number}, {row['what']}: {row['found']}" for row in found if row["state"] == "leak"]
    return {"run": True, "why_not": "", "n_checks": n_checks, "leaks": leaks}


SHOWN = ("pr_auc", "brier", "ece", "accuracy", "hit_at_pm3_both")
# What changes the speed of a cv and not its result.
# Files count by their content, not by the path that led to them.
NOT_IN_DIGEST = ("resume", "processes", "engine", "save_curve", "data", "cache", *SPAN_TABLE)


@dataclass(frozen=True)
class Pooled:
    """Out-of-fold predictions of one model at one share of the labels, and of its uninformed baseline.

    `predictions` are calibrated on all other folds, `forward` on earlier ones, `raw` is what the folds' models gave.
    """

    predictions: Predictions
    raw: Predictions
    forward: Predictions
    window_bars: int
    block: np.ndarray
    by_fold: list[Predictions]
    by_seed: dict[int, Predictions]
    facts: TrainingFacts
    calibrators: list[Calibrator]
    leaks: list[str]
    n_train_windows: float


def cross_validate(options: CvOptions, on_fit: OnFit) -> dict[str, Any]:
    """Fit every fold and seed, pool what was predicted out of fold, and evaluate it."""
    started = time.monotonic()
    _check(options)
    if options.pretrained_encoder is not None:
        # A file that cannot be trusted ends a cv before it begins.
        read_encoder(options.pretrained_encoder)
    options = with_window_bars(options)
    assert options.data is not None
    table = read_windows(options.data, options.window_bars).with_features()
    data_sha256 = sha256_file(options.data)
    with _opened(options, data_sha256) as run:
        return _cross_validate(options, run, table, data_sha256, on_fit, started)


def _cross_validate(
    options: CvOptions, run: run_store.Run, table: WindowTable, data_sha256: str, on_fit: OnFit, started: float
) -> dict[str, Any]:
    folds = _folds(options, table)
    _write_folds(options, run.folder, folds, table, data_sha256)
    controls = run_controls(options, run.folder, len(folds))
    tasks = tasks_of(options, run.folder, len(folds), run.read(run_store.CONFIG)["digest"])
    if options.pretrain_bars is not None:
        _pretrain(options, run.folder, len(folds))
    run_missing(run_task, tasks, options, on_fit, (options,))
    pooled = pool_fits(tasks, options.model, 1.0, options.calibration)
    references = {name: pool_fits(tasks, name, 1.0) for name in REFERENCES}
    metrics = summarise(options, pooled, references, tasks, folds) | {"controls": controls}
    metrics |= _against_references(options, pooled, references, [*pooled.leaks, *controls["leaks"]])
    write_predictions(run.path(run_store.PREDICTIONS), pooled.predictions)
    single = single_windows(pooled.raw, pooled.block, options.conformal_alpha, pooled.window_bars)
    write_frame(run.path("single_windows.parquet"), pl.DataFrame(single))
    run_store.write_run_json(run, run_store.METRICS, metrics)
    run_store.write_run_json(run, run_store.FACTS, asdict(pooled.facts))
    record = _record(options, table, data_sha256, pooled, len(folds)) | {"seconds": time.monotonic() - started}
    run = run_store.finish_run(run, record)
    tracking.track_folder("cv", run)
    return record | {"cv_id": run.run_id, "cv": str(run.folder), **metrics}


def _against_references(
    options: CvOptions, pooled: Pooled, references: dict[str, Pooled], leaks: list[str]
) -> dict[str, Any]:
    """Return the gate's verdict against the cheap reference with the lowest Brier, and the answer that follows."""
    trivial = references["prevalence"].predictions
    ones = np.ones((1, len(trivial)))
    brier_of = {
        name: float(brier(one.predictions, ones)[0]) for name, one in references.items() if name != options.model
    }
    name = min(brier_of, key=lambda one: brier_of[one])
    verdict = judge(
        pooled.predictions, references[name].predictions, pooled.facts, leaks, options.seed, trivial=trivial
    )
    gated = Gated.of(verdict, f"{name}, the best cheap reference")
    answer = trust(pooled.predictions, trivial, leaks, gated, options.seed)
    return {"against_reference": {"reference": name, **verdict.as_dict()}, "trust": asdict(answer)}


def _check(options: CvOptions) -> None:
    refuse_out_of_range(options)
    tell_reading_without_spans(options)
    idle = [name for name in ("stretches", "bars") if getattr(options, name) is not None]
    if options.data is None or idle:
        what = f"--{idle[0]} came without --spans" if idle else "neither is"
        raise WrongUsage(f"one of --data and --spans must be given, and --spans with its files, but {what}. Give them.")
    if options.freeze_encoder and not (options.pretrain_bars or options.pretrained_encoder):
        raise WrongUsage(
            "--freeze-encoder must have an encoder to freeze, but there is none. "
            "Name --pretrain-bars or --pretrained-encoder."
        )
    if options.pretrain_bars and len(each_encoder(options.pretrained_encoder)) > 1:
        raise WrongUsage(
            "--pretrain-bars must come with at most one encoder, but --pretrained-encoder names two. Leave one out."
        )
    if options.pretrain_bars and options.scheme == "combinatorial":
        raise WrongUsage(
            "--pretrain-bars must walk forward (a combinatorial fold has test windows amid its train bars). "
            "Use --scheme expanding or rolling."
        )


def _opened(options: CvOptions, data_sha256: str) -> contextlib.AbstractContextManager[run_store.Run]:
    deciding = {key: str(value) for key, value in asdict(options).items() if key not in NOT_IN_DIGEST}
    deciding["pretrained_encoder"] = encoder_sha256(options.pretrained_encoder) or ""
    deciding["pretrain_bars"] = sha256_file(options.pretrain_bars) if options.pretrain_bars else ""
    key = digest(deciding | {"data_sha256": data_sha256})
    config = recorded_options(options) | {"digest": key, "option_sources": option_sources(CvOptions)}
    new_id = run_store.new_run_id(f"cv_{options.model}", options.seed, key)
    return run_store.opened(CV_ROOT, "cv", new_id, config, options.resume)


def _folds(options: CvOptions, table: WindowTable) -> list[Split]:
    embargo_us = options.embargo * table.usual_interval_us
    return make_folds(
        table.intervals(), options.scheme, options.folds, options.initial_fraction, options.val_fraction, embargo_us
    )


def _write_folds(options: CvOptions, folder: Path, folds: list[Split], table: WindowTable, data_sha256: str) -> None:
    """Write every fold as a split file, proved first: `moola train --split` takes each of them too."""
    scheme = "combinatorial" if options.scheme == "combinatorial" else "forward"
    purge = table.window_bars - 1 + options.embargo
    for number, fold in enumerate(folds, start=1):
        path = folder / "folds" / f"fold-{number}.json"
        file = SplitFile(path.stem, fold, purge, data_sha256, {}, table.window_bars, scheme)
        verify_split(file, path, table, data_sha256, allow_overlap=False)
        write_split(path, file, table)


def _pretrain(options: CvOptions, folder: Path, n_folds: int) -> None:
    """Pretrain each fold's own encoder on bars that end before its first held-out window."""
    assert options.pretrain_bars is not None
    sizes = {key: value for key in ("hidden_dim", "num_layers") if (value := getattr(options, key)) is not None}
    for number in range(1, n_folds + 1):
        task = FitTask(folder, number, options.seed, 1.0, options.model)
        if not task.encoder.is_file():
            log.info("Pretraining fold %d of %d ...", number, n_folds)
            settings = PretrainOptions(
                input=options.pretrain_bars,
                output=task.encoder,
                split=task.split,
                epochs=options.pretrain_epochs,
                batch_size=64,
                window_bars=options.window_bars,
                device=options.device,
                seed=options.seed,
                resume=options.resume is not None,
                **sizes,
            )
            pretrain(settings, epoch_lines(f"encoder of fold {number} of {n_folds}"))


def pool_fits(tasks: list[FitTask], model: str, fraction: float, calibration: str = "temperature") -> Pooled:
    """Average seeds fold by fold, pool, and calibrate out of fold: networks and cheap references alike.

    The class share is left as it is: it has nothing to calibrate.
    """
    mine = [task for task in tasks if task.model == model and task.label_fraction == fraction]
    read = {(task.fold, task.seed): read_fit(task) for task in mine}
    folds, seeds = sorted({fold for fold, _ in read}), sorted({seed for _, seed in read})
    records = [record for _, record in read.values()]
    window_bars = read_split(mine[0].split).window_bars
    by_fold = [average([read[fold, seed][0] for seed in seeds]) for fold in folds]
    pooled, block = pool(by_fold)
    raw = forward = pooled
    calibrators: list[Calibrator] = []
    by_seed = {seed: pool([read[fold, seed][0] for fold in folds])[0] for seed in seeds}
    if model != "prevalence":
        forward, _ = calibrate_out_of_fold(raw, block, calibration, window_bars, earlier_only=True)
        pooled, calibrators = calibrate_out_of_fold(pooled, block, calibration, window_bars)
        by_seed = {
            seed: calibrate_out_of_fold(one, block, calibration, window_bars)[0] for seed, one in by_seed.items()
        }
    leaks = sorted({str(leak) for record in records for leak in record["leaks"]})
    n_train = float(np.mean([record["n_train_windows"] for record in records]))
    return Pooled(
        pooled,
        raw,
        forward,
        window_bars,
        block,
        _with_pooled(by_fold, pooled, len(folds)),
        by_seed,
        _pooled_facts(records),
        calibrators,
        leaks,
        n_train,
    )


def _with_pooled(by_fold: list[Predictions], pooled: Predictions, n_folds: int) -> list[Predictions]:
    """Give walk-forward folds the calibrated rows of the pool; combinatorial ones, averaged there, stay as they are."""
    if sum(len(fold) for fold in by_fold) != len(pooled):
        return by_fold
    place = {row: i for i, row in enumerate(pooled.row.tolist())}
    return [pooled.take(np.array([place[row] for row in by_fold[number].row.tolist()])) for number in range(n_folds)]


def _pooled_facts(records: list[dict[str, Any]]) -> TrainingFacts:
    """The largest fold's class counts and pointers, and the mean of the thresholds chosen on val rows."""
    largest = max(records, key=lambda record: record["n_train_windows"])["facts"]
    known = [record["facts"]["pointer_threshold"] for record in records]
    thresholds = [value for value in known if value is not None]
    threshold = float(np.mean(thresholds)) if thresholds else None
    return TrainingFacts(largest["class_counts"], largest["common_start"], largest["common_end"], threshold)


def summarise(
    options: CvOptions, pooled: Pooled, references: dict[str, Pooled], tasks: list[FitTask], folds: list[Split]
) -> dict[str, Any]:
    """Return pooled figures with intervals, and tables by fold, seed, reference and share of labels."""
    trivial = references["prevalence"].predictions
    evaluation = evaluate(pooled.predictions, pooled.facts, seed=options.seed, trivial=trivial)
    by_fold = []
    for number, (fold, judged) in enumerate(zip(folds, pooled.by_fold, strict=True), start=1):
        sizes = {part: len(fold.part(part)) for part in ("train", "val", "test")}
        by_fold.append({"fold": number, **sizes, **_shown(judged, pooled.facts)})
    by_path = []
    if options.scheme == "combinatorial":
        laid = paths(pooled.by_fold)
        by_path = [{"path": i, **_shown(path, pooled.facts)} for i, path in enumerate(laid, start=1)]
    fractions = sorted({task.label_fraction for task in tasks if task.model == options.model})
    curve = []
    for fraction in fractions:
        part = pooled if fraction == 1.0 else pool_fits(tasks, options.model, fraction, options.calibration)
        seeds = [_shown(one, part.facts) for one in part.by_seed.values()]
        spread = {f"{name}_seed_std": _std([row[name] for row in seeds]) for name in SHOWN}
        figures = _shown(part.predictions, part.facts)
        curve.append({"label_fraction": fraction, "n_train_windows": part.n_train_windows, **figures, **spread})
    return evaluation.as_dict() | {
        "by_fold": by_fold,
        "by_path": by_path,
        "by_seed": [{"seed": seed, **_shown(one, pooled.facts)} for seed, one in pooled.by_seed.items()],
        "seedless": seedless(options),
        "references": {name: _shown(part.predictions, part.facts) for name, part in references.items()},
        "label_efficiency": curve,
        "calibrators": [vars(calibrator) for calibrator in pooled.calibrators],
        "calibrated_forward": _shown(pooled.forward, pooled.facts),
        "uncertainty": uncertainty(pooled.raw, pooled.block, options.conformal_alpha, pooled.window_bars, options.seed),
        "labelled_by": _annotators(pooled.predictions),
        "leaks": pooled.leaks,
    }


def _shown(predictions: Predictions, facts: TrainingFacts) -> dict[str, float | None]:
    evaluation = evaluate(predictions, facts, ("pr_auc", "brier", "ece", "accuracy"), ("hit_at_pm3",), intervals=False)
    return {name: evaluation.figure(name).value for name in SHOWN}


def _std(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.std(known, ddof=1)) if len(known) > 1 else None


def _annotators(predictions: Predictions) -> list[str]:
    names = [] if predictions.annotator is None else predictions.annotator.tolist()
    return sorted({name for name in names if name is not None})


def _record(options: CvOptions, table: WindowTable, data_sha256: str, pooled: Pooled, n_folds: int) -> dict[str, Any]:
    return {
        "model": options.model,
        "scheme": options.scheme,
        "n_folds": n_folds,
        "n_seeds": len(pooled.by_seed),
        "embargo_bars": options.embargo,
        "seed": options.seed,
        "data_sha256": data_sha256,
        "n_pooled": len(pooled.predictions),
        "n_labelled": len(table),
        "labelled_by": table.annotators,
        "leak_proof": not pooled.leaks,
        "leaks": pooled.leaks,
    }
