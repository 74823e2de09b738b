"""What a person or a machine reads: text or one JSON object on stdout, logs on stderr; and the messages of a stop."""

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
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, TextIO

from cyclopts import Parameter

from moola.errors import Interrupted
from moola.options.command_lines import command_line
from moola.options.option_fields import OUTPUT, advanced

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


class Screen:
    """Prints a command's result in the form that was asked."""

    def __init__(self, options: ConsoleOptions) -> None:
        self.as_json = options.json

    def say(self, text: str = "") -> None:
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
            self.say("  " + "  ".join(cells).rstrip())

    def result(self, content: dict[str, Any]) -> None:
        """Print the one JSON object, where it was asked."""
        if self.as_json:
            print(json.dumps(content, sort_keys=True, allow_nan=False))

    def next_command(self, *words: Any) -> None:
        """State what to type next, word by word: the line is quoted for the shell."""
        self.next_step(command_line(*words))

    def next_step(self, text: str) -> None:
        """State what to do next where it is no command alone."""
        self.say(f"Next: {text}")


# Commands that are stopped: by Ctrl-C or by SIGTERM, with the command that continues.


class Terminated(KeyboardInterrupt):
    """SIGTERM arrived; ends a command as Ctrl-C does."""


def reader_left() -> bool:
    """Return whether whoever read what is printed has left, as `| head` does; if so, the rest goes nowhere."""
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
    """Return the sentence with the command that continues: what was typed, and what it lacks."""
    if stop.go_on is None:
        return ""
    is_there = any(word == "--resume" or word.startswith("--resume=") for word in typed)
    return f" Continue with: {shlex.join(['moola', *typed, *(() if is_there else stop.go_on)])}"
