#!/usr/bin/env python3
"""Run the commands of docs/tour.md in an empty folder, and write what they print and draw into the page.

Takes some minutes, and Chromium for the pictures of HTML pages (`scripts/browser.sh`).
"""

from __future__ import annotations

import io
import re
import shutil
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from page_commands import BLOCK, lines_of, run

from moola.files import write_atomic

PAGE = Path(__file__).resolve().parents[2] / "docs/tour.md"
OUTPUT = re.compile(r"<!-- output -->\n.*?<!-- end of output -->", re.DOTALL)
PICTURE = re.compile(r"<!-- picture (\S+) -->\n!\[[^]]*\]\(([^)]+)\)")
STEP = re.compile("|".join(f"(?:{part.pattern})" for part in (BLOCK, OUTPUT, PICTURE)), re.MULTILINE | re.DOTALL)
# The gate's verdict is an answer, whichever it is.
CODES = {"gate": (0, 4)}
MAX_PICTURE_BYTES = 150_000


def make(page: str, folder: Path) -> str:
    """Return the page with its outputs made again, and write its pictures."""
    printed: list[str] = []

    def step(found: re.Match[str]) -> str:
        text = found[0]
        if block := BLOCK.fullmatch(text):
            printed[:] = [_answer(line, folder) for line in lines_of(block[1])]
        elif picture := PICTURE.fullmatch(text):
            _draw(sorted(folder.glob(picture[1]))[0], PAGE.parent / picture[2])
        else:
            shown = "\n".join(printed).rstrip()
            return f"<!-- output -->\n```text\n{shown}\n```\n<!-- end of output -->"
        return text

    return STEP.sub(step, page)


def _answer(line: str, folder: Path) -> str:
    answer = run(line, folder)
    if answer.returncode not in CODES.get(line.split()[1], (0,)):
        raise SystemExit(f"{line}\nended in {answer.returncode}:\n{answer.stderr}")
    print(line, flush=True)
    return answer.stdout


def _draw(source: Path, target: Path) -> None:
    """Write a small PNG of a picture, or of the head of an HTML page."""
    from PIL import Image

    content = _photographed(source) if source.suffix == ".html" else source.read_bytes()
    picture = Image.open(io.BytesIO(content)).convert("RGB")
    picture.thumbnail((1100, 1100))
    for n_colours in (128, 64, 32, 16):
        buffer = io.BytesIO()
        picture.quantize(n_colours).save(buffer, "PNG", optimize=True)
        if buffer.tell() < MAX_PICTURE_BYTES:
            break
    write_atomic(target, buffer.getvalue())


def _photographed(page: Path) -> bytes:
    from playwright.sync_api import sync_playwright

    browser_path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))))
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=browser_path, args=["--no-sandbox"])
        view = browser.new_page(viewport={"width": 1100, "height": 760})
        view.goto(page.resolve().as_uri())
        view.wait_for_timeout(500)
        content = view.screenshot()
        browser.close()
    return content


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        made = make(PAGE.read_text(encoding="utf-8"), Path(place))
    write_atomic(PAGE, made.encode())
    print(f"{PAGE.name} written")
