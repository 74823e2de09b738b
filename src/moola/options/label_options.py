"""Options of the labelling page and of the commands under `labels`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from moola.options.option_ranges import DEFAULT_SEED, DeviceName
from moola.options.span_options import SpanReading


@dataclass(frozen=True, kw_only=True)
class LabelsExportOptions:
    """Options of `labels export`.

    Parameters
    ----------
    store
        Label store that the labelling page writes.
    output
        File to write: windows, a table of spans (.parquet or .csv), or JSON for Label Studio.
    bars
        Bars that the windows were labelled on; windows need them.
    as_
        `windows` that were labelled, `spans` (imported ones, and the expansions of labelled windows), or the same
        spans for `label-studio`.
    stretches
        File for the annotated stretches, beside spans.
    annotator
        Take the labels of this annotator alone.
    min_grade
        Leave out windows of a worse grade, and windows without one.
    resolve
        Which label counts where several annotators judged a window: `latest` the last saved one; `agree` what all
        say alike (classes equal, pointers within 3 bars, their mean is written), windows in conflict are left out
        and listed; or the name of the annotator who decides (where that one did not judge a window, as `agree`).
    no_expansion
        Class to write for windows without an expansion; they are left out without it.
    symbol
        Symbol of bars that name none.
    window_bars
        Bars a window.
    """

    store: Path
    output: Path
    bars: Path | None = None
    as_: Literal["windows", "spans", "label-studio"] = "windows"
    stretches: Path | None = None
    annotator: str | None = None
    min_grade: Literal["A", "B", "C", "D"] | None = None
    resolve: str = "latest"
    no_expansion: str | None = None
    symbol: str | None = None
    window_bars: int = 105


@dataclass(frozen=True, kw_only=True)
class LabelsImportOptions(SpanReading):
    """Options of `labels import`.

    Parameters
    ----------
    store
        Label store to write; made where it is not there.
    bars
        Bars that the labels were made on.
    input
        Spans (CSV, TSV, JSON, parquet with start, end and label; or a JSON, JSON-MIN or CSV export of Label Studio with
        time-series labels), or labelled windows (parquet, or a Label Studio export with a window a task).
    stretches
        Table (from, to, symbol where known) of the stretches of which the annotators saw all bars.
    annotated
        The same as times FROM TO; further pairs may follow.
    overwrite
        Save what differs from the store as a new revision; without it the store's label stays.
    no_expansion
        Class that stands, in a window file, for windows without an expansion.
    window_bars
        Bars a window.
    """

    store: Path
    bars: Path
    input: Path
    stretches: Path | None = None
    annotated: tuple[str, ...] = ()
    overwrite: bool = False
    no_expansion: str | None = None
    window_bars: int = 105


@dataclass(frozen=True, kw_only=True)
class LabelsStatsOptions:
    """Options of `labels stats`.

    Parameters
    ----------
    store
        Label store to describe.
    bars
        Bars that the windows were labelled on: distances between pointers are then counted in bars. Without them
        they are elapsed times over the usual time of a bar, in which a gap counts too.
    symbol
        Symbol of bars that name none.
    window_bars
        Bars a window.
    """

    store: Path
    bars: Path | None = None
    symbol: str | None = None
    window_bars: int = 105


# Options of `label`.


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
