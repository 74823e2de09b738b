"""Options of `predict`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from moola.config.options import DeviceName


@dataclass(frozen=True, kw_only=True)
class PredictOptions:
    """Options of `predict`.

    Parameters
    ----------
    model
        Model file: a promoted .pt, or the model.pkl of a run.
    data
        Windows, 4-D or relative, labelled or not.
    output
        Table to write (.parquet or .csv).
    window_bars
        Bars a window; as the model says when left out.
    device
        cuda, cpu, or auto for a GPU where there is one.
    threads
        CPU threads, 0 for one a core.
    """

    model: Path
    data: Path
    output: Path
    window_bars: int | None = None
    device: DeviceName = "auto"
    threads: int = 1
