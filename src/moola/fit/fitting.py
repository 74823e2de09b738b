"""From options and files to a fitted, calibrated model and its predictions: the heart of `train` and `cv`."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from moola.augment import class_swaps
from moola.core.bars import time_us, utc_text, window_bar_interval_s
from moola.core.expansions import length_weights
from moola.core.features import RobustScaler
from moola.core.splits import Intervals
from moola.core.windows import rows_of
from moola.evaluation.calibration import fit_temperature
from moola.evaluation.figures import TrainingFacts
from moola.evaluation.pointer_metrics import choose_pointer_threshold
from moola.fit.inputs import FitInputs, Job, facts_of
from moola.fit.predicting import predict_windows, read_windows_both_ways
from moola.fit.recipe import Stages, Unlabelled, open_unlabelled, record_of, seen_by_student
from moola.models.model_files import ModelFile
from moola.models.network import EnhancedSimpleLSTM
from moola.options.training_options import TrainOptions
from moola.provenance.learned_times import encoder_times, times_learned
from moola.tables.prediction_table import Predictions
from moola.tables.window_file import WindowTable
from moola.training.loop import FitState, OnEpoch

# A temperature from all labels: each window is evaluated by a network that saw neither it nor a bar of it.


# A block of fewer windows, or a network without both classes, has no information on the model that is kept.
LEAST_A_BLOCK = 5


def cross_fitted_temperature(stages: Stages, model: ModelFile, known: np.ndarray, n_folds: int) -> float | None:
    """Fit the temperature of a model that trained on `known` rows out of fold (cross-fitting).

    Rows are cut into blocks of time. For each, a network of one head like the model's trains on the other blocks,
    less the windows that share a bar with the block, and evaluates the block.

    Returns
    -------
    The temperature; None where there are no two blocks, where they would have fewer than 5 windows, or where a class
    would be missing: a calibration from elsewhere has to do.
    """
    table, classes = stages.inputs.table, stages.inputs.classes
    if n_folds < 2 or len(known) < LEAST_A_BLOCK * n_folds:
        return None
    intervals = table.intervals()
    order = known if intervals.start_us is None else known[np.argsort(intervals.start_us[known], kind="stable")]
    folds = [(block, _others(intervals, known, block)) for block in np.array_split(order, n_folds)]
    if any(set(table.label[rest].tolist()) != set(classes) for _, rest in folds):
        return None
    logits = []
    for number, (block, rest) in enumerate(folds):
        judge = replace(model, network=stages.fold(number + 1, rest))
        logits.append(read_windows_both_ways(judge, table.take(block).all_features, stages.device)[0])
    true = np.array([classes.index(name) for name in table.label[order]], dtype=np.int64)
    return fit_temperature(np.concatenate(logits), true)


def _others(intervals: Intervals, known: np.ndarray, block: np.ndarray) -> np.ndarray:
    """Rows outside the block that share no bar with it."""
    apart = known[~np.isin(intervals.group[known], intervals.group[block])]
    if intervals.start_us is None or intervals.end_us is None:
        return apart
    shares = (intervals.start_us[apart] < intervals.end_us[block].max()) & (
        intervals.end_us[apart] > intervals.start_us[block].min()
    )
    return apart[~shares]


log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Fitted:
    """What `fit_on_inputs` leaves.

    Attributes
    ----------
    model
        What is kept: it evaluates test rows.
    chosen
        The model whose options, epoch and temperature val rows chose, and which never trained on them.
    """

    model: ModelFile
    chosen: ModelFile
    state: FitState
    proof: dict[str, Any]
    facts: TrainingFacts

    @property
    def val_judge(self) -> ModelFile:
        """The model that predicts val rows: the one that is kept, unless it trained on them."""
        return self.chosen if "val" in self.model.training["trained_on"] else self.model


def fit_on_inputs(job: Job, on_epoch: OnEpoch, checkpoint: Path | None, deciding: dict[str, Any]) -> Fitted:
    """Train on train rows; choose the epoch, the temperature and the pointer threshold on val rows.

    Then, where the options ask so, retrain on train and val rows, take the temperature from folds over both, and
    let students learn from unlabelled windows. `checkpoint` keeps finished epochs (None keeps none), `deciding` is what
    a resumed checkpoint must have been written with.
    """
    options, inputs, device, split = job.options, job.inputs, job.device, job.inputs.split
    stages = Stages(job, on_epoch, checkpoint, deciding)
    if options.head == "linear":
        return _fit_linear(options, inputs, stages)
    network, proof = stages.finetune("train", split.train, split.val)
    val = inputs.table.take(split.val)
    chosen = _model(options, inputs, network, stages.scaler)
    logits, _ = read_windows_both_ways(chosen, val.all_features, device)
    val_class = np.array([inputs.classes.index(name) for name in val.label], dtype=np.int64)
    chosen = replace(chosen, temperature=fit_temperature(logits, val_class))
    facts = _facts(inputs.table.take(split.train), chosen, val, device)
    chosen = replace(chosen, pointer_threshold=facts.pointer_threshold)
    model, known = chosen, split.train
    if options.refit:
        known = np.concatenate([split.train, split.val])
        network, proof = stages.finetune("refit", known, split.val[:0])
        temperature = cross_fitted_temperature(stages, chosen, known, options.calibration_folds)
        training = chosen.training | {"trained_on": ["train", "val"]}
        model = replace(chosen, network=network, temperature=temperature or chosen.temperature, training=training)
    if options.unlabelled is not None:
        val_rows = split.val[:0] if options.refit else split.val
        unlabelled = open_unlabelled(options)
        networks = [stages.teacher(number + 1, known, val_rows) for number in range(options.n_teachers)]
        teachers = [model, *(replace(model, network=network) for network in networks)]
        for number in range(options.student_rounds):
            log.info("Self-training, round %d: a student learns from %d windows.", number + 1, len(unlabelled.rows))
            network, proof = stages.student(f"student-{number + 1}", teachers, unlabelled, known, val_rows)
            # It was taught calibrated probabilities, so its own need no other temperature.
            model = replace(model, network=network, temperature=1.0)
            teachers = [model]
        model = replace(model, training=_with_unlabelled(model.training, unlabelled))
    return Fitted(model, chosen, stages.state(), proof, facts)


def _fit_linear(options: TrainOptions, inputs: FitInputs, stages: Stages) -> Fitted:
    """Fit linear heads to train rows, and with --refit to train and val rows together.

    Penalties and temperature come from blocks of time inside the rows that each fit sees; val rows choose the pointer
    threshold alone.
    """
    split, mirror = inputs.split, _class_mirror(options, inputs)
    result, proof = stages.linear("train", split.train, mirror)
    chosen = _model(options, inputs, result.network, stages.scaler)
    chosen = replace(chosen, temperature=result.temperature, likeness=result.likeness)
    facts = _facts(inputs.table.take(split.train), chosen, inputs.table.take(split.val), stages.device)
    model = chosen = replace(chosen, pointer_threshold=facts.pointer_threshold)
    if options.refit:
        result, proof = stages.linear("refit", np.concatenate([split.train, split.val]), mirror)
        training = chosen.training | {"trained_on": ["train", "val"]}
        model = replace(chosen, network=result.network, temperature=result.temperature, training=training)
        model = replace(model, likeness=result.likeness)
    return Fitted(model, chosen, stages.state(), proof, facts)


def _model(options: TrainOptions, inputs: FitInputs, network: EnhancedSimpleLSTM, scaler: RobustScaler) -> ModelFile:
    """A model file's content before val rows choose the epoch and the temperature."""
    return ModelFile(
        network,
        options.model,
        scaler,
        inputs.table.window_bars,
        inputs.classes,
        1.0,
        None,
        _training_record(options, inputs),
        _class_mirror(options, inputs),
        _lengths(options, inputs),
        options.visible_bars,
    )


def _class_mirror(options: TrainOptions, inputs: FitInputs) -> list[int] | None:
    """Class that each class becomes upside down; None where windows are read one way only."""
    if not options.mirror_average:
        return None
    swaps = class_swaps(inputs.classes, options.mirror_classes)
    return [inputs.classes.index(swaps[name]) for name in inputs.classes]


def _lengths(options: TrainOptions, inputs: FitInputs) -> np.ndarray | None:
    """How much each length counts in decoding, by the train rows."""
    if not options.predict_pointers:
        return None
    train = inputs.table.take(inputs.split.train)
    known = (train.expansion_start >= 0) & (train.expansion_end >= 0)
    return length_weights((train.expansion_end - train.expansion_start)[known], inputs.table.window_bars)


def _training_record(options: TrainOptions, inputs: FitInputs) -> dict[str, Any]:
    """What the model file records of its training: enough to find later whether it saw a window."""
    table, seen = inputs.table, np.concatenate([inputs.split.train, inputs.split.val])
    return {
        **inputs.hashes,
        **times_learned(rows_of(table.start_us, seen), rows_of(table.close_us, seen)),
        **encoder_times(inputs.encoder),
        "bar_interval_s": window_bar_interval_s(table.start_us, table.end_us, table.window_bars),
        # Parts whose labels set the weights; val rows alone may have chosen the epoch and the temperature.
        "trained_on": ["train"],
        "n_train_windows": len(inputs.split.train),
        "n_val_windows": len(inputs.split.val),
        "annotators": table.annotators,
        "seed": options.seed,
        "visible_bars": options.visible_bars,
    }


def _with_unlabelled(record: dict[str, Any], unlabelled: Unlabelled) -> dict[str, Any]:
    """Widen what the model has seen by what its student saw."""
    span, seen_us = record["time_range"], seen_by_student(unlabelled)
    if span is not None and seen_us is not None:
        first, last = (time_us(text) for text in span)
        span = [utc_text(min(first, seen_us[0])), utc_text(max(last, seen_us[1]))]
    return record | {"time_range": span} | record_of(unlabelled)


def _facts(train_table: WindowTable, model: ModelFile, val_table: WindowTable, device: torch.device) -> TrainingFacts:
    """What the uninformed baselines know, and the pointer threshold chosen on validation rows."""
    threshold = None
    if model.network.predict_pointers:
        rows = np.arange(len(val_table))
        part = np.full(len(rows), "val", dtype=object)
        threshold = choose_pointer_threshold(predict_windows(model, val_table, rows, part, device))
    return facts_of(train_table, threshold)


def predict_held_out(fitted: Fitted, inputs: FitInputs, device: torch.device) -> Predictions:
    """Predict val rows by the model that never trained on them, and test rows by the one that is kept."""
    split = inputs.split
    parts = []
    for name, model, rows in (("val", fitted.val_judge, split.val), ("test", fitted.model, split.test)):
        part = np.full(len(rows), name, dtype=object)
        parts.append(predict_windows(model, inputs.table, rows, part, device))
    return parts[0].joined(parts[1]) if len(split.test) else parts[0]
