"""The load of `soak.py`: a writer that appends bars, and clients of the labelling page that remember every answer."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import polars as pl

from moola.core.seeds import generator

FIRST_US = 1_500_000_000_000_000
MINUTE_US = 60_000_000
TIME = "%Y-%m-%dT%H:%M:%S%.6fZ"
SYMBOLS = ("AAA", "BBB")
TIMEOUT_S = 60.0
# What a client does between two saves, as the page does.
QUEUES = ("time", "random", "conflicts")
RECONNECT_EVERY = 50


class Broken(Exception):
    """An answer that must not be."""


def walk(n_bars: int, seed: int, symbol: str) -> pl.DataFrame:
    """Return a random walk of one-minute bars."""
    rng = generator(seed, "soak", symbol)
    close = 1.1 * np.exp(np.cumsum(rng.normal(0, 2e-4, n_bars)))
    open_ = np.concatenate([[1.1], close[:-1]])
    wick = rng.uniform(1e-6, 1e-4, (2, n_bars))
    times = FIRST_US + MINUTE_US * np.arange(n_bars, dtype=np.int64)
    high, low = np.maximum(open_, close) + wick[0], np.minimum(open_, close) - wick[1]
    columns = {"timestamp": pl.Series(times).cast(pl.Datetime("us", "UTC")), "open": open_, "high": high, "low": low}
    return pl.DataFrame({**columns, "close": close, "symbol": [symbol] * n_bars})


def bar_lines(n_bars: int, seed: int) -> Iterator[bytes]:
    """Yield a CSV of the symbols in turn, line by line, its header first."""
    walks = [walk(-(-n_bars // len(SYMBOLS)), seed, symbol) for symbol in SYMBOLS]
    both = pl.concat(walks).sort("timestamp", "symbol")[:n_bars]
    yield from both.write_csv(datetime_format=TIME).encode().splitlines(keepends=True)


class Worker(threading.Thread):
    """Does its work so many times a second until it is told to end; a failure is kept for the end."""

    def __init__(self, name: str, per_s: float, end: threading.Event) -> None:
        super().__init__(name=name, daemon=True)
        self.per_s, self.end, self.n_done = per_s, end, 0
        self.failure: str | None = None

    def run(self) -> None:
        """Work at the pace of the clock: what was late is caught up."""
        begun = time.monotonic()
        try:
            while not self.end.wait(max(begun + self.n_done / self.per_s - time.monotonic(), 0)):
                self.work()
                self.n_done += 1
        except (OSError, http.client.HTTPException, Broken) as error:
            self.failure = f"{self.name}: {type(error).__name__}: {error}"

    def work(self) -> None:
        """Do it once."""
        raise NotImplementedError


class Writer(Worker):
    """Appends bars, now and then half a line and its rest a moment later."""

    def __init__(self, path: Path, lines: Iterator[bytes], per_s: float, end: threading.Event) -> None:
        super().__init__("writer", per_s, end)
        self.path, self.lines, self.rng = path, lines, generator(0, "soak", "writer")

    def work(self) -> None:
        """Append one bar."""
        line = next(self.lines)
        half = int(self.rng.integers(1, len(line))) if self.rng.random() < 0.2 else len(line)
        for part in (line[:half], line[half:]):
            with self.path.open("ab") as file:
                file.write(part)
            self.end.wait(0.02 if half < len(line) else 0)


class Client(Worker):
    """One page: takes the next window, saves, saves anew, comes too late, takes back; two may be one annotator."""

    def __init__(self, number: int, annotator: str, port: int, per_s: float, end: threading.Event) -> None:
        super().__init__(f"client {number}", per_s, end)
        self.number, self.annotator, self.port = number, annotator, port
        self.rng = generator(number, "soak", "client")
        self.known: list[str] = []
        self.acknowledged: list[tuple[str, str, dict[str, Any]]] = []
        self.n_requests = self.n_conflicts = 0
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)

    def work(self) -> None:
        """Look, and save once."""
        window = self._look()
        before = window["label"] or {"revision": 0}
        body = self._body(before["revision"])
        path = f"/api/label/{quote(window['id'], safe='')}"
        if before["revision"] and self.rng.random() < 0.1:
            # On a revision that is no more: must be refused, with the label that stands.
            status, told = self._ask("PUT", path, body | {"expected_revision": before["revision"] - 1})
            self._refused(status, told)
        status, told = self._ask("PUT", path, body)
        while status == 409:
            self._refused(status, told)
            body["expected_revision"] = told["current"]["revision"]
            status, told = self._ask("PUT", path, body)
        saved = self._saved(window["id"], status, told)
        asked = {name: body[name] for name in ("status", "grade", "note", "expansions")}
        if {name: saved[name] for name in asked} != asked:
            raise Broken(f"a save must answer what was saved, but {asked} came back as {saved}")
        if saved["revision"] > 1 and self.rng.random() < 0.1:
            self._take_back(window["id"], saved["revision"])

    def _look(self) -> dict[str, Any]:
        """Ask what a page asks, and return a window: the next one, or any of those seen."""
        asked = f"annotator={self.annotator}"
        queue = QUEUES[int(self.rng.integers(len(QUEUES)))]
        for path in ("progress", "review"):
            self._must("GET", f"/api/{path}?{asked}")
        window = self._must("GET", f"/api/next?{asked}&queue={queue}")["window"]
        if window is None or (self.known and self.rng.random() < 0.3):
            if not self.known:
                window = self._must("GET", f"/api/next?{asked}&queue=time")["window"]
            else:
                name = quote(self.known[int(self.rng.integers(len(self.known)))], safe="")
                self._must("GET", f"/api/opinions/{name}?{asked}")
                window = self._must("GET", f"/api/window/{name}?{asked}")
        if window["id"] not in self.known:
            self.known.append(window["id"])
        return window

    def _body(self, revision: int) -> dict[str, Any]:
        start, length = int(self.rng.integers(30, 60)), int(self.rng.integers(0, 15))
        name = ("consolidation", "retracement")[int(self.rng.integers(2))]
        body = {"annotator": self.annotator, "expected_revision": revision, "status": "labelled", "grade": "A"}
        note = f"save {self.n_done} of {self.name}"
        return body | {"note": note, "expansions": [{"start": start, "end": start + length, "label": name}]}

    def _take_back(self, window: str, revision: int) -> None:
        body = {"annotator": self.annotator, "expected_revision": revision}
        status, told = self._ask("POST", f"/api/undo/{quote(window, safe='')}", body)
        if status == 409:
            self._refused(status, told)
        elif told.get("label") is not None:
            self._saved(window, status, told)

    def _saved(self, window: str, status: int, told: dict[str, Any]) -> dict[str, Any]:
        if status != 200:
            raise Broken(f"a save must be answered by 200, but by {status}: {told}")
        self.acknowledged.append((window, self.annotator, told["label"]))
        return told["label"]

    def _refused(self, status: int, told: dict[str, Any]) -> None:
        if status != 409 or not told.get("current"):
            raise Broken(f"a save on an old revision must be refused by 409 with what stands, but got {status}: {told}")
        self.n_conflicts += 1

    def _must(self, method: str, path: str) -> dict[str, Any]:
        status, told = self._ask(method, path)
        if status != 200:
            raise Broken(f"{method} {path} must be answered by 200, but by {status}: {told}")
        return told

    def _ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> tuple[int, dict[str, Any]]:
        self.n_requests += 1
        if self.n_requests % RECONNECT_EVERY == 0:
            self.connection.close()
        content = None if body is None else json.dumps(body)
        self.connection.request(method, path, content, {} if body is None else {"Content-Type": "application/json"})
        answer = self.connection.getresponse()
        return answer.status, json.loads(answer.read())


def wait_until(what: str, holds: Callable[[], bool], timeout_s: float = TIMEOUT_S) -> None:
    """Look again and again until something holds."""
    until = time.monotonic() + timeout_s
    while not holds():
        if time.monotonic() > until:
            raise Broken(f"{what} must come within {timeout_s:.0f} s, but it did not")
        time.sleep(0.05)
