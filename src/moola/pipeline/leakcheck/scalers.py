"""A run's scaler: refitted on the rows that it may know, and compared with the one in the model file."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from moola.core.scaling import RobustScaler
from moola.files import sha256_file
from moola.models.files import read_encoder, read_model
from moola.pipeline.leakcheck.findings import Finding
from moola.pipeline.leakcheck.subject import Subject
from moola.runs import store

WHAT = "scaler"
ADVICE = "Train the run anew: its scaler must be fitted on train rows alone."
# Features of a relative file may be rounded as far as `stored features` lets them.
ROUNDING = 1e-6


def scaler(subject: Subject) -> list[Finding]:
    """Compare the scaler of the run's model with that of its encoder, or without one with a fit on train rows."""
    if subject.run is None:
        return [Finding(WHAT, "note", "no --run whose scaler could be compared")]
    model = read_model(subject.run.path(store.MODEL))
    known, of = _expected(subject, subject.run, model.visible_bars)
    if known is not None and _same(model.scaler, known):
        return [Finding(WHAT, "ok", f"the model's scaler is {of}")]
    split = subject.split
    wider = {
        "all rows": np.arange(len(subject.table)),
        "train, val and test rows": np.concatenate([split.train, split.val, split.test]),
        "train and val rows": np.concatenate([split.train, split.val]),
    }
    for name, rows in wider.items():
        if _same(model.scaler, _fit(subject, rows, model.visible_bars)):
            return [Finding(WHAT, "leak", f"the model's scaler is that of {name}, not {of}", ADVICE)]
    if known is None:
        return [Finding(WHAT, "note", f"the model's scaler cannot be compared: {of}", "Put the file back to check it.")]
    off = np.abs(model.scaler.center - known.center) / known.scale
    found = f"the model's scaler is not {of}: its centres are off by up to {off.max():.2g} of a feature's spread"
    return [Finding(WHAT, "leak", found, ADVICE)]


def _expected(subject: Subject, run: store.Run, visible_bars: int | None) -> tuple[RobustScaler | None, str]:
    """Return the scaler that training takes, and its name; None where the encoder's file is not there."""
    expected = (run.manifest or {}).get("encoder_sha256")
    if expected is None:
        return _fit(subject, subject.split.train, visible_bars), "that of the train rows"
    path = Path(str(run.read(store.CONFIG).get("pretrained_encoder")))
    if not path.is_file() or sha256_file(path) != expected:
        return None, f"the encoder that it comes from is not at {path} as it was"
    return read_encoder(path).scaler, "that of the encoder it started from"


def _fit(subject: Subject, rows: np.ndarray, visible_bars: int | None) -> RobustScaler:
    return RobustScaler.fit(subject.features[rows][:, :visible_bars])


def _same(one: RobustScaler, other: RobustScaler) -> bool:
    near = np.abs(one.center - other.center) <= ROUNDING * other.scale
    return bool(near.all() and np.allclose(one.scale, other.scale, rtol=ROUNDING))
