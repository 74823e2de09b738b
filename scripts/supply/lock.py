#!/usr/bin/env python3
"""Write requirements-locked.txt: the base install for Python 3.11 on Linux (x86-64), each wheel by its SHA-256.

Usage: python scripts/supply/lock.py   asks pip what it would install under constraints.txt; installs nothing.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import Any

from moola.files import write_atomic

ROOT = Path(__file__).resolve().parents[2]
LOCKED = ROOT / "requirements-locked.txt"
HEADER = """\
# The base install for Python 3.11 on Linux (x86-64), each wheel by its SHA-256. Written by scripts/supply/lock.py.
#   pip install --require-hashes --extra-index-url https://download.pytorch.org/whl/cpu -r requirements-locked.txt
#   pip install --no-deps .
# All but torch are the wheels of PyPI. torch is the CPU build, which PyPI does not have; its hash is that of the wheel
# that pip found when this file was written. Other systems, and the extras, have constraints.txt: versions alone.
"""


def main() -> None:
    """Ask pip, and write what it says."""
    dependencies = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        command = [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--quiet"]
        command += ["--only-binary", ":all:", "--report", str(report), "-c", str(ROOT / "constraints.txt")]
        subprocess.run([*command, *dependencies], check=True)
        lines = locked_lines(json.loads(report.read_text()))
    write_atomic(LOCKED, (HEADER + "\n".join(lines) + "\n").encode())
    print(f"{len(lines)} wheels locked")


def locked_lines(report: dict[str, Any]) -> list[str]:
    """Turn pip's installation report into requirements with hashes, by name.

    Raises
    ------
    SystemExit
        pip does not say the SHA-256 of a wheel.
    """
    lines = []
    for item in report["install"]:
        name, version = item["metadata"]["name"], item["metadata"]["version"]
        digest = item["download_info"].get("archive_info", {}).get("hashes", {}).get("sha256")
        if digest is None:
            raise SystemExit(f"pip must say the SHA-256 of every wheel, but not of {name} {version}. Upgrade pip.")
        lines.append(f"{name}=={version} --hash=sha256:{digest}")
    return sorted(lines, key=str.lower)


if __name__ == "__main__":
    main()
