"""`doctor`: is this folder ready to work, and what to do where it is not."""

from __future__ import annotations

import importlib
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from moola.errors import MoolaError
from moola.files import sha256_file, write_atomic
from moola.options.option_fields import RUNS_ROOT
from moola.runs.run_store import versions
from moola.stages import sample
from moola.tables.split_file import read_split, verify_split
from moola.tables.window_file import read_windows

DATA = Path("data") / sample.RELATIVE
SPLIT = Path("data") / sample.SPLIT
MIN_FREE_GB = 1.0
MIN_TORCH = (2, 10)


@dataclass(frozen=True)
class Finding:
    """One thing looked at: `ok`, `note` or `fault`, what was found and what to do."""

    what: str
    state: str
    found: str
    advice: str = ""


def examine() -> dict[str, Any]:
    """Look at versions, device, data, split, disk and a write."""
    checks = (_versions, _device, _data, _split, _disk, _write)
    findings = [finding for check in checks for finding in check()]
    return {"healthy": all(finding.state != "fault" for finding in findings), "findings": [asdict(f) for f in findings]}


def _versions() -> list[Finding]:
    found = versions()
    text = ", ".join(f"{name} {version}" for name, version in found.items())
    major, minor = (int(part) for part in found["torch"].split(".")[:2])
    if (major, minor) < MIN_TORCH:
        return [
            Finding("versions", "fault", text, "torch before 2.10 can run code from files: install torch>=2.10,<2.14.")
        ]
    return [Finding("versions", "ok", text)]


def _device() -> list[Finding]:
    torch = importlib.import_module("torch")
    if torch.cuda.is_available():
        return [Finding("device", "ok", f"GPU {torch.cuda.get_device_name(0)}; --device auto uses it")]
    return [Finding("device", "ok", f"CPU, {torch.get_num_threads()} threads; no CUDA GPU")]


def _guarded(what: str, check: Callable[[], Finding]) -> list[Finding]:
    try:
        return [check()]
    except MoolaError as error:
        return [Finding(what, "fault", str(error))]


def _data() -> list[Finding]:
    if not DATA.is_file():
        return [Finding("data", "note", f"no {DATA}", "Run `moola sample`, or convert your own with `moola convert`.")]

    def check() -> Finding:
        table = read_windows(DATA)
        by = ", ".join(table.annotators) or "unknown"
        return Finding(
            "data", "ok", f"{DATA}: {len(table)} windows, classes {', '.join(table.classes)}, labelled by {by}"
        )

    return _guarded("data", check)


def _split() -> list[Finding]:
    if not DATA.is_file() or not SPLIT.is_file():
        return [Finding("split", "note", f"no {SPLIT}", f"Run `moola split --data {DATA} --output {SPLIT}`.")]

    def check() -> Finding:
        file = read_split(SPLIT)
        verify_split(file, SPLIT, read_windows(DATA), sha256_file(DATA), allow_overlap=False)
        sizes = ", ".join(f"{part} {len(file.split.part(part))}" for part in ("train", "val", "test"))
        return Finding("split", "ok", f"{SPLIT}: {sizes}; no part shares a bar with a later one")

    return _guarded("split", check)


def _disk() -> list[Finding]:
    free = shutil.disk_usage(".").free / 1e9
    if free < MIN_FREE_GB:
        return [Finding("disk", "fault", f"{free:.2f} GB free", "Free space: see `moola runs prune` for old runs.")]
    return [Finding("disk", "ok", f"{free:.0f} GB free")]


def _write() -> list[Finding]:
    probe = RUNS_ROOT / ".doctor"

    def check() -> Finding:
        write_atomic(probe, b"moola")
        probe.unlink()
        return Finding("write", "ok", f"{RUNS_ROOT} can be written")

    return _guarded("write", check)
