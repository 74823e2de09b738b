"""Files from the page: the very commands that a person would type, run one after the other, with their lines."""

from __future__ import annotations

import shlex
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from moola.errors import WrongUsage
from moola.fit.presence import LEAST_SPANS, UNLABELLED_SPANS
from moola.tables.label_store import LabelStore

FOLDER = "page"
NAMES = {"spans": "spans.csv", "windows": "windows.parquet", "label-studio": "label_studio.json"}
MOST_LINES = 400


class PageFiles:
    """Writes files beside the label store, one order at a time.

    Parameters
    ----------
    bars_path
        The bars that the page shows; None leaves out what needs them.
    """

    def __init__(self, store: Path, bars_path: Path | None, window_bars: int) -> None:
        self.store, self.bars_path, self.window_bars = store, bars_path, window_bars
        self.folder = store.parent / FOLDER
        self._lines: list[str] = []
        self._is_well = True
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()

    def status(self) -> dict[str, Any]:
        """Return the lines so far, whether the order is still under way, and whether all went well."""
        is_busy = self._thread is not None and self._thread.is_alive()
        return {"lines": self._lines[-MOST_LINES:], "is_busy": is_busy, "is_well": self._is_well}

    def start(self, what: str, annotator: str) -> dict[str, Any]:
        """Begin to write; `WrongUsage` while another order is under way."""
        with self._lock:
            if self._thread is not None and self._thread.is_alive():
                raise WrongUsage("one order must be done before the next, but one is under way. Wait for its lines.")
            if self.bars_path is None:
                raise WrongUsage("files need the bars' path, but this page has none. Use the commands.")
            self.folder.mkdir(parents=True, exist_ok=True)
            self._lines, self._is_well = [], True
            self._thread = threading.Thread(target=self._write, args=(what, annotator), daemon=True)
            self._thread.start()
        return self.status()

    def _write(self, what: str, annotator: str) -> None:
        if what == "train":
            self._train(annotator)
        else:
            self._run(*self._export(what, annotator))

    def _export(self, what: str, annotator: str) -> list[str]:
        words = ["labels", "export", "--store", str(self.store), "--as", what, f"--annotator={annotator}"]
        words += ["--output", str(self.folder / NAMES[what])]
        if what == "windows":
            words += ["--bars", str(self.bars_path), "--window-bars", str(self.window_bars)]
        elif what == "spans" and self._n_stretches(annotator):
            words += ["--stretches", str(self.folder / "stretches.csv")]
        return words

    def _train(self, annotator: str) -> None:
        paths = {name: str(self.folder / name) for name in ("windows.parquet", "relative.parquet", "split.json")}
        bars, spans, events = (
            str(self.bars_path),
            str(self.folder / NAMES["spans"]),
            str(self.folder / "events.parquet"),
        )
        presence = ["--bars", bars, "--spans", spans]
        # Without any stretch, spans are ranked against bars that nobody marked; the command warns of it.
        presence += ["--stretches", str(self.folder / "stretches.csv")] if self._n_stretches(annotator) else []
        learning = ["--pretrained-encoder", "base", "--freeze-encoder", "true", "--save-run", "true"]
        learning += presence if self._has_presence(annotator) else []
        orders = [
            self._export("spans", annotator),
            ["windows", "--bars", bars, "--spans", spans, "--output", paths["windows.parquet"]],
            ["convert", "--input", paths["windows.parquet"], "--output", paths["relative.parquet"]],
            ["split", "--data", paths["relative.parquet"], "--output", paths["split.json"]],
            ["train", "--data", paths["relative.parquet"], "--split", paths["split.json"], *learning],
        ]
        for words in orders:
            if (last := self._run(*words)) is None:
                return
        self._run("scan", "--model", f"artifacts/runs/{last}/model.pkl", "--bars", bars, "--output", events)

    def _run(self, *words: str) -> str | None:
        """Run one command and keep its lines; returns its last line, None where it failed."""
        if not self._is_well:
            return None
        self._lines.append(f"$ moola {shlex.join(words)}")
        done = subprocess.run([sys.executable, "-m", "moola.cli", *words], capture_output=True, text=True, check=False)
        self._lines += [*done.stderr.splitlines(), *done.stdout.splitlines()]
        self._is_well = done.returncode == 0
        lines = done.stdout.splitlines()
        return (lines[-1] if lines else "") if self._is_well else None

    def _n_stretches(self, annotator: str) -> int:
        with LabelStore(self.store, must_exist=True) as store:
            return sum(len(chart.stretches) for chart in store.charts() if chart.annotator == annotator)

    def _has_presence(self, annotator: str) -> bool:
        """Return whether stretches hold spans enough of every class, whole, or more and no stretch."""
        with LabelStore(self.store, must_exist=True) as store:
            charts = [chart for chart in store.charts() if chart.annotator == annotator]
        is_seen = any(chart.stretches for chart in charts)
        n_inside: dict[str, int] = {}
        for chart in charts:
            for span in chart.spans:
                inside = not is_seen or any(
                    first <= span.start_us and span.end_us <= last for first, last in chart.stretches
                )
                n_inside[span.label] = n_inside.get(span.label, 0) + inside
        return bool(n_inside) and min(n_inside.values()) >= (LEAST_SPANS if is_seen else UNLABELLED_SPANS)
