"""What computes: devices and threads, batches made ahead, and several processes that train one network."""

from __future__ import annotations

import os
import queue
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from threadpoolctl import threadpool_limits
from torch import distributed
from torch.nn import Parameter
from torch.utils import deterministic

from moola.errors import DeviceUnavailable, WrongUsage


def prepare_device(name: str, threads: int) -> torch.device:
    """Return the device for `auto`, `cpu` or `cuda` and make torch deterministic on it.

    Parameters
    ----------
    threads
        CPU threads of torch and of numpy's products; 0 takes one per core. Results depend on it in the last bits, so it
        is recorded.
    """
    if threads < 0:
        raise WrongUsage(f"--threads must be at least 0, but it is {threads}. Give 0 for one a core.")
    if name == "cuda" and not torch.cuda.is_available():
        raise DeviceUnavailable(
            "--device cuda needs a CUDA GPU, but torch finds 0 on this machine. "
            "Use --device auto (the default) or --device cpu."
        )
    # cuBLAS is deterministic only with a fixed workspace, which must be set before its first use.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    # Every step asks for tens of megabytes again; in pages of 4 kB, zeroing them took a third of the time.
    # torch reads this at its first allocation, and it changes no result.
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    # Not use_deterministic_algorithms, which does the same and loads torch's compiler first: 2.5 s of every command.
    torch.set_deterministic_debug_mode("error")
    # That would also fill all memory that an operation is about to write; nothing here reads what was not written.
    deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    n_threads = threads or os.cpu_count() or 1
    torch.set_num_threads(n_threads)
    # numpy's products take all cores by themselves. Of small ones most of the time is waiting: on two busy cores linear
    # heads took eight times as long.
    threadpool_limits(n_threads, user_api="blas")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    # By its number: which GPU is a process's own is known to its main thread alone, not to those that make batches.
    return torch.device("cuda", torch.cuda.current_device()) if name == "cuda" else torch.device(name)


def training_dtype(precision: str, device: torch.device) -> torch.dtype:
    """Return what an LSTM multiplies in while it learns: for `auto`, bfloat16 where the machine has it in hardware.

    Sums, states of the optimiser and everything outside the LSTM stay float32.

    Raises
    ------
    DeviceUnavailable
        bfloat16 is asked for and this processor cannot train an LSTM in it, not even slowly.
    """
    if precision == "auto":
        precision = "bfloat16" if _has_bfloat16(device) else "float32"
    if precision != "bfloat16":
        return torch.float32
    if device.type == "cpu" and not can_train_in_bfloat16():
        raise DeviceUnavailable(
            "--precision bfloat16 needs a processor that multiplies in it, but this one does not. "
            "Use --precision auto (the default) or --precision float32."
        )
    return torch.bfloat16


def can_train_in_bfloat16() -> bool:
    """Return whether an LSTM runs in bfloat16 on this processor: without AVX-512, oneDNN has no such primitive."""
    with torch.autocast("cpu", dtype=torch.bfloat16), torch.random.fork_rng(devices=[]):
        try:
            torch.nn.LSTM(1, 1)(torch.zeros(1, 1, 1))
        except RuntimeError:
            return False
    return True


def _has_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    # Without these instructions oneDNN would emulate it, or refuse.
    able = torch.cpu.get_capabilities()
    return bool(able.get("avx512_bf16") or able.get("amx_bf16"))


# Make batches ahead of the device that learns from them.


N_AHEAD = 4
# Targets cost ten times what cutting windows does, and numpy lets other threads compute meanwhile.
MOST_MAKERS = 4
PATIENCE_S = 0.1

Made = TypeVar("Made")


def prefetched(batches: Iterable[Any], device: torch.device) -> Iterator[Any]:
    """Yield the same batches in the same order; for a GPU they are made by a thread while it computes.

    A CPU makes and learns in turn: both would want the same core. What the thread raises is raised here.
    """
    return iter(batches) if device.type == "cpu" else in_thread(batches)


def n_makers(device: torch.device) -> int:
    """Return how many threads are to make batches: one for a CPU, which learns on its cores, up to 4 for a GPU."""
    return 1 if device.type == "cpu" else min(MOST_MAKERS, os.cpu_count() or 1)


def side_by_side(jobs: Iterable[Callable[[], Made]], n_threads: int) -> Iterator[Made]:
    """Yield what jobs return, in their order; several threads do them, none more than a turn each ahead."""
    if n_threads == 1:
        yield from (job() for job in jobs)
        return
    with ThreadPoolExecutor(n_threads, "moola-makers") as pool:
        begun: deque[Future[Made]] = deque()
        try:
            for job in jobs:
                begun.append(pool.submit(job))
                if len(begun) == n_threads:
                    yield begun.popleft().result()
            while begun:
                yield begun.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)


def in_thread(batches: Iterable[Any]) -> Iterator[Any]:
    """Yield what a thread makes, at most `N_AHEAD` ahead; the thread ends with this iterator."""
    made: queue.Queue[tuple[str, Any]] = queue.Queue(N_AHEAD)
    ended = threading.Event()
    maker = threading.Thread(target=_make, args=(batches, made, ended), name="moola-batches", daemon=True)
    maker.start()
    try:
        while True:
            kind, content = made.get()
            if kind == "end":
                return
            if kind == "error":
                raise content
            yield content
    finally:
        ended.set()
        maker.join()


def _make(batches: Iterable[Any], made: queue.Queue[tuple[str, Any]], ended: threading.Event) -> None:
    try:
        for batch in batches:
            if not _put(made, ("batch", batch), ended):
                return
    except BaseException as error:  # it is the other thread's to handle, whatever it is
        _put(made, ("error", error), ended)
    else:
        _put(made, ("end", None), ended)


def _put(made: queue.Queue[tuple[str, Any]], item: tuple[str, Any], ended: threading.Event) -> bool:
    """Wait for room, unless nobody wants more."""
    while not ended.is_set():
        try:
            made.put(item, timeout=PATIENCE_S)
        except queue.Full:
            continue
        return True
    return False


# Several processes that train one network: each takes its share of every batch, gradients are averaged.


@dataclass(frozen=True)
class ProcessGroup:
    """This process among those that train together; alone by default.

    Attributes
    ----------
    rank
        Number of this process; 0 writes files and reports.
    size
        How many there are.
    """

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Return whether this process writes files and reports."""
        return self.rank == 0

    def share(self, n: int) -> slice:
        """Return this process's part of `n` things in order; parts differ by one at most, and may be empty."""
        return slice(n * self.rank // self.size, n * (self.rank + 1) // self.size)

    def average_gradients(self, weights: Iterable[Parameter], n_windows: int) -> None:
        """Make every process's gradient that of the whole batch: the mean weighted by windows.

        A weight without a gradient anywhere keeps none; one that only some processes used counts as zeros elsewhere.
        """
        if self.size == 1:
            return
        learning = [weight for weight in weights if weight.requires_grad]
        flat = torch.cat(
            [
                torch.zeros_like(weight).flatten() if weight.grad is None else weight.grad.flatten()
                for weight in learning
            ]
        )
        summed = self.sums(torch.cat([flat * n_windows, flat.new_tensor([n_windows])]))
        mean, first = summed[:-1] / summed[-1], 0
        for weight in learning:
            weight.grad = mean[first : first + weight.numel()].view_as(weight).clone()
            first += weight.numel()

    def sums(self, values: torch.Tensor) -> torch.Tensor:
        """Return the sum over all processes, the same bits in each."""
        if self.size == 1:
            return values
        values = values.clone()
        distributed.all_reduce(values)
        return values


ALONE = ProcessGroup()
