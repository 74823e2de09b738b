"""Options of `report`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from moola.config.gate_options import GateOptions
from moola.config.options import DEFAULT_SEED, MIN_GAIN

REPORTS_ROOT = Path("artifacts/reports")


@dataclass(frozen=True, kw_only=True)
class ReportOptions:
    """Options of `report`.

    Parameters
    ----------
    run
        Id or folder of a run or of a cv.
    baseline
        Run id, run folder or model file to judge against. Left out: the promoted model, else the newest
        from-scratch run on the same data and split; without either the page has no verdict.
    compare
        Further runs (or cvs) of the same windows, to compare with it on the page.
    output
        HTML file to write; artifacts/reports/<RUN_ID>.html when left out.
    seed
        Seed of the bootstrap.
    min_gain
        Smallest gain in Brier that is worth having, as `gate` takes it for the verdict.
    """

    run: Path
    baseline: Path | None = None
    compare: tuple[str, ...] = ()
    output: Path | None = None
    seed: int = DEFAULT_SEED
    min_gain: float = MIN_GAIN


def gate_options(options: ReportOptions) -> GateOptions:
    """Return the options of the gate whose verdict the page shows."""
    return GateOptions(run=options.run, baseline=options.baseline, seed=options.seed, min_gain=options.min_gain)
