"""A fault: how to make it, the command that meets it, and what a user must see."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from moola.cli import main
from moola.runs.run_store import RUN_ID

LOGS = "data/logs/"


@dataclass(frozen=True)
class Answer:
    """What a command did: exit code, what it printed, and every file that it changed, made or removed."""

    code: int
    out: str
    err: str
    touched: list[str]

    @property
    def message(self) -> str:
        """The error as one line; runs and folders of this machine go by a name."""
        text = self.err[self.err.find("Error: ") :].removeprefix("Error: ") if "Error: " in self.err else self.out
        text = text.replace(f"{Path.cwd()}/", "")
        return re.sub(r"\s+", " ", RUN_ID.sub("<RUN_ID>", text)).strip()


@dataclass(frozen=True)
class Fault:
    """One fault.

    Attributes
    ----------
    name
        Names its test.
    what
        In a reader's words.
    command
        Command line that meets it.
    code
        Exit code.
    says
        Part of the message.
    make
        Brings the fault about in the folder that is the working folder, a world of its own; patches end with the test.
    leaves
        Beginnings of the names of files that a run which began may leave beside the logs.
    then
        What must hold afterwards besides; raises where it does not.
    waits
        The command waits for another program by design, so that its seconds say nothing.
    """

    name: str
    what: str
    command: str
    code: int
    says: str
    make: Callable[[pytest.MonkeyPatch], object] = lambda _patch: None
    leaves: tuple[str, ...] = ()
    then: Callable[[], object] = lambda: None
    waits: bool = False

    def happen(self, patch: pytest.MonkeyPatch) -> Answer:
        """Make the fault in the working folder and run the command."""
        self.make(patch)
        answer = run(*(word.replace("{run}", run_id()) for word in shlex.split(self.command)))
        answer.touched[:] = [path for path in answer.touched if not path.startswith(self.leaves)]
        return answer


def fault(
    command: str, row: str, make: Callable[[Any], object] = lambda _patch: None, *more: Any, **named: Any
) -> Fault:
    """Return a fault by its row: its name, what it is, the exit code and a part of the message, between bars."""
    name, what, code, says = row.split(" | ", 3)
    return Fault(name, what, command, int(code), says, make, *more, **named)


def run_id() -> str:
    """Return the id of the finished run, the only one."""
    return next(path.name for path in Path("artifacts/runs").iterdir() if RUN_ID.fullmatch(path.name))


def run(*arguments: str) -> Answer:
    """Run a command line in this process."""
    out, err = io.StringIO(), io.StringIO()
    before = files_under(Path("."))
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), pytest.raises(SystemExit) as stop:
        main(list(arguments))
    after = files_under(Path("."))
    code = int(stop.value.code or 0)
    # Logs are kept of everything but wrong usage, which leaves nothing at all.
    passing = (LOGS, "data/") if code != 2 else ()
    touched = sorted(name for name in {*before, *after} if before.get(name) != after.get(name))
    return Answer(
        code,
        out.getvalue(),
        err.getvalue(),
        [name for name in touched if name not in passing[1:] and not name.startswith(passing[:1] or "\0")],
    )


def files_under(top: Path) -> dict[str, str]:
    """Return the content of every file, and every folder and link, under a folder."""
    found = {}
    for folder, folders, names in os.walk(top):
        for name in folders:
            path = Path(folder, name)
            found[f"{path.as_posix()}/"] = str(path.readlink()) if path.is_symlink() else "folder"
        for name in names:
            path = Path(folder, name)
            is_file = path.is_file() and not path.is_symlink()
            found[path.as_posix()] = (
                hashlib.sha256(path.read_bytes()).hexdigest() if is_file else str(path.lstat().st_mode)
            )
    return found
