"""Several processes: independent fits of one thread each, here or on a Ray cluster, and processes that train one
network together."""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import queue
import signal
import tempfile
import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing, contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import distributed

from moola.errors import DeviceUnavailable, MoolaError, OperationFailed, WrongUsage
from moola.options.option_fields import EngineName, refuse_out_of_range
from moola.training.device import ALONE, ProcessGroup
from moola.training.loop import OnEpoch

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


PATIENCE_S = 5.0
# Work of one member: told each epoch's row, returns what the command says at the end.
Work = Callable[[Any, OnEpoch, ProcessGroup], dict[str, Any]]


def run_together(
    work: Work, check: Callable[[Any], object], options: Any, on_epoch: OnEpoch
) -> tuple[dict[str, Any], ProcessGroup]:
    """Do the work alone, with torchrun's other processes, or with `options.devices` processes, started here.

    Parameters
    ----------
    check
        Refuses options and files that no member could work with, before members are started for them.

    Returns
    -------
    What the work said, and which member this process is: one that does not lead has nothing to tell.

    Raises
    ------
    WrongUsage
        --devices below 1, beyond any machine, or another count than torchrun's.
    DeviceUnavailable
        More processes than GPUs, where they are to compute on GPUs.
    OperationFailed
        A member ended without a word (killed, out of memory).
    """
    refuse_out_of_range(options)
    n_launched = int(os.environ.get("WORLD_SIZE", "1"))
    if n_launched > 1:
        if options.devices not in (1, n_launched):
            raise WrongUsage(
                f"--devices must agree with torchrun, but it is {options.devices} and {n_launched} processes were "
                "started. Leave it out."
            )
        with _joined("env://", ProcessGroup(int(os.environ["RANK"]), n_launched), options) as team:
            return work(options, on_epoch, team), team
    if options.devices == 1:
        return work(options, on_epoch, ALONE), ALONE
    check(options)
    return _started(work, options, on_epoch), ALONE


@contextlib.contextmanager
def _joined(meeting: str, team: ProcessGroup, options: Any) -> Iterator[ProcessGroup]:
    backend = "gloo"
    if options.device != "cpu" and torch.cuda.is_available():
        # Figures are summed on the CPU, gradients where they are.
        backend = "cpu:gloo,cuda:nccl"
        n_gpus = torch.cuda.device_count()
        local = int(os.environ.get("LOCAL_RANK", team.rank))
        if local >= n_gpus:
            raise DeviceUnavailable(
                f"--devices must be at most the GPUs of this machine, but it is {team.size} and torch finds {n_gpus}. "
                "Lower it, or use --device cpu."
            )
        torch.cuda.set_device(local)
    distributed.init_process_group(backend, init_method=meeting, rank=team.rank, world_size=team.size)
    try:
        yield team
    finally:
        distributed.destroy_process_group()


def _started(work: Work, options: Any, on_epoch: OnEpoch) -> dict[str, Any]:
    """Start the members, pass on what the first one reports, and end all when one ends badly."""
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory(prefix="moola-team-") as place:
        messages = context.Queue()
        meeting = (Path(place) / "meeting").as_uri()
        members = [
            context.Process(
                target=_member,
                args=(work, options, ProcessGroup(rank, options.devices), meeting, messages),
                daemon=True,
            )
            for rank in range(options.devices)
        ]
        for member in members:
            member.start()
        try:
            result = _receive(messages, members, on_epoch)
            for member in members:
                member.join(PATIENCE_S)
            return result
        finally:
            # After Ctrl-C or a failure the others would wait for each other for ever.
            for member in members:
                if member.is_alive():
                    member.terminate()
                member.join()


def _receive(messages: Any, members: list[Any], on_epoch: OnEpoch) -> dict[str, Any]:
    """Pass on what the members tell until there is a result, or one of them ended badly."""
    while True:
        # Asked first: what was told before the end is heard.
        ended = _why_ended(members)
        try:
            kind, content = messages.get(timeout=0.5)
        except queue.Empty:
            if ended is not None:
                raise ended from None
            continue
        if kind == "row":
            on_epoch(content)
        elif kind == "error":
            raise content
        else:
            result: dict[str, Any] = content
            return result


def _why_ended(members: list[Any]) -> OperationFailed | None:
    codes = {rank: member.exitcode for rank, member in enumerate(members) if member.exitcode}
    if not codes:
        return None
    return OperationFailed(
        f"all processes of --devices must continue to the end, but some ended (by number: {codes}). "
        "Finished epochs are kept: continue with --resume, or with fewer devices."
    )


def _member(work: Work, options: Any, team: ProcessGroup, meeting: str, messages: Any) -> None:
    """One process: joins and works; the first tells its epochs and its result, each tells what went wrong."""
    end_with_parent()

    def send_epoch(row: dict[str, Any]) -> None:
        if team.leads:
            messages.put(("row", row))

    try:
        with _joined(meeting, team, options):
            result = work(options, send_epoch, team)
    except MoolaError as error:
        messages.put(("error", error))
        return
    if team.leads:
        messages.put(("result", result))
