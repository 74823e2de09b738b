"""Processes of a Ray cluster that train together (`--engine ray`), begun again where one dies."""

from __future__ import annotations

import os
import queue
import shutil
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from moola.errors import MoolaError, OperationFailed
from moola.fit.processes import RETRIES, on_cluster
from moola.training.device import Team
from moola.training.loop import OnEpoch

# What a member of a team tells whoever started it, and how that one hears it, over any queue.


# Work of one member: told each epoch's row, returns what the command says at the end.
Work = Callable[[Any, OnEpoch, Team], dict[str, Any]]


def tell(said: Any, team: Team, work: Callable[[OnEpoch], dict[str, Any]]) -> None:
    """Do a member's work; the first member reports its epochs and its result, each reports errors."""

    def on_epoch(row: dict[str, Any]) -> None:
        if team.leads:
            said.put(("row", row))

    try:
        result = work(on_epoch)
    except MoolaError as error:
        said.put(("error", error))
        return
    if team.leads:
        said.put(("result", result))


def hear(said: Any, on_epoch: OnEpoch, why_ended: Callable[[], OperationFailed | None]) -> dict[str, Any]:
    """Pass on what the members report until there is a result; `why_ended` says why none can come any more."""
    while True:
        # Asked first: what was told before the end is heard.
        ended = why_ended()
        try:
            kind, content = said.get(timeout=0.5)
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


PATIENCE_S = 10.0


def run_on_ray(work: Work, options: Any, checkpoint: Path, on_epoch: OnEpoch) -> dict[str, Any]:
    """Do the work with `options.devices` processes of the cluster; when one dies, all continue from the checkpoint.

    Parameters
    ----------
    checkpoint
        Where the work keeps its last finished epoch; must be on every node under the same path.

    Raises
    ------
    OperationFailed
        Ray Train is missing or no cluster is reached, or members died again and again.
    """
    require_ray_train()
    if not options.resume:
        # Members always continue from what is there; at first that must be nothing.
        checkpoint.unlink(missing_ok=True)
    records = checkpoint.with_name(checkpoint.name + ".ray").absolute()
    try:
        with on_cluster(options.devices) as ray:
            from ray.util.queue import Queue

            said = Queue(actor_options={"num_cpus": 0})
            given = {"work": work, "options": replace(options, resume=True), "said": said, "folder": os.getcwd()}
            n_gpus = ray.cluster_resources().get("GPU", 0)
            trainer = _trainer(given, options.devices, options.device != "cpu" and n_gpus > 0, records)
            fitting = _Fitting(trainer)
            # Beside this thread, which hears the members and Ctrl-C; leaving the cluster ends it.
            fitting.start()
            result = hear(said, on_epoch, fitting.why_ended)
            fitting.join(PATIENCE_S)
            return result
    finally:
        shutil.rmtree(records, ignore_errors=True)


class _Fitting(threading.Thread):
    """Ray Train at work, until it is done or gives up."""

    def __init__(self, trainer: Any) -> None:
        super().__init__(name="ray-train", daemon=True)
        self.trainer = trainer
        self.failure: Exception | None = None

    def run(self) -> None:
        from ray.exceptions import RayError
        from ray.train import TrainingFailedError

        try:
            self.trainer.fit()
        except (RayError, TrainingFailedError) as error:
            self.failure = error
        except SystemExit:
            # What Ray raises in a thread that waits while the cluster is left.
            return

    def why_ended(self) -> OperationFailed | None:
        """State why no member can report anything any more, or nothing while one can."""
        if self.is_alive():
            return None
        return _died("no word" if self.failure is None else type(self.failure).__name__)


def _died(name: str) -> OperationFailed:
    return OperationFailed(
        f"all processes of --devices must continue to the end, but some died {RETRIES + 1} times ({name}). "
        "Finished epochs are kept: continue with --resume."
    )


def _trainer(given: dict[str, Any], n_members: int, on_gpus: bool, records: Path) -> Any:
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer

    return TorchTrainer(
        _member,
        train_loop_config=given,
        # As among processes of one machine: figures are summed on the CPU, gradients where they are.
        torch_config=TorchConfig(backend="cpu:gloo,cuda:nccl" if on_gpus else "gloo"),
        scaling_config=ScalingConfig(num_workers=n_members, use_gpu=on_gpus),
        run_config=RunConfig(
            name="team", storage_path=str(records), failure_config=FailureConfig(max_failures=RETRIES)
        ),
    )


def _member(given: dict[str, Any]) -> None:
    """One process, which Ray Train has joined with the others: works in the command's folder."""
    from ray.train import get_context

    os.chdir(given["folder"])
    context = get_context()
    team = Team(context.get_world_rank(), context.get_world_size())
    tell(given["said"], team, lambda on_epoch: given["work"](given["options"], on_epoch, team))


def require_ray_train() -> None:
    """State how to install Ray Train where it is missing."""
    try:
        import ray.train.torch  # noqa: F401
    except ImportError as error:
        raise OperationFailed(
            f'--engine ray needs Ray Train, but it cannot be imported ({error}). Install it: pip install "moola[ray]"'
        ) from error
