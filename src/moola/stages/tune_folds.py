"""Folds inside the train rows, and the figure of a set of options on one of them.

The table is cut down to the train rows before anything is learned or counted, so that val and test rows are
out of reach of every line behind `gather_inner`.
"""

from __future__ import annotations

import copy
import hashlib
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import torch

from moola.core.splits import Split, make_folds
from moola.core.windows import rows_of
from moola.errors import InvalidData
from moola.evaluation.figures import TrainingFacts, evaluate, trivial_predictions
from moola.files import sha256_file
from moola.fit.fitting import fit_material, predict_held_out
from moola.fit.inputs import Material, facts_of, require_trainable, resolve_options
from moola.models.model_files import EncoderFile, encoder_sha256, read_encoder
from moola.options.study_options import TuneOptions
from moola.options.training_options import TrainOptions
from moola.provenance.learned_times import seen_among
from moola.tables.prediction_table import Predictions
from moola.tables.split_file import read_split, verify_split
from moola.tables.window_file import WindowTable, read_windows
from moola.training.loop import epoch_lines

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
    arrays = {
        "features": table.features,
        "ohlc": table.ohlc,
        "expansion_start": table.expansion_start,
        "expansion_end": table.expansion_end,
        "start_us": table.start_us,
        "end_us": table.end_us,
    }
    for name, values in arrays.items():
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
    # Training changes an encoder in place; the next fit must begin with the file's.
    encoder = inner.encoder and replace(inner.encoder, encoder=copy.deepcopy(inner.encoder.encoder))
    hashes: dict[str, str | None] = {"rows_sha256": inner.rows_sha256, "encoder_sha256": inner.encoder_sha256}
    material = Material(inner.table, fold, f"inner-{number + 1}", inner.classes, encoder, hashes, [], True)
    training = resolved(inner, number, replace(options, seed=seed))
    with _quiet():
        fitted = fit_material(training, material, device, None, {}, epoch_lines(f"inner fold {number + 1}"))
    predictions = predict_held_out(fitted, material, device)
    return _figure(inner, number, metric, predictions, fitted.facts)


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
        facts = facts_of(train, None)
        n = len(judged)
        unsaid = Predictions(
            judged.window_id,
            fold.test,
            np.full(n, "test", dtype=object),
            judged.start_us,
            judged.end_us,
            inner.classes,
            np.array([inner.classes.index(name) for name in judged.label], dtype=np.int64),
            np.full((n, len(inner.classes)), 1 / len(inner.classes)),
            np.stack([judged.expansion_start, judged.expansion_end], axis=1),
            np.full((n, 2), -1),
            np.zeros((n, 2)),
            shared_bars=judged.shared_bars,
        )
        found.append(_figure(inner, number, metric, trivial_predictions(unsaid, facts), facts))
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


@contextmanager
def _quiet() -> Iterator[None]:
    """Limit the messages of every fit to warnings: a study is some hundred fits."""
    logger = logging.getLogger("moola.pipeline")
    before = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(before)


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
