"""The grid of fits: which there are, and running them in processes of one thread each."""

from __future__ import annotations

from pathlib import Path

from moola.config.cv_options import CvOptions
from moola.models.references import REFERENCES
from moola.pipeline.crossval.fits import FitTask, run_task
from moola.pipeline.engines.processes import OnFit, run_jobs


def tasks_of(options: CvOptions, folder: Path, n_folds: int) -> list[FitTask]:
    """Return every fit: folds x seeds x label fractions of the model, and the cheap references once a fold."""
    seeds = [options.seed] if options.model in REFERENCES else range(options.seed, options.seed + options.seeds)
    fractions = sorted({*options.label_fractions, 1.0}, reverse=True)
    tasks = [
        FitTask(folder, fold, seed, fraction, options.model)
        for fraction in fractions
        for seed in seeds
        for fold in range(1, n_folds + 1)
    ]
    others = [name for name in REFERENCES if name != options.model]
    return tasks + [FitTask(folder, fold, options.seed, 1.0, name) for name in others for fold in range(1, n_folds + 1)]


def run_grid(options: CvOptions, tasks: list[FitTask], on_fit: OnFit) -> None:
    """Run the fits that are not done, as many at a time as there are cores (or `processes`)."""
    open_tasks = [(options, task) for task in tasks if not task.done]
    run_jobs(run_task, open_tasks, options.processes, on_fit, len(tasks) - len(open_tasks), options.engine)
