"""Options of the commands under `labels`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class LabelsExportOptions:
    """Options of `labels export`.

    Parameters
    ----------
    store
        Label store that the labelling page writes.
    bars
        Bars that the windows were labelled on.
    output
        4-D window file to write.
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
    bars: Path
    output: Path
    annotator: str | None = None
    min_grade: Literal["A", "B", "C", "D"] | None = None
    resolve: str = "latest"
    no_expansion: str | None = None
    symbol: str | None = None
    window_bars: int = 105


@dataclass(frozen=True, kw_only=True)
class LabelsImportOptions:
    """Options of `labels import`.

    Parameters
    ----------
    store
        Label store to write; made where it is not there.
    bars
        Bars that the windows were labelled on.
    input
        Labelled windows (parquet), or a JSON export of Label Studio with time-series labels.
    annotator
        Who labelled; a window file's own column `annotator` when left out.
    overwrite
        Save what differs from the store as a new revision; without it the store's label stays.
    timestamp_unit
        Unit of Label Studio's numeric times since 1970.
    no_expansion
        Class that stands, in a window file, for windows without an expansion.
    symbol
        Symbol of bars that name none.
    window_bars
        Bars a window.
    """

    store: Path
    bars: Path
    input: Path
    annotator: str | None = None
    overwrite: bool = False
    timestamp_unit: Literal["s", "ms", "us"] = "ms"
    no_expansion: str | None = None
    symbol: str | None = None
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
