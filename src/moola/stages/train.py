"""Stage `train`: from labelled windows, a split and perhaps an encoder to a run."""

from __future__ import annotations

import contextlib
import json
import logging
import time
from dataclasses import asdict, replace
from typing import Any

import torch

from moola.evaluation.figures import Evaluation, TrainingFacts, evaluate
from moola.files import write_atomic
from moola.fit.fitting import Fitted, predict_held_out
from moola.fit.inputs import Job
from moola.fit.jobs import fit_job, read_job
from moola.fit.reference_fits import reference_figures
from moola.models.model_files import read_model, write_model
from moola.models.sealed import digest
from moola.options.option_fields import RUNS_ROOT
from moola.options.option_sources import option_sources, recorded_options
from moola.options.table_options import SPAN_TABLE, asked_reading, tell_reading_without_spans
from moola.options.training_options import TrainOptions
from moola.runs import run_store, tracking
from moola.stages.model_card import write_card
from moola.stages.run_summary import RunSummary
from moola.tables.prediction_table import Predictions, write_predictions
from moola.training.loop import FitState, OnEpoch

log = logging.getLogger(__name__)
NOT_IN_DIGEST = ("resume", "save_run", "cache")
HASHED_FILES = ("data", "split", "pretrained_encoder", "bars", "unlabelled", "spans", "stretches")
# Figures of val steer; what takes longest to resample is left to `eval`.
VAL_METRICS = ("pr_auc", "brier", "ece", "accuracy", "f1_macro", "f1_per_class")


def train(options: TrainOptions, on_epoch: OnEpoch) -> dict[str, Any]:
    """Train on train rows, let val rows choose what the kind of heads leaves to them, keep the run."""
    started = time.monotonic()
    if options.spans is None:
        tell_reading_without_spans(options)
    job = read_job(options)
    # Files count by their content, not by the path that led to them.
    kept = {
        key: value for key, value in asdict(job.options).items() if key not in NOT_IN_DIGEST + HASHED_FILES + SPAN_TABLE
    }
    deciding = {key: str(value) for key, value in (kept | job.inputs.hashes | asked_reading(options)).items()}
    with _opened(job.options, deciding) as run:
        return _train(job, run, deciding, on_epoch, started)


def _opened(options: TrainOptions, deciding: dict[str, Any]) -> contextlib.AbstractContextManager[run_store.Run | None]:
    if not options.save_run:
        return contextlib.nullcontext()
    key = digest(deciding)
    config = recorded_options(options) | {"digest": key, "option_sources": option_sources(TrainOptions)}
    new_id = run_store.new_run_id(options.model, options.seed, key)
    return run_store.opened(RUNS_ROOT, "run", new_id, config, options.resume)


def _train(
    job: Job, run: run_store.Run | None, deciding: dict[str, Any], on_epoch: OnEpoch, started: float
) -> dict[str, Any]:
    checkpoint = run.path(run_store.CHECKPOINT) if run is not None else None
    fitted = fit_job(job, on_epoch, checkpoint, deciding)
    facts, state = fitted.facts, fitted.state
    if run is not None:
        fitted = _written(run, fitted)
    predictions = predict_held_out(fitted, job.inputs, job.device)
    evaluation = evaluate(predictions.of_part("val"), facts, VAL_METRICS, seed=job.options.seed)
    record = _record(job, fitted) | {"seconds": time.monotonic() - started}
    if run is not None:
        run = _write_run(run, job, predictions, evaluation, facts, state, record)
    return record | {
        "run_id": run.run_id if run is not None else None,
        "run": str(run.folder) if run is not None else None,
        "temperature": fitted.model.temperature,
        "presence": None if fitted.model.presence is None else fitted.model.presence.record,
        "live_presence": None if fitted.model.live_presence is None else fitted.model.live_presence.record,
        "val": evaluation.as_dict(),
    }


def _written(run: run_store.Run, fitted: Fitted) -> Fitted:
    """Write what predicts, and predict with what was written, so that a copy of a file predicts the same."""
    judge = fitted.val_judge
    write_model(run.path(run_store.MODEL), fitted.model)
    if judge is not fitted.model:
        write_model(run.path(run_store.MODEL_BEFORE_REFIT), judge)
        fitted = replace(fitted, chosen=read_model(run.path(run_store.MODEL_BEFORE_REFIT)))
    return replace(fitted, model=read_model(run.path(run_store.MODEL)))


def _record(job: Job, fitted: Fitted) -> dict[str, Any]:
    options, inputs, proof, state = job.options, job.inputs, fitted.proof, fitted.state
    return {
        "model": options.model,
        "seed": options.seed,
        "device": job.device.type,
        "threads": torch.get_num_threads(),
        **inputs.hashes,
        "split_name": inputs.split_name,
        "pretrained": inputs.encoder is not None,
        "encoder": proof | {"n_tensors_taken": inputs.encoder.n_tensors if inputs.encoder else 0},
        "trained_on": fitted.model.training["trained_on"],
        "leak_proof": inputs.leak_proof,
        "leaks": inputs.leaks,
        "labelled_by": inputs.table.annotators,
        "n_windows": {part: len(inputs.split.part(part)) for part in ("train", "val", "test")},
        "epochs_run": state.epoch,
        "best_epoch": state.best_epoch,
        "head": options.head,
        "penalties": _penalties(state) if options.head == "linear" else None,
    }


def _penalties(state: FitState) -> dict[str, Any]:
    """Penalties of the linear heads that are kept, and whether blocks of time chose them."""
    last = state.history[-1]
    pointers = dict(zip(("start", "end"), last.get("pointer_penalty", ()), strict=False))
    return pointers | {"class": last["class_penalty"], "by_blocks": last["by_blocks"]}


def _write_run(
    run: run_store.Run,
    job: Job,
    predictions: Predictions,
    evaluation: Evaluation,
    facts: TrainingFacts,
    state: FitState,
    record: dict[str, Any],
) -> run_store.Run:
    write_predictions(run.path(run_store.PREDICTIONS), predictions)
    run_store.write_run_json(run, run_store.METRICS, evaluation.as_dict() | {"labelled_by": record["labelled_by"]})
    run_store.write_run_json(run, run_store.FACTS, asdict(facts))
    inputs, classes = job.inputs, predictions.class_names
    references = reference_figures(inputs.table, inputs.split, classes, job.options.seed)
    run_store.write_run_json(run, run_store.REFERENCES, references)
    lines = "".join(json.dumps(row, sort_keys=True, allow_nan=False) + "\n" for row in state.history)
    write_atomic(run.path(run_store.HISTORY), lines.encode())
    run = run_store.finish_run(run, record)
    write_card(run, RunSummary.of(run, evaluation))
    tracking.track_folder("train", run)
    return run
