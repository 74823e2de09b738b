"""Jobs on a Ray cluster (`--engine ray`, extra `ray`): one task a job, done anew where a worker dies, counted once."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any

from moola.errors import OperationFailed

RETRIES = 3
# Tasks that a cluster knows of at a time: enough for its workers, and few enough to look through.
AHEAD = 1000


def over_ray(heard: Callable[..., Any], calls: Iterable[tuple[Any, ...]], n_processes: int) -> Generator[Any]:
    """Yield what each call returns, as they end; a call that a worker took with it is made again.

    Parameters
    ----------
    heard
        A function of a module; moola must be installed on every node, and the working folder be there under the
        same path: results are files.

    Raises
    ------
    OperationFailed
        Ray is missing or cannot be reached, or a job's worker died again and again.
    """
    with on_cluster(n_processes) as ray:
        task = ray.remote(num_cpus=1, max_retries=RETRIES)(_in_folder)
        coming = (task.remote(os.getcwd(), heard, call) for call in calls)
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


def _in_folder(folder: str, heard: Callable[..., Any], call: tuple[Any, ...]) -> Any:
    """Do one call in the command's working folder."""
    os.chdir(folder)
    return heard(*call)


def require_ray() -> Any:
    """Return Ray, or say how to install it."""
    try:
        import ray
    except ImportError as error:
        raise OperationFailed(
            f'--engine ray needs Ray, but it cannot be imported ({error}). Install it: pip install "moola[ray]"'
        ) from error
    return ray
