#!/usr/bin/env python3
"""Write what is installed by SHA-256: requirements-locked.txt, and scripts/supply/locks for scripts/setup.sh.

Usage: python scripts/supply/lock.py   asks pip and uv (in an environment of its own) what they would install under
constraints.txt; installs nothing of it. Both ask the index that they are configured with.

requirements-locked.txt is the base install for Python 3.11 on Linux (x86-64), one wheel a name. The locks hold every
file of each version, so that they serve Python 3.11, 3.12 and 3.13 on Linux, x86-64 and aarch64: base.txt and dev.txt,
and torch in one of two: cpu.txt is its CPU build, cuda.txt its build on PyPI with the libraries which that one needs.

An index need not have every wheel of the CPU build (PyPI has none): one that pip does not find stays as cpu.txt has it.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from moola.files import write_atomic

ROOT = Path(__file__).resolve().parents[2]
LOCKED = ROOT / "requirements-locked.txt"
LOCKS = ROOT / "scripts/supply/locks"
UV_VERSION = ROOT / "scripts/supply/uv.version"
# The oldest Python that every pinned version allows, and the first one that is not locked for.
OLDEST, FIRST_BEYOND = "3.11.5", "3.14"
# Holds for the whole of a lock, so that no line needs to say it.
EVERYWHERE = f"python_full_version < '{FIRST_BEYOND}' and sys_platform == 'linux'"
# An extra whose versions do not go with constraints.txt.
NOT_LOCKED = ("peers",)
OF_CUDA = re.compile(r"^(torch==|nvidia-|cuda-|triton==)")
PYTHONS, MACHINES = ("3.11", "3.12", "3.13"), ("x86_64", "aarch64")
HEADER = """\
# The base install for Python 3.11 on Linux (x86-64), each wheel by its SHA-256. Written by scripts/supply/lock.py.
#   pip install --require-hashes --extra-index-url https://download.pytorch.org/whl/cpu -r requirements-locked.txt
#   pip install --no-deps .
# All but torch are the wheels of PyPI. torch is the CPU build, which PyPI does not have; its hash is that of the wheel
# that pip found when this file was written. Other systems, and the extras, have constraints.txt: versions alone.
"""


LOCK_HEADER = f"""\
# {{what}} for Python 3.11 (from {OLDEST} on), 3.12 and 3.13 on Linux (x86-64 and aarch64), every file by its SHA-256.
# Written by scripts/supply/lock.py, installed by scripts/setup.sh.
"""


def main() -> None:
    """Ask pip and uv, and write what they say."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    write_locked(project["project"]["dependencies"])
    write_locks(project)


def write_locked(dependencies: list[str]) -> None:
    """Write requirements-locked.txt."""
    lines = locked_lines(_report("-c", str(ROOT / "constraints.txt"), *dependencies))
    write_atomic(LOCKED, (HEADER + "\n".join(lines) + "\n").encode())
    print(f"{len(lines)} wheels locked")


def _report(*wanted: str) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        command = [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--quiet"]
        subprocess.run([*command, "--only-binary", ":all:", "--report", str(report), *wanted], check=True)
        found: dict[str, Any] = json.loads(report.read_text())
    return found


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


def write_locks(project: dict[str, Any]) -> None:
    """Write base.txt, dev.txt, cuda.txt and cpu.txt."""
    pinned = (ROOT / "constraints.txt").read_text().split()
    [torch] = [line for line in pinned if line.startswith("torch==")]
    with tempfile.TemporaryDirectory() as folder:
        uv = _installed_uv(Path(folder))
        (Path(folder) / "pyproject.toml").write_text(uv_project(project, pinned))
        base, dev = _compiled(uv, Path(folder)), _compiled(uv, Path(folder), "--extra", "dev")
    made = {
        "base": ("The base install but torch,", [entry for entry in base if not OF_CUDA.match(entry)]),
        "dev": ("What development needs but torch,", [entry for entry in dev if not OF_CUDA.match(entry)]),
        "cuda": ("torch's build for CUDA and what it needs,", [entry for entry in base if OF_CUDA.match(entry)]),
        "cpu": ("torch's CPU build,", cpu_entries(f"{torch}+cpu", (LOCKS / "cpu.txt").read_text(), _wheel_hash)),
    }
    for name, (what, entries) in made.items():
        text = LOCK_HEADER.format(what=what) + "\n".join(entries) + "\n"
        write_atomic(LOCKS / f"{name}.txt", text.encode())
        print(f"{name}.txt: {len(entries)} entries locked")


def cpu_entries(wanted: str, before: str, ask: Callable[[str, str, str], str | None]) -> list[str]:
    """Return an entry of torch's CPU build for every Python and machine.

    Parameters
    ----------
    wanted
        torch and its version, `torch==2.13.0+cpu`: without `+cpu` pip takes the build for CUDA where the page of an
        index states its hash and that of the CPU build is not stated.
    before
        cpu.txt as it is.
    ask
        Returns the hash of what the indexes have for a requirement, a Python and a machine; None where they have none.

    Raises
    ------
    SystemExit
        A wheel is neither in an index nor in `before`, or is another than in `before`.
    """
    entries = []
    for python, machine in itertools.product(PYTHONS, MACHINES):
        start = f"{wanted} ; python_version == '{python}' and platform_machine == '{machine}' \\\n    --hash="
        locked = re.search(re.escape(start) + r"(\S+)", before)
        found = ask(wanted, python, machine) or (locked and locked[1])
        which = f"{wanted} for Python {python} on {machine}"
        if found is None:
            raise SystemExit(f"An index must have {which}, but none has. Name one: PIP_EXTRA_INDEX_URL=<URL>.")
        if locked and found != locked[1]:
            raise SystemExit(f"{which} must be the locked {locked[1]}, but the index has {found}. Find out why.")
        entries.append(start + found)
    return entries


def _wheel_hash(wanted: str, python: str, machine: str) -> str | None:
    """Return the hash of the wheel that pip takes; None where it finds none, and pip has then said why."""
    # pip asks for a folder with these, and leaves it empty.
    where = ["--python-version", python, "--platform", f"manylinux_2_28_{machine}", "--target", str(LOCKS)]
    try:
        [line] = locked_lines(_report("--no-deps", *where, wanted))
    except subprocess.CalledProcessError:
        print(f"pip found no {wanted} for Python {python} on {machine}: what is locked stays.")
        return None
    return line.partition("--hash=")[2]


def _installed_uv(folder: Path) -> Path:
    venv = folder / "uv"
    subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
    wanted = f"uv=={UV_VERSION.read_text().strip()}"
    subprocess.run([venv / "bin/pip", "install", "--quiet", "--disable-pip-version-check", wanted], check=True)
    return venv / "bin/uv"


def uv_project(project: dict[str, Any], pinned: list[str]) -> str:
    """Return a project for uv that needs what moola needs, what builds it included, at the pinned versions."""
    needed = project["project"]["dependencies"] + project["build-system"]["requires"]
    extras = {
        name: lines for name, lines in project["project"]["optional-dependencies"].items() if name not in NOT_LOCKED
    }
    # A list of texts is written alike in JSON and in TOML.
    lines = ["[project]", 'name = "moola"', 'version = "0"', f'requires-python = ">={OLDEST}"']
    lines += [f"dependencies = {json.dumps(needed)}", "[project.optional-dependencies]"]
    lines += [f"{name} = {json.dumps(found)}" for name, found in extras.items()]
    lines += ["[tool.uv]", "package = false", f"environments = {json.dumps([EVERYWHERE])}"]
    return "\n".join([*lines, f"constraint-dependencies = {json.dumps(pinned)}"]) + "\n"


def _compiled(uv: Path, folder: Path, *more: str) -> list[str]:
    command = [uv, "pip", "compile", "pyproject.toml", "--quiet", "--universal", "--python-version", OLDEST]
    command += ["--generate-hashes", "--no-header", "--no-annotate", *more]
    # uv brings certificates of its own; those of pip are those of the index.
    env = os.environ | ({"SSL_CERT_FILE": os.environ["PIP_CERT"]} if "PIP_CERT" in os.environ else {})
    return entries_of(subprocess.run(command, cwd=folder, env=env, check=True, capture_output=True, text=True).stdout)


def entries_of(text: str) -> list[str]:
    """Divide what uv wrote into an entry a package, without what holds for all of them.

    Raises
    ------
    SystemExit
        A package has no hash.
    """
    entries = [entry for entry in re.split(r"\n(?=\S)", text.strip()) if not entry.startswith("#")]
    if bare := [entry.split()[0] for entry in entries if "--hash=sha256:" not in entry]:
        raise SystemExit(f"uv must say the SHA-256 of every package, but not of {', '.join(bare)}. Raise uv.version.")
    return [
        entry.replace(f" ; {EVERYWHERE} \\\n", " \\\n").replace(f" ; {EVERYWHERE} and ", " ; ") for entry in entries
    ]


if __name__ == "__main__":
    main()
