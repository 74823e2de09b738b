"""`cv --spans`: folds of annotated stretches in time; every later block is scanned by a model of what came before it.

The first share of the spans only teaches; the rest is cut into blocks of time with as many spans each. A fold learns
from spans, stretches and bars that end one window before its block begins (purged), and its model is scanned over the
block, with the bars beside it that windows reach. Events of all blocks are evaluated together, as by `eval --events`.
"""

from __future__ import annotations

import itertools
import logging
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from moola.augment.transforms import class_swaps
from moola.core.bars import Bars, bar_lengths_us, utc_text
from moola.core.spans import Spans, place_spans, window_bars_for
from moola.core.windows import WINDOW_BARS
from moola.errors import InvalidData, WrongUsage
from moola.evaluation.event_figures import AP_CLASS, event_metric_table
from moola.files import sha256_file
from moola.fit.jobs import fit_job, quiet, read_job
from moola.fit.presence import LEAST_SPANS
from moola.fit.processes import OnFit
from moola.models.model_files import ModelFile, read_encoder, read_model, write_model
from moola.models.sealed import digest
from moola.options.judging_options import EvalOptions
from moola.options.option_fields import refuse_out_of_range
from moola.options.option_sources import option_sources
from moola.options.scan_options import ScanOptions
from moola.options.study_options import CV_ROOT, CvOptions
from moola.options.table_options import SpanReading, SplitOptions, WindowsOptions, asked_reading
from moola.options.training_options import TrainOptions
from moola.provenance.learned_times import seen_among
from moola.runs import run_store
from moola.scan.scanning import Scan
from moola.stages import judge_events, make_tables
from moola.tables.bar_table import read_bars
from moola.tables.frames import write_frame
from moola.tables.span_file import (
    Stretches,
    bars_looked_at,
    bars_of,
    read_spans,
    read_stretches,
    spans_on_bars,
    write_spans,
    write_stretches,
)
from moola.tables.split_file import read_split

log = logging.getLogger(__name__)
# Bars beside a block that its events look at.
CONTEXT_BARS = 500
EVENTS, STRETCHES, SPANS, MODEL_OF_FOLD = "events.parquet", "stretches.csv", "spans.csv", "model.pkl"
SHOWN = ("ap_iou30_class", AP_CLASS, "ap_iou70_class", "recall_at_1_per_1000_class", "recall", "event_ece")
IN_FOLD = ("pretrained_encoder", "freeze_encoder", "head", "mirror_classes", "epochs", "device", "seed", "window_bars")


@dataclass(frozen=True)
class Chart:
    """Bars, the spans that they meet, and which bars each person looked at; the empty name is everybody's."""

    bars: Bars
    spans: Spans
    rows: np.ndarray
    looked: dict[str, np.ndarray]

    @property
    def window_bars(self) -> int:
        """Bars of a window that suit the spans."""
        return window_bars_for(self.rows[:, 1] - self.rows[:, 0] + 1)


@dataclass(frozen=True)
class Fold:
    """A block of time `[first_us, stop_us)` that is evaluated, and from when to when a model learns."""

    number: int
    learned_to_us: int
    first_us: int
    stop_us: int
    learned_from_us: int = 0


def cross_validate_events(options: CvOptions, on_fit: OnFit) -> dict[str, Any]:
    """Scan every later block by a model of what came before, pool the events and evaluate them.

    Raises
    ------
    WrongUsage
        Files are missing, or options that need windows are given.
    InvalidData
        Too few spans lie in the stretches for so many folds.
    """
    started = time.monotonic()
    _check(options)
    chart = read_chart(options)
    folds = list(_folds(options, chart))
    leaks = encoder_leaks(options, chart, folds[0])
    for leak in leaks:
        log.warning("Not leak-proof: %s.", leak)
    deciding = {name: str(getattr(options, name)) for name in (*IN_FOLD, "folds", "initial_fraction")}
    deciding |= asked_reading(options)
    files = {name: sha256_file(getattr(options, name)) for name in ("spans", "stretches", "bars")}
    key = digest(deciding | files)
    config = {name: str(value) if isinstance(value, Path) else value for name, value in asdict(options).items()}
    config |= {"digest": key, "option_sources": option_sources(CvOptions)}
    new_id = run_store.new_run_id("cv_events", options.seed, key)
    with run_store.opened(CV_ROOT, "cv", new_id, config, options.resume) as run:
        for done, fold in enumerate(folds, start=1):
            if not (_folder(run, fold) / EVENTS).is_file():
                learn_block(options, chart, fold, _folder(run, fold))
                scan_block(options, chart, fold, _folder(run, fold))
            on_fit(done, len(folds), f"fold {fold.number}")
        metrics = _evaluated(options, chart, folds, run) | {"leaks": leaks}
        run_store.write_run_json(run, run_store.METRICS, metrics)
        record = {
            "model": "presence",
            "judged": "events",
            "n_folds": len(folds),
            "seed": options.seed,
            **{f"{name}_sha256": value for name, value in files.items()},
            "seconds": time.monotonic() - started,
        }
        run_store.finish_run(run, record)
    return record | {"cv_id": run.run_id, "cv": str(run.folder), **metrics}


def _check(options: CvOptions) -> None:
    refuse_out_of_range(options)
    missing = [f"--{name}" for name in ("bars", "stretches", "pretrained_encoder") if getattr(options, name) is None]
    if missing:
        first = missing[0].replace("_", "-")
        raise WrongUsage(
            f"cv --spans must come with --bars, --stretches and --pretrained-encoder, but {first} is not given. "
            "Without stretches nobody knows which events are false; presence needs a frozen encoder."
        )
    if options.data is not None or options.scheme != "expanding" or options.model != "enhanced_simple_lstm":
        raise WrongUsage(
            "cv --spans must go without --data, with the network and with expanding folds, but another was asked for. "
            "Leave --data, --model and --scheme out."
        )


def read_chart(options: CvOptions) -> Chart:
    """Read bars, spans and stretches; spans that lie outside the stretches are left out."""
    assert options.bars is not None
    assert options.spans is not None
    assert options.stretches is not None
    reading = SpanReading.of_options(options)
    bars = read_bars(options.bars)
    spans = read_spans(options.spans, reading, bars)
    # A block may lack a class that a swap names; the file must not.
    class_swaps(sorted(set(spans.label.tolist())), options.mirror_classes)
    bars = bars_of(spans, bars)
    spans, _ = spans_on_bars(spans, bars, options.spans, options.drop_outside)
    placed = place_spans(spans, bars)
    stretches = read_stretches(options.stretches, reading, bars)
    looked = {name: bars_looked_at(stretches.take(stretches.annotator == name), bars) for name in
              ("", *stretches.annotators)}  # fmt: skip
    rows = np.stack([placed.first, placed.last], axis=1)
    whole = np.zeros(len(rows), dtype=bool)
    for name in spans.annotators:
        own = spans.annotator == name
        whole[own] = bars_looked_at(stretches, bars, name)[rows[own]].all(axis=1)
    kept = np.flatnonzero(whole)
    return Chart(bars, spans.take(kept), rows[kept], looked)


def _folds(options: CvOptions, chart: Chart) -> Iterator[Fold]:
    first_us = np.sort(chart.bars.start_us[chart.rows[:, 0]])
    n_first = int(len(first_us) * options.initial_fraction)
    if (len(first_us) - n_first) // options.folds < 2 or n_first < 2:
        raise InvalidData(
            f"each fold must hold 2 spans, but {len(first_us)} lie in the stretches for {options.folds} folds and the "
            f"first share of {options.initial_fraction:g}. Annotate more, or lower --folds."
        )
    at = n_first + (len(first_us) - n_first) * np.arange(options.folds) // options.folds
    edges = np.append(first_us[at], chart.bars.start_us.max() + 1)
    times = np.unique(chart.bars.start_us)
    purge = (options.window_bars or chart.window_bars) - 1
    for number, (first, stop) in enumerate(itertools.pairwise(edges), start=1):
        learned_to = times[max(int(np.searchsorted(times, first)) - purge, 0)]
        yield Fold(number, int(learned_to), int(first), int(stop))


def _folder(run: run_store.Run, fold: Fold) -> Path:
    return run.folder / f"fold-{fold.number}"


# What is said of files is said of the user's own; of those made of them for each block, warnings alone.
@quiet(logging.WARNING)
def learn_block(options: CvOptions, chart: Chart, fold: Fold, folder: Path) -> ModelFile:
    """Learn from what ends before the purge, and keep the model beside the files that it learned from."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {name: folder / name for name in ("bars.parquet", SPANS, "taught.csv", "windows.parquet", "split.json")}
    known = chart.bars.start_us < fold.learned_to_us
    write_chart_bars(files["bars.parquet"], chart.bars.take(np.flatnonzero(known)))
    within = known & (chart.bars.start_us >= fold.learned_from_us)
    write_stretches(files["taught.csv"], stretches_among(chart, within))
    begins, ends = chart.bars.start_us[chart.rows].T
    taught = np.flatnonzero((begins >= fold.learned_from_us) & (ends < fold.learned_to_us))
    window_bars = options.window_bars or chart.window_bars
    learned = _cut_and_split(options, chart.spans.take(taught), files, window_bars)
    while left_out := sorted(set(chart.spans.label[taught].tolist()) - learned):
        _tell_left_out(fold, chart.spans.label[taught], left_out, learned)
        taught = taught[np.isin(chart.spans.label[taught], list(learned))]
        learned = _cut_and_split(options, chart.spans.take(taught), files, window_bars)
    job = read_job(
        TrainOptions(
            data=files["windows.parquet"],
            split=files["split.json"],
            bars=files["bars.parquet"],
            spans=files[SPANS],
            stretches=files["taught.csv"],
            **{name: getattr(options, name) for name in IN_FOLD if name != "window_bars"}
            | {"mirror_classes": _mirrors(options, learned)},
            window_bars=window_bars,
        ),
        judged_elsewhere=True,
    )
    model = fit_job(job).model
    write_model(folder / MODEL_OF_FOLD, model)
    return model


def _cut_and_split(options: CvOptions, spans: Spans, files: dict[str, Path], window_bars: int) -> set[str]:
    """Write spans, windows around them and their split, and return the classes that can be learned from these.

    Beside spans of one class alone stand windows of background, for heads tell classes apart.
    """
    write_spans(files[SPANS], spans)
    background = 0.5 if len(set(spans.label.tolist())) == 1 else None
    make_tables.cut(
        WindowsOptions(
            bars=files["bars.parquet"],
            spans=files[SPANS],
            stretches=None if background is None else files["taught.csv"],
            background=background,
            output=files["windows.parquet"],
            window_bars=window_bars,
            seed=options.seed,
        )
    )
    split = SplitOptions(data=files["windows.parquet"], output=files["split.json"], test=0.0, window_bars=window_bars)
    make_tables.split(split)
    labels = pl.read_parquet(files["windows.parquet"], columns=["label"])["label"].to_numpy()
    in_train = set(labels[read_split(files["split.json"]).split.train].tolist())
    counts = Counter(spans.label.tolist())
    swaps = class_swaps(sorted(in_train), _mirrors(options, in_train))
    n_spans = {name: sum(counts[one] for one in {name, swaps.get(name, name)}) for name in counts}
    return {name for name in in_train & set(counts) if n_spans[name] >= LEAST_SPANS}


def _mirrors(options: CvOptions, names: set[str]) -> tuple[str, ...]:
    """Return the swaps of classes that a model of some classes can have."""
    return tuple(pair for pair in options.mirror_classes if pair == "same" or set(pair.split(":")) <= names)


def _tell_left_out(fold: Fold, labels: np.ndarray, left_out: list[str], learned: set[str]) -> None:
    """Warn of classes of which too little came before a block.

    Raises
    ------
    InvalidData
        No class is left.
    """
    counts = ", ".join(f"{int((labels == name).sum())} {name}" for name in left_out)
    if not learned:
        raise InvalidData(
            f"a model must learn from {LEAST_SPANS} spans of a class (or of two that mirror each other), but before "
            f"{utc_text(fold.learned_to_us)} there are {counts}. Mark more, or raise --initial-fraction."
        )
    log.warning(
        "Block %d: too few spans came before it to learn %s (%d of a class, or of two that mirror each other): none of "
        "its events has such a class, and spans of them count as missed where the class counts.",
        fold.number, counts, LEAST_SPANS,
    )  # fmt: skip


def scan_block(
    options: CvOptions, chart: Chart, fold: Fold, folder: Path, model: str = MODEL_OF_FOLD, events_name: str = EVENTS
) -> None:
    """Scan the block by a model in its folder, and keep the events that begin there."""
    inside = (chart.bars.start_us >= fold.first_us) & (chart.bars.start_us < fold.stop_us)
    write_stretches(folder / STRETCHES, stretches_among(chart, inside))
    file = read_model(folder / model)
    # Long windows, and windows of long bars, reach farther.
    n_of_scales = WINDOW_BARS * max(file.presence.scales if file.presence is not None else [1])
    n_context = max(CONTEXT_BARS, file.window_bars, n_of_scales)
    rows = np.flatnonzero(_beside(chart.bars, inside, n_context))
    write_chart_bars(folder / "scanned.parquet", chart.bars.take(rows))
    scanned = folder / "scanned_events.parquet"
    work = Scan(
        ScanOptions(
            model=folder / model,
            bars=folder / "scanned.parquet",
            output=scanned,
            min_prob=0.0,
            device=options.device,
        )
    )
    work.run(lambda *_: None)
    work.parts.clear()
    # An event belongs to the block in which it begins.
    begins = pl.col("start_ts").dt.timestamp("us")
    events = pl.read_parquet(scanned).filter((begins >= fold.first_us) & (begins < fold.stop_us))
    write_frame(folder / events_name, events)


def _beside(bars: Bars, inside: np.ndarray, n_context: int) -> np.ndarray:
    """Add the bars of each symbol that events at the edges look at."""
    wide = inside.copy()
    for symbol in bars.symbols:
        own = np.flatnonzero(bars.symbol == symbol)
        held = np.flatnonzero(inside[own])
        if len(held):
            wide[own[max(int(held[0]) - n_context, 0) : int(held[-1]) + n_context + 1]] = True
    return wide


def stretches_among(chart: Chart, among: np.ndarray) -> Stretches:
    """Return annotated stretches as far as they lie among some bars."""
    return Stretches.on_bars(chart.bars, {name: seen & among for name, seen in chart.looked.items()})


def write_chart_bars(path: Path, bars: Bars) -> None:
    """Write bars as a table."""
    table = {"timestamp": pl.Series(bars.start_us).cast(pl.Datetime("us", "UTC")), "symbol": bars.symbol.tolist()}
    names = ("open", "high", "low", "close")
    write_frame(path, pl.DataFrame(table | {name: bars.ohlc[:, i] for i, name in enumerate(names)}))


def encoder_leaks(options: CvOptions, chart: Chart, fold: Fold) -> list[str]:
    """State when the encoder saw times that are evaluated, from this block on."""
    assert options.pretrained_encoder is not None
    inside = chart.bars.start_us >= fold.first_us
    closes_us = chart.bars.start_us + bar_lengths_us(chart.bars)
    seen = seen_among(
        read_encoder(options.pretrained_encoder).pretraining, chart.bars.start_us[inside], closes_us[inside]
    )
    if seen is None:
        return ["the encoder does not record which times it was pretrained on"]
    return [f"the encoder was pretrained on times of {int(seen.sum()):,} evaluated bars"] if seen.any() else []


def events_of_blocks(folders: list[Path]) -> pl.DataFrame:
    """Return the events of all blocks; classes that a block's model did not learn have no probability there."""
    events = pl.concat([pl.read_parquet(one / EVENTS) for one in folders], how="diagonal")
    return events.with_columns(pl.col("^prob_.*$").fill_null(0.0))


@quiet(logging.WARNING)
def _evaluated(options: CvOptions, chart: Chart, folds: list[Fold], run: run_store.Run) -> dict[str, Any]:
    """Evaluate the events of all blocks together, and block by block."""
    folders = [_folder(run, fold) for fold in folds]
    write_frame(run.path(EVENTS), events_of_blocks(folders))
    write_spans(run.path(SPANS), chart.spans)
    write_chart_bars(run.path("bars.parquet"), chart.bars)
    first, last = folds[0].first_us, folds[-1].stop_us
    write_stretches(
        run.path(STRETCHES), stretches_among(chart, (chart.bars.start_us >= first) & (chart.bars.start_us < last))
    )
    thresholds = [read_model(one / MODEL_OF_FOLD).presence.threshold for one in folders]  # type: ignore[union-attr]
    judging = EvalOptions(
        events=run.path(EVENTS),
        truth=run.path(SPANS),
        stretches=run.path(STRETCHES),
        bars=run.path("bars.parquet"),
        min_prob=float(np.mean(thresholds)),
        seed=options.seed,
        save_metrics=run.path("events.eval.json"),
    )
    result, _, _ = judge_events.evaluate_events(judging)
    by_fold = []
    for fold, folder, threshold in zip(folds, folders, thresholds, strict=True):
        own = replace(judging, events=folder / EVENTS, stretches=folder / STRETCHES)
        judged = judge_events.judged_alone(own)
        ones = np.ones((1, len(judged.chart.bars_of_block)))
        table = event_metric_table(threshold)
        values = {name: float(table[name](judged, ones)[0]) for name in SHOWN}
        by_fold.append(
            {
                "fold": fold.number,
                "learned_to": utc_text(fold.learned_to_us),
                "from": utc_text(fold.first_us),
                "n_spans": len(judged.spans),
                "n_events": len(judged.events),
                "threshold": threshold,
                **{name: None if np.isnan(value) else value for name, value in values.items()},
            }
        )
    return result | {"by_fold": by_fold}
