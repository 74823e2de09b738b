"""Stage of self-training: a trained model labels windows without labels, and a student learns from them."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from moola.config.train_options import TrainOptions
from moola.core.splits import Intervals
from moola.data.sources import WindowSource, open_source
from moola.evaluation.calibration import calibrated
from moola.files import sha256_file
from moola.models.files import ModelFile
from moola.pipeline.boundaries import spread, usable_rows
from moola.pipeline.predicting import read_windows_both_ways
from moola.training.selftrain import SoftLabels

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
    """Let teachers say, on average, calibrated class probabilities and pointer curves of every usable window."""
    prob, curves = [], []
    for rows in _pieces(unlabelled.rows):
        features = unlabelled.source.features(rows)
        said = [read_windows_both_ways(teacher, features, device) for teacher in teachers]
        logits = np.mean([logits for logits, _ in said], axis=0)
        prob.append(calibrated(logits, teachers[0].temperature).astype(np.float32))
        pointing = [curve for _, curve in said if curve is not None]
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
    """Say what the student saw, for manifest and model file."""
    return {"unlabelled_sha256": unlabelled.sha256, "n_unlabelled_windows": len(unlabelled.rows)}
