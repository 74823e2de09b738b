"""What a person or a machine reads: text or one JSON object on stdout; logs, progress and the messages of a stop on
stderr."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import select
import shlex
import signal
import sys
import threading
import time
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self, TextIO

from cyclopts import Parameter

from moola.errors import Interrupted
from moola.options.option_fields import OUTPUT, advanced
from moola.options.option_sources import command_line

LOG_FOLDER = Path("data/logs")
MOST_HELD = 20
log = logging.getLogger("moola.cli")


@dataclass(frozen=True, kw_only=True)
class ConsoleOptions:
    """Options of every command."""

    json: Annotated[bool, advanced("Print one JSON object on stdout and nothing else.", OUTPUT)] = False
    debug: Annotated[bool, advanced("Show the traceback of an error.", OUTPUT)] = False


# Options are flat: --epochs, and never --options.epochs.
Flat = Parameter(name="*")
Console = Annotated[ConsoleOptions, Flat]


def printable(text: str, kept: str = "\n") -> str:
    """Return text that is safe on a terminal: what moves the cursor, colours or hides is written as its escape.

    File names, symbols and cells of other people's files reach messages and tables; a terminal obeys the control
    characters (Cc), direction marks and other invisible ones (Cf), line separators and lone surrogates among them.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        one if one in kept or unicodedata.category(one) not in ("Cc", "Cf", "Cs", "Zl", "Zp") else _escaped(one)
        for one in text
    )


def _escaped(one: str) -> str:
    return one.encode("unicode_escape", "surrogatepass").decode("ascii")


def set_up_logging(command: str) -> None:
    """Send messages to stderr, and everything with its time to data/logs/<command>.log."""
    close_logging()
    root = logging.getLogger("moola")
    root.setLevel(logging.DEBUG)
    root.propagate = False
    screen = _Stderr(sys.stderr)
    screen.setLevel(logging.INFO)
    screen.setFormatter(_Plain())
    root.addHandler(screen)
    file = _LazyFile(LOG_FOLDER / f"{command.replace(' ', '-')}.log")
    file.setFormatter(_Dated("%(asctime)s %(levelname)s %(message)s"))
    root.addHandler(file)


def close_logging() -> None:
    """Close the handlers of the command that ended."""
    root = logging.getLogger("moola")
    for handler in list(root.handlers):
        root.removeHandler(handler)
        handler.close()
    root.propagate = True


class _LazyFile(logging.FileHandler):
    """A log file that is made once there is more than warnings, so that wrong usage leaves nothing on disk."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, encoding="utf-8", delay=True)
        self.held: list[logging.LogRecord] = []
        self.has_begun = False

    def emit(self, record: logging.LogRecord) -> None:
        """Hold messages while files are read; results and epochs come as debug, the end as error."""
        self.held.append(record)
        if record.levelno in (logging.DEBUG, logging.ERROR) or len(self.held) > MOST_HELD:
            self.has_begun = True
        if self.has_begun:
            held, self.held = self.held, []
            for one in held:
                self._write(one)

    def _write(self, record: logging.LogRecord) -> None:
        try:
            LOG_FOLDER.mkdir(parents=True, exist_ok=True)
            super().emit(record)
        except OSError:
            self.handleError(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802, ARG002
        """Report once that the log ends here; what the command does is shown on the screen all the same."""
        root = logging.getLogger("moola")
        if self in root.handlers:
            root.removeHandler(self)
            reason = getattr(sys.exception(), "strerror", None) or sys.exception()
            # Python 3.13 prints a traceback where a file that is dropped cannot write its last bytes.
            self.close()
            log.warning("The log file ends: %s cannot be written (%s).", LOG_FOLDER, reason)

    def close(self) -> None:
        """Close the file, whose last bytes a full disk may not take."""
        with contextlib.suppress(OSError):
            super().close()


class _Stderr(logging.StreamHandler[TextIO]):
    # Writes a line above the bar that is drawn; None where none is.
    above: ClassVar[Callable[[str], object] | None] = None

    def emit(self, record: logging.LogRecord) -> None:
        """Write a message; it would else go on behind the bar, in the bar's own line."""
        above = _Stderr.above
        if above is None:
            super().emit(record)
            return
        with contextlib.suppress(OSError):
            above(self.format(record))

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        """Leave it: there is no other place to report a screen that takes nothing."""


def write_above(above: Callable[[str], object] | None) -> None:
    """Send messages to a bar that is drawn, which writes them above itself; None sends them to stderr again."""
    _Stderr.above = above


class _Dated(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record))


class _Plain(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        message = printable(record.getMessage())
        return f"Warning: {message}" if record.levelno == logging.WARNING else message


def figure_text(value: float | None) -> str:
    """Return a figure as it is printed."""
    return "-" if value is None else f"{value:.3f}"


class Screen:
    """Prints a command's result in the form that was asked."""

    def __init__(self, options: ConsoleOptions) -> None:
        self.as_json = options.json

    def write(self, text: str = "") -> None:
        """Print a line for a person."""
        text = printable(text)
        if not self.as_json:
            print(text)
        if text:
            log.debug("%s", text)

    def table(self, header: list[str], rows: list[list[str]]) -> None:
        """Print columns, the first one left, the others right."""
        if not rows:
            return
        rows = [[printable(cell, kept="") for cell in line] for line in rows]
        widths = [max(len(line[i]) for line in [header, *rows]) for i in range(len(header))]
        for line in [header, *rows]:
            cells = [line[0].ljust(widths[0])] + [
                cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True)
            ]
            self.write("  " + "  ".join(cells).rstrip())

    def comparisons(self, compared: Sequence[Mapping[str, Any]], first: str, floor: str) -> None:
        """Print a gate's comparisons; `first` heads the metrics, `floor` the uninformed baseline."""
        rows = []
        for row in compared:
            values = [figure_text(row[name]) for name in ("challenger", "baseline", "trivial", "difference")]
            interval = "-" if row["low"] is None else f"{row['low']:+.3f} .. {row['high']:+.3f}"
            rows.append([row["metric"], *values, interval, "yes" if row["holds"] else "no"])
        self.table([first, "challenger", "baseline", floor, "difference", "95 % interval", "rule holds"], rows)

    def differences(self, compared: Sequence[Mapping[str, Any]], first: str) -> None:
        """Print the rows of a comparison with a baseline; `first` heads the names."""
        rows = []
        for row in compared:
            interval = "-" if row["low"] is None else f"{row['low']:+.3f} .. {row['high']:+.3f}"
            value, difference, *tests = (
                figure_text(row[name]) for name in ("value", "difference", "detectable", "p", "p_holm")
            )
            rows.append([row["name"], row["metric"], value, difference, interval, *tests])
        self.table([first, "metric", "value", "difference", "95 % interval", "detectable", "p", "p (Holm)"], rows)

    def result(self, content: dict[str, Any]) -> None:
        """Print the one JSON object, where it was asked."""
        if self.as_json:
            print(json.dumps(content, sort_keys=True, allow_nan=False))

    def next_command(self, *words: Any) -> None:
        """State what to type next, word by word: the line is quoted for the shell."""
        self.next_step(command_line(*words))

    def next_step(self, text: str) -> None:
        """State what to do next where it is no command alone."""
        self.write(f"Next: {text}")


# Commands that are stopped: by Ctrl-C or by SIGTERM, with the command that continues.


class Terminated(KeyboardInterrupt):
    """SIGTERM arrived; ends a command as Ctrl-C does."""


def reader_left() -> bool:
    """Return whether the reader of what is printed has left, as `| head` does; if so, the rest goes nowhere."""
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


def resume_hint(stop: Interrupted, typed: list[str]) -> str:
    """Return the sentence with the command that continues: what was typed, and what it lacks."""
    if stop.go_on is None:
        return ""
    is_there = any(word == "--resume" or word.startswith("--resume=") for word in typed)
    return f" Continue with: {shlex.join(['moola', *typed, *(() if is_there else stop.go_on)])}"


PLAIN_EVERY_S, QUIET_S = 5.0, 2.0


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
            note = TextColumn("{task.fields[note]}", markup=False)
            self.bar = Progress(*columns, note, console=Console(stderr=True))
            self.task = self.bar.add_task(label, total=n_steps or None, note="")

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

    def show(self, done: int, note: str) -> None:
        """Show that so many steps are done."""
        log.debug("%s: %s %d of %d, %s", self.label, self.unit, done, self.n_steps, note)
        note = printable(note, kept="")
        is_first = self.done_before is None
        self.done_before = done - 1 if self.done_before is None else self.done_before
        if self.bar is not None:
            self.bar.update(self.task, completed=done, total=self.n_steps, note=note)
            return
        now = time.monotonic()
        if is_first or done == self.n_steps or now - self.shown >= self.every_s:
            self.shown = now
            left = (now - self.started) / (done - self.done_before) * (self.n_steps - done)
            line = f"{self.label}: {self.unit} {done} of {self.n_steps}{f', {note}' if note else ''}, {left:.0f} s left"
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
            self.bar.update(self.task, completed=1, total=1, note="linear heads fitted")
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
        note = f"{self.metric} {row['value']:.4f}" if row["value"] is not None else row["state"]
        if row["state"] == "pruned":
            note += f" after fold {len(row['by_fold'])} ({self.metric} {sum(row['by_fold']) / len(row['by_fold']):.4f})"
        known = row["best_value"] is not None
        best = f"best {row['best_value']:.4f} (trial {row['best_place']})" if known else "no best yet"
        log.debug("trial %d: %s", row["place"], row["values"])
        self.show(row["place"], f"{note}, {best}")


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
