#!/usr/bin/env python3
"""Take guards out of the source, one at a time, and tell whether the faults that they stand against are still met.

Usage: python benchmarks/guards.py [--page docs/reliability.md]

Each guard is replaced in a copy by a condition that never holds; then the faults of tests/faults that it refuses must
no longer be met. Ends with 1 where one still is: then another guard stands in its place, or its test sees nothing.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from page_parts import write_part

ROOT = Path(__file__).resolve().parents[1]
MOST_S = 120


@dataclass(frozen=True)
class Guard:
    """A condition of a source file under src/moola, and the faults that it refuses."""

    file: str
    condition: str
    faults: tuple[str, ...]


GUARDS = (
    Guard("files.py", 'not SAFE_NAME.fullmatch(name) or ".." in name or RESERVED_NAME.fullmatch(name)',
          ("name-promote-up", "name-promote-reserved")),
    Guard("options/option_fields.py",
          "isinstance(number, int | float) and number not in allowed",
          ("usage-epochs-0", "usage-mask", "usage-huge-network")),
    Guard("tables/frames.py", "grown > max(SMALL_BYTES, MAX_GROWTH * n_bytes)",
          ("bars-parquet-bomb",)),
    Guard("tables/split_file.py", "file.data_sha256 not in (None, data_sha256)", ("split-other-data",)),
    Guard("tables/window_file.py", "crossed.any()", ("pointer-crossed",)),
    Guard("core/splits.py", "len(late)", ("split-backward",)),
    Guard("models/sealed.py", "hashlib.sha256(archive).hexdigest().encode() != comment[len(SEAL) :]",
          ("encoder-flipped-seal",)),
    Guard("models/sealed.py", "is_larger", ("encoder-one-number-repeated", "encoder-list-in-lists")),
    Guard("models/sealed.py", 'found != record["sha256"]', ("encoder-wrong-content-hash",)),
    Guard("models/model_files.py", "not torch.isfinite(weights[name]).all()", ("encoder-weights-nan",)),
    Guard("runs/run_store.py", "folder.is_symlink()", ("run-link",)),
    Guard("runs/run_store.py", "not path.is_file() or sha256_file(path) != expected",
          ("run-model-swapped", "run-predictions-flipped", "run-file-missing")),
    Guard("provenance/learned_times.py", "len({length for _, length in said}) > 1",
          ("split-other-length", "encoder-length")),
    Guard("fit/jobs.py", "job.options.refit and not len(job.inputs.split.test) and not judged_elsewhere",
          ("usage-refit-unjudged",)),
    Guard("tables/frames.py", "isinstance(longest, int) and longest > most", ("bars-symbol-multiplied",)),
    Guard("tables/label_database.py", "found != expected", ("store-trigger",)),
    Guard("runs/promotion.py", "in_use is not None and sha256_bytes(in_use) == sha256_bytes(content)",
          ("promotion-in-use",)),
)  # fmt: skip


def main() -> int:
    """Remove each guard, and print what became of its faults."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--page", type=Path, help="page that gets the table between its marks")
    options = parser.parse_args()
    counts: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0])
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        for name in ("src", "tests"):
            shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "pyproject.toml", copy)
        for guard in GUARDS:
            met = [fault for fault in guard.faults if not _fails_without(copy, guard, fault)]
            for place, number in enumerate((1, len(guard.faults), len(met))):
                counts[guard.file][place] += number
            print(f"{guard.file}: {guard.condition}: still refused: {', '.join(met) or 'none'}", flush=True)
    table = [
        "| file | checks removed | faults that they refuse | still refused without them |",
        "| --- | ---: | ---: | ---: |",
        *(f"| `{file}` | {' | '.join(map(str, numbers))} |" for file, numbers in sorted(counts.items())),
    ]
    print("\n".join(table))
    if options.page:
        write_part(options.page, "guards", "\n".join(table))
    return int(any(n_met for _, _, n_met in counts.values()))


def _fails_without(copy: Path, guard: Guard, fault: str) -> bool:
    target = copy / "src/moola" / guard.file
    source = target.read_text()
    if source.count(f"if {guard.condition}:") != 1:
        raise SystemExit(f"{guard.file} must have `if {guard.condition}:` once, but it has not. Mend the list.")
    target.write_text(source.replace(f"if {guard.condition}:", "if False:"))
    try:
        test = f"tests/faults/test_catalogue.py::test_fault[{fault}]"
        command = [sys.executable, "-m", "pytest", "-x", "-q", "-n0", "-p", "no:cacheprovider", test]
        environment = {"PYTHONPATH": str(copy / "src"), "PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1"}
        ended = subprocess.run(
            command, cwd=copy, env=environment, capture_output=True, text=True, check=False, timeout=MOST_S
        )
    except subprocess.TimeoutExpired:
        # What should have been refused at once is being worked on.
        return True
    finally:
        target.write_text(source)
    # 1 is a test that failed; anything else says nothing of the guard.
    if ended.returncode not in (0, 1):
        raise SystemExit(ended.stdout + ended.stderr)
    return ended.returncode == 1


if __name__ == "__main__":
    sys.exit(main())
