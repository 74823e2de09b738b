"""The one way to a fit: rows, options and a seed in; a model, its predictions and its facts out, kept where asked.

Every command that trains goes through here: `read_job` or `job_of_rows` checks what a fit needs, `fit_job` fits it, and
`KeptFit` keeps what it predicted in a folder, under a digest of all that decided it.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import torch

from moola.core.splits import Split
from moola.errors import UntrustedFile, WrongUsage
from moola.files import json_bytes, read_json, sha256_file, write_atomic
from moola.fit.fitting import Fitted, fit_on_inputs
from moola.fit.inputs import FitInputs, Job, fit_inputs_of, gather, resolve_options
from moola.fit.presence_inputs import check_presence_options, with_presence
from moola.fit.processes import OnFit, run_jobs
from moola.models.model_files import ModelFile, encoder_sha256, read_encoder
from moola.options.option_fields import ManyFits
from moola.options.training_options import TrainOptions
from moola.provenance.learned_times import with_window_bars
from moola.tables.prediction_table import Predictions, read_predictions, write_predictions
from moola.tables.window_file import WindowTable
from moola.training.device import prepare_device
from moola.training.loop import OnEpoch

LENGTHS = "length_weight"
ADVICE = "Run the command again."


def read_fit_inputs(
    options: TrainOptions, among: Callable[[FitInputs], Split] | None = None, judged_elsewhere: bool = False
) -> FitInputs:
    """Read data, split and encoder of a fit, and check them against each other; `read_job` says more.

    References, which no option concerns, need no more than this.
    """
    inputs = gather(with_window_bars(options), judged_elsewhere)
    return inputs if among is None else replace(inputs, split=among(inputs))


def read_job(
    options: TrainOptions, among: Callable[[FitInputs], Split] | None = None, judged_elsewhere: bool = False
) -> Job:
    """Read what a fit needs, and fill in what its options leave open.

    Parameters
    ----------
    among
        The rows to take instead of the whole split; their choice may depend on what was read.
    judged_elsewhere
        Windows outside the split evaluate the model: it may take every part of it, and an encoder that saw val
        windows is no leak.

    Raises
    ------
    WrongUsage
        The model is to be retrained on val rows, and no test rows would be left to evaluate it.
    InvalidData
        Files that do not go together, or rows that cannot be trained on.
    """
    device = prepare_device(options.device, options.threads)
    options = with_window_bars(options)
    job = _job(options, read_fit_inputs(options, among, judged_elsewhere), device)
    if job.options.refit and not len(job.inputs.split.test) and not judged_elsewhere:
        raise WrongUsage(
            f"--refit must leave a test part to evaluate the model that it keeps, but {options.split} has 0 test "
            f"windows. "
            "Leave --refit out, or cut a test part with `moola split --test`."
        )
    return job


def job_of_rows(options: TrainOptions, table: WindowTable, split: Split) -> Job:
    """Return the fit of a table in memory: nothing but the encoder is read."""
    device = prepare_device(options.device, options.threads)
    named = options.pretrained_encoder
    encoder = None if named is None else read_encoder(named)
    hashes = {"data_sha256": None, "split_sha256": None, "encoder_sha256": encoder_sha256(named)}
    proved = True if table.start_us is not None else None
    rows = table.with_features()
    return _job(options, fit_inputs_of(rows, split, "in memory", encoder, hashes, proved, options.data), device)


def _job(options: TrainOptions, inputs: FitInputs, device: torch.device) -> Job:
    options = resolve_options(options, inputs.table, inputs.split, inputs.encoder)
    check_presence_options(options)
    return Job(options, inputs, device)


def no_progress(_row: dict[str, Any]) -> None:
    """Take an epoch's row and show nothing."""


def fit_job(
    job: Job, on_epoch: OnEpoch = no_progress, checkpoint: Path | None = None, deciding: dict[str, Any] | None = None
) -> Fitted:
    """Fit heads (and the encoder where it learns), and presence where there are spans.

    `checkpoint` keeps finished epochs, and `deciding` is what a resumed one must have been written with.
    """
    fitted = fit_on_inputs(job, on_epoch, checkpoint, deciding or {})
    if job.options.spans is None:
        return fitted
    return replace(fitted, model=with_presence(job, fitted.model))


# Fits that are kept as files, so that a grid of them continues after a kill.


def is_kept(record: Path, file: Path, digest: str) -> bool:
    """Return whether a file is there and unaltered, and its record of this digest."""
    if not (record.is_file() and file.is_file()):
        return False
    recorded = read_json(record, "the record of a fit", ADVICE)
    return recorded.get("digest") == digest and recorded.get("sha256") == sha256_file(file)


def keep_record(record: Path, file: Path, digest: str, content: dict[str, Any]) -> None:
    """Write the record of a finished file, with its hash; written last, it says that the file is whole."""
    write_atomic(record, json_bytes({"digest": digest, "sha256": sha256_file(file), **content}))


@dataclass(frozen=True)
class KeptFit(ABC):
    """Where the files of one fit of a grid are.

    Attributes
    ----------
    folder
        The grid's; its files lie in `fits` under the fit's name.
    digest
        Of data, options and version: all that decides the fit. Not needed to read a finished one.
    """

    folder: Path
    digest: str = field(default="", kw_only=True)

    @property
    @abstractmethod
    def name(self) -> str:
        """Name of its files."""

    @property
    def predictions(self) -> Path:
        """What the model predicted of windows that evaluate it."""
        return self.folder / "fits" / f"{self.name}.parquet"

    @property
    def record(self) -> Path:
        """What else the fit came to, written last."""
        return self.folder / "fits" / f"{self.name}.json"

    @property
    def done(self) -> bool:
        """Return whether the fit is over, of this digest, and its predictions unaltered."""
        # A record of before it said how curves are decoded is of a fit that is done again.
        return is_kept(self.record, self.predictions, self.digest) and LENGTHS in self.read_record()

    def keep(self, predictions: Predictions, model: ModelFile | None, content: dict[str, Any]) -> None:
        """Write what a model (None: a reference) predicted, and then the record."""
        write_predictions(self.predictions, predictions)
        lengths = None if model is None or model.length_weight is None else model.length_weight.tolist()
        keep_record(self.record, self.predictions, self.digest, content | {LENGTHS: lengths})

    def read_record(self) -> dict[str, Any]:
        """Read the record alone."""
        return read_json(self.record, "the record of a fit", ADVICE)

    def read(self) -> tuple[Predictions, dict[str, Any]]:
        """Return the predictions, decoded as the model does, and the record.

        Raises
        ------
        UntrustedFile
            The predictions are not those that the record is of.
        """
        record = self.read_record()
        # Records of before had no hash of it.
        if record.get("sha256", found := sha256_file(self.predictions)) != found:
            raise UntrustedFile(
                f"predictions of a fit must be as the fit left them, but {self.predictions} differs from its SHA-256 "
                f"in the record. {ADVICE}"
            )
        return read_predictions(self.predictions).decoded_with(record.get(LENGTHS)), record


class Kept(Protocol):
    """Work of a grid that is kept."""

    @property
    def done(self) -> bool:
        """Return whether it need not be done again."""


def run_missing(
    work: Callable[..., str], jobs: Sequence[Kept], options: ManyFits, on_fit: OnFit, shared: tuple[Any, ...] = ()
) -> int:
    """Call `work(*shared, job)` for every job that is not done, several at a time; return how many were done before."""
    missing = [job for job in jobs if not job.done]
    n_done = len(jobs) - len(missing)
    run_jobs(work, [(*shared, job) for job in missing], options.processes, on_fit, n_done, options.engine)
    return n_done


@contextmanager
def quiet(level: int) -> Iterator[None]:
    """Leave out what fits inside report below a level of logging: those of controls, and hundreds of trials."""
    family = logging.getLogger("moola")
    before = family.level
    family.setLevel(level)
    try:
        yield
    finally:
        family.setLevel(before)
