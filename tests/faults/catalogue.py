"""Every fault, by kind: what the tests run, and what the site's page of faults lists."""

from __future__ import annotations

from tests.faults.bars import BARS
from tests.faults.disk import DISK
from tests.faults.events import EVENT_TABLES
from tests.faults.fault import Fault
from tests.faults.label_files import EXPORTS, SPANS, STORES
from tests.faults.names import NAMES, USAGE
from tests.faults.numbers import NUMBERS
from tests.faults.promotions import PROMOTIONS
from tests.faults.readers import BENCHMARKS, FOLLOWED, HANDED_ON, PLATFORMS, PREDICTIONS, READERS, STUDIES
from tests.faults.sealed import ENCODERS, RUNS
from tests.faults.windows import SPLITS, WINDOWS

CATALOGUE: dict[str, list[Fault]] = {
    "Names and paths": NAMES,
    "Options and configuration": USAGE,
    "Bars": BARS,
    "Windows and labels": WINDOWS,
    "Splits": SPLITS,
    "Encoders, models, checkpoints": ENCODERS,
    "Every reader of models and encoders": READERS,
    "Runs and manifests": RUNS,
    "Promotions": PROMOTIONS,
    "Predictions to label by": PREDICTIONS,
    "Events and what they are evaluated against": EVENT_TABLES,
    "Followed files": FOLLOWED,
    "Programs for events": HANDED_ON,
    "Other platforms": PLATFORMS,
    "Studies and arms": STUDIES + BENCHMARKS,
    "Label Studio exports": EXPORTS,
    "Files of spans": SPANS,
    "Label stores": STORES,
    "The disk": DISK,
    "Numbers and memory": NUMBERS,
}
ALL = [fault for faults in CATALOGUE.values() for fault in faults]
