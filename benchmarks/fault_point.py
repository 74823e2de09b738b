"""Run one moola command, and kill this process with SIGKILL inside its n-th step of writing files.

`python benchmarks/fault_point.py N <command...>`: a step is a file made, half of its bytes written, its flush, its
replacement, a removal, a folder made, a statement of the label store. With N = 0 nothing is killed. The steps that were
reached are the last line on stderr.
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import moola.files
from moola.cli import main
from moola.core.label_rules import Expansion, WindowLabel
from moola.tables.label_store import LabelStore

HOUR_US = 3_600_000_000


class Steps:
    """Counts steps, and ends the process at the fatal one."""

    def __init__(self, fatal: int) -> None:
        self.n, self.fatal = 0, fatal

    def take(self, half: Callable[[], Any] | None = None) -> None:
        """Reach a step; `half` does half of it before the end."""
        self.n += 1
        if self.n == self.fatal:
            if half is not None:
                half()
            os.kill(os.getpid(), signal.SIGKILL)

    def before(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return the function with a step before each of its calls."""

        def stepped(*arguments: Any, **named: Any) -> Any:
            self.take()
            return function(*arguments, **named)

        return stepped


class Stepped:
    """A module or a file, of which some functions are steps."""

    def __init__(self, real: Any, **stepped: Any) -> None:
        self.__dict__.update(stepped, real=real)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)


class SteppedFile(Stepped):
    """A file that is written in steps."""

    def __enter__(self) -> SteppedFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.real.close()


def stepped_file(steps: Steps, file: Any) -> SteppedFile:
    """Return a file of which the fatal step writes half a piece."""

    def half(piece: bytes) -> None:
        file.write(piece[: len(piece) // 2])
        file.flush()

    def write(piece: bytes) -> int:
        steps.take(lambda: half(piece))
        return int(file.write(piece))

    return SteppedFile(file, write=write)


def lay_steps(steps: Steps) -> None:
    """Put steps around all that moola does to files."""
    functions = {name: steps.before(getattr(os, name)) for name in ("fsync", "chmod", "replace", "unlink", "open")}
    functions["fdopen"] = lambda *given: stepped_file(steps, os.fdopen(*given))
    # The writer alone looks these up in its own modules; torch and polars go on as they are.
    vars(moola.files).update(
        os=Stepped(os, **functions), tempfile=Stepped(tempfile, mkstemp=steps.before(tempfile.mkstemp))
    )
    for name in ("unlink", "mkdir", "rmdir"):
        setattr(Path, name, steps.before(getattr(Path, name)))
    setattr(LabelStore, "_execute", steps.before(LabelStore._execute))  # noqa: B010


def made_label(number: int) -> WindowLabel:
    """Return the label of the n-th window: a mark that its number tells."""
    start = number * HOUR_US
    mark = Expansion(start + 30 * HOUR_US, start + (60 + number % 7) * HOUR_US, "rising")
    return WindowLabel(
        f"window-{number:04d}", "", start, start + 104 * HOUR_US, "anna", "A", "", f"note {number}", (mark,), "labelled"
    )


def save_labels(store: Path, n_labels: int) -> None:
    """Save labels one after the other, those that stand left out, and say each that `save` acknowledged."""
    with LabelStore(store) as labels:
        done = {label.window_id for label in labels.all()}
        for label in map(made_label, range(n_labels)):
            if label.window_id not in done:
                labels.save(label, 0)
                print(label.window_id, flush=True)


def run() -> None:
    """Do as the command line says."""
    steps, words = Steps(int(sys.argv[1])), sys.argv[2:]
    lay_steps(steps)
    try:
        if words[0] == "save-labels":
            save_labels(Path(words[1]), int(words[2]))
        else:
            main(words)
    finally:
        print(f"steps {steps.n}", file=sys.stderr)


if __name__ == "__main__":
    run()
