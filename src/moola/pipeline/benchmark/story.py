"""A benchmark from options to tables: draws, encoders, fits, figures over draws, paired differences."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from moola.config.benchmark_options import BenchmarkOptions
from moola.config.ranges import refuse_out_of_range
from moola.data.contracts.split_file import utc_text
from moola.errors import InvalidData, WrongUsage
from moola.files import json_bytes, sha256_file, write_atomic
from moola.models.peers import PEERS, require_aeon
from moola.models.references import LEARNERS
from moola.pipeline.benchmark.arms import Arm, read_arms, require_known
from moola.pipeline.benchmark.draws import Draw, lay_out
from moola.pipeline.benchmark.encoders import EncoderJob, SeenBars, boundary_us, cut_bars, encoder_job, run_encoder
from moola.pipeline.benchmark.fits import FitJob, network_job, reference_job, run_fit
from moola.pipeline.benchmark.page import markdown
from moola.pipeline.benchmark.standings import differences, standings
from moola.pipeline.engines.processes import OnFit, run_jobs

# References that no seed changes are fitted once a draw.
SEEDLESS = ("prevalence", "logistic", "nearest")
RESULT, PAGE = "benchmark.json", "benchmark.md"


def benchmark(options: BenchmarkOptions, on_fit: OnFit) -> dict[str, Any]:
    """Fit every model on every draw with every seed, judge them on the same windows, and write the tables.

    Raises
    ------
    WrongUsage
        Options that do not exist or do not go together; found before any work.
    InvalidData
        Files that break their contract, draws that cannot be learned from or judged.
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
    open_encoders = list({job.digest: job for job in encoders.values() if not job.done}.values())
    jobs = _fit_jobs(options, arms, draws, encoders, seen)
    open_jobs = [job for job in jobs if not job.done]
    n_done = len(jobs) - len(open_jobs)
    run_jobs(run_encoder, [(job,) for job in open_encoders], options.processes, on_fit, engine=options.engine)
    run_jobs(run_fit, [(job,) for job in open_jobs], options.processes, on_fit, n_done, options.engine)
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
    write_atomic(options.output / RESULT, json_bytes(result))
    write_atomic(options.output / PAGE, markdown(result).encode())
    return result | {"output": str(options.output)}


def _check(options: BenchmarkOptions, arms: dict[str, Arm]) -> None:
    refuse_out_of_range(options)
    require_known(options.models, arms)
    for name in options.models:
        if name in PEERS:
            require_aeon(name)
    if options.against is not None and options.against not in options.models:
        raise WrongUsage(
            f"--against must be one of --models, but it is {options.against!r} and they are "
            f"{', '.join(options.models)}. Name it among --models too."
        )
    if options.judge == "test" and options.test is None:
        raise WrongUsage("--judge test must have windows to judge, but --test is missing. Name a file with --test.")
    if not options.seeds or len(set(options.seeds)) < len(options.seeds):
        raise WrongUsage(f"--seeds must name each seed once, but they are {options.seeds}.")
    thirsty = [name for name in options.models if name in arms and arms[name].needs_bars]
    if thirsty and options.bars is None:
        raise WrongUsage(
            f"arms that pretrain must have bars, but --bars is missing for {', '.join(thirsty)}. "
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
    plain = {key: str(value) if isinstance(value, Path) else value for key, value in asdict(options).items()}
    return {
        "options": plain,
        "train_sha256": sha256_file(options.train),
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
