"""How far a command is: a bar with the time left on a terminal, plain lines now and then without one."""

from __future__ import annotations

import logging
import sys
import time
from typing import Any, Self

from moola.cli.console import printable, write_above

PLAIN_EVERY_S, QUIET_S = 5.0, 2.0
log = logging.getLogger("moola.cli")


class Progress:
    """Steps done of so many; `with` it, so that the bar is gone when the command prints its result."""

    def __init__(self, label: str, unit: str, n_steps: int = 0, every_s: float = PLAIN_EVERY_S) -> None:
        self.label, self.unit, self.n_steps, self.every_s = label, unit, n_steps, every_s
        self.started = self.shown = time.monotonic()
        # Steps done before this command, which do not count for its speed.
        self.done_before: int | None = None
        self.bar: Any = None
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
            said = TextColumn("{task.fields[said]}", markup=False)
            self.bar = Progress(*columns, said, console=Console(stderr=True))
            self.task = self.bar.add_task(label, total=n_steps or None, said="")

    def __enter__(self) -> Self:
        if self.bar is not None:
            self.bar.start()
            write_above(self._write)
        return self

    def __exit__(self, *_: object) -> None:
        if self.bar is not None:
            write_above(None)
            self.bar.stop()

    def _write(self, text: str) -> None:
        # As it is, and as long as it is: a path or a command that was folded could not be copied.
        self.bar.console.print(text, soft_wrap=True, markup=False, highlight=False, emoji=False)

    def begin(self, label: str, n_steps: int) -> None:
        """Begin another stage."""
        self.label, self.n_steps = label, n_steps
        self.started, self.done_before = time.monotonic(), None
        if self.bar is not None:
            self.bar.update(self.task, description=label, total=n_steps)

    def show(self, done: int, said: str) -> None:
        """Show that so many steps are done."""
        log.debug("%s: %s %d of %d, %s", self.label, self.unit, done, self.n_steps, said)
        said = printable(said, kept="")
        is_first = self.done_before is None
        self.done_before = done - 1 if self.done_before is None else self.done_before
        if self.bar is not None:
            self.bar.update(self.task, completed=done, total=self.n_steps, said=said)
            return
        now = time.monotonic()
        if is_first or done == self.n_steps or now - self.shown >= self.every_s:
            self.shown = now
            left = (now - self.started) / (done - self.done_before) * (self.n_steps - done)
            line = f"{self.label}: {self.unit} {done} of {self.n_steps}{f', {said}' if said else ''}, {left:.0f} s left"
            print(line, file=sys.stderr, flush=True)


class EpochProgress(Progress):
    """Epochs of a training, stage by stage."""

    def __init__(self, label: str, n_epochs: int) -> None:
        super().__init__(label, "epoch", n_epochs)

    def __call__(self, row: dict[str, Any]) -> None:
        """Show one finished epoch."""
        stage = row.get("stage", self.label)
        if stage != self.label or row.get("n_epochs", self.n_steps) != self.n_steps:
            self.begin(stage, row["n_epochs"])
        if "class_penalty" in row:
            # Linear heads have one optimum, and no epochs on the way.
            self.fitted()
            return
        losses = (f"{name} {row[name]:.4f}" for name in ("train_loss", "val_loss") if name in row)
        self.show(row["epoch"], ", ".join(losses))

    def fitted(self) -> None:
        """Show that a fit without steps is over; what took no longer than two seconds is not worth a line."""
        taken = time.monotonic() - self.shown
        if self.bar is not None:
            self.bar.update(self.task, completed=1, total=1, said="linear heads fitted")
        elif taken > QUIET_S:
            print(f"{self.label}: linear heads fitted, {taken:.0f} s", file=sys.stderr, flush=True)
        self.shown = time.monotonic()


class FitProgress(Progress):
    """Fits of a grid."""

    def __init__(self, command: str) -> None:
        super().__init__(command, "fit")

    def __call__(self, n_done: int, n_fits: int, name: str) -> None:
        """Show one finished fit."""
        self.n_steps = n_fits
        self.show(n_done, name)


class TrialProgress(Progress):
    """Trials of a study, a line each."""

    def __init__(self, n_trials: int, metric: str) -> None:
        super().__init__("tune", "trial", n_trials, every_s=0)
        self.metric = metric

    def __call__(self, row: dict[str, Any]) -> None:
        """Show one finished trial."""
        said = f"{self.metric} {row['value']:.4f}" if row["value"] is not None else row["state"]
        if row["state"] == "pruned":
            said += f" after fold {len(row['by_fold'])} ({self.metric} {sum(row['by_fold']) / len(row['by_fold']):.4f})"
        known = row["best_value"] is not None
        best = f"best {row['best_value']:.4f} (trial {row['best_place']})" if known else "no best yet"
        log.debug("trial %d: %s", row["place"], row["values"])
        self.show(row["place"], f"{said}, {best}")


class WindowProgress(Progress):
    """Windows that a scan read, and the events in them."""

    def __init__(self) -> None:
        super().__init__("scan", "window")

    def __call__(self, n_done: int, n_windows: int, n_events: int) -> None:
        """Show one finished part."""
        if not self.n_steps:
            # A resumed scan begins anywhere, and its first part gives no speed.
            self.n_steps, self.done_before, self.started = n_windows, n_done - 1, time.monotonic()
        self.show(n_done, f"{n_events} events")


class BarProgress(Progress):
    """Bars that an encoder read, table by table."""

    def __init__(self) -> None:
        super().__init__("similar", "bar")

    def __call__(self, n_done: int, n_bars: int) -> None:
        """Show one finished part of a table."""
        if n_bars != self.n_steps or n_done < self.n_done:
            self.begin(self.label, n_bars)
        self.n_done = n_done
        self.show(n_done, "")

    n_done = 0
