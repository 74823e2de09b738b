"""Options of `gate` and `promote`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from moola.config.options import DEFAULT_SEED, MIN_GAIN, PROMOTED_NAME


@dataclass(frozen=True, kw_only=True)
class GateOptions:
    """Options of `gate` and `promote`.

    Parameters
    ----------
    run
        The challenger: run id, or its folder under artifacts/runs.
    baseline
        Run id, run folder or model file to beat. Left out: the promoted model, else the newest
        from-scratch run on the same data and split.
    name
        File name of the promoted model.
    seed
        Seed of the bootstrap.
    min_gain
        Smallest gain in Brier that is worth having: a smaller one is inconclusive, however sure. 0 takes any gain.
    """

    run: Path
    baseline: Path | None = None
    name: str = PROMOTED_NAME
    seed: int = DEFAULT_SEED
    min_gain: float = MIN_GAIN
