"""Many independent fits in processes of one thread each, here or on a Ray cluster; their warnings are reported once."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing, contextmanager
from itertools import islice
from typing import Any

from moola.errors import OperationFailed
from moola.options.option_fields import EngineName

# Jobs on a Ray cluster (`--engine ray`, extra `ray`): one task per job, done again where a worker dies, counted once.


RETRIES = 3
# Tasks that a cluster knows of at a time: enough for its workers, and few enough to look through.
AHEAD = 1000


def over_ray(function: Callable[..., Any], calls: Iterable[tuple[Any, ...]], n_processes: int) -> Generator[Any]:
    """Yield what each call returns, as they end; a call that a worker took with it is made again.

    Parameters
    ----------
    function
        A function of a module; moola must be installed on every node, and the working folder be there under the
        same path: results are files.

    Raises
    ------
    OperationFailed
        Ray is missing or cannot be reached, or a job's worker died again and again.
    """
    with on_cluster(n_processes) as ray:
        task = ray.remote(num_cpus=1, max_retries=RETRIES)(_in_folder)
        coming = (task.remote(os.getcwd(), function, call) for call in calls)
        waiting = list(islice(coming, AHEAD))
        while waiting:
            done, waiting = ray.wait(waiting, num_returns=1)
            waiting += islice(coming, 1)
            yield _result_of(ray, done[0])


@contextmanager
def on_cluster(n_processes: int) -> Iterator[Any]:
    """Join the cluster of the user's RAY_ADDRESS, and leave it at the end.

    Without an address Ray starts on this machine alone, with as many workers as processes were asked for (0 for one a
    core), and ends with the command. No dashboard is started.
    """
    ray = require_ray()
    address = os.environ.get("RAY_ADDRESS")
    own = {} if address else {"num_cpus": n_processes or os.cpu_count() or 1, "include_dashboard": False}
    try:
        ray.init(address=address, log_to_driver=False, logging_level="ERROR", **own)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise OperationFailed(
            f"--engine ray must reach a cluster, but it cannot be started or joined ({str(error).splitlines()[0]}). "
            "Check RAY_ADDRESS, or leave --engine out."
        ) from error
    try:
        yield ray
    finally:
        ray.shutdown()


def _result_of(ray: Any, ended: Any) -> Any:
    try:
        return ray.get(ended)
    except ray.exceptions.RayTaskError as error:
        # What the job itself raised, as if it had run here.
        raise error.cause from error
    except ray.exceptions.RayError as error:
        raise OperationFailed(
            f"every job must end, but a worker of one died {RETRIES + 1} times ({type(error).__name__}). What is done "
            "is kept: run the same command again."
        ) from error


def _in_folder(folder: str, function: Callable[..., Any], call: tuple[Any, ...]) -> Any:
    """Do one call in the command's working folder."""
    os.chdir(folder)
    return function(*call)


def require_ray() -> Any:
    """Return Ray, or explain how to install it."""
    try:
        import ray
    except ImportError as error:
        raise OperationFailed(
            f'--engine ray needs Ray, but it cannot be imported ({error}). Install it: pip install "moola[ray]"'
        ) from error
    return ray


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
        Processes at a time, 0 for one per core. With one, everything runs in this process.
    on_fit
        Called with how many are done, how many there are, and the name of the one that ended.
    n_done
        Jobs that were done before these.
    engine
        `processes` of this machine, or tasks of a `ray` cluster.

    Raises
    ------
    OperationFailed
        A process ended unexpectedly (killed, out of memory); what the others finished is kept.
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
        for result, messages in ended:
            warnings.update(messages)
            yield result
    for message in sorted(warnings):
        log.warning("%s", message)


def _ended(
    work: Callable[..., Any], jobs: Sequence[Job], n_processes: int, engine: EngineName
) -> Generator[tuple[Any, list[str]]]:
    if engine == "ray" and jobs:
        with closing(over_ray(_with_warnings, [(work, job) for job in jobs], n_processes)) as ended:
            yield from ended
    elif n_processes <= 1:
        for job in jobs:
            yield _with_warnings(work, job)
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
        for future in as_completed([pool.submit(_with_warnings, work, job) for job in jobs]):
            yield future.result()
    except BrokenProcessPool as error:
        raise OperationFailed(
            f"all {n_processes} processes must continue to the end, but one ended without an error (killed, or out of "
            "memory). What is finished is kept: continue with --resume, or with fewer --processes."
        ) from error
    except (KeyboardInterrupt, GeneratorExit):
        # The fits under way are given up: stopping a command does not wait for them.
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
        # Files are written atomically, so that there is nothing to tidy.
        os._exit(1)

    threading.Thread(target=wait, name="end with parent", daemon=True).start()


class _WarningCollector(logging.Handler):
    """Keeps warnings, so that one that every fit gives is reported once."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())


def _with_warnings(work: Callable[..., Any], job: Job) -> tuple[Any, list[str]]:
    """Do one job with its messages kept to itself; returns what it returned and what it warned of."""
    family, collector = logging.getLogger("moola"), _WarningCollector()
    before, propagates = list(family.handlers), family.propagate
    family.handlers, family.propagate = [collector], False
    try:
        return work(*job), collector.messages
    finally:
        family.handlers, family.propagate = before, propagates
