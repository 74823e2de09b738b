"""Stage `train`: from labelled windows, a split and perhaps an encoder to a run."""

from __future__ import annotations

import json
import logging
import time
from collections import Counter
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from moola.config.options import RUNS_ROOT, TrainOptions
from moola.core.features import N_FEATURES
from moola.core.scaling import RobustScaler
from moola.core.splits import Split
from moola.data.augmentation import synthesise
from moola.data.contracts.prediction_table import Predictions, write_predictions
from moola.data.contracts.split_file import read_split, utc_text, verify_split
from moola.data.contracts.window_table import WindowTable, read_windows
from moola.errors import OperationFailed
from moola.evaluation.calibration import fit_temperature
from moola.evaluation.event_metrics import choose_pointer_threshold
from moola.evaluation.figures import Evaluation, TrainingFacts, evaluate
from moola.files import sha256_file, write_atomic
from moola.models.encoder import EncoderArchitecture, build_encoder
from moola.models.files import EncoderFile, ModelFile, read_encoder, read_model, write_model
from moola.models.network import NETWORKS, EnhancedSimpleLSTM
from moola.models.sealed import digest
from moola.pipeline.examples import most_common, require_trainable, to_examples
from moola.pipeline.leaks import find_leaks
from moola.pipeline.predicting import predict_windows
from moola.pipeline.pretraining import require_input_dim
from moola.pipeline.resolving import resolve_options
from moola.runs import store
from moola.training.device import prepare_device
from moola.training.finetune import ClassAndPointers, EncoderProof, FinetunePlan, run_network
from moola.training.loop import FitPlan, FitState, OnEpoch, fit

log = logging.getLogger(__name__)
NOT_IN_DIGEST = ("resume", "save_run")


@dataclass(frozen=True)
class Material:
    """Everything that training reads, checked."""

    table: WindowTable
    split: Split
    split_name: str
    classes: list[str]
    encoder: EncoderFile | None
    hashes: dict[str, str | None]
    leaks: list[str]
    leak_proof: bool | None


def train(options: TrainOptions, on_epoch: OnEpoch) -> dict[str, Any]:
    """Fine-tune on train rows, choose the epoch and calibrate on val rows, keep the run."""
    started = time.monotonic()
    device = prepare_device(options.device, options.threads)
    material = gather(options)
    options = resolve_options(options, material.table, material.split, material.encoder)
    run = _open_run(options, material)
    model, state, proof, facts = _fit(options, material, device, run, on_epoch)
    if run is not None:
        write_model(run.path(store.MODEL), model)
        # What is predicted with is what was written, so that a copy of the file predicts the same.
        model = read_model(run.path(store.MODEL))
    predictions = _predict(model, material, device)
    evaluation = evaluate(predictions.of_part("val"), facts, seed=options.seed)
    record = _record(options, material, proof, state, device) | {"seconds": time.monotonic() - started}
    if run is not None:
        run = _write_run(run, predictions, evaluation, facts, state, record)
    return record | {
        "run_id": run.run_id if run is not None else None,
        "run": str(run.folder) if run is not None else None,
        "temperature": model.temperature,
        "val": evaluation.as_dict(),
    }


def gather(options: TrainOptions) -> Material:
    """Read data, split and encoder, and refuse what does not fit together."""
    require_input_dim(options.input_dim)
    table = read_windows(options.data, options.window_bars).with_features()
    data_sha256 = sha256_file(options.data)
    split_file = read_split(options.split)
    leak_proof = verify_split(split_file, options.split, table, data_sha256, options.allow_overlap)
    if leak_proof is False:
        log.warning("The split's parts overlap (--allow-overlap): every result is marked as not leak-proof.")
    classes = require_trainable(table, split_file.split, options.data)
    encoder = read_encoder(options.pretrained_encoder) if options.pretrained_encoder else None
    if encoder is not None:
        log.info(
            "Encoder: %d of %d tensors taken from %s.",
            encoder.n_tensors,
            encoder.n_tensors,
            options.pretrained_encoder,
        )
    hashes = {
        "data_sha256": data_sha256,
        "split_sha256": sha256_file(options.split),
        "encoder_sha256": sha256_file(options.pretrained_encoder) if options.pretrained_encoder else None,
    }
    leaks = find_leaks(leak_proof, encoder, table, split_file.split, data_sha256)
    for leak in leaks:
        log.warning("Not leak-proof: %s.", leak)
    return Material(table, split_file.split, split_file.name, classes, encoder, hashes, leaks, leak_proof)


def _open_run(options: TrainOptions, material: Material) -> store.Run | None:
    if not options.save_run:
        return None
    if options.resume is not None:
        run = store.find_run(RUNS_ROOT, options.resume, complete=False)
        if run.manifest is not None:
            raise OperationFailed(
                f"--resume must name an interrupted run, but {run.run_id} is complete. See it with `moola eval`."
            )
        return run
    key = digest(_deciding(options, material))
    run = store.create_run(RUNS_ROOT, store.new_run_id(options.model, options.seed, key))
    config = {name: str(value) if isinstance(value, Path) else value for name, value in asdict(options).items()}
    store.write_run_json(run, store.CONFIG, config)
    return run


def _deciding(options: TrainOptions, material: Material) -> dict[str, Any]:
    names = {key: str(value) for key, value in asdict(options).items() if key not in NOT_IN_DIGEST}
    return names | {key: str(value) for key, value in material.hashes.items()}


def _fit(
    options: TrainOptions, material: Material, device: torch.device, run: store.Run | None, on_epoch: OnEpoch
) -> tuple[ModelFile, FitState, dict[str, Any], TrainingFacts]:
    table, split = material.table, material.split
    train_table, val_table = table.take(split.train), table.take(split.val)
    assert train_table.features is not None
    scaler = material.encoder.scaler if material.encoder else RobustScaler.fit(train_table.features)
    sigma = options.pointer_sigma
    examples = {
        name: to_examples(part, scaler, material.classes, sigma)
        for name, part in (("train", train_table), ("val", val_table))
    }
    made = None
    if options.augment_data:
        made_table = synthesise(train_table, options.mirror_classes)
        made = to_examples(made_table, scaler, material.classes, sigma)
        log.info("Augmentation: %d synthetic windows made from %d training rows.", len(made), len(train_table))
    network = _build(options, material).to(device)
    proof = EncoderProof(network, bool(options.freeze_encoder))
    plan = FinetunePlan(
        freeze_encoder=bool(options.freeze_encoder),
        learning_rate=options.learning_rate,
        encoder_rate=options.encoder_rate if material.encoder else 1.0,
        pointer_weight=options.pointer_weight,
        label_smoothing=options.label_smoothing,
        input_noise=options.input_noise,
        batch_size=options.batch_size,
        synthetic_ratio=options.cpsa_ratio if made is not None else 0.0,
        seed=options.seed,
    )
    objective = ClassAndPointers(network, examples["train"], made, examples["val"], plan, device)
    checkpoint = run.path(store.CHECKPOINT) if run is not None else None
    resume = options.resume is not None
    deciding = _deciding(options, material)
    fit_plan = FitPlan(
        options.epochs, options.patience, options.weight_decay, options.seed, checkpoint, resume, deciding
    )
    state = fit(objective, fit_plan, on_epoch)
    proven = proof.check()
    logits, _ = run_network(network, examples["val"].features, device)
    model = ModelFile(
        network.cpu(),
        options.model,
        scaler,
        table.window_bars,
        material.classes,
        fit_temperature(logits, examples["val"].class_index),
        None,
        _training_record(options, material),
    )
    facts = _facts(train_table, model, val_table, device)
    return replace(model, pointer_threshold=facts.pointer_threshold), state, proven, facts


def _build(options: TrainOptions, material: Material) -> EnhancedSimpleLSTM:
    if material.encoder is not None:
        encoder = material.encoder.encoder
    else:
        assert options.hidden_dim is not None
        assert options.num_layers is not None
        architecture = EncoderArchitecture("bilstm", N_FEATURES, options.hidden_dim, options.num_layers)
        encoder = build_encoder(architecture, options.seed)
    build = NETWORKS[options.model]
    return build(encoder, len(material.classes), bool(options.predict_pointers), options.dropout, options.seed)


def _training_record(options: TrainOptions, material: Material) -> dict[str, Any]:
    """What the model file says of its training: enough to tell later whether it saw a window."""
    table, seen = material.table, np.concatenate([material.split.train, material.split.val])
    span = None
    if table.start_us is not None and table.end_us is not None:
        span = [utc_text(table.start_us[seen].min()), utc_text(table.end_us[seen].max())]
    return {
        **material.hashes,
        "time_range": span,
        "n_train_windows": len(material.split.train),
        "n_val_windows": len(material.split.val),
        "annotators": table.annotators,
        "seed": options.seed,
    }


def _facts(train_table: WindowTable, model: ModelFile, val_table: WindowTable, device: torch.device) -> TrainingFacts:
    """What the trivial predictors know, and the pointer threshold chosen on validation rows."""
    threshold = None
    if model.network.pointer_head is not None:
        rows = np.arange(len(val_table))
        part = np.full(len(rows), "val", dtype=object)
        threshold = choose_pointer_threshold(predict_windows(model, val_table, rows, part, device))
    return TrainingFacts(
        dict(sorted(Counter(train_table.label.tolist()).items())),
        most_common(train_table.expansion_start),
        most_common(train_table.expansion_end),
        threshold,
    )


def _predict(model: ModelFile, material: Material, device: torch.device) -> Predictions:
    split = material.split
    rows = np.concatenate([split.val, split.test])
    part = np.array(["val"] * len(split.val) + ["test"] * len(split.test), dtype=object)
    return predict_windows(model, material.table, rows, part, device)


def _record(
    options: TrainOptions, material: Material, proof: dict[str, Any], state: FitState, device: torch.device
) -> dict[str, Any]:
    return {
        "model": options.model,
        "seed": options.seed,
        "device": device.type,
        "threads": torch.get_num_threads(),
        **material.hashes,
        "split_name": material.split_name,
        "pretrained": material.encoder is not None,
        "encoder": proof | {"n_tensors_taken": material.encoder.n_tensors if material.encoder else 0},
        "leak_proof": material.leak_proof,
        "leaks": material.leaks,
        "labelled_by": material.table.annotators,
        "n_windows": {part: len(material.split.part(part)) for part in ("train", "val", "test")},
        "epochs_run": state.epoch,
        "best_epoch": state.best_epoch,
    }


def _write_run(
    run: store.Run,
    predictions: Predictions,
    evaluation: Evaluation,
    facts: TrainingFacts,
    state: FitState,
    record: dict[str, Any],
) -> store.Run:
    write_predictions(run.path(store.PREDICTIONS), predictions)
    store.write_run_json(run, store.METRICS, evaluation.as_dict() | {"labelled_by": record["labelled_by"]})
    store.write_run_json(run, store.FACTS, facts.as_dict())
    lines = "".join(json.dumps(row, sort_keys=True, allow_nan=False) + "\n" for row in state.history)
    write_atomic(run.path(store.HISTORY), lines.encode())
    return store.finish_run(run, record)
