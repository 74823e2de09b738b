"""The grid of fits: which there are, and running them in processes of one thread each."""

from __future__ import annotations

import logging
import multiprocessing
import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

from moola.config.cv_options import CvOptions
from moola.models.references import REFERENCES
from moola.pipeline.crossval.fits import FitTask, run_task

log = logging.getLogger(__name__)
OnFit = Callable[[int, int, str], None]


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
    open_tasks = [task for task in tasks if not task.done]
    n_done = len(tasks) - len(open_tasks)
    if not open_tasks:
        return
    warnings: set[str] = set()
    n_processes = min(options.processes or os.cpu_count() or 1, len(open_tasks))
    if n_processes == 1:
        for task in open_tasks:
            n_done += 1
            name, said = run_task_heard(options, task)
            warnings.update(said)
            on_fit(n_done, len(tasks), name)
        _tell(warnings)
        return
    # Fresh processes: forked ones would inherit torch's threads in an undefined state.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(n_processes, mp_context=context) as pool:
        try:
            for future in as_completed([pool.submit(run_task_heard, options, task) for task in open_tasks]):
                n_done += 1
                name, said = future.result()
                warnings.update(said)
                on_fit(n_done, len(tasks), name)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    _tell(warnings)


class _Heard(logging.Handler):
    """Keeps warnings, so that one that every fit gives is told once."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())


def run_task_heard(options: CvOptions, task: FitTask) -> tuple[str, list[str]]:
    """Do one fit with its messages kept to itself; returns its name and what it warned of."""
    family, heard = logging.getLogger("moola"), _Heard()
    before, propagates = list(family.handlers), family.propagate
    family.handlers, family.propagate = [heard], False
    try:
        return run_task(options, task), heard.messages
    finally:
        family.handlers, family.propagate = before, propagates


def _tell(warnings: set[str]) -> None:
    for message in sorted(warnings):
        log.warning("%s", message)
