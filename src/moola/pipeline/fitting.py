"""From options and files to a fitted, calibrated model and its predictions: the heart of `train` and `cv`."""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from moola.config.options import TrainOptions
from moola.core.features import N_FEATURES
from moola.core.scaling import RobustScaler
from moola.core.splits import Split
from moola.data.augmentation import synthesise
from moola.data.contracts.prediction_table import Predictions
from moola.data.contracts.split_file import read_split, utc_text, verify_split
from moola.data.contracts.window_table import WindowTable, read_windows
from moola.evaluation.calibration import fit_temperature
from moola.evaluation.event_metrics import choose_pointer_threshold
from moola.evaluation.figures import TrainingFacts
from moola.files import sha256_file
from moola.models.encoder import EncoderArchitecture, build_encoder
from moola.models.files import EncoderFile, ModelFile, read_encoder
from moola.models.network import NETWORKS, EnhancedSimpleLSTM
from moola.pipeline.examples import most_common, require_trainable, to_examples
from moola.pipeline.leaks import find_leaks
from moola.pipeline.predicting import predict_windows
from moola.pipeline.pretraining import require_input_dim
from moola.training.finetune import ClassAndPointers, EncoderProof, FinetunePlan, run_network
from moola.training.loop import FitPlan, FitState, OnEpoch, fit

log = logging.getLogger(__name__)


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
    leaks = find_leaks(leak_proof, encoder, table, split_file.split, data_sha256, hashes["split_sha256"])
    for leak in leaks:
        log.warning("Not leak-proof: %s.", leak)
    return Material(table, split_file.split, split_file.name, classes, encoder, hashes, leaks, leak_proof)


def fit_material(
    options: TrainOptions,
    material: Material,
    device: torch.device,
    checkpoint: Path | None,
    deciding: dict[str, Any],
    on_epoch: OnEpoch,
) -> tuple[ModelFile, FitState, dict[str, Any], TrainingFacts]:
    """Train on train rows; choose the epoch, the temperature and the pointer threshold on val rows.

    `checkpoint` keeps finished epochs (None keeps none), `deciding` is what a resumed checkpoint must have
    been written with.
    """
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
    resume = options.resume is not None
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


def predict_held_out(model: ModelFile, material: Material, device: torch.device) -> Predictions:
    """Predict val and test rows, once everything is chosen."""
    split = material.split
    rows = np.concatenate([split.val, split.test])
    part = np.array(["val"] * len(split.val) + ["test"] * len(split.test), dtype=object)
    return predict_windows(model, material.table, rows, part, device)
