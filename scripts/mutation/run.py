"""Change the code that counts, one spot at a time, and tell which changes its tests do not notice.

Usage: python scripts/mutation/run.py [--sample 40] [--seed 17] [--page PAGE] [SOURCE ...]

A mutant is killed when the tests that mirror its file fail, or run ten times as long as they should. Works in a
copy, in forked processes that share the imports; of each file a sample of mutants is drawn with a fixed seed.
"""

from __future__ import annotations

import argparse
import compileall
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from order import QuickestFirst
from page import TABLE, Tried, survivor_rows, write_table
from sites import Mutant, mutants

ROOT = Path(__file__).resolve().parents[2]
# Files that figures rest on, each with its tests.
TESTED = {
    "core/features.py": ("features",),
    "core/splits.py": ("splits",),
    "evaluation/class_metrics.py": ("class_metrics", "proper_scores", "curves"),
    "evaluation/calibration.py": ("calibration",),
    "evaluation/pointer_metrics.py": ("event_metrics", "event_detection"),
    "evaluation/comparisons.py": ("comparisons",),
    "evaluation/gates.py": ("gates", "gate_outputs"),
}
LEAST_TIMEOUT_S = 30
FIRST_TIMEOUT_S = 600
LEAST_SHARE = 0.9


def main(arguments: Sequence[str]) -> int:
    """Try the mutants, print a line a survivor and a table, and return 1 where under 90 % of a file's are killed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sample", type=int, default=40, help="mutants of a file; 0 takes all")
    parser.add_argument("--seed", type=int, default=17)
    parser.add_argument("--page", type=Path, help="page that gets the table, after every file")
    parser.add_argument("sources", nargs="*", help="files under src/moola; those that figures rest on when left out")
    options = parser.parse_args(arguments)
    _import_what_tests_share()
    tried = []
    with tempfile.TemporaryDirectory() as folder:
        copy = _copied(Path(folder))
        for name in options.sources or TESTED:
            tried.append(try_file(copy, name, tests_of(name), options.sample, options.seed))
            if options.page:
                write_table(options.page, tried)
    print(
        "\n".join(["", TABLE, *(one.row() for one in tried), "", *(row for one in tried for row in survivor_rows(one))])
    )
    return int(any(one.share < LEAST_SHARE for one in tried))


def tests_of(name: str) -> list[str]:
    """Return the test files of a source."""
    path = Path(name)
    return [f"tests/{path.parent}/test_{test}.py" for test in TESTED.get(name, (path.stem,))]


def _import_what_tests_share() -> None:
    import hypothesis.extra.numpy
    import numpy
    import polars
    import pytest
    import scipy.optimize
    import scipy.stats
    import sklearn.metrics
    import torch

    torch.set_num_threads(1)
    assert all([hypothesis, numpy, polars, pytest, scipy.optimize, sklearn.metrics])


def _copied(folder: Path) -> Path:
    for name in ("src", "tests"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    compileall.compile_dir(folder / "src", quiet=1)
    return folder


def try_file(copy: Path, name: str, tests: list[str], n_sample: int, seed: int) -> Tried:
    """Change a file of the copy one spot at a time, and return which changes its tests let pass."""
    target = copy / "src/moola" / name
    original = target.read_text()
    began = time.monotonic()
    if not _passes(copy, target, tests, FIRST_TIMEOUT_S):
        raise SystemExit(f"the tests of {name} must pass before they are judged, but they fail. Run them first.")
    timeout_s = max(LEAST_TIMEOUT_S, round(10 * (time.monotonic() - began)))
    every = mutants(original)
    chosen = random.Random(f"{seed} {name}").sample(every, min(n_sample or len(every), len(every)))  # noqa: S311
    survivors: list[Mutant] = []
    for mutant in sorted(chosen, key=lambda mutant: mutant.line):
        target.write_text(mutant.source)
        if _passes(copy, target, tests, timeout_s):
            survivors.append(mutant)
            print(f"{name}:{mutant.line}: `{mutant.change}` survives", flush=True)
    target.write_text(original)
    return Tried(name, len(every), len(chosen), survivors)


def _passes(copy: Path, target: Path, tests: list[str], timeout_s: int) -> bool:
    """Run a file's mirror tests in a fork, so that the file is imported afresh."""
    # An old compiled twin of the same size and second would be taken for the file.
    for stale in target.parent.glob(f"__pycache__/{target.stem}.*"):
        stale.unlink()
    child = os.fork()
    if child == 0:
        os._exit(_run_tests(copy, tests))
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return status == 0
        time.sleep(0.02)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return False


def _run_tests(copy: Path, tests: list[str]) -> int:
    import pytest

    os.chdir(copy)
    # Plugins of others are looked for again in every fork, and cost more than most tests.
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    sys.dont_write_bytecode = True
    sys.path[:0] = [str(copy / "src"), str(copy)]
    silent = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silent, 1)
    os.dup2(silent, 2)
    first = QuickestFirst(copy / f"{Path(tests[0]).stem}.took.json")
    # The project's own options ask for such a plugin: it checks shapes, which a test had better notice by itself.
    options = ["-o", "addopts=", "-x", "-q", "-p", "no:xdist", "-p", "no:cacheprovider", "-m", "not slow"]
    return int(pytest.main([*options, *tests], plugins=[first]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
