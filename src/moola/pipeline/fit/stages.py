"""The stages of a fit: heads on an encoder, the same again on more rows, students. One loop, one seed, one recipe."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from moola.config.train_options import TrainOptions
from moola.core.features import N_FEATURES
from moola.core.scaling import RobustScaler
from moola.core.seeds import derive_seed
from moola.core.splits import Split
from moola.data.augmentation import class_swaps
from moola.data.contracts.window_table import WindowTable
from moola.models.encoder import BiLSTMEncoder, EncoderArchitecture, build_encoder
from moola.models.files import ModelFile
from moola.models.network import NETWORKS, EnhancedSimpleLSTM
from moola.pipeline.augmenting import epoch_ratios, synthetic_windows
from moola.pipeline.fit.examples import to_examples
from moola.pipeline.fit.material import Material
from moola.pipeline.fit.selftraining import (
    ENCODER_RATE,
    LABELLED_A_BATCH,
    MASK_RATIO,
    UNLABELLED_A_BATCH,
    Unlabelled,
    soft_labels,
)
from moola.pipeline.unlabelled import taker
from moola.training.device import training_dtype
from moola.training.finetune import ClassAndPointers, EncoderProof, Examples, FinetunePlan
from moola.training.loop import FitPlan, FitState, Objective, OnEpoch, fit
from moola.training.masks import MaskPlan
from moola.training.selftrain import SelfTraining, StudentPlan


class Stages:
    """Runs stages one after the other; each has its own checkpoint and its own lines of history."""

    def __init__(
        self,
        options: TrainOptions,
        material: Material,
        device: torch.device,
        checkpoint: Path | None,
        deciding: dict[str, Any],
        on_epoch: OnEpoch,
    ) -> None:
        self.options, self.material, self.device = options, material, device
        self.checkpoint, self.deciding, self.on_epoch = checkpoint, deciding, on_epoch
        features = material.table.take(material.split.train).features
        assert features is not None
        self.scaler = (
            material.encoder.scaler if material.encoder else RobustScaler.fit(features[:, : options.visible_bars])
        )
        self.states: dict[str, FitState] = {}

    def state(self) -> FitState:
        """The first stage's state, with the history of all."""
        first = next(iter(self.states.values()))
        lines = [row for state in self.states.values() for row in state.history]
        return replace(first, history=lines)

    def finetune(self, stage: str, rows: np.ndarray, val_rows: np.ndarray) -> tuple[EnhancedSimpleLSTM, dict[str, Any]]:
        """Train a fresh network on some rows; val rows choose the epoch, the training loss where there are none."""
        return self._finetune(stage, rows, val_rows, self._plan(), self.options.n_heads)

    def fold(self, number: int, rows: np.ndarray) -> EnhancedSimpleLSTM:
        """Train a network of one head on some rows, without any to choose by: for out-of-fold calibration."""
        return self._finetune(f"fold-{number}", rows, rows[:0], self._plan(), 1)[0]

    def teacher(self, number: int, rows: np.ndarray, val_rows: np.ndarray) -> EnhancedSimpleLSTM:
        """Train an unfrozen network of one head with a seed of its own."""
        seed = derive_seed(self.options.seed, "teacher", number)
        plan = replace(self._plan(), freeze_encoder=False, seed=seed)
        return self._finetune(f"teacher-{number}", rows, val_rows, plan, 1)[0]

    def _finetune(
        self, stage: str, rows: np.ndarray, val_rows: np.ndarray, plan: FinetunePlan, n_heads: int
    ) -> tuple[EnhancedSimpleLSTM, dict[str, Any]]:
        network = self._network(plan.seed, n_heads).to(self.device)
        proof = EncoderProof(network, plan.freeze_encoder)
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
            self._plan(),
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
            self.options.confidence_weighting,
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
        """Tell whether every class is its own mirror, so that soft labels hold upside down."""
        classes = self.material.classes
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
        return self._to_examples(self.material.table.take(rows))

    def _to_examples(self, table: WindowTable) -> Examples:
        options = self.options
        return to_examples(table, self.scaler, self.material.classes, options.pointer_sigma, options.visible_bars)

    def _made(self, rows: np.ndarray) -> Examples | None:
        """Synthetic windows made of these rows alone."""
        if not self.options.augment_data:
            return None
        split = self.material.split
        rest = np.setdiff1d(np.concatenate([split.val, split.test]), rows)
        seen = Split(rows, rest, rest[:0], split.dropped)
        return self._to_examples(synthetic_windows(self.options, self.material.table, seen))

    def _plan(self) -> FinetunePlan:
        options = self.options
        has_made = bool(options.augment_data)
        return FinetunePlan(
            freeze_encoder=bool(options.freeze_encoder),
            learning_rate=options.learning_rate,
            encoder_rate=options.encoder_rate if self.material.encoder else 1.0,
            pointer_weight=options.pointer_weight,
            label_smoothing=options.label_smoothing,
            input_noise=options.input_noise,
            batch_size=options.batch_size,
            synthetic_ratio=options.cpsa_ratio if has_made else 0.0,
            seed=options.seed,
            # At most a quarter of the epochs, so that short runs train the encoder too.
            frozen_epochs=min(options.frozen_epochs, options.epochs // 4) if self.material.encoder else 0,
            epoch_ratios=epoch_ratios(options) if has_made else (),
        )

    def _network(self, seed: int, n_heads: int) -> EnhancedSimpleLSTM:
        """Return fresh heads on the pretrained encoder as it came, or on a fresh one."""
        options, classes = self.options, self.material.classes
        build = NETWORKS[options.model]
        pointers = bool(options.predict_pointers)
        return build(self._encoder(seed), len(classes), pointers, options.dropout, seed, n_heads)

    def _encoder(self, seed: int) -> BiLSTMEncoder:
        options = self.options
        if self.material.encoder is not None:
            encoder = copy.deepcopy(self.material.encoder.encoder)
        else:
            assert options.hidden_dim is not None
            assert options.num_layers is not None
            architecture = EncoderArchitecture("bilstm", N_FEATURES, options.hidden_dim, options.num_layers)
            encoder = build_encoder(architecture, seed)
        encoder.training_dtype = training_dtype(options.precision, self.device)
        return encoder
