"""Every fault, by kind: what the tests run, and what docs/faults.md lists."""

from __future__ import annotations

from tests.faults.bars import BARS
from tests.faults.fault import Fault
from tests.faults.windows import SPLITS, WINDOWS

CATALOGUE: dict[str, list[Fault]] = {
    "Bars": BARS,
    "Windows and labels": WINDOWS,
    "Splits": SPLITS,
}
