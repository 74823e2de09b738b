#!/usr/bin/env python3
"""What refusing costs: seconds and memory of every fault of tests/faults, each command in a process of its own.

Usage: python benchmarks/fault_costs.py [--worst 3] [--every 1] [--page docs/reliability.md]

Beside them, in the same run: the command line with nothing to do, and the imports that any command with a network or a
table needs. Faults that only a test can inject (a full disk) are left out. Ends with 1 where a file from outside costs
more than 2 s or 300 MB beyond those imports.
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from page_parts import write_part
from tests.faults.catalogue import ALL
from tests.faults.fault import Fault, run_id
from tests.faults.world import enter, make_world

MOST_S, MOST_MB = 2.0, 300.0
IMPORTS = "import moola.cli.app, numpy, polars, scipy.stats, sklearn.metrics, torch"
N_BASELINES = 5


# Linux counts what the starter held into the largest memory of what it starts, so that a large one would hide it.
STARTER = """
import os, sys, time
null, began = os.open(os.devnull, os.O_WRONLY), time.perf_counter()
kept = os.dup(1)
os.dup2(null, 1), os.dup2(null, 2)
child = os.spawnv(os.P_NOWAIT, sys.argv[1], sys.argv[1:])
_, status, used = os.wait4(child, 0)
os.write(kept, f"{time.perf_counter() - began} {used.ru_maxrss} {status}".encode())
"""


@dataclass(frozen=True)
class Cost:
    """Wall seconds, and the largest resident memory in MB."""

    seconds: float
    mb: float
    code: int


def cost_of(*words: str) -> Cost:
    """Run Python with these words in a process of its own, begun by one that is small itself."""
    words = (sys.executable, "-S", "-c", STARTER, sys.executable, *words)
    ended = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=True)
    seconds, kilobytes, status = ended.stdout.split()
    return Cost(float(seconds), int(kilobytes) / 1024, os.waitstatus_to_exitcode(int(status)))


def cost_of_fault(world: Path, fault: Fault) -> Cost | None:
    """Return what the fault's command costs; None where it waits by design, or lives in the test's process alone."""
    if fault.waits:
        return None
    with tempfile.TemporaryDirectory() as place, pytest.MonkeyPatch.context() as patch:
        shutil.copytree(world, Path(place) / "world", symlinks=True)
        enter(Path(place) / "world", patch)
        fault.make(patch)
        words = [word.replace("{run}", run_id()) for word in shlex.split(fault.command)]
        if any("\0" in word for word in words):
            # No system passes such a word on.
            return None
        found = cost_of("-m", "moola.cli", *words)
        patch.undo()
    return found if found.code == fault.code else None


def main() -> int:
    """Measure everything, print the worst, and say whether all is within bounds."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--worst", type=int, default=3)
    parser.add_argument("--every", type=int, default=1, help="measure every n-th fault alone")
    parser.add_argument("--page", type=Path)
    options = parser.parse_args()
    idle = _typical([cost_of("-m", "moola.cli", "--version") for _ in range(N_BASELINES)])
    imports = _typical([cost_of("-c", IMPORTS) for _ in range(N_BASELINES)])
    costs: list[tuple[Fault, Cost]] = []
    with tempfile.TemporaryDirectory() as folder:
        with pytest.MonkeyPatch.context() as patch:
            make_world(Path(folder), patch)
        for number, fault in enumerate(ALL[:: options.every], start=1):
            found = cost_of_fault(Path(folder), fault)
            if found is not None:
                costs.append((fault, found))
            if number % 20 == 0:
                print(f"{number} of {len(ALL[:: options.every])} faults", file=sys.stderr, flush=True)
    table = told(costs, idle, imports, options.worst)
    print(table)
    if options.page:
        write_part(options.page, "fault costs", table)
    return int(any(one.seconds > imports.seconds + MOST_S or one.mb > imports.mb + MOST_MB for _, one in costs))


def _typical(costs: list[Cost]) -> Cost:
    return Cost(statistics.median(one.seconds for one in costs), statistics.median(one.mb for one in costs), 0)


def told(costs: list[tuple[Fault, Cost]], idle: Cost, imports: Cost, n_worst: int) -> str:
    """Return the summary and the costliest faults as a page shows them."""
    slow, large = (sorted(value(one) for _, one in costs) for value in (lambda one: one.seconds, lambda one: one.mb))
    shown = {id(fault): (fault, one) for fault, one in sorted(costs, key=lambda pair: -pair[1].seconds)[:n_worst]}
    shown |= {id(fault): (fault, one) for fault, one in sorted(costs, key=lambda pair: -pair[1].mb)[:n_worst]}
    rows = [
        f"| {fault.what} (`{fault.name}`) | {one.seconds:.2f} | {one.mb:.0f} |"
        for fault, one in sorted(shown.values(), key=lambda pair: -pair[1].seconds)
    ]
    return "\n".join(
        [
            "| | seconds | MB |",
            "| --- | --- | --- |",
            f"| `moola --version` | {idle.seconds:.2f} | {idle.mb:.0f} |",
            f"| the imports of a command with tables and networks | {imports.seconds:.2f} | {imports.mb:.0f} |",
            f"| median of {len(costs)} faults | {statistics.median(slow):.2f} | {statistics.median(large):.0f} |",
            f"| most | {slow[-1]:.2f} | {large[-1]:.0f} |",
            *rows,
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
