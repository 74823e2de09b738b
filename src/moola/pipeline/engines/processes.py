"""Many independent fits in processes of one thread each; what each of them warns of is told once."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from typing import Any

from moola.config.options import EngineName
from moola.errors import OperationFailed
from moola.pipeline.engines.cluster import over_ray

log = logging.getLogger(__name__)
OnFit = Callable[[int, int, str], None]
Job = tuple[Any, ...]


def run_jobs(
    work: Callable[..., str],
    jobs: Sequence[Job],
    n_processes: int,
    on_fit: OnFit,
    n_done: int = 0,
    engine: EngineName = "processes",
) -> None:
    """Call `work(*job)` for every job, several at a time; the order in which they end must change nothing.

    Parameters
    ----------
    work
        A function of a module (processes find it by name) that returns the name of what it did.
    jobs
        Its arguments, a tuple a call.
    n_processes
        Processes at a time, 0 for one a core. With one, everything runs in this process.
    on_fit
        Told how many are done, how many there are, and the name of the one that ended.
    n_done
        Jobs that were done before these.
    engine
        `processes` of this machine, or tasks of a `ray` cluster.

    Raises
    ------
    OperationFailed
        A process ended without a word (killed, out of memory); what the others finished is kept.
    """
    n_all = n_done + len(jobs)
    with closing(results(work, jobs, n_processes, engine)) as names:
        for n_ended, name in enumerate(names, n_done + 1):
            on_fit(n_ended, n_all, name)


def results(
    work: Callable[..., Any], jobs: Sequence[Job], n_processes: int, engine: EngineName = "processes"
) -> Generator[Any]:
    """Yield what `work(*job)` returns, as the jobs end; each job's once. Close it to end the others early."""
    warnings: set[str] = set()
    n_processes = min(n_processes or os.cpu_count() or 1, len(jobs))
    with closing(_ended(work, jobs, n_processes, engine)) as ended:
        for result, said in ended:
            warnings.update(said)
            yield result
    for message in sorted(warnings):
        log.warning("%s", message)


def _ended(
    work: Callable[..., Any], jobs: Sequence[Job], n_processes: int, engine: EngineName
) -> Generator[tuple[Any, list[str]]]:
    if engine == "ray" and jobs:
        with closing(over_ray(_heard, [(work, job) for job in jobs], n_processes)) as ended:
            yield from ended
    elif n_processes <= 1:
        for job in jobs:
            yield _heard(work, job)
    else:
        with closing(_over_processes(work, jobs, n_processes)) as ended:
            yield from ended


def _over_processes(
    work: Callable[..., Any], jobs: Sequence[Job], n_processes: int
) -> Generator[tuple[Any, list[str]]]:
    # Fresh processes: forked ones would inherit torch's threads in an undefined state.
    context = multiprocessing.get_context("spawn")
    others = set(multiprocessing.active_children())
    pool = ProcessPoolExecutor(n_processes, mp_context=context, initializer=end_with_parent)
    try:
        for future in as_completed([pool.submit(_heard, work, job) for job in jobs]):
            yield future.result()
    except BrokenProcessPool as error:
        raise OperationFailed(
            f"all {n_processes} processes must go on to the end, but one ended without a word (killed, or out of "
            "memory). What is finished is kept: go on with --resume, or with fewer --processes."
        ) from error
    except (KeyboardInterrupt, GeneratorExit):
        # The fits under way are given up: whoever stops a command does not wait for them.
        for process in set(multiprocessing.active_children()) - others:
            process.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def end_with_parent() -> None:
    """Let this process end when the one that started it is gone, and leave Ctrl-C to that one.

    Called at the start of a process of `multiprocessing`: a killed parent can end nobody, so each child waits for
    its end beside its work.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def wait() -> None:
        parent.join()
        # Files are written whole or not at all, so that there is nothing to tidy.
        os._exit(1)

    threading.Thread(target=wait, name="end with parent", daemon=True).start()


class _Hearing(logging.Handler):
    """Keeps warnings, so that one that every fit gives is told once."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())


def _heard(work: Callable[..., Any], job: Job) -> tuple[Any, list[str]]:
    """Do one job with its messages kept to itself; returns what it returned and what it warned of."""
    family, heard = logging.getLogger("moola"), _Hearing()
    before, propagates = list(family.handlers), family.propagate
    family.handlers, family.propagate = [heard], False
    try:
        return work(*job), heard.messages
    finally:
        family.handlers, family.propagate = before, propagates
