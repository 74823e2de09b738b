"""One fit of a benchmark, kept as files of its own, and its figures over draws."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from moola import __version__
from moola.core.expansions import ENDS
from moola.evaluation import class_metrics, pointer_metrics
from moola.evaluation.class_metrics import Metric
from moola.evaluation.event_figures import ECE as EVENT_ECE
from moola.evaluation.pointer_metrics import HIT_BARS
from moola.fit.jobs import KeptFit, fit_job, read_job
from moola.fit.predicting import predict_new
from moola.fit.reference_fits import class_numbers, with_common_pointers
from moola.models.model_files import ModelFile, each_encoder, encoder_sha256, read_encoder
from moola.models.references import LEARNERS, PEERS
from moola.models.sealed import digest
from moola.options.study_options import BenchmarkOptions
from moola.options.table_options import SPAN_TABLE
from moola.options.training_options import TrainOptions
from moola.provenance.learned_times import seen_among
from moola.stages.benchmark_draws import Draw
from moola.stages.benchmark_networks import Arm, EncoderJob, SeenBars, deciding, with_bars
from moola.tables.prediction_table import Predictions
from moola.tables.window_file import read_windows
from moola.training.device import prepare_device
from moola.training.loop import epoch_lines

# Figures of a benchmark: of one fit, their mean and spread over draws, and paired differences draw by draw.


CLASS_FIGURES: dict[str, Metric] = {
    "pr_auc": class_metrics.pr_auc,
    "brier": class_metrics.brier,
    "ece": class_metrics.ece,
    "accuracy": class_metrics.accuracy,
    "log_loss": class_metrics.log_loss,
}
POINTER_FIGURES: dict[str, Metric] = {
    f"hit_at_pm{HIT_BARS}_{which}": pointer_metrics.hit_at(HIT_BARS, which) for which in (*ENDS, "both")
}
FIGURES = (*CLASS_FIGURES, *POINTER_FIGURES)
LOWER_IS_BETTER = ("brier", "ece", "log_loss", EVENT_ECE)


def figures_of(predictions: Predictions) -> dict[str, Any]:
    """Return every figure of evaluated windows, None where it does not exist, and PR-AUC of each class.

    Windows without a label count for no class figure, windows without pointers for no pointer figure; a model that
    points nowhere has no pointer figures.
    """
    labelled = predictions.take(np.flatnonzero(predictions.class_index >= 0))
    figures: dict[str, Any] = {name: _value(metric, labelled) for name, metric in CLASS_FIGURES.items()}
    points = predictions.predicts_pointers
    figures |= {name: _value(metric, predictions) if points else None for name, metric in POINTER_FIGURES.items()}
    by_class = {name: _value(class_metrics.pr_auc_of(name), labelled) for name in predictions.class_names}
    return figures | {"pr_auc_by_class": by_class}


def _value(metric: Metric, predictions: Predictions) -> float | None:
    if not len(predictions):
        return None
    value = float(metric(predictions, np.ones((1, len(predictions))))[0])
    return None if np.isnan(value) else value


def of_class(figures: Mapping[str, Any], positive: str | None) -> dict[str, float | None]:
    """Return the figures with PR-AUC of one class; of the mean over classes without one."""
    chosen = figures["pr_auc"] if positive is None else figures["pr_auc_by_class"].get(positive)
    return {name: chosen if name == "pr_auc" else figures[name] for name in FIGURES}


def mean_over_seeds(
    rows: Sequence[Mapping[str, float | None]], names: Sequence[str] = FIGURES
) -> dict[str, float | None]:
    """Return the mean of each figure over fits of one draw; None where no fit has it."""
    return {name: _mean([row[name] for row in rows]) for name in names}


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def spread(values: Sequence[float | None]) -> dict[str, float | None]:
    """Return the mean over draws and the standard deviation of a sample (n - 1); None where there are too few."""
    known = [value for value in values if value is not None]
    return {"mean": _mean(values), "std": float(np.std(known, ddof=1)) if len(known) > 1 else None}


def paired(
    one: Mapping[int, Mapping[str, float | None]],
    other: Mapping[int, Mapping[str, float | None]],
    names: Sequence[str] = FIGURES,
) -> dict[str, dict[str, Any]]:
    """Compare two models draw by draw: figures of each by draw in, `one` less `other` out.

    Returns
    -------
    dict
        For each figure the mean difference and its standard deviation over draws, the difference by draw, and in how
        many of how many draws `one` is better (lower in Brier, ECE and log-loss; equal is not better).
    """
    found = {}
    for name in names:
        by_draw = {
            number: mine - theirs
            for number in sorted(set(one) & set(other))
            if (mine := one[number][name]) is not None and (theirs := other[number][name]) is not None
        }
        sign = -1 if name in LOWER_IS_BETTER else 1
        found[name] = {
            **spread(list(by_draw.values())),
            "better": sum(sign * value > 0 for value in by_draw.values()),
            "n_draws": len(by_draw),
            "by_draw": {str(number): value for number, value in by_draw.items()},
        }
    return found


PART = "new"


@dataclass(frozen=True)
class FitJob(KeptFit):
    """What one fit is of, and where its files are; `options` is None for references and peers."""

    model: str
    draw: Draw
    seed: int
    window_bars: int
    options: TrainOptions | None

    @property
    def name(self) -> str:
        """Name of its files: model, draw, seed, and what decided it."""
        return f"{self.model}-d{self.draw.number}-s{self.seed}-{self.digest[:8]}"


def network_job(
    options: BenchmarkOptions, arm: Arm, draw: Draw, seed: int, encoder: EncoderJob | None, seen: SeenBars | None
) -> FitJob:
    """Return the fit of an arm. An encoder that is still to be pretrained counts by its digest."""
    given: dict[str, Any] = {"device": options.device, **with_bars(arm.train, seen)}
    named = each_encoder(given.get("pretrained_encoder"))
    beside = encoder_sha256(named) if encoder is not None else None
    if encoder is not None:
        named += (encoder.options.output,)
    if named:
        given["pretrained_encoder"] = named if len(named) > 1 else named[0]
    # A grid on many draws reads few windows twice; what its processes have in common they keep in memory.
    given.setdefault("cache", False)
    settings = TrainOptions(
        data=draw.data,
        split=draw.split,
        window_bars=options.window_bars,
        threads=1,
        save_run=False,
        seed=seed,
        **given,
    )
    # Data and split count by their content, not by the path that the split's record may name.
    known = {"model": "network", **_decided(draw), "encoder": encoder.digest if encoder is not None else ""}
    if beside is not None:
        known["beside"] = beside
    without = ("data", "split", "resume", "save_run", "cache", *SPAN_TABLE)
    without += ("pretrained_encoder",) if encoder is not None else ()
    key = digest(known | {f"train.{name}": text for name, text in deciding(settings, without).items()})
    return FitJob(options.output, arm.name, draw, seed, options.window_bars, settings, digest=key)


def reference_job(options: BenchmarkOptions, name: str, draw: Draw, seed: int) -> FitJob:
    """Return the fit of a cheap reference or a peer."""
    key = digest({"model": name, "seed": seed, **_decided(draw)})
    return FitJob(options.output, name, draw, seed, options.window_bars, None, digest=key)


def _decided(draw: Draw) -> dict[str, Any]:
    return {"version": __version__, **draw.hashes}


def run_fit(job: FitJob) -> str:
    """Do one fit, evaluate it and write its files; returns its name."""
    with threadpool_limits(1):
        done = _fit_reference(job) if job.options is None else _fit_network(job, job.options)
    record = {
        "model": job.model,
        "draw": job.draw.number,
        "seed": job.seed,
        "n_train": job.draw.n_train,
        "n_judged": job.draw.n_judged,
        "fit_s": done.fit_s,
        "predict_s": done.predict_s,
        "figures": figures_of(done.predictions),
        **done.details,
    }
    job.keep(done.predictions, done.model, record)
    return job.name


@dataclass(frozen=True)
class _Done:
    model: ModelFile | None
    predictions: Predictions
    fit_s: float
    predict_s: float
    details: Mapping[str, Any]


def _fit_reference(job: FitJob) -> _Done:
    """Learn from every window of the draw, in time order: there is no epoch to choose, so val rows are train rows."""
    prepare_device("cpu", 1)
    mine, judged = (read_windows(path, job.window_bars) for path in (job.draw.data, job.draw.judged))
    mine = mine.take(np.argsort(mine.times_us[0], kind="stable"))
    known, read = mine.all_features, judged.all_features
    begun = time.monotonic()
    predictor = {**LEARNERS, **PEERS}[job.model](known, class_numbers(mine, mine.classes), job.seed)
    fitted = time.monotonic()
    prob = predictor(read)
    ended = time.monotonic()
    rows = np.arange(len(judged))
    part = np.full(len(rows), PART, dtype=object)
    predictions = with_common_pointers(prob, mine, judged, mine.classes, rows, part)
    return _Done(None, predictions, fitted - begun, ended - fitted, {"leaks": []})


def _fit_network(job: FitJob, options: TrainOptions) -> _Done:
    """Fit as `moola train` does, and predict as `moola predict` does."""
    begun = time.monotonic()
    fit = read_job(options, judged_elsewhere=True)
    done = fit_job(fit, epoch_lines(f"fit {job.name}"))
    fitted = time.monotonic()
    predictions, _ = predict_new(done.model, read_windows(job.draw.judged, options.window_bars), fit.device)
    ended = time.monotonic()
    details = {
        "leaks": _seen_by(options, predictions),
        "epochs_run": done.state.epoch,
        "best_epoch": done.state.best_epoch,
        "device": fit.device.type,
    }
    return _Done(done.model, predictions, fitted - begun, ended - fitted, details)


def _seen_by(options: TrainOptions, judged: Predictions) -> list[str]:
    """State when the encoder saw times of evaluated windows; it may see those of train and val, without labels."""
    if options.pretrained_encoder is None or judged.start_us is None:
        return []
    encoder = read_encoder(options.pretrained_encoder)
    seen = seen_among(encoder.pretraining, judged.start_us, judged.close_us(encoder.window_bars))
    if seen is None:
        return ["the encoder does not record which times it was pretrained on"]
    if not seen.any():
        return []
    return [f"the encoder was pretrained on times of {int(seen.sum())} of {len(judged)} evaluated windows"]
