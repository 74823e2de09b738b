"""Epochs of a training that a larger command runs, as plain lines on stderr: no long stage is silent.

Lines are printed and not logged, because such trainings run in processes of their own, which have no log.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

EVERY_S = 5.0


def epoch_lines(label: str, every_s: float = EVERY_S) -> Callable[[dict[str, Any]], None]:
    """Return what prints an epoch once some seconds have passed without a line; a quick training prints none."""
    shown = time.monotonic()

    def show(row: dict[str, Any]) -> None:
        nonlocal shown
        now = time.monotonic()
        if now - shown >= every_s:
            shown = now
            stage = f", {row['stage']}" if "stage" in row else ""
            of = f" of {row['n_epochs']}" if "n_epochs" in row else ""
            print(f"{label}{stage}: epoch {row['epoch']}{of}", file=sys.stderr, flush=True)

    return show
