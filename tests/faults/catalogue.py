"""Every fault, by kind: what the tests run, and what docs/faults.md lists."""

from __future__ import annotations

from tests.faults.bars import BARS
from tests.faults.fault import Fault
from tests.faults.names import NAMES, USAGE
from tests.faults.sealed import ENCODERS, RUNS
from tests.faults.windows import SPLITS, WINDOWS

CATALOGUE: dict[str, list[Fault]] = {
    "Names and paths": NAMES,
    "Options and configuration": USAGE,
    "Bars": BARS,
    "Windows and labels": WINDOWS,
    "Splits": SPLITS,
    "Encoders, models, checkpoints": ENCODERS,
    "Runs and manifests": RUNS,
}
ALL = [fault for faults in CATALOGUE.values() for fault in faults]
