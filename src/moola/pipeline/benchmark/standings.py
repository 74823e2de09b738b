"""Where each model stands: mean and spread over draws, the average of its seeds as a model of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from moola.config.benchmark_options import BenchmarkOptions
from moola.files import read_json
from moola.pipeline.benchmark.encoders import ADVICE, EncoderJob
from moola.pipeline.benchmark.figures import FIGURES, figures_of, mean_over_seeds, of_class, paired, spread
from moola.pipeline.benchmark.fits import FitJob, read_fit, read_fit_predictions
from moola.pipeline.crossval.pooling import average

AVERAGED = "seeds averaged"


def standings(
    jobs: list[FitJob], options: BenchmarkOptions, encoders: Mapping[tuple[str, int], EncoderJob]
) -> list[dict[str, Any]]:
    """Return a row a model, and one more for the average of its seeds where it has several.

    The plain row has means over seeds of each draw; the averaged one judges the seeds' mean logits and curves.
    """
    rows = []
    for name in options.models:
        mine = [job for job in jobs if job.model == name]
        of_draw: dict[int, list[FitJob]] = {}
        for job in mine:
            of_draw.setdefault(job.draw.number, []).append(job)
        records = {number: [read_fit(job) for job in fits] for number, fits in of_draw.items()}
        seeds = sorted({job.seed for job in mine})
        told = {
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
        rows.append({"name": name, "averaged": False, **told, **_over_draws(by_draw), **each})
        if len(seeds) > 1:
            by_draw = {
                number: of_class(figures_of(average([read_fit_predictions(job) for job in fits])), options.positive)
                for number, fits in of_draw.items()
            }
            together = {key: spread(values) for key, values in seconds.items()}
            rows.append({"name": f"{name} {AVERAGED}", "averaged": True, **told, **_over_draws(by_draw), **together})
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
            figures = paired(*({int(key): value for key, value in one["by_draw"].items()} for one in (row, other)))
            found.append({"name": row["name"], "against": other["name"], "figures": figures})
    return found
