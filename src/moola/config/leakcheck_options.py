"""Options of `leakcheck`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from moola.config.options import DEFAULT_SEED, DeviceName


@dataclass(frozen=True, kw_only=True)
class LeakcheckOptions:
    """Options of `leakcheck`.

    Parameters
    ----------
    data
        Labelled windows, relative or 4-D.
    split
        Split file; one that leaks is examined, not refused.
    run
        Run id, or its folder under artifacts/runs, to check against this data and split.
    pretrained_encoder
        Encoder file to check for held-out bars.
    bars
        Bars that the run's model scans live, to prove that what it tells hangs on bars up to then alone.
    quick
        Leave out the checks that train small networks.
    window_bars
        Bars a window; as the data says when left out.
    device
        cuda, cpu, or auto for a GPU where there is one.
    threads
        CPU threads, 0 for one a core.
    seed
        Seed of everything random.
    """

    data: Path
    split: Path
    run: Path | None = None
    pretrained_encoder: Path | None = None
    bars: Path | None = None
    quick: bool = False
    window_bars: int | None = None
    device: DeviceName = "auto"
    threads: int = 1
    seed: int = DEFAULT_SEED
