"""`benchmark`: draws, encoders and fits to tables of means, spreads and paired differences."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from typing import Any

from moola.core.bars import utc_text
from moola.errors import InvalidData, WrongUsage
from moola.files import json_bytes, read_json, sha256_file, write_atomic
from moola.fit.jobs import ADVICE, run_missing
from moola.fit.processes import OnFit
from moola.models.references import AEON_PEERS, LEARNERS, PEERS, require_aeon
from moola.options.option_fields import refuse_out_of_range
from moola.options.option_sources import recorded_options
from moola.options.study_options import BenchmarkOptions
from moola.options.table_options import tell_reading_without_spans
from moola.stages.benchmark_draws import Draw, lay_out
from moola.stages.benchmark_fits import (
    FIGURES,
    FitJob,
    figures_of,
    mean_over_seeds,
    network_job,
    of_class,
    paired,
    reference_job,
    run_fit,
    spread,
)
from moola.stages.benchmark_networks import (
    Arm,
    EncoderJob,
    SeenBars,
    boundary_us,
    cut_bars,
    encoder_job,
    read_arms,
    require_known,
    run_encoder,
)
from moola.stages.cv_pooling import average

# A benchmark's result as tables: rows of text for a terminal, and a markdown page.


HEADS = {
    "pr_auc": "PR-AUC",
    "brier": "Brier",
    "ece": "ECE",
    "accuracy": "accuracy",
    "log_loss": "log-loss",
    "hit_at_pm3_start": "hit@3 start",
    "hit_at_pm3_end": "hit@3 end",
    "hit_at_pm3_both": "hit@3 both",
    "ap_iou50_class": "AP at IoU .5",
    "ap_iou30_class": "AP at IoU .3",
    "recall_at_1_per_1000_class": "recall at 1/1,000 bars",
    "recall": "recall of all",
    "event_ece": "event ECE",
}
LEADING_ZERO = re.compile(r"^([+-]?)0\.")
Rows = tuple[list[str], list[list[str]]]


def pr_auc_head(result: Mapping[str, Any]) -> str:
    """Name the class that PR-AUC is of."""
    return f"PR-AUC of {result['positive']}" if result["positive"] else "PR-AUC, mean of classes"


def standing_rows(result: Mapping[str, Any]) -> Rows:
    """Return header and rows of the models: mean +- standard deviation over draws, mean seconds."""
    names = list(result["models"][0]["figures"])
    header = ["model", *(HEADS[name] for name in names), "fit s", "predict s"]
    rows = [
        [
            row["name"],
            *(_spread(row["figures"][name]) for name in names),
            *(_seconds(row[key]["mean"]) for key in ("fit_s", "predict_s")),
        ]
        for row in result["models"]
    ]
    return header, rows


def difference_rows(result: Mapping[str, Any]) -> Rows:
    """Return header and rows of the paired differences: mean +- standard deviation, better in how many draws."""
    names = list(result["models"][0]["figures"])
    header = ["model less", *(HEADS[name] for name in names)]
    rows = []
    for row in result["differences"]:
        cells = [_difference(row["figures"][name]) for name in names]
        rows.append([f"{row['name']} - {row['against']}", *cells])
    return header, rows


def _number(value: float | None, sign: str = "") -> str:
    return "-" if value is None else LEADING_ZERO.sub(r"\1.", f"{value:{sign}.3f}")


def _spread(cell: Mapping[str, float | None], sign: str = "") -> str:
    if cell["mean"] is None:
        return "-"
    return _number(cell["mean"], sign) + ("" if cell["std"] is None else f" +- {_number(cell['std'])}")


def _difference(cell: Mapping[str, Any]) -> str:
    return "-" if cell["mean"] is None else f"{_spread(cell, '+')} ({cell['better']}/{cell['n_draws']})"


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def introduction(result: Mapping[str, Any]) -> str:
    """State what was learned from and evaluated on."""
    draws = result["draws"]
    n_train, n_judged = (_range([draw[key] for draw in draws]) for key in ("n_train", "n_judged"))
    whose = {"test": "test windows", "spans": "later spans"}.get(result["judge"], "windows of the other draws")
    seeds = result["seeds"]
    many = f"{len(draws)} draw{'s' if len(draws) > 1 else ''} of {n_train} labels"
    return f"{many}, evaluated on {n_judged} {whose}, seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}"


def _range(counts: list[int]) -> str:
    low, high = min(counts), max(counts)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def notes(result: Mapping[str, Any]) -> list[str]:
    """State what a reader must know of these figures."""
    what = pr_auc_head(result) if result["judge"] != "spans" else "an event is right with its class"
    lines = [f"Mean +- standard deviation over draws of the mean over seeds; {what}."]
    if result["labelled_by"]:
        lines.append(f"Labels by {', '.join(result['labelled_by'])}.")
    if result["bars_before"]:
        lines.append(
            f"Encoders saw bars before {result['bars_before']} and none after; among them those of the draws' own "
            "windows, without their labels."
        )
    pretrained = {row["model"]: row["pretrain_s"] for row in result["models"] if row["pretrain_s"] is not None}
    if pretrained:
        lines.append(
            "Seconds an encoder: " + ", ".join(f"{name} {value:.0f}" for name, value in pretrained.items()) + "."
        )
    return lines + [f"NOT LEAK-PROOF: {leak}." for leak in result["leaks"]]


def markdown(result: Mapping[str, Any]) -> str:
    """Return the page: what was done, the models, the differences."""
    parts = ["# Benchmark", "", f"{introduction(result)}.", "", *_table(*standing_rows(result))]
    if result["differences"]:
        parts += ["", "Paired differences, and in how many draws the model is better:", ""]
        parts += _table(*difference_rows(result))
    return "\n".join([*parts, "", *notes(result), ""])


def _table(header: list[str], rows: list[list[str]]) -> list[str]:
    lines = [header, ["---"] * len(header), *rows]
    return [f"| {' | '.join(line)} |" for line in lines]


# Results of each model: mean and spread over draws, the average of its seeds as a model of its own.


AVERAGED = "seeds averaged"


def standings(
    jobs: list[FitJob], options: BenchmarkOptions, encoders: Mapping[tuple[str, int], EncoderJob]
) -> list[dict[str, Any]]:
    """Return a row a model, and one more for the average of its seeds where it has several.

    The plain row has means over seeds of each draw; the averaged one evaluates the seeds' mean logits and curves.
    """
    rows = []
    for name in options.models:
        mine = [job for job in jobs if job.model == name]
        of_draw: dict[int, list[FitJob]] = {}
        for job in mine:
            of_draw.setdefault(job.draw.number, []).append(job)
        records = {number: [job.read_record() for job in fits] for number, fits in of_draw.items()}
        seeds = sorted({job.seed for job in mine})
        record = {
            "model": name,
            "seeds": seeds,
            "pretrain_s": _pretrain_s(name, seeds, encoders),
            "leaks": sorted({leak for fits in records.values() for record in fits for leak in record["leaks"]}),
        }
        by_draw = {
            number: mean_over_seeds([of_class(record["figures"], options.positive) for record in fits])
            for number, fits in records.items()
        }
        seconds = {key: [sum(fit[key] for fit in fits) for fits in records.values()] for key in ("fit_s", "predict_s")}
        each = {key: spread([value / len(seeds) for value in values]) for key, values in seconds.items()}
        rows.append({"name": name, "averaged": False, **record, **_over_draws(by_draw), **each})
        if len(seeds) > 1:
            by_draw = {
                number: of_class(figures_of(average([job.read()[0] for job in fits])), options.positive)
                for number, fits in of_draw.items()
            }
            together = {key: spread(values) for key, values in seconds.items()}
            rows.append({"name": f"{name} {AVERAGED}", "averaged": True, **record, **_over_draws(by_draw), **together})
    return rows


def _over_draws(by_draw: Mapping[int, Mapping[str, float | None]]) -> dict[str, Any]:
    figures = {name: spread([row[name] for row in by_draw.values()]) for name in FIGURES}
    return {"figures": figures, "by_draw": {str(number): dict(row) for number, row in by_draw.items()}}


def _pretrain_s(name: str, seeds: list[int], encoders: Mapping[tuple[str, int], EncoderJob]) -> float | None:
    """Return the mean seconds of one encoder; None for a model without one of its own."""
    mine = [encoders[name, seed] for seed in seeds if (name, seed) in encoders]
    if not mine:
        return None
    return sum(read_json(job.record, "the record of an encoder", ADVICE)["seconds"] for job in mine) / len(mine)


def differences(rows: list[dict[str, Any]], against: str | None) -> list[dict[str, Any]]:
    """Compare every row with the reference model's, draw by draw; averages of seeds with its average if it has one."""
    if against is None:
        return []
    base = {row["averaged"]: row for row in rows if row["model"] == against}
    found = []
    for row in rows:
        other = base.get(row["averaged"], base[False])
        if row["model"] != against:
            mine, theirs = ({int(key): value for key, value in one["by_draw"].items()} for one in (row, other))
            figures = paired(mine, theirs)
            found.append({"name": row["name"], "against": other["name"], "figures": figures})
    return found


# References that no seed changes are fitted once a draw.
SEEDLESS = ("prevalence", "logistic", "nearest")
RESULT, PAGE = "benchmark.json", "benchmark.md"


def benchmark(options: BenchmarkOptions, on_fit: OnFit) -> dict[str, Any]:
    """Fit every model on every draw with every seed, evaluate them on the same windows, and write the tables.

    Raises
    ------
    WrongUsage
        Options that do not exist or do not go together; found before any work.
    InvalidData
        Files that break their contract, draws that cannot be learned from or evaluated.
    OperationFailed
        A peer was asked for and aeon is missing.
    """
    started = time.monotonic()
    arms = read_arms(options.arms)
    _check(options, arms)
    draws, table = lay_out(options)
    if options.positive is not None and options.positive not in table.classes:
        raise InvalidData(
            f"--positive must be one of the classes {', '.join(table.classes)}, but it is {options.positive!r}. "
            "Choose one of these."
        )
    wanted = [arms[name] for name in options.models if name in arms]
    seen = None
    if options.bars is not None and any(arm.needs_bars for arm in wanted):
        seen = cut_bars(options, boundary_us(options, min(draw.first_judged_us for draw in draws)))
    encoders = _encoders(options, wanted, seen)
    run_missing(run_encoder, list({job.digest: job for job in encoders.values()}.values()), options, on_fit)
    jobs = _fit_jobs(options, arms, draws, encoders, seen)
    n_done = run_missing(run_fit, jobs, options, on_fit)
    rows = standings(jobs, options, encoders)
    result = {
        **_record(options, draws, seen),
        "labelled_by": table.annotators,
        "models": rows,
        "differences": differences(rows, options.against),
        "leaks": sorted({f"{row['name']}: {leak}" for row in rows for leak in row["leaks"]}),
        "n_fits": len(jobs),
        "n_done_before": n_done,
        "seconds": time.monotonic() - started,
    }
    return written(options, result)


def written(options: BenchmarkOptions, result: dict[str, Any]) -> dict[str, Any]:
    """Write the figures and the page of a benchmark, and return what it found with their folder."""
    write_atomic(options.output / RESULT, json_bytes(result))
    write_atomic(options.output / PAGE, markdown(result).encode())
    return result | {"output": str(options.output)}


def refuse_repeated_seeds(options: BenchmarkOptions) -> None:
    """Refuse no seed, or one that is named twice."""
    if not options.seeds or len(set(options.seeds)) < len(options.seeds):
        raise WrongUsage(f"--seeds must name each seed once, but they are {options.seeds}.")


def _check(options: BenchmarkOptions, arms: dict[str, Arm]) -> None:
    options.train_named()
    refuse_out_of_range(options)
    tell_reading_without_spans(options)
    require_known(options.models, arms)
    for name in options.models:
        if name in AEON_PEERS:
            require_aeon(name)
    if options.against is not None and options.against not in options.models:
        raise WrongUsage(
            f"--against must be one of --models, but it is {options.against!r} and they are "
            f"{', '.join(options.models)}. Name it among --models too."
        )
    if options.judge == "test" and options.test is None:
        raise WrongUsage(
            "--judge test must have windows to evaluate on, but --test is missing. Name a file with --test."
        )
    refuse_repeated_seeds(options)
    needing = [name for name in options.models if name in arms and arms[name].needs_bars]
    if needing and options.bars is None:
        raise WrongUsage(
            f"configurations that pretrain must have bars, but --bars is missing for {', '.join(needing)}. "
            "Name a bar table with --bars."
        )


def _encoders(options: BenchmarkOptions, wanted: list[Arm], seen: SeenBars | None) -> dict[tuple[str, int], EncoderJob]:
    """Return the encoder of each arm and seed that pretrains; equal ones have one digest and one file."""
    return {
        (arm.name, seed): encoder_job(options, arm, seed, seen)
        for arm in wanted
        if arm.pretrain is not None and seen is not None
        for seed in options.seeds
    }


def _fit_jobs(
    options: BenchmarkOptions,
    arms: dict[str, Arm],
    draws: list[Draw],
    encoders: dict[tuple[str, int], EncoderJob],
    seen: SeenBars | None,
) -> list[FitJob]:
    jobs = []
    for name in options.models:
        for seed in options.seeds[: 1 if name in SEEDLESS else None]:
            for draw in draws:
                if name in LEARNERS or name in PEERS:
                    jobs.append(reference_job(options, name, draw, seed))
                else:
                    jobs.append(network_job(options, arms[name], draw, seed, encoders.get((name, seed)), seen))
    return jobs


def _record(options: BenchmarkOptions, draws: list[Draw], seen: SeenBars | None) -> dict[str, Any]:
    judged_by = options.test if options.judge == "test" else None
    return {
        "options": recorded_options(options),
        "train_sha256": sha256_file(options.train_named()),
        "test_sha256": sha256_file(judged_by) if judged_by is not None else None,
        "judge": options.judge,
        "positive": options.positive,
        "against": options.against,
        "seeds": list(options.seeds),
        "draws": [
            {
                "draw": draw.number,
                "n_train": draw.n_train,
                "n_left_out": draw.n_left_out,
                "n_judged": draw.n_judged,
                **draw.hashes,
            }
            for draw in draws
        ],
        "bars_before": utc_text(seen.before_us) if seen is not None else None,
        "bars_sha256": sha256_file(seen.path) if seen is not None else None,
    }
