"""`benchmark --spans`: models of several earlier pieces of a chart, evaluated on the events of one later part.

The earliest share of the spans is cut into draws, blocks of time with as many spans each; what comes later is scanned
by the model of each draw, with presence and without it. Random pieces of the same lengths and the strongest moves
stand beside them.
"""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from moola import __version__
from moola.core.bars import utc_text
from moola.errors import InvalidData, WrongUsage
from moola.evaluation.event_figures import AP_CLASS
from moola.evaluation.event_figures import ECE as EVENT_ECE
from moola.files import json_bytes, read_json, sha256_file, write_atomic
from moola.fit.jobs import quiet
from moola.fit.processes import OnFit
from moola.models.model_files import BASE_NAME, encoder_sha256, write_model
from moola.models.sealed import digest
from moola.options.judging_options import EvalOptions
from moola.options.option_fields import refuse_out_of_range
from moola.options.option_sources import recorded_options
from moola.options.study_options import BenchmarkOptions, CvOptions
from moola.options.table_options import SPAN_TABLE, asked_reading
from moola.stages.benchmark import refuse_repeated_seeds, written
from moola.stages.benchmark_fits import mean_over_seeds, paired, spread
from moola.stages.cv_events import (
    MODEL_OF_FOLD,
    SPANS,
    STRETCHES,
    Chart,
    Fold,
    encoder_leaks,
    learn_block,
    read_chart,
    scan_block,
    stretches_among,
    write_chart_bars,
)
from moola.stages.judge_events import evaluated
from moola.tables.span_file import write_spans, write_stretches

SPAN_FIGURES = (AP_CLASS, "ap_iou30_class", "recall_at_1_per_1000_class", "recall", EVENT_ECE)
PRESENCE, WITHOUT, RANDOM, MOVES = "presence", "no presence", "random pieces", "strongest moves"
ADVICE = "Remove it, and run the benchmark again."
# Presence asks for this many spans; fewer are no draw.
LEAST_SPANS = 10
DONE = "figures.json"


@dataclass(frozen=True)
class SpanDraw:
    """A block of earlier bars that is learned from, and how many spans it holds."""

    fold: Fold
    n_train: int


def benchmark_spans(options: BenchmarkOptions, on_fit: OnFit) -> dict[str, Any]:
    """Learn from each draw with each seed, scan what comes later, and write the tables.

    Raises
    ------
    WrongUsage
        Bars or stretches are missing, or options of windows are given.
    InvalidData
        The stretches hold too few spans for so many draws.
    """
    started = time.monotonic()
    _check(options)
    cv = CvOptions(
        spans=options.spans,
        stretches=options.stretches,
        bars=options.bars,
        pretrained_encoder=options.pretrained_encoder or BASE_NAME,
        freeze_encoder=True,
        mirror_classes=options.mirror_classes,
        device=options.device,
        window_bars=None if options.window_bars == BenchmarkOptions.window_bars else options.window_bars,
        **{name: getattr(options, name) for name in SPAN_TABLE},
    )
    chart = read_chart(cv)
    draws = list(_draws(options, cv, chart))
    judged = options.output / "judged"
    _write_judged(chart, draws[0].fold, judged)
    key = {
        "version": __version__,
        "encoder": encoder_sha256(cv.pretrained_encoder),
        **{name: sha256_file(getattr(options, name)) for name in ("spans", "stretches", "bars")},
        **{name: str(getattr(cv, name)) for name in ("mirror_classes", "window_bars")},
        **asked_reading(options),
    }
    fits = [(draw, seed) for draw in draws for seed in options.seeds]
    records: dict[int, list[dict[str, Any]]] = {}
    n_done = 0
    for done, (draw, seed) in enumerate(fits, start=1):
        record, was_done = _fit(replace(cv, seed=seed), chart, draw, judged, options.output, key)
        records.setdefault(draw.fold.number, []).append(record)
        n_done += was_done
        on_fit(done, len(fits), f"draw {draw.fold.number}, seed {seed}")
    models, differences = _tables(records)
    leaks = encoder_leaks(cv, chart, draws[0].fold)
    result = {
        "options": recorded_options(options),
        **{f"{name}_sha256": key[name] for name in ("spans", "stretches", "bars")},
        "judge": "spans",
        "positive": None,
        "seeds": list(options.seeds),
        "draws": [_record(draw, records) for draw in draws],
        "labelled_by": [name for name in chart.spans.annotators if name],
        "bars_before": None,
        "models": models,
        "differences": differences,
        "leaks": leaks,
        "n_fits": len(fits),
        "n_done_before": n_done,
        "seconds": time.monotonic() - started,
    }
    return written(options, result)


def _check(options: BenchmarkOptions) -> None:
    refuse_out_of_range(options)
    missing = [f"--{name}" for name in ("stretches", "bars") if getattr(options, name) is None]
    if missing:
        raise WrongUsage(
            f"benchmark --spans must come with --bars and --stretches, but {missing[0]} is not given. Without "
            "stretches nobody knows which events are false."
        )
    given = [name for name in ("train", "test", "arms", "positive", "against") if getattr(options, name) is not None]
    if given or options.judge != "test":
        raise WrongUsage(
            f"benchmark --spans must go without options of windows, but --{(given or ['judge'])[0]} is given. Leave it "
            "out."
        )
    refuse_repeated_seeds(options)


def _draws(options: BenchmarkOptions, cv: CvOptions, chart: Chart) -> Iterator[SpanDraw]:
    """Yield blocks of the earliest spans with as many each; all are evaluated on what comes after the last one."""
    order = np.argsort(chart.bars.start_us[chart.rows[:, 0]], kind="stable")
    begins, ends = chart.bars.start_us[chart.rows[order]].T
    at_judged = int(len(begins) * options.initial_fraction)
    times = np.unique(chart.bars.start_us)
    purge = (cv.window_bars or chart.window_bars) - 1
    first, stop = int(begins[min(at_judged, len(begins) - 1)]), int(times[-1]) + 1
    before = int(times[max(int(np.searchsorted(times, first)) - purge, 0)])
    # What ends a window before the evaluated part, in order of its start.
    known = np.flatnonzero(ends < before)
    n_each = options.labels_per_draw or len(known) // options.n_draws
    if n_each < LEAST_SPANS or n_each * options.n_draws > len(known) or at_judged == len(begins):
        raise InvalidData(
            f"each draw must hold {max(n_each, LEAST_SPANS)} spans, but {len(begins)} lie in the stretches, of which "
            f"{len(known)} end a window before the evaluated part (--initial-fraction) for {options.n_draws} draws "
            "(--n-draws). Annotate more, or ask for fewer draws or labels."
        )
    for number in range(options.n_draws):
        # The latest draws: the stretch of each goes from its first span to that of the next.
        at = len(known) - (options.n_draws - number) * n_each
        is_last = number == options.n_draws - 1
        until = before if is_last else int(begins[known[at + n_each]])
        fold = Fold(number, until, first, stop, int(begins[known[at]]))
        yield SpanDraw(fold, int(((begins >= fold.learned_from_us) & (ends < until)).sum()))


def _write_judged(chart: Chart, fold: Fold, folder: Path) -> None:
    inside = (chart.bars.start_us >= fold.first_us) & (chart.bars.start_us < fold.stop_us)
    write_stretches(folder / STRETCHES, stretches_among(chart, inside))
    write_spans(folder / SPANS, chart.spans)
    write_chart_bars(folder / "bars.parquet", chart.bars)


@quiet(logging.WARNING)
def _fit(
    cv: CvOptions, chart: Chart, draw: SpanDraw, judged: Path, output: Path, key: dict[str, Any]
) -> tuple[dict[str, Any], bool]:
    """Learn from a draw and evaluate both models, or read what an equal fit was found to be."""
    own = digest(key | {"seed": cv.seed, "fold": str(draw.fold)})
    folder = output / "fits" / f"draw-{draw.fold.number}-s{cv.seed}-{own[:8]}"
    if (folder / DONE).is_file():
        return read_json(folder / DONE, "the figures of a fit", ADVICE), True
    shutil.rmtree(folder, ignore_errors=True)
    begun = time.monotonic()
    model = learn_block(cv, chart, draw.fold, folder)
    write_model(folder / "without.pkl", replace(model, presence=None, live_presence=None))
    record: dict[str, Any] = {"fit_s": time.monotonic() - begun, "figures": {}, "predict_s": {}}
    for name, file in ((PRESENCE, MODEL_OF_FOLD), (WITHOUT, "without.pkl")):
        begun = time.monotonic()
        events = f"{name.replace(' ', '_')}.parquet"
        scan_block(cv, chart, draw.fold, folder, file, events)
        record["predict_s"][name] = time.monotonic() - begun
        threshold = model.presence.threshold if name == PRESENCE and model.presence is not None else 0.5
        result, found, _ = evaluated(
            EvalOptions(
                events=folder / events,
                truth=judged / SPANS,
                stretches=judged / STRETCHES,
                bars=judged / "bars.parquet",
                min_prob=threshold,
                seed=cv.seed,
            )
        )
        figures = result["figures"]
        record["figures"][name] = {figure: figures[figure]["value"] for figure in SPAN_FIGURES}
        record["n_judged"] = len(found.spans)
        if name == PRESENCE:
            for reference, column in ((RANDOM, "random"), (MOVES, "moves")):
                record["figures"][reference] = {figure: figures[figure][column] for figure in SPAN_FIGURES}
    write_atomic(folder / DONE, json_bytes(record))
    return record, False


def _tables(records: dict[int, list[dict[str, Any]]]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return a row a model, and presence less each of the others, draw by draw."""
    by_draw = {
        name: {
            number: mean_over_seeds([fit["figures"][name] for fit in fits], SPAN_FIGURES)
            for number, fits in records.items()
        }
        for name in (PRESENCE, WITHOUT, RANDOM, MOVES)
    }
    fit_s = spread([fit["fit_s"] for fits in records.values() for fit in fits])
    nothing: dict[str, float | None] = {"mean": None, "std": None}
    rows = []
    for name, rows_of_draw in by_draw.items():
        predict = [fit["predict_s"].get(name) for fits in records.values() for fit in fits]
        rows.append(
            {
                "name": name,
                "model": name,
                "figures": {figure: spread([row[figure] for row in rows_of_draw.values()]) for figure in SPAN_FIGURES},
                "by_draw": {str(number): row for number, row in rows_of_draw.items()},
                "fit_s": fit_s if name in (PRESENCE, WITHOUT) else nothing,
                "predict_s": spread(predict),
                "pretrain_s": None,
            }
        )
    differences = [
        {"name": PRESENCE, "against": name, "figures": paired(by_draw[PRESENCE], by_draw[name], SPAN_FIGURES)}
        for name in (WITHOUT, RANDOM, MOVES)
    ]
    return rows, differences


def _record(draw: SpanDraw, records: dict[int, list[dict[str, Any]]]) -> dict[str, Any]:
    fold = draw.fold
    return {
        "draw": fold.number,
        "n_train": draw.n_train,
        "n_judged": records[fold.number][0]["n_judged"],
        "learned_from": utc_text(fold.learned_from_us),
        "learned_to": utc_text(fold.learned_to_us),
        "judged_from": utc_text(fold.first_us),
    }
