"""`scan --on-event`: the user's own program gets one JSON line an event, and nothing waits for it.

The output of the follower is the queue: a file keeps how far it was delivered. A process that is killed at any moment
leaves a place from which the next one goes on, so that every event is delivered at least once; one whose program
was running then comes again, with the same `event_id`.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import logging
import os
import shlex
import shutil
import signal
import subprocess
import tempfile
import threading
from pathlib import Path
from typing import Any

from moola.errors import InvalidData, MoolaError, OperationFailed, WrongUsage
from moola.files import json_bytes, read_json, sha256_bytes, write_atomic

PLACE = "handed_on.json"
ADVICE = "Remove it; events from now on are then delivered."
# How much of what the program printed is kept where it failed.
SAID_BYTES = 2000
# Seconds before the second attempt; each further one waits twice as long, up to the longest wait.
FIRST_WAIT_S, LONGEST_WAIT_S = 1.0, 30.0
# Seconds between two checks for more events.
LOOK_S = 0.5
log = logging.getLogger(__name__)


def program_of(command: str) -> list[str]:
    """Split a command into words, as a shell does but without one, and find its program.

    Raises
    ------
    WrongUsage
        Quotes do not match, there is no word, or no such program.
    """
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise WrongUsage(f"--on-event must be a command line, but {command!r} is not ({error}). Correct it.") from error
    if not words:
        raise WrongUsage("--on-event must name a program, but it is empty. Name one, or leave it out.")
    found = shutil.which(words[0])
    if found is None:
        raise WrongUsage(
            f"--on-event must name a program that can be run, but there is no {words[0]!r} on the PATH. Give its path; "
            "there is no shell, so that pipes and redirections belong in a script of your own."
        )
    return [found, *words[1:]]


def dead_letters_of(output: Path) -> Path:
    """Return the file of events that the program did not take, beside the follower's output."""
    return output.with_name(output.name + ".dead.jsonl")


class EventProgram:
    """Hands every event of a growing .jsonl file to a program, one after the other, in a thread of its own.

    Parameters
    ----------
    words
        The program and its arguments.
    output
        Events, a JSON object a line.
    folder
        Where the place is kept.
    timeout_s
        Seconds that the program may take; then it is stopped with all that it started.
    retries
        Further attempts after one that failed: another exit code than 0, or out of time.
    """

    def __init__(self, words: list[str], output: Path, folder: Path, timeout_s: float, retries: int) -> None:
        self.words, self.output, self.timeout_s, self.retries = words, output, timeout_s, retries
        self.place, self.dead = folder / PLACE, dead_letters_of(output)
        self.n_taken, self.n_dead = 0, 0
        self.failure: MoolaError | None = None
        self.stopping, self.draining = threading.Event(), threading.Event()
        self.news = threading.Condition()
        # Held while a program is started: none is after `stopping`, and `stop` finds the one that was.
        self.starting = threading.Lock()
        self.running: subprocess.Popen[bytes] | None = None
        self.thread = threading.Thread(target=self._run, name="on-event", daemon=True)

    def begin(self) -> None:
        """Continue where events were last delivered; where none were, with those that are appended from now on.

        Raises
        ------
        InvalidData
            The place does not fit the output.
        """
        size = self.output.stat().st_size if self.output.exists() else 0
        if not self.place.is_file():
            self._keep(size)
        self.n_bytes = self._kept(size)
        self.thread.start()

    def notify(self) -> None:
        """Report that events were appended."""
        with self.news:
            self.news.notify_all()

    def finish(self) -> None:
        """Deliver what is there, then end; every attempt has its time, so that this does too.

        Raises
        ------
        MoolaError
            The place or an event that the program did not take could not be written, or the output is no longer what
            was appended.
        """
        self.draining.set()
        self.notify()
        self.thread.join()
        if self.failure is not None:
            raise self.failure

    def stop(self) -> None:
        """End at once: a program that runs is stopped, and its event is delivered at the next start."""
        self.stopping.set()
        with self.starting:
            if self.running is not None:
                _kill(self.running)
        self.notify()
        if self.thread.is_alive():
            self.thread.join()

    def _run(self) -> None:
        try:
            while not self.stopping.is_set():
                # Asked before the file is read: what was appended before `finish` is then in it.
                is_last = self.draining.is_set()
                if (line := self._next_line()) is not None:
                    self._deliver(line)
                elif is_last:
                    return
                else:
                    with self.news:
                        self.news.wait(LOOK_S)
        except MoolaError as error:
            # Logged at once, for the reading goes on, and raised where the command ends.
            log.error("Events are no longer delivered: %s", error)
            self.failure = error

    def _next_line(self) -> bytes | None:
        """Return the next whole line that was not delivered."""
        try:
            with self.output.open("rb") as file:
                file.seek(self.n_bytes)
                line = file.readline()
        except FileNotFoundError:
            # The follower has just begun; a file that is gone later is its to report.
            return None
        except OSError as error:
            raise OperationFailed(
                f"{self.output} must be readable, but {error.strerror}. Correct it and start again."
            ) from error
        return line if line.endswith(b"\n") else None

    def _deliver(self, line: bytes) -> None:
        event_id = sha256_bytes(line)[:16]
        try:
            content = json.dumps({"event_id": event_id} | json.loads(line)).encode() + b"\n"
        except (TypeError, ValueError) as error:
            raise InvalidData(
                f"{self.output} must be as it was appended, but at byte {self.n_bytes} is no event ({error}). "
                "Remove the output and its .follow folder to start over."
            ) from error
        failed, printed = "", ""
        for attempt in range(1 + self.retries):
            if attempt and self.stopping.wait(min(FIRST_WAIT_S * 2 ** (attempt - 1), LONGEST_WAIT_S)):
                return
            failed, printed = self._attempt(content)
            if self.stopping.is_set() and failed:
                return
            if not failed:
                self.n_taken += 1
                break
            log.warning("The program of --on-event did not take event %s: %s.%s", event_id, failed, _tail(printed))
        if failed:
            self._set_aside(content, failed, printed)
        self.n_bytes += len(line)
        self._keep(self.n_bytes)

    def _attempt(self, content: bytes) -> tuple[str, str]:
        """Run the program once; return what went wrong, if anything, and the end of what it printed."""
        with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as printed:
            given.write(content)
            given.seek(0)
            try:
                # A session of its own, so that whatever it starts can be stopped with it.
                with self.starting:
                    if self.stopping.is_set():
                        return "stopped", ""
                    running = self.running = subprocess.Popen(
                        self.words, stdin=given, stdout=printed, stderr=printed, start_new_session=True
                    )
            except OSError as error:
                return f"it cannot be run ({error.strerror})", ""
            try:
                code = running.wait(self.timeout_s)
                failed = f"exit code {code}" if code else ""
            except subprocess.TimeoutExpired:
                _kill(running)
                failed = f"not done after {self.timeout_s:g} s"
            with self.starting:
                self.running = None
            printed.seek(max(printed.seek(0, os.SEEK_END) - SAID_BYTES, 0))
            return failed, printed.read().decode(errors="replace")

    def _set_aside(self, content: bytes, failed: str, printed: str) -> None:
        """Append an event that the program did not take, before the place moves past it."""
        now = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
        record = {
            "event": json.loads(content),
            "failed": failed,
            "attempts": 1 + self.retries,
            "said": printed,
            "at": now,
        }
        try:
            with self.dead.open("ab") as file:
                file.write(json.dumps(record).encode() + b"\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise OperationFailed(
                f"{self.dead} must be writable, but {error.strerror}; the event is delivered again at the next start. "
                "Free space and start again."
            ) from error
        self.n_dead += 1
        log.warning("After %d attempts the event is in %s.", 1 + self.retries, self.dead)

    def _keep(self, n_bytes: int) -> None:
        write_atomic(self.place, json_bytes({"n_bytes": n_bytes}))

    def _kept(self, size: int) -> int:
        n_bytes: Any = read_json(self.place, "the place of --on-event", ADVICE).get("n_bytes")
        if type(n_bytes) is not int or not 0 <= n_bytes <= size:
            raise InvalidData(
                f"the place of --on-event must lie in {self.output} ({size} bytes), but {self.place} says {n_bytes!r}. "
                f"{ADVICE}"
            )
        return n_bytes


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Stop a program that runs, and all that it started."""
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _tail(printed: str) -> str:
    lines = [line for line in printed.splitlines() if line.strip()]
    return f" It printed: {lines[-1][:200]}" if lines else ""
