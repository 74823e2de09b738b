"""Commands that are stopped: by Ctrl-C or by SIGTERM, with the command that goes on."""

from __future__ import annotations

import contextlib
import os
import select
import shlex
import signal
import sys
import threading
from collections.abc import Iterator
from typing import Any

from moola.errors import Interrupted


class Terminated(KeyboardInterrupt):
    """SIGTERM arrived; ends a command as Ctrl-C does."""


def reader_left() -> bool:
    """Tell whether whoever read what is printed has left, as `| head` does; if so, the rest goes nowhere."""
    try:
        printed_to = sys.stdout.fileno()
    except (OSError, ValueError):
        # Kept in memory: there is no reader to leave.
        return False
    poller = select.poll()
    poller.register(printed_to, 0)
    if not any(event & select.POLLERR for _, event in poller.poll(0)):
        return False
    os.dup2(os.open(os.devnull, os.O_WRONLY), printed_to)
    return True


@contextlib.contextmanager
def terminable() -> Iterator[None]:
    """Turn SIGTERM into `Terminated` inside, as Python turns Ctrl-C into `KeyboardInterrupt`."""
    if threading.current_thread() is not threading.main_thread():
        # Signals belong to the main thread.
        yield
        return
    before = signal.signal(signal.SIGTERM, _stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _stop(*_: Any) -> None:
    # A second one must not cut short what the first one lets end.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise Terminated


def exit_code(stop: BaseException) -> int:
    """Return 128 and the signal's number, as shells do: 143 after SIGTERM, else 130."""
    is_terminated = isinstance(stop, Terminated) or isinstance(stop.__cause__, Terminated)
    return 128 + (signal.SIGTERM if is_terminated else signal.SIGINT)


def way_on(stop: Interrupted, typed: list[str]) -> str:
    """Return the sentence with the command that goes on: what was typed, and what it lacks."""
    if stop.go_on is None:
        return ""
    is_there = any(word == "--resume" or word.startswith("--resume=") for word in typed)
    return f" Go on with: {shlex.join(['moola', *typed, *(() if is_there else stop.go_on)])}"
