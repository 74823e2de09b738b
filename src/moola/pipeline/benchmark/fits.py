"""One fit of a benchmark: a model, a draw and a seed; its predictions and its record are files of their own.

The record is written last and names all that decided the fit by a digest, so that an interrupted benchmark goes on
with what is missing, and a changed option or file is fitted anew.
"""

from __future__ import annotations

import contextlib
import logging
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from moola import __version__
from moola.config.benchmark_options import BenchmarkOptions
from moola.config.predict_options import PredictOptions
from moola.config.train_options import TrainOptions
from moola.data.contracts.prediction_table import Predictions, read_predictions, write_predictions
from moola.data.contracts.window_file import read_windows
from moola.files import json_bytes, read_json, sha256_file, write_atomic
from moola.models.files import read_encoder, read_model
from moola.models.peers import PEERS
from moola.models.references import LEARNERS
from moola.models.sealed import digest
from moola.pipeline.benchmark.arms import Arm
from moola.pipeline.benchmark.draws import Draw
from moola.pipeline.benchmark.encoders import EncoderJob, SeenBars, deciding, with_bars
from moola.pipeline.benchmark.figures import figures_of
from moola.pipeline.fit.material import gather
from moola.pipeline.predicting import predict
from moola.pipeline.references import class_numbers, with_common_pointers
from moola.pipeline.seen import seen_among
from moola.pipeline.training import train
from moola.runs import store, tracking
from moola.training.device import prepare_device
from moola.training.epoch_lines import epoch_lines

ADVICE = "Run the benchmark anew."
LENGTHS = "length_weight"
PART = "new"


@dataclass(frozen=True)
class FitJob:
    """What one fit is of, and where its files are; `options` is None for references and peers."""

    folder: Path
    model: str
    draw: Draw
    seed: int
    window_bars: int
    options: TrainOptions | None
    digest: str

    @property
    def name(self) -> str:
        """Name of its files: model, draw, seed, and what decided it."""
        return f"{self.model}-d{self.draw.number}-s{self.seed}-{self.digest[:8]}"

    @property
    def predictions(self) -> Path:
        """Predictions of the judged windows."""
        return self.folder / "fits" / f"{self.name}.parquet"

    @property
    def record(self) -> Path:
        """Figures and times, written last."""
        return self.folder / "fits" / f"{self.name}.json"

    @property
    def done(self) -> bool:
        """Tell whether the fit is over, of this very digest, and its predictions unaltered.

        A network's fit of before its record said how its curves are decoded is fitted anew.
        """
        if not (self.record.is_file() and self.predictions.is_file()):
            return False
        said = read_fit(self)
        tells_lengths = self.options is None or LENGTHS in said
        return (
            tells_lengths and said.get("digest") == self.digest and said.get("sha256") == sha256_file(self.predictions)
        )


def network_job(
    options: BenchmarkOptions, arm: Arm, draw: Draw, seed: int, encoder: EncoderJob | None, seen: SeenBars | None
) -> FitJob:
    """Return the fit of an arm. An encoder that is still to be pretrained counts by its digest."""
    given: dict[str, Any] = {"device": options.device, **with_bars(arm.train, seen)}
    if encoder is not None:
        given["pretrained_encoder"] = encoder.options.output
    # A fit runs in a folder of its own.
    given = {key: value.absolute() if isinstance(value, Path) else value for key, value in given.items()}
    settings = TrainOptions(
        data=draw.data.absolute(),
        split=draw.split.absolute(),
        window_bars=options.window_bars,
        threads=1,
        seed=seed,
        **given,
    )
    # Data and split count by their content, not by the path that the split's record may name.
    known = {"model": "network", **_decided(draw), "encoder": encoder.digest if encoder is not None else ""}
    without = ("data", "split", "resume", "save_run", *(["pretrained_encoder"] if encoder is not None else []))
    key = digest(known | {f"train.{name}": text for name, text in deciding(settings, without).items()})
    return FitJob(options.output, arm.name, draw, seed, options.window_bars, settings, key)


def reference_job(options: BenchmarkOptions, name: str, draw: Draw, seed: int) -> FitJob:
    """Return the fit of a cheap reference or a peer."""
    key = digest({"model": name, "seed": seed, **_decided(draw)})
    return FitJob(options.output, name, draw, seed, options.window_bars, None, key)


def _decided(draw: Draw) -> dict[str, Any]:
    return {"version": __version__, **draw.hashes}


def run_fit(job: FitJob) -> str:
    """Do one fit, judge it and write its files; returns its name."""
    with threadpool_limits(1):
        done = _fit_reference(job) if job.options is None else _fit_network(job, job.options)
    write_predictions(job.predictions, done.predictions)
    record = {
        "digest": job.digest,
        "sha256": sha256_file(job.predictions),
        "model": job.model,
        "draw": job.draw.number,
        "seed": job.seed,
        "n_train": job.draw.n_train,
        "n_judged": job.draw.n_judged,
        "fit_s": done.fit_s,
        "predict_s": done.predict_s,
        "figures": figures_of(done.predictions),
        **done.told,
    }
    write_atomic(job.record, json_bytes(record))
    return job.name


@dataclass(frozen=True)
class _Done:
    predictions: Predictions
    fit_s: float
    predict_s: float
    told: Mapping[str, Any]


def _fit_reference(job: FitJob) -> _Done:
    """Learn from every window of the draw, in time order: there is no epoch to choose, so val rows are train rows."""
    prepare_device("cpu", 1)
    mine, judged = (read_windows(path, job.window_bars).with_features() for path in (job.draw.data, job.draw.judged))
    assert mine.start_us is not None
    mine = mine.take(np.argsort(mine.start_us, kind="stable"))
    assert mine.features is not None
    assert judged.features is not None
    begun = time.monotonic()
    predictor = {**LEARNERS, **PEERS}[job.model](mine.features, class_numbers(mine, mine.classes), job.seed)
    fitted = time.monotonic()
    prob = predictor(judged.features)
    ended = time.monotonic()
    rows = np.arange(len(judged))
    part = np.full(len(rows), PART, dtype=object)
    predictions = with_common_pointers(prob, mine, judged, mine.classes, rows, part)
    return _Done(predictions, fitted - begun, ended - fitted, {"leaks": []})


def _fit_network(job: FitJob, options: TrainOptions) -> _Done:
    """Train as `moola train` does, in a folder of its own, and let the model file predict as `moola predict` does."""
    judged = job.draw.judged.absolute()
    with (
        tempfile.TemporaryDirectory(prefix="moola-fit-") as place,
        contextlib.chdir(place),
        tracking.paused(),
        _own_leak_rule(),
    ):
        begun = time.monotonic()
        run = train(options, epoch_lines(f"fit {job.name}"), judged_elsewhere=True)
        fitted = time.monotonic()
        asked = PredictOptions(
            model=Path(run["run"]) / store.MODEL,
            data=judged,
            output=Path(store.PREDICTIONS),
            window_bars=options.window_bars,
            device=options.device,
            threads=1,
        )
        predict(asked)
        ended = time.monotonic()
        predictions, lengths = read_predictions(asked.output), read_model(asked.model).length_weight
    told = {
        LENGTHS: None if lengths is None else lengths.tolist(),
        "leaks": _seen_by(options, predictions),
        "epochs_run": run["epochs_run"],
        "best_epoch": run["best_epoch"],
        "device": run["device"],
    }
    return _Done(predictions, fitted - begun, ended - fitted, told)


@contextlib.contextmanager
def _own_leak_rule() -> Iterator[None]:
    """Leave out what `train` warns of an encoder that saw val windows: here it may, and the page says so.

    What counts here is whether it saw judged windows, which `train` does not know of.
    """
    speaker = logging.getLogger(gather.__module__)

    def other(record: logging.LogRecord) -> bool:
        return not record.getMessage().startswith("Not leak-proof: the encoder")

    speaker.addFilter(other)
    try:
        yield
    finally:
        speaker.removeFilter(other)


def _seen_by(options: TrainOptions, judged: Predictions) -> list[str]:
    """Say when the encoder saw times of judged windows. Those of train and val it may see, they have no label there."""
    if options.pretrained_encoder is None or judged.start_us is None:
        return []
    encoder = read_encoder(options.pretrained_encoder)
    seen = seen_among(encoder.pretraining, judged.start_us, judged.close_us(encoder.window_bars))
    if seen is None:
        return ["the encoder does not say which times it was pretrained on"]
    if not seen.any():
        return []
    return [f"the encoder was pretrained on times that {int(seen.sum())} of {len(judged)} judged windows lie in"]


def read_fit(job: FitJob) -> dict[str, Any]:
    """Return the record of a finished fit."""
    return read_json(job.record, "the record of a fit", ADVICE)


def read_fit_predictions(job: FitJob) -> Predictions:
    """Return what a finished fit predicted, with what its curves are decoded by."""
    return read_predictions(job.predictions).decoded_with(read_fit(job).get(LENGTHS))
