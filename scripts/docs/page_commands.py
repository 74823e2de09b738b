"""Commands in the bash blocks of a page: found, their placeholders filled in, and run as a reader would."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

BLOCK = re.compile(r"^```bash\n(.*?)^```", re.MULTILINE | re.DOTALL)
PLACEHOLDER = re.compile(r"<([A-Z_]+)>")
# Where the newest of its kind stands; the names begin with a time.
FOLDERS = {"RUN_ID": "artifacts/runs", "CV_ID": "artifacts/cv"}


def lines_of(block: str) -> list[str]:
    """Return a block's commands, one a line, without comments; `python3 -m moola.cli` is `moola`."""
    joined = re.sub(r"\\\n\s*", "", block)
    lines = [line.strip() for line in joined.splitlines() if line.strip() and not line.startswith("#")]
    return [re.sub(r"^python3 -m moola\.cli ", "moola ", line) for line in lines]


def commands_of(page: str) -> list[str]:
    """Return every command line of a page's bash blocks, in order."""
    return [line for block in BLOCK.findall(page) for line in lines_of(block)]


def words_of(line: str) -> list[str]:
    """Split a command line as a shell does."""
    return shlex.split(line, comments=True)


def filled(line: str, folder: Path) -> str:
    """Put the newest run's or cv's id in place of `<RUN_ID>` and `<CV_ID>`; two in a row are the two newest."""
    left = {name: sorted(folder.glob(f"{place}/*/manifest.json")) for name, place in FOLDERS.items()}

    def newest(found: re.Match[str]) -> str:
        manifests = left[found[1]]
        return (manifests.pop() if len(manifests) > 1 else manifests[0]).parent.name

    # A line that names one run twice means the same run, but for `compare`.
    if " compare " not in line:
        for name in FOLDERS:
            if f"<{name}>" in line:
                line = line.replace(f"<{name}>", left[name][-1].parent.name)
        return line
    return PLACEHOLDER.sub(newest, line)


def run(line: str, folder: Path, settings: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run one `moola` command line in a folder."""
    words = words_of(filled(line, folder))
    assert words[0] == "moola", line
    command = [sys.executable, "-m", "moola.cli", *words[1:]]
    environment = os.environ | {"COLUMNS": "100", "NO_COLOR": "1"} | (settings or {})
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
