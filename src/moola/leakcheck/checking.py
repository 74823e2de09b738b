"""`leakcheck`: every check of data, split, features, encoder and run, one callable each."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from moola.leakcheck import feature_checks, run_checks, split_checks, training_controls
from moola.leakcheck.subject import Finding, Subject, open_subject
from moola.options.judging_options import LeakcheckOptions

Check = Callable[[Subject], list[Finding]]
CHECKS: dict[str, Check] = {
    "split record": split_checks.split_record,
    "duplicates": split_checks.duplicates,
    "near-duplicates": split_checks.near_duplicates,
    "one window": split_checks.one_window,
    "overlaps": split_checks.overlaps,
    "purge": split_checks.purge,
    "order": split_checks.order,
    "stored features": feature_checks.stored_features,
    "perturbed future": feature_checks.perturbed_future,
    "label in features": feature_checks.label_in_features,
    "label in columns": feature_checks.label_in_columns,
    "place in window": feature_checks.place_in_window,
    "encoder": run_checks.encoder,
    "run files": run_checks.run_files,
    "scaler": run_checks.scaler,
    "run predictions": run_checks.run_predictions,
    "hidden bars": run_checks.hidden_bars,
    "live scan": run_checks.live_scan,
    "trained controls": training_controls.trained_controls,
}
log = logging.getLogger(__name__)
# Quick checks pass in silence.
SAID_EVERY_S = 2.0
TRAINING = ("trained controls",)


def leakcheck(options: LeakcheckOptions) -> dict[str, Any]:
    """Run every check, with `--quick` those that train nothing; a leak ends nothing and hides nothing."""
    subject = open_subject(options)
    findings: list[Finding] = []
    last_report = time.monotonic()
    for name, check in CHECKS.items():
        if not (options.quick and name in TRAINING):
            if time.monotonic() - last_report >= SAID_EVERY_S:
                last_report = time.monotonic()
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
