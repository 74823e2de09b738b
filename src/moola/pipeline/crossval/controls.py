"""Negative controls of a cross-validation: what `leakcheck` says of its folds."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from moola.config.cv_options import CvOptions
from moola.config.leakcheck_options import LeakcheckOptions
from moola.pipeline.leakcheck.checking import leakcheck

log = logging.getLogger(__name__)


def run_controls(options: CvOptions, folder: Path, n_folds: int) -> dict[str, Any]:
    """Check every fold, and train the control networks on the last one, which has the most labels.

    Combinatorial folds are left out: they train on later bars by design, which these checks call a leak.
    """
    if not options.controls or options.scheme == "combinatorial":
        why = "--controls false" if not options.controls else "combinatorial folds train on later bars by design"
        return {"run": False, "why_not": why, "leaks": []}
    leaks: list[str] = []
    n_checks = 0
    for number in range(1, n_folds + 1):
        settings = LeakcheckOptions(
            data=options.data,
            split=folder / "folds" / f"fold-{number}.json",
            quick=number < n_folds,
            window_bars=options.window_bars,
            device=options.device,
            seed=options.seed,
        )
        log.info("Controls of fold %d of %d ...", number, n_folds)
        found = leakcheck(settings)["findings"]
        n_checks += len(found)
        leaks += [f"fold {number}, {row['what']}: {row['found']}" for row in found if row["state"] == "leak"]
    return {"run": True, "why_not": "", "n_checks": n_checks, "leaks": leaks}
