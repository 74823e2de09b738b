"""Make batches ahead of the device that learns from them."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterable, Iterator
from typing import Any

import torch

N_AHEAD = 4
PATIENCE_S = 0.1


def ahead(batches: Iterable[Any], device: torch.device) -> Iterator[Any]:
    """Yield the same batches in the same order; for a GPU they are made by a thread while it computes.

    A CPU makes and learns in turn: both would want the same core. What the thread raises is raised here.
    """
    return iter(batches) if device.type == "cpu" else in_thread(batches)


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
