"""An hour of `moola scan --follow` and `moola label` side by side, under load: nothing grows, is lost, or comes twice.

`python benchmarks/soak.py` appends 5 bars a second to the file that is followed, some as half a line first, and saves
2 labels a second through the page's requests: four clients, two of one annotator, with saves on old revisions and
undos. Every 10 s it reads memory and descriptors of both processes from /proc, and the sizes of their files. At the
end:

- median memory of the last sixth against that of the second: at most GROWTH_MIB more (runs below half an hour tell it
  and don't judge it: allocators still settle); least number of descriptors: the same;
- events of the follower are those of `moola scan --live` over the finished file, each once;
- the store's revisions are the saves that were acknowledged, each once with its content, and no other.

Prints a table; `--page` writes it between the marks of a page, after half an hour or more. Ends in 1 when a check
fails. Needs Linux.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from page_parts import write_part
from soak_load import Broken, Client, Writer, bar_lines, wait_until, walk

from moola import __version__
from moola.core.label_rules import WindowLabel
from moola.files import read_json
from moola.tables.label_store import LabelStore
from scan import fresh_model

BARS_PER_S, SAVES_PER_S = 5.0, 2.0
ANNOTATORS = ("anna", "anna", "ben", "cleo")
GROWTH_MIB = 4.0
JUDGED_MINUTES = 30.0
STATE = Path("events.jsonl.follow/state.json")
SCAN = ("--model", "model.pt", "--min-prob", "0.0001", "--stride", "2", "--device", "cpu", "--threads", "1")
HAS_BEGUN_S = 300.0
# Bars that stand when the follower starts.
N_BEFORE = 600


@dataclass(frozen=True)
class Sample:
    """What one process is at a moment."""

    rss_mib: float
    n_descriptors: int
    log_bytes: int
    kept_bytes: int


class Process:
    """A moola command at work, and its files."""

    def __init__(self, name: str, words: tuple[str, ...], folder: Path, kept: tuple[str, ...]) -> None:
        self.name, self.said, self.err = name, folder / f"{name}.out", folder / f"{name}.err"
        self.logs, self.kept = [self.err, folder / f"data/logs/{name}.log"], [folder / path for path in kept]
        command = [sys.executable, "-m", "moola.cli", name, *words]
        with self.said.open("wb") as out, self.err.open("wb") as err:
            self.popen = subprocess.Popen(command, cwd=folder, stdout=out, stderr=err)
        self.samples: list[Sample] = []

    def sample(self) -> None:
        """Read memory, descriptors and sizes."""
        self.must_live()
        place = Path(f"/proc/{self.popen.pid}")
        rss = int(place.joinpath("statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
        sizes = [sum(path.stat().st_size for path in paths if path.exists()) for paths in (self.logs, self.kept)]
        self.samples.append(Sample(rss, len(list(place.joinpath("fd").iterdir())), *sizes))

    def must_live(self) -> None:
        """Refuse to go on without it."""
        if self.popen.poll() is not None:
            last = self.err.read_text()[-500:].strip()
            raise Broken(f"moola {self.name} must go on, but it ended in {self.popen.returncode}: {last}")

    def stop(self) -> int:
        """End it as a service manager does; return its exit code."""
        self.popen.send_signal(signal.SIGTERM)
        return self.popen.wait(60)

    def rss_mib(self) -> tuple[float, float]:
        """Return the median memory of the second and of the last sixth of the samples."""
        parts = np.array_split([sample.rss_mib for sample in self.samples], 6)
        return float(np.median(parts[1])), float(np.median(parts[-1]))

    def n_descriptors(self) -> tuple[int, int]:
        """Return the least number of descriptors in these: files that are open for a moment come on top."""
        parts = np.array_split([sample.n_descriptors for sample in self.samples], 6)
        return int(parts[1].min()), int(parts[-1].min())


class Soak:
    """Both processes and their load, in one folder."""

    def __init__(self, folder: Path, minutes: float, every_s: float) -> None:
        self.folder, self.minutes, self.seconds, self.every_s = folder, minutes, minutes * 60, every_s
        self.end = threading.Event()
        n_saves = SAVES_PER_S * self.seconds
        fresh_model(folder / "model.pt")
        # Every window has its label within the first sixth; from then on what is held in memory has its size.
        self.n_windows = max(int(n_saves / 15 / len(set(ANNOTATORS))), 3)
        walk(105 + 30 * (self.n_windows - 1), 1, "SHELF").write_parquet(folder / "window_list.parquet")
        lines = bar_lines(N_BEFORE + int(BARS_PER_S * (self.seconds + HAS_BEGUN_S) * 1.2), 2)
        (folder / "bars.csv").write_bytes(b"".join(islice(lines, 1 + N_BEFORE)))
        words = (*SCAN, "--follow", "bars.csv", "--output", "events.jsonl", "--poll-s", "1")
        self.follower = Process("scan", words, folder, (str(STATE),))
        words = ("--bars", "window_list.parquet", "--stride", "30", "--store", "labels.db", "--annotator", "anna")
        self.server = Process("label", (*words, "--port", "0", "--json"), folder, ("labels.db", "labels.db-wal"))
        self.writer = Writer(folder / "bars.csv", lines, BARS_PER_S, self.end)
        self.clients: list[Client] = []

    def run(self) -> None:
        """Load both for so long, and wait until all was read."""
        self.writer.start()
        wait_until("the page", lambda: self._lives() and self.server.said.read_text().endswith("\n"))
        port = int(json.loads(self.server.said.read_text())["url"].split(":")[2].strip("/"))
        rate = SAVES_PER_S / len(ANNOTATORS)
        self.clients = [Client(number, name, port, rate, self.end) for number, name in enumerate(ANNOTATORS)]
        for client in self.clients:
            client.start()
        wait_until("the first event", lambda: self._lives() and self.n_events() > 0, HAS_BEGUN_S)
        until = time.monotonic() + self.seconds
        while (left := until - time.monotonic()) > 0:
            self._lives()
            self.follower.sample()
            self.server.sample()
            time.sleep(min(self.every_s, left))
        self.end.set()
        for worker in (self.writer, *self.clients):
            worker.join()
        self._lives()
        wait_until("the last bar", lambda: self.n_read() == N_BEFORE + self.writer.n_done)

    def _lives(self) -> bool:
        for process in (self.follower, self.server):
            process.must_live()
        failures = [worker.failure for worker in (self.writer, *self.clients) if worker.failure]
        if failures:
            raise Broken(failures[0])
        return True

    def n_read(self) -> int:
        """Count the bars that the follower has read."""
        state = read_json(self.folder / STATE, "a follower's state", "")
        return int(state["places"].get("bars.csv", [0])[0])

    def n_events(self) -> int:
        """Count the events that stand."""
        path = self.folder / "events.jsonl"
        return path.read_bytes().count(b"\n") if path.exists() else 0

    def kill(self) -> None:
        """Leave no process behind."""
        self.end.set()
        for process in (self.follower, self.server):
            process.popen.kill()
            process.popen.wait()
        for client in self.clients:
            client.join()
            client.connection.close()


def problems(soak: Soak) -> list[str]:
    """Check everything; return what does not hold."""
    found = []
    # A page is ended by its user; a follower that is ended had more to come.
    for process, must_be in ((soak.follower, 128 + signal.SIGTERM), (soak.server, 0)):
        if (code := process.stop()) != must_be:
            found.append(f"moola {process.name} must end in {must_be} on SIGTERM, but it ended in {code}")
        found += growth_problems(process, soak.minutes >= JUDGED_MINUTES)
    words = ("scan", *SCAN, "--live", "--bars", "bars.csv", "--output", "whole.jsonl")
    subprocess.run([sys.executable, "-m", "moola.cli", *words], cwd=soak.folder, check=True, capture_output=True)
    told, whole = ((soak.folder / name).read_bytes().splitlines() for name in ("events.jsonl", "whole.jsonl"))
    return found + event_problems(told, whole) + label_problems(soak.folder / "labels.db", soak.clients)


def growth_problems(process: Process, is_settled: bool) -> list[str]:
    """Compare the second sixth with the last."""
    found = []
    first, last = process.rss_mib()
    if is_settled and last - first > GROWTH_MIB:
        found.append(f"moola {process.name} may grow by {GROWTH_MIB:g} MiB, but it grew from {first} to {last}")
    few, many = process.n_descriptors()
    if many > few:
        found.append(f"moola {process.name} must keep its descriptors, but they went from {few} to {many}")
    return found


def event_problems(told: list[bytes], whole: list[bytes]) -> list[str]:
    """Compare the events that were told with those of one scan of the finished file."""
    found = []
    if len(set(told)) < len(told):
        found.append(f"each event must be told once, but {len(told) - len(set(told))} were told again")
    if differ := set(told) ^ set(whole):
        found.append(f"the events must be those of one scan of all bars, but {len(differ)} differ, as {min(differ)!r}")
    return found


def label_problems(path: Path, clients: list[Client]) -> list[str]:
    """Compare every revision of the store with what was acknowledged."""
    with LabelStore(path, must_exist=True) as store:
        pairs = [(label.window_id, label.annotator) for label in store.all()]
        stored = [one for pair in pairs for one in store.history(*pair)]
    there = {(one.window_id, one.annotator, one.revision): _content(one) for one in stored}
    said: dict[tuple[str, str, int], Any] = {}
    found = []
    for window, annotator, told in (save for client in clients for save in client.acknowledged):
        key = (window, annotator, told["revision"])
        if key in said:
            found.append(f"a revision must be given once, but {key} was given twice")
        marks = [(mark["start"], mark["end"], mark["label"]) for mark in told["expansions"]]
        said[key] = (told["status"], told["grade"], told["note"], marks)
    differ = [key for key in {*there, *said} if there.get(key) != said.get(key)]
    if differ or len(stored) != len(said):
        found.append(
            f"the store must hold every acknowledged save as it was, but {len(differ)} differ, as {differ[:1]}"
        )
    return found


def _content(label: WindowLabel) -> tuple[Any, ...]:
    bar_us = (label.end_us - label.start_us) // 104
    marks = [
        ((one.start_us - label.start_us) // bar_us, (one.end_us - label.start_us) // bar_us, one.label)
        for one in label.expansions
    ]
    return label.status, label.grade, label.note, marks


def table(soak: Soak) -> str:
    """Return the figures as the page shows them."""
    n_saves = sum(len(client.acknowledged) for client in soak.clients)
    n_requests, n_refused = (sum(getattr(one, name) for one in soak.clients) for name in ("n_requests", "n_conflicts"))
    day = time.strftime("%Y-%m-%d", time.gmtime())
    lines = [
        f"{day}, moola {__version__}, {soak.minutes:g} minutes: {soak.writer.n_done:,} bars appended, "
        f"{soak.n_events():,} events reported; {n_saves:,} saves acknowledged in {n_requests:,} requests, "
        f"{n_refused:,} saves on an old revision refused; {soak.n_windows} windows, "
        f"{len(soak.follower.samples)} samples.",
        "",
        "| process | memory, second sixth | last sixth | growth (bound) | descriptors, both | its files | its log |",
        "|---|---|---|---|---|---|---|",
    ]
    for process, kept in ((soak.follower, "state"), (soak.server, "store")):
        first, last = process.rss_mib()
        few, many = process.n_descriptors()
        begin, end = process.samples[0], process.samples[-1]
        lines.append(
            f"| `moola {process.name}` | {first:.1f} MiB | {last:.1f} MiB | {last - first:+.1f} MiB ({GROWTH_MIB:g}) | "
            f"{few}, {many} | {kept} {_kb(begin.kept_bytes)} to {_kb(end.kept_bytes)} | {_kb(end.log_bytes)} |"
        )
    return "\n".join(lines)


def _kb(n_bytes: int) -> str:
    return f"{n_bytes / 1000:,.0f} kB"


def main(arguments: list[str] | None = None) -> int:
    """Load both, print the table and what does not hold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--every-s", type=float, default=10.0, help="seconds from one sample to the next")
    parser.add_argument("--page", type=Path, help="page for the table, where all checks hold")
    parser.add_argument("--samples", type=Path, help="file for all samples")
    given = parser.parse_args(arguments)
    every_s = min(given.every_s, given.minutes * 60 / 18)
    with tempfile.TemporaryDirectory(prefix="moola-soak-") as folder:
        soak = Soak(Path(folder), given.minutes, every_s)
        try:
            soak.run()
            told, found = table(soak), problems(soak)
        finally:
            soak.kill()
            if given.samples:
                pairs = {one.name: [vars(sample) for sample in one.samples] for one in (soak.follower, soak.server)}
                given.samples.write_text(json.dumps(pairs))
    print(told)
    for problem in found:
        print(problem, file=sys.stderr)
    if given.page and not found and given.minutes >= JUDGED_MINUTES:
        write_part(given.page, "soak", told)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
