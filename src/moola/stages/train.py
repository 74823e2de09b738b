"""Stage `train`: from labelled windows, a split and perhaps an encoder to a run."""

from __future__ import annotations

import contextlib
import json
import logging
import time
from dataclasses import asdict, replace
from typing import Any

import torch

from moola.errors import WrongUsage
from moola.evaluation.figures import Evaluation, TrainingFacts, evaluate
from moola.files import write_atomic
from moola.fit.fitting import Fitted, fit_on_inputs, predict_held_out
from moola.fit.inputs import FitInputs, gather, resolve_options
from moola.fit.presence_inputs import check_presence_options, with_presence
from moola.models.model_files import ModelFile, read_model, write_model
from moola.models.sealed import digest
from moola.options.option_fields import RUNS_ROOT
from moola.options.option_sources import option_sources, recorded_options
from moola.options.training_options import TrainOptions
from moola.provenance.learned_times import with_window_bars
from moola.runs import run_store, tracking
from moola.stages.model_card import write_card
from moola.tables.prediction_table import Predictions, write_predictions
from moola.training.device import prepare_device
from moola.training.loop import FitState, OnEpoch

log = logging.getLogger(__name__)
NOT_IN_DIGEST = ("resume", "save_run", "cache")
HASHED_FILES = ("data", "split", "pretrained_encoder", "bars", "unlabelled", "spans", "stretches")
# Figures of val steer; what takes longest to resample is left to `eval`.
VAL_METRICS = ("pr_auc", "brier", "ece", "accuracy", "f1_macro", "f1_per_class")


def train(options: TrainOptions, on_epoch: OnEpoch, judged_elsewhere: bool = False) -> dict[str, Any]:
    """Train on train rows, let val rows choose what the kind of heads leaves to them, keep the run.

    `judged_elsewhere` says that windows outside the split evaluate the model, so that it may take every part of it.

    Raises
    ------
    WrongUsage
        The model is to be retrained on val rows, and no test rows would be left to evaluate it.
    """
    started = time.monotonic()
    device = prepare_device(options.device, options.threads)
    options = with_window_bars(options)
    material = gather(options)
    options = resolve_options(options, material.table, material.split, material.encoder)
    check_presence_options(options)
    if not judged_elsewhere:
        _refuse_unjudged(options, material)
    deciding = _deciding(options, material)
    with _opened(options, deciding) as run:
        return _train(options, material, device, run, deciding, on_epoch, started)


def fit_model(options: TrainOptions) -> ModelFile:
    """Return what `train` would keep, without a run: for models of folds."""
    device = prepare_device(options.device, options.threads)
    options = with_window_bars(options)
    material = gather(options)
    options = resolve_options(options, material.table, material.split, material.encoder)
    check_presence_options(options)
    fitted = fit_on_inputs(options, material, device, None, {}, lambda *_: None)
    return fitted.model if options.spans is None else with_presence(options, material, fitted.model, device)


def _opened(options: TrainOptions, deciding: dict[str, Any]) -> contextlib.AbstractContextManager[run_store.Run | None]:
    if not options.save_run:
        return contextlib.nullcontext()
    key = digest(deciding)
    config = recorded_options(options) | {"digest": key, "option_sources": option_sources(TrainOptions)}
    new_id = run_store.new_run_id(options.model, options.seed, key)
    return run_store.opened(RUNS_ROOT, "run", new_id, config, options.resume)


def _train(
    options: TrainOptions,
    material: FitInputs,
    device: torch.device,
    run: run_store.Run | None,
    deciding: dict[str, Any],
    on_epoch: OnEpoch,
    started: float,
) -> dict[str, Any]:
    checkpoint = run.path(run_store.CHECKPOINT) if run is not None else None
    fitted = fit_on_inputs(options, material, device, checkpoint, deciding, on_epoch)
    if options.spans is not None:
        fitted = replace(fitted, model=with_presence(options, material, fitted.model, device))
    facts, state = fitted.facts, fitted.state
    if run is not None:
        fitted = _written(run, fitted)
    predictions = predict_held_out(fitted, material, device)
    evaluation = evaluate(predictions.of_part("val"), facts, VAL_METRICS, seed=options.seed)
    record = _record(options, material, fitted, device) | {"seconds": time.monotonic() - started}
    if run is not None:
        run = _write_run(run, predictions, evaluation, facts, state, record)
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


def _refuse_unjudged(options: TrainOptions, material: FitInputs) -> None:
    """Refuse to retrain on val rows where no others are left to evaluate the model that is kept."""
    if options.refit and not len(material.split.test):
        raise WrongUsage(
            f"--refit must leave a test part to evaluate the model that it keeps, but {options.split} has 0 test "
            f"windows. "
            "Leave --refit out, or cut a test part with `moola split --test`."
        )


def _deciding(options: TrainOptions, material: FitInputs) -> dict[str, Any]:
    # Files count by their content, not by the path that led to them.
    names = {key: str(value) for key, value in asdict(options).items() if key not in NOT_IN_DIGEST + HASHED_FILES}
    return names | {key: str(value) for key, value in material.hashes.items()}


def _record(options: TrainOptions, material: FitInputs, fitted: Fitted, device: torch.device) -> dict[str, Any]:
    proof, state = fitted.proof, fitted.state
    return {
        "model": options.model,
        "seed": options.seed,
        "device": device.type,
        "threads": torch.get_num_threads(),
        **material.hashes,
        "split_name": material.split_name,
        "pretrained": material.encoder is not None,
        "encoder": proof | {"n_tensors_taken": material.encoder.n_tensors if material.encoder else 0},
        "trained_on": fitted.model.training["trained_on"],
        "leak_proof": material.leak_proof,
        "leaks": material.leaks,
        "labelled_by": material.table.annotators,
        "n_windows": {part: len(material.split.part(part)) for part in ("train", "val", "test")},
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
    predictions: Predictions,
    evaluation: Evaluation,
    facts: TrainingFacts,
    state: FitState,
    record: dict[str, Any],
) -> run_store.Run:
    write_predictions(run.path(run_store.PREDICTIONS), predictions)
    run_store.write_run_json(run, run_store.METRICS, evaluation.as_dict() | {"labelled_by": record["labelled_by"]})
    run_store.write_run_json(run, run_store.FACTS, facts.as_dict())
    lines = "".join(json.dumps(row, sort_keys=True, allow_nan=False) + "\n" for row in state.history)
    write_atomic(run.path(run_store.HISTORY), lines.encode())
    run = run_store.finish_run(run, record)
    write_card(run, evaluation)
    tracking.track_folder("train", run)
    return run
