"""How the page's chart keeps up with millions of bars, in a headless browser; and pictures of it for the docs.

Usage: benchmarks/label_chart.py [--bars 2000000]                     frames, memory and first paint on made bars
       benchmarks/label_chart.py --pictures FOLDER --bars-file FILE --spans CSV [--symbol NAME]

Frames are the times between two of the browser's own, while the wheel zooms out and in and the keys turn pages.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from moola.core.bars import Bars
from moola.core.seeds import generator
from moola.tables.bar_table import write_bars

MINUTE_US = 60_000_000
SIZES = {"1440": (1440, 900), "1024": (1024, 768), "390": (390, 844)}
WATCH = """() => { window.times = []; let last = performance.now();
  const step = (now) => { window.times.push(now - last); last = now; requestAnimationFrame(step); };
  requestAnimationFrame(step); }"""


def made_bars(n: int) -> Bars:
    """Return a random walk of one-minute bars."""
    rng = generator(17, "label chart")
    close = np.exp(np.cumsum(rng.normal(0, 1e-4, n)))
    open_ = np.concatenate([[1.0], close[:-1]])
    wick = np.abs(rng.normal(0, 5e-5, (2, n)))
    high, low = np.maximum(open_, close) + wick[0], np.minimum(open_, close) - wick[1]
    times = 1_200_000_000_000_000 + np.arange(n, dtype=np.int64) * MINUTE_US
    return Bars(times, np.stack([open_, high, low, close], axis=1), np.full(n, "MADE", dtype=object))


@contextmanager
def served(folder: Path, *words: str) -> Iterator[str]:
    """Serve the page as a person does; yields its address."""
    line = [
        sys.executable,
        "-m",
        "moola.cli",
        "label",
        "--store",
        str(folder / "labels.db"),
        "--port",
        "0",
        "--json",
        *words,
    ]
    process = subprocess.Popen(line, stdout=subprocess.PIPE, cwd=folder)
    try:
        assert process.stdout is not None
        yield json.loads(process.stdout.readline())["url"] + "chart.html"
    finally:
        process.terminate()
        process.wait()


@contextmanager
def browser() -> Iterator[object]:
    """Start the machine's own chromium."""
    from playwright.sync_api import sync_playwright

    path = shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as started:
        running = started.chromium.launch(
            executable_path=path, args=["--no-sandbox", "--disable-gpu", "--enable-precise-memory-info"]
        )
        yield running
        running.close()


def measure(n: int) -> dict[str, float]:
    """Return first paint (s), frames (median and longest, ms) and memory of the page (MB) on n made bars."""
    with tempfile.TemporaryDirectory() as name, browser() as running:
        folder = Path(name)
        write_bars(folder / "bars.parquet", made_bars(n))
        with served(folder, "--bars", "bars.parquet", "--no-model", "--stride", "2000") as url:
            page = running.new_page(viewport={"width": 1440, "height": 900})
            begun = time.monotonic()
            page.goto(url)
            page.wait_for_selector("#title:not(:empty)")
            page.wait_for_function(
                "() => document.querySelector('#chart canvas') && document.getElementById('chart').dataset.range"
            )
            painted = time.monotonic() - begun
            box = page.locator("#chart").bounding_box()
            page.mouse.move(box["x"] + 500, box["y"] + 200)
            page.evaluate(WATCH)
            for step in (*[240] * 25, *[-240] * 15):
                page.mouse.wheel(0, step)
                page.wait_for_timeout(40)
            for key in (*["PageUp"] * 10, *["PageDown"] * 10, "Home", "End"):
                page.keyboard.press(key)
                page.wait_for_timeout(40)
            frames = np.array(page.evaluate("() => window.times"))
            memory = page.evaluate("() => performance.memory.usedJSHeapSize") / 1e6
    return {"bars": n, "first_paint_s": painted, "frames": len(frames), "median_frame_ms": float(np.median(frames)),
            "longest_frame_ms": float(frames.max()), "memory_mb": memory}  # fmt: skip


def take_pictures(target: Path, bars: Path, spans: Path, symbol: str) -> None:
    """Write the page with labels and proposals, light and dark, in three widths."""
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name, browser() as running:
        folder = Path(name)
        words = ["labels", "import", "--store", str(folder / "labels.db"), "--bars", str(bars), "--symbol", symbol]
        words += ["--input", str(spans), "--annotator", "anna"]
        subprocess.run([sys.executable, "-m", "moola.cli", *words], check=True, capture_output=True)
        with served(folder, "--bars", str(bars), "--symbol", symbol, "--annotator", "anna") as url:
            first = running.new_page(viewport={"width": 1440, "height": 900})
            first.goto(url)
            # The fit is made once; the pictures show what it proposes.
            first.wait_for_selector("#nextProposal:not([disabled])", timeout=300_000)
            for theme in ("light", "dark"):
                for width, (wide, high) in SIZES.items():
                    context = running.new_context(viewport={"width": wide, "height": high}, color_scheme=theme)
                    page = context.new_page()
                    page.goto(url)
                    page.wait_for_selector("#nextProposal:not([disabled])", timeout=60_000)
                    page.keyboard.press(".")
                    page.wait_for_timeout(1500)
                    page.screenshot(path=target / f"label_chart_{width}_{theme}.png")
                    context.close()


def main() -> None:
    """Measure, or take pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bars", type=int, default=2_000_000)
    parser.add_argument("--pictures", type=Path)
    parser.add_argument("--bars-file", type=Path)
    parser.add_argument("--spans", type=Path)
    parser.add_argument("--symbol", default="USDJPY")
    given = parser.parse_args()
    if given.pictures is None:
        print(json.dumps(measure(given.bars)))
    else:
        take_pictures(given.pictures, given.bars_file.resolve(), given.spans.resolve(), given.symbol)


if __name__ == "__main__":
    main()
