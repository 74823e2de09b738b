"""What a person or a machine reads: text or one JSON object on stdout, logs and progress on stderr."""

from __future__ import annotations

import json
import logging
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LOG_FOLDER = Path("data/logs")
PLAIN_EVERY_S = 5.0
MOST_HELD = 20
log = logging.getLogger("moola.cli")


@dataclass(frozen=True, kw_only=True)
class ConsoleOptions:
    """Options of every command.

    Parameters
    ----------
    json
        Print one JSON object on stdout and nothing else.
    debug
        Show the traceback of an error.
    """

    json: bool = False
    debug: bool = False


def set_up_logging(command: str) -> None:
    """Send messages to stderr, and everything with its time to data/logs/<command>.log."""
    close_logging()
    root = logging.getLogger("moola")
    root.setLevel(logging.DEBUG)
    root.propagate = False
    screen = logging.StreamHandler(sys.stderr)
    screen.setLevel(logging.INFO)
    screen.setFormatter(_Plain())
    root.addHandler(screen)
    file = _LazyFile(LOG_FOLDER / f"{command.replace(' ', '-')}.log")
    file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    root.addHandler(file)


def close_logging() -> None:
    """Close the handlers of the command that ended."""
    root = logging.getLogger("moola")
    for handler in list(root.handlers):
        root.removeHandler(handler)
        handler.close()
    root.propagate = True


class _LazyFile(logging.FileHandler):
    """A log file that is made once there is more to tell than warnings, so that wrong usage leaves nothing on disk."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, encoding="utf-8", delay=True)
        self.held: list[logging.LogRecord] = []
        self.has_begun = False

    def emit(self, record: logging.LogRecord) -> None:
        """Hold what is said while files are read; results and epochs come as debug, the end as error."""
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
        except OSError as error:
            logging.getLogger("moola").removeHandler(self)
            log.warning("No log file: %s cannot be written (%s).", LOG_FOLDER, error.strerror)


class _Plain(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        message = record.getMessage()
        return f"Warning: {message}" if record.levelno == logging.WARNING else message


class Screen:
    """Prints a command's result in the form that was asked."""

    def __init__(self, options: ConsoleOptions) -> None:
        self.as_json = options.json

    def say(self, text: str = "") -> None:
        """Print a line for a person."""
        if not self.as_json:
            print(text)
        if text:
            log.debug("%s", text)

    def table(self, header: list[str], rows: list[list[str]]) -> None:
        """Print columns, the first one left, the others right."""
        if not rows:
            return
        widths = [max(len(line[i]) for line in [header, *rows]) for i in range(len(header))]
        for line in [header, *rows]:
            cells = [line[0].ljust(widths[0])] + [
                cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True)
            ]
            self.say("  " + "  ".join(cells).rstrip())

    def result(self, content: dict[str, Any]) -> None:
        """Print the one JSON object, where it was asked."""
        if self.as_json:
            print(json.dumps(content, sort_keys=True, allow_nan=False))

    def next_command(self, command: str) -> None:
        """Say what to type next."""
        self.say(f"Next: {command}")


class EpochProgress:
    """Epochs as a bar with the time left, or as a plain line now and then without a terminal."""

    def __init__(self, label: str, n_epochs: int) -> None:
        self.label, self.n_epochs = label, n_epochs
        self.started = self.shown = time.monotonic()
        self.bar: Any = None
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
            self.bar = Progress(*columns, TextColumn("{task.fields[losses]}"), console=Console(stderr=True))
            self.task = self.bar.add_task(label, total=n_epochs, losses="")

    def __enter__(self) -> EpochProgress:
        if self.bar is not None:
            self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.bar is not None:
            self.bar.stop()

    def _enter(self, row: dict[str, Any]) -> None:
        """Begin anew where a row is of another stage."""
        stage = row.get("stage", self.label)
        if stage != self.label:
            self.label, self.n_epochs, self.started = stage, row["n_epochs"], time.monotonic()
            if self.bar is not None:
                self.bar.update(self.task, description=stage, total=self.n_epochs)

    def __call__(self, row: dict[str, Any]) -> None:
        """Show one finished epoch."""
        self._enter(row)
        epoch = row["epoch"]
        losses = ", ".join(f"{name} {row[name]:.4f}" for name in ("train_loss", "val_loss") if name in row)
        log.debug("%s epoch %d of %d: %s", self.label, epoch, self.n_epochs, losses)
        if self.bar is not None:
            self.bar.update(self.task, completed=epoch, losses=losses)
            return
        now = time.monotonic()
        if epoch in (1, self.n_epochs) or now - self.shown >= PLAIN_EVERY_S:
            self.shown = now
            left = (now - self.started) / epoch * (self.n_epochs - epoch)
            print(
                f"{self.label}: epoch {epoch} of {self.n_epochs}, {losses}, {left:.0f} s left",
                file=sys.stderr,
                flush=True,
            )
