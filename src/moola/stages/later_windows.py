"""Labelled windows that came later than everything a run learned from: read, checked by time, predicted."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from moola.core.bars import utc_text
from moola.errors import InvalidData, Problem, UntrustedFile
from moola.files import sha256_file
from moola.fit.predicting import predict_windows
from moola.models.model_files import (
    ModelFile,
    is_as_it_was,
    read_encoder,
    read_model,
    recorded_encoders,
)
from moola.options.judging_options import LaterOptions
from moola.provenance.learned_times import ENCODER_RECORD, compare_bar_intervals, learned_until_us
from moola.runs import run_store
from moola.tables.frames import in_file
from moola.tables.prediction_table import Predictions
from moola.tables.window_file import WindowTable, read_windows
from moola.training.device import prepare_device

log = logging.getLogger(__name__)
PART = "later"
ADVICE = "Give windows that came later, or pass --allow-overlap for figures that are marked as not leak-proof."


@dataclass(frozen=True)
class LaterWindows:
    """Labelled windows of a file, what a run's model predicts of them, and what it may have seen of them.

    Attributes
    ----------
    leaks
        A sentence for each way in which the model may have seen these windows; empty if none.
    leak_proof
        None where the windows or what was learned from have no times.
    """

    path: Path
    sha256: str
    table: WindowTable
    predictions: Predictions
    leaks: list[str]
    leak_proof: bool | None

    def record(self) -> dict[str, Any]:
        """Return the entry on these windows of a record of figures."""
        return {
            "data": str(self.path),
            "data_sha256": self.sha256,
            "leaks": self.leaks,
            "leak_proof": self.leak_proof,
            "labelled_by": self.table.annotators,
        }


def read_later(run: run_store.Run, options: LaterOptions) -> LaterWindows:
    """Read the file of later windows, and let the run's model predict those with a label, in time order.

    Raises
    ------
    InvalidData
        No window has a label, a label is no class of the model, or the model or its encoder may have seen a window and
        `--allow-overlap` is not given.
    """
    assert options.data is not None
    model = read_model(run.path(run_store.MODEL))
    table, sha256 = read_windows(options.data, model.window_bars), sha256_file(options.data)
    rows = _labelled_rows(table, model, options.data)
    labelled = table.take(rows)
    leaks, leak_proof = _leaks(run, model, labelled, rows, options.data, sha256)
    if leaks and not options.allow_overlap:
        raise InvalidData.from_problems(options.data, in_file(leaks, options.data), ADVICE)
    reasons = [str(leak) for leak in leaks]
    for sentence in reasons:
        log.warning("Not leak-proof: %s.", sentence)
    compare_bar_intervals(model, labelled.start_us, labelled.end_us)
    device = prepare_device("cpu", int(run.record.get("threads") or 0))
    part = np.full(len(rows), PART, dtype=object)
    predictions = predict_windows(model, table, rows, part, device).in_time_order()
    return LaterWindows(options.data, sha256, table, predictions, reasons, leak_proof)


def _labelled_rows(table: WindowTable, model: ModelFile, path: Path) -> np.ndarray:
    """Return the rows with a label, each a class of the model."""
    rows = np.flatnonzero([name is not None for name in table.label])
    if not len(rows):
        raise InvalidData(
            f"windows to evaluate on must have labels, but none of {len(table)} has one ({path}, label). Label them."
        )
    strange = [row for row in rows.tolist() if table.label[row] not in model.class_names]
    if strange:
        raise InvalidData(
            f"every label must be a class of the model ({', '.join(model.class_names)}), but {len(strange)} of "
            f"{len(rows)} are not, first {table.label[strange[0]]!r} ({path}, label, row {strange[0]}). Leave these "
            "windows out, or train on their class."
        )
    if len(rows) < len(table):
        log.info("%d of %d windows have no label and are left out.", len(table) - len(rows), len(table))
    return rows


def _leaks(
    run: run_store.Run, model: ModelFile, labelled: WindowTable, rows: np.ndarray, path: Path, sha256: str
) -> tuple[list[Problem], bool | None]:
    """Find windows that begin before all that the model and its encoder learned from was over.

    That is the rule of forward chaining with the purge of one window less one bar: no bar on both sides, none before.
    """
    leaks, is_known = [], True
    for what, record in (("the model's labels", model.training), ("its encoder's bars", _encoder_record(run, model))):
        if record == {}:
            continue
        until_us, all_known = (None, False) if record is None else learned_until_us(record)
        # One of several encoders without times leaves open what the others do not show.
        is_known &= all_known
        if until_us is None or labelled.start_us is None:
            is_known = False
            continue
        early = labelled.start_us < until_us
        if early.any():
            rule = f"a window must begin when {what} were over ({utc_text(until_us)})"
            first = int(early.argmax())
            found = f"begins {utc_text(labelled.start_us[first])}"
            leaks.append(Problem(rule, int(early.sum()), int(rows[first]), found))
    if not leaks and not is_known:
        if sha256 == model.training.get("data_sha256"):
            rule = "a window must not be of the file that the model was trained on"
            return [Problem(rule, len(rows), int(rows[0]))], False
        log.warning(
            "The windows of %s or what the model learned from have no times: that the windows came later could not be "
            "checked.",
            path,
        )
        return [], None
    return leaks, not leaks


def _encoder_record(run: run_store.Run, model: ModelFile) -> dict[str, Any] | None:
    """Return the times of the encoder's pretraining; empty where there is no encoder, None where they are not known."""
    sha256 = model.training.get("encoder_sha256")
    if sha256 is None:
        return {}
    known = {theirs: model.training[mine] for mine, theirs in ENCODER_RECORD.items() if mine in model.training}
    if "time_range" in known or "also_learned" in known:
        return known
    # Models of before this was in their record: the encoder file, where it still is the one.
    named = recorded_encoders(run.read(run_store.CONFIG).get("pretrained_encoder"))
    try:
        if named is not None and is_as_it_was(named, sha256):
            return read_encoder(named).pretraining
    except UntrustedFile:
        log.warning("The encoder %s cannot be read: whether it saw these windows is not known.", named)
    return None
