"""The recipe of a fit: heads on an encoder, the same again on more rows, self-training. One loop, one seed."""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from moola.augment import class_swaps
from moola.core.features import N_FEATURES, RobustScaler
from moola.core.seeds import derive_seed
from moola.core.splits import Intervals, Split
from moola.evaluation.calibration import calibrated
from moola.files import sha256_file
from moola.fit.inputs import Job, to_examples
from moola.fit.linear_heads_fit import LinearResult, fit_on_windows
from moola.fit.predicting import read_windows_both_ways
from moola.fit.synthetic import synthetic_windows, taker
from moola.models.model_files import ModelFile
from moola.models.network import NETWORKS, Encoder, EncoderArchitecture, EnhancedSimpleLSTM, build_encoder
from moola.options.training_options import TrainOptions
from moola.provenance.learned_times import spread, usable_rows
from moola.tables.cutting import WindowSource, open_source
from moola.tables.window_file import WindowTable
from moola.training.device import training_dtype
from moola.training.finetune import (
    ClassAndPointers,
    EncoderProof,
    Examples,
    SelfTraining,
    SoftLabels,
    StudentPlan,
)
from moola.training.loop import FitPlan, FitState, Objective, OnEpoch, fit
from moola.training.pretext_tasks import MaskPlan

# Stage of self-training: a trained model labels windows without labels, and a student learns from them.


log = logging.getLogger(__name__)
LABELLED_A_BATCH = 16
UNLABELLED_A_BATCH = 64
ENCODER_RATE = 0.5
MASK_RATIO = 0.15
WINDOWS_AT_A_TIME = 1024


@dataclass(frozen=True)
class Unlabelled:
    """Windows without labels that a student may see: a source, and the rows that obey the split."""

    source: WindowSource
    rows: np.ndarray
    sha256: str

    @property
    def intervals(self) -> Intervals:
        """Times of all windows of the source."""
        return self.source.intervals


def open_unlabelled(options: TrainOptions) -> Unlabelled:
    """Open --unlabelled, and keep the windows that end before the split's val and test begin."""
    assert options.unlabelled is not None
    source = open_source(options.unlabelled, options.stride, None, options.window_bars)
    sha256 = sha256_file(options.unlabelled)
    rows, why = usable_rows(options.split, options.unlabelled, source, sha256)
    if why:
        log.info("Self-training: %d of %d windows left out (%s).", len(source) - len(rows), len(source), why)
    return Unlabelled(source, spread(rows, options.n_unlabelled), sha256)


def soft_labels(teachers: list[ModelFile], unlabelled: Unlabelled, device: torch.device) -> SoftLabels:
    """Let teachers predict, on average, calibrated class probabilities and pointer curves of every usable window."""
    prob, curves = [], []
    for rows in _pieces(unlabelled.rows):
        features = unlabelled.source.features(rows)
        outputs = [read_windows_both_ways(teacher, features, device) for teacher in teachers]
        logits = np.mean([logits for logits, _ in outputs], axis=0)
        prob.append(calibrated(logits, teachers[0].temperature).astype(np.float32))
        pointing = [curve for _, curve in outputs if curve is not None]
        if pointing:
            curves.append(np.mean(pointing, axis=0)[:, : teachers[0].n_seen_bars].astype(np.float16))
    return SoftLabels(np.concatenate(prob), np.concatenate(curves) if curves else None)


def _pieces(rows: np.ndarray) -> Iterator[np.ndarray]:
    for first in range(0, len(rows), WINDOWS_AT_A_TIME):
        yield rows[first : first + WINDOWS_AT_A_TIME]


def seen_by_student(unlabelled: Unlabelled) -> list[int] | None:
    """Return when the first bar that a student saw begins and the last is over, in microseconds; None without times."""
    start_us, end_us = unlabelled.intervals.start_us, unlabelled.intervals.end_us
    if start_us is None or end_us is None:
        return None
    return [int(start_us[unlabelled.rows].min()), int(end_us[unlabelled.rows].max())]


def record_of(unlabelled: Unlabelled) -> dict[str, Any]:
    """State what the student saw, for manifest and model file."""
    return {"unlabelled_sha256": unlabelled.sha256, "n_unlabelled_windows": len(unlabelled.rows)}


class Stages:
    """Runs stages one after the other; each has its own checkpoint and its own lines of history."""

    def __init__(self, job: Job, on_epoch: OnEpoch, checkpoint: Path | None, deciding: dict[str, Any]) -> None:
        options, inputs = self.options, self.inputs = job.options, job.inputs
        self.device, self.on_epoch, self.checkpoint, self.deciding = job.device, on_epoch, checkpoint, deciding
        features = inputs.table.take(inputs.split.train).all_features
        self.scaler = inputs.encoder.scaler if inputs.encoder else RobustScaler.fit(features[:, : options.visible_bars])
        # At most a quarter of the epochs, so that short runs train the encoder too; a fresh one learns at once.
        n_frozen = min(options.frozen_epochs, options.epochs // 4) if inputs.encoder else 0
        rate = options.encoder_rate if inputs.encoder else 1.0
        self.plan = replace(options, frozen_epochs=n_frozen, encoder_rate=rate)
        self.states: dict[str, FitState] = {}

    def state(self) -> FitState:
        """The first stage's state, with the history of all."""
        first = next(iter(self.states.values()))
        lines = [row for state in self.states.values() for row in state.history]
        return replace(first, history=lines)

    def finetune(self, stage: str, rows: np.ndarray, val_rows: np.ndarray) -> tuple[EnhancedSimpleLSTM, dict[str, Any]]:
        """Train a fresh network on some rows; val rows choose the epoch, the training loss where there are none."""
        return self._finetune(stage, rows, val_rows, self.plan, self.options.n_heads)

    def linear(self, stage: str, rows: np.ndarray, mirror: list[int] | None) -> tuple[LinearResult, dict[str, Any]]:
        """Fit linear heads to some rows on the encoder as it came; nothing is drawn and nothing stopped early."""
        network = self._network(self.options.seed, 1)
        proof = EncoderProof(network, frozen=True)
        table = self.inputs.table.take(rows)
        options, classes = self.options, self.inputs.classes
        result = fit_on_windows(
            network, table, classes, self.scaler, mirror, options.visible_bars, self.device, options.cache
        )
        row = result.history_row(stage)
        self.states[stage] = FitState(1, 1, history=[row])
        self.on_epoch({**row, "n_epochs": 1})
        return result, proof.check()

    def fold(self, number: int, rows: np.ndarray) -> EnhancedSimpleLSTM:
        """Train a network of one head on some rows, without any to choose by: for out-of-fold calibration."""
        return self._finetune(f"fold-{number}", rows, rows[:0], self.plan, 1)[0]

    def teacher(self, number: int, rows: np.ndarray, val_rows: np.ndarray) -> EnhancedSimpleLSTM:
        """Train an unfrozen network of one head with a seed of its own."""
        seed = derive_seed(self.options.seed, "teacher", number)
        plan = replace(self.plan, freeze_encoder=False, seed=seed)
        return self._finetune(f"teacher-{number}", rows, val_rows, plan, 1)[0]

    def _finetune(
        self, stage: str, rows: np.ndarray, val_rows: np.ndarray, plan: TrainOptions, n_heads: int
    ) -> tuple[EnhancedSimpleLSTM, dict[str, Any]]:
        network = self._network(plan.seed, n_heads).to(self.device)
        proof = EncoderProof(network, bool(plan.freeze_encoder))
        train, made = self._examples(rows), self._made(rows)
        objective = ClassAndPointers(network, train, made, self._examples(val_rows), plan, self.device)
        # An epoch in which the encoder still stood is not what was asked for.
        n_passing = 0 if plan.freeze_encoder else plan.frozen_epochs
        self._fit(stage, objective, self.options.epochs, plan.seed, n_passing)
        return network, proof.check()

    def student(
        self, stage: str, teachers: list[ModelFile], unlabelled: Unlabelled, rows: np.ndarray, val_rows: np.ndarray
    ) -> tuple[EnhancedSimpleLSTM, dict[str, Any]]:
        """Train a fresh, unfrozen network on the teachers' averaged soft labels and on the labelled rows."""
        network = self._network(self.options.seed, self.options.n_heads).to(self.device)
        proof = EncoderProof(network, frozen=False)
        plan = replace(
            self.plan,
            freeze_encoder=False,
            frozen_epochs=0,
            learning_rate=self.options.student_rate,
            encoder_rate=ENCODER_RATE,
            batch_size=UNLABELLED_A_BATCH,
        )
        student = StudentPlan(
            plan,
            MaskPlan("patch", MASK_RATIO, 7),
            LABELLED_A_BATCH,
            self._flips() and unlabelled.source.ohlc(unlabelled.rows[:1]) is not None,
        )
        objective = SelfTraining(
            network,
            taker(unlabelled.source, self.scaler, self.options.visible_bars),
            unlabelled.rows,
            soft_labels(teachers, unlabelled, self.device),
            (self._examples(rows), self._made(rows)),
            self._examples(val_rows),
            student,
            self.device,
        )
        self._fit(stage, objective, self.options.student_epochs, plan.seed)
        return network, proof.check()

    def _flips(self) -> bool:
        """Return whether every class is its own mirror, so that soft labels hold upside down."""
        classes = self.inputs.classes
        return class_swaps(classes, self.options.mirror_classes) == {name: name for name in classes}

    def _fit(self, stage: str, objective: Objective, n_epochs: int, seed: int, n_passing: int = 0) -> None:
        options = self.options
        first = not self.states
        checkpoint = self.checkpoint
        if checkpoint is not None and not first:
            checkpoint = checkpoint.with_name(f"{checkpoint.stem}-{stage}{checkpoint.suffix}")
        deciding = self.deciding if first else self.deciding | {"stage": stage}
        resume = options.resume is not None
        plan = FitPlan(n_epochs, options.patience, options.weight_decay, seed, checkpoint, resume, deciding, n_passing)

        def shown(row: dict[str, Any]) -> None:
            self.on_epoch({**row, "stage": stage, "n_epochs": n_epochs})

        state = fit(objective, plan, shown)
        objective.module.cpu()
        self.states[stage] = replace(state, history=[{**row, "stage": stage} for row in state.history])

    def _examples(self, rows: np.ndarray) -> Examples:
        return self._to_examples(self.inputs.table.take(rows))

    def _to_examples(self, table: WindowTable) -> Examples:
        options = self.options
        return to_examples(table, self.scaler, self.inputs.classes, options.pointer_sigma, options.visible_bars)

    def _made(self, rows: np.ndarray) -> Examples | None:
        """Synthetic windows made of these rows alone."""
        if not self.options.augment_data:
            return None
        split = self.inputs.split
        rest = np.setdiff1d(np.concatenate([split.val, split.test]), rows)
        seen = Split(rows, rest, rest[:0], split.dropped)
        return self._to_examples(synthetic_windows(self.options, self.inputs.table, seen))

    def _network(self, seed: int, n_heads: int) -> EnhancedSimpleLSTM:
        """Return fresh heads on the pretrained encoder as it came, or on a fresh one."""
        options, classes = self.options, self.inputs.classes
        build = NETWORKS[options.model]
        pointers = bool(options.predict_pointers)
        assert options.head is not None
        return build(self._encoder(seed), len(classes), pointers, options.dropout, seed, n_heads, options.head)

    def _encoder(self, seed: int) -> Encoder:
        options = self.options
        encoder: Encoder
        if self.inputs.encoder is not None:
            encoder = copy.deepcopy(self.inputs.encoder.encoder)
        else:
            assert options.hidden_dim is not None
            assert options.num_layers is not None
            architecture = EncoderArchitecture("bilstm", N_FEATURES, options.hidden_dim, options.num_layers)
            encoder = build_encoder(architecture, seed)
        encoder.training_dtype = training_dtype(options.precision, self.device)
        return encoder
