"""Processes that train one network together (`--devices`): started here, or those that torchrun started."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import queue
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import distributed

from moola.errors import DeviceUnavailable, MoolaError, OperationFailed, WrongUsage
from moola.fit.processes import end_with_parent
from moola.options.option_fields import refuse_out_of_range
from moola.training.device import ALONE, ProcessGroup
from moola.training.loop import OnEpoch

PATIENCE_S = 5.0
# Work of one member: receives a callback for each epoch's row, returns the command's result.
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
    What the work returned, and which member this process is: only the one that leads reports.

    Raises
    ------
    WrongUsage
        --devices below 1, beyond any machine, or another count than torchrun's.
    DeviceUnavailable
        More processes than GPUs, where they are to compute on GPUs.
    OperationFailed
        A member ended unexpectedly (killed, out of memory).
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
    """Pass on what the members send until there is a result, or one of them ended badly."""
    while True:
        # Checked first: messages sent before the end are still received.
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
    """One process: joins and works; the first sends its epochs and its result, each sends its error."""
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
