"""Options of `label`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from moola.config.options import DEFAULT_SEED, DeviceName


@dataclass(frozen=True, kw_only=True)
class LabelOptions:
    """Options of `label`.

    Parameters
    ----------
    bars
        Bar table that the candles and all times come from.
    windows
        Windows to label, with times; cut from the bars when left out.
    model
        Model files (one, or the same of several seeds) for the queues by uncertainty and by disagreement, and for the
        assist mode.
    predictions
        Predictions of windows that the model did not learn from (predictions.parquet of `cv` or of a run), for the
        queue of likely label errors.
    store
        Label store; made when it is not there.
    annotator
        Your name beside your labels; the login name when left out.
    classes
        Classes to choose from, in the order of their keys 1 to 9.
    symbol
        Symbol of bars that name none.
    port
        Port of the page on 127.0.0.1; 0 for any that is free.
    stride
        Bars from one cut window to the next; the inner zone's length when left out.
    max_gap_hours
        Longest time between neighbouring bars inside a cut window; found from the bars when left out.
    window_bars
        Bars a window; as the models say when left out, else 105.
    context_bars
        Bars shown before and after the window.
    seed
        Seed of the random queue and of what follows the diverse windows.
    device
        cuda, cpu, or auto for a GPU where there is one.
    threads
        CPU threads, 0 for one a core.
    """

    bars: Path
    windows: Path | None = None
    model: tuple[Path, ...] = ()
    predictions: Path | None = None
    store: Path = Path("artifacts/labels/labels.db")
    annotator: str | None = None
    classes: tuple[str, ...] = ("consolidation", "retracement")
    symbol: str | None = None
    port: int = 8765
    stride: int | None = None
    max_gap_hours: float | None = None
    window_bars: int | None = None
    context_bars: int = 30
    seed: int = DEFAULT_SEED
    device: DeviceName = "auto"
    threads: int = 1
