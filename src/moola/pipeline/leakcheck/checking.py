"""`leakcheck`: every check of data, split, features, encoder and run, one callable each."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from moola.config.leakcheck_options import LeakcheckOptions
from moola.pipeline.leakcheck import causality, encoders, labels, live, repeated, scalers, stored_run, times, trained
from moola.pipeline.leakcheck.findings import Finding
from moola.pipeline.leakcheck.subject import Subject, open_subject

Check = Callable[[Subject], list[Finding]]
CHECKS: dict[str, Check] = {
    "split record": times.split_record,
    "duplicates": repeated.duplicates,
    "near-duplicates": repeated.near_duplicates,
    "one window": repeated.one_window,
    "overlaps": times.overlaps,
    "purge": times.purge,
    "order": times.order,
    "stored features": causality.stored_features,
    "perturbed future": causality.perturbed_future,
    "label in features": labels.label_in_features,
    "label in columns": labels.label_in_columns,
    "encoder": encoders.encoder,
    "run files": stored_run.run_files,
    "scaler": scalers.scaler,
    "run predictions": stored_run.run_predictions,
    "hidden bars": live.hidden_bars,
    "live scan": live.live_scan,
    "trained controls": trained.trained_controls,
}
log = logging.getLogger(__name__)
# Quick checks pass in silence.
SAID_EVERY_S = 2.0
TRAINING = ("trained controls",)


def leakcheck(options: LeakcheckOptions) -> dict[str, Any]:
    """Run every check, with `--quick` those that train nothing; a leak ends nothing and hides nothing."""
    subject = open_subject(options)
    findings: list[Finding] = []
    said = time.monotonic()
    for name, check in CHECKS.items():
        if not (options.quick and name in TRAINING):
            if time.monotonic() - said >= SAID_EVERY_S:
                said = time.monotonic()
                log.info("Checking: %s ...", name)
            findings += check(subject)
    if options.quick:
        found = "left out by --quick: poisoned test rows, shuffled labels, shifted pointers"
        findings.append(Finding(TRAINING[0], "note", found))
    n_leaks = sum(finding.state == "leak" for finding in findings)
    return {
        "data": str(options.data),
        "split": str(options.split),
        "run_id": subject.run.run_id if subject.run else None,
        "clean": n_leaks == 0,
        "n_leaks": n_leaks,
        "findings": [asdict(finding) for finding in findings],
    }
