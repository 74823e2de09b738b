"""Make batches ahead of the device that learns from them."""

from __future__ import annotations

import os
import queue
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

import torch

N_AHEAD = 4
# Targets cost ten times what cutting windows does, and numpy lets other threads compute meanwhile.
MOST_MAKERS = 4
PATIENCE_S = 0.1

Made = TypeVar("Made")


def ahead(batches: Iterable[Any], device: torch.device) -> Iterator[Any]:
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
