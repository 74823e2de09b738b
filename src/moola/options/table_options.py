"""Options of the commands that make tables, and of `cpsa preview`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from moola.options.span_options import SpanReading


@dataclass(frozen=True, kw_only=True)
class SampleOptions:
    """Options of `sample`.

    Parameters
    ----------
    output
        Folder to write the sample into.
    overwrite
        Replace files that are there and differ.
    """

    output: Path = Path("data")
    overwrite: bool = False


@dataclass(frozen=True, kw_only=True)
class ImportOptions:
    """Options of `bars import`.

    Parameters
    ----------
    input
        CSV of any layout, JSON, Feather or parquet, with any column names.
    output
        Bar table to write (.parquet or .csv).
    columns
        Pairs `name=Column`, as `timestamp=Date open=Open`, or `date=Day time=Hour` for times in two columns.
        Names that match without regard to case need no pair; without a header, columns are column_1, column_2, ...
    timezone
        Time zone of times that carry none, as `America/New_York`; also an offset from UTC or from a zone, as `+02:00`
        or `America/New_York+7` (brokers whose day ends at 17:00 in New York).
    timestamp_format
        Format of text times, as `%d.%m.%Y %H:%M:%S`; found when left out.
    day_first
        Whether 01/02/2024 is 1 February; found when left out, where one order alone fits every row.
    timestamp_unit
        Unit of numeric times since 1970, or `excel` for the days of a spreadsheet; `auto` finds it from the values.
    ambiguous
        What to do with times that come twice when clocks go back: `infer` goes by the order of the rows.
    separator
        Column separator of a text file, as `;` or `\\t`; found when left out.
    no_header
        The first line is a bar, and no line names the columns.
    skip_rows
        Lines to leave out at the beginning of a text file. Notes before the header are found when left out.
    decimal
        Decimal mark of prices and volume; found when left out.
    repair
        Drop rows that are no bars (empty, impossible, exact repeats), and fix highs and lows that rounding put inside
        the bar; each kind is counted.
    symbol
        Symbol to write in every row.
    """

    input: Path
    output: Path
    columns: tuple[str, ...] = ()
    timezone: str = "UTC"
    timestamp_format: str | None = None
    day_first: bool | None = None
    timestamp_unit: Literal["auto", "s", "ms", "us", "ns", "excel"] = "auto"
    ambiguous: Literal["infer", "raise", "earliest", "latest"] = "infer"
    separator: str | None = None
    no_header: bool = False
    skip_rows: int = 0
    decimal: Literal[".", ","] | None = None
    repair: bool = False
    symbol: str | None = None


@dataclass(frozen=True, kw_only=True)
class WindowsOptions(SpanReading):
    """Options of `windows`.

    Parameters
    ----------
    bars
        Bar table.
    output
        Window file to write.
    spans
        File of spans: a labelled window is cut around each. Without it windows have no labels.
    stretches
        Table (from, to, symbol where known) of the stretches of which a person saw all bars: background comes from
        these alone.
    annotated
        The same as times FROM TO; further pairs may follow.
    background
        Windows of the class `background`, without pointers: a number of them, or below 1 the share of all windows
        that they are. They lie in annotated stretches, and no span touches their inner zone.
    stride
        Bars from one window without a label to the next.
    max_gap_hours
        Longest time between neighbouring bars inside a window; windows over a longer one are dropped. Left out, it is
        found from each symbol's bars: 72, or 11 usual bars or 1.4 usual breaks of a week where longer.
    window_bars
        Bars a window. Left out it is 105, or more where spans ask for it: 95 of 100 spans take two fifths of it or
        less.
    seed
        Seed of the places of spans in their windows, and of the choice of background.
    """

    bars: Path
    output: Path
    spans: Path | None = None
    stretches: Path | None = None
    annotated: tuple[str, ...] = ()
    background: float | None = None
    stride: int = 5
    max_gap_hours: float | None = None
    window_bars: int | None = None
    seed: int = 17


@dataclass(frozen=True, kw_only=True)
class ConvertOptions:
    """Options of `convert`.

    Parameters
    ----------
    input
        4-D window file.
    output
        Relative window file to write.
    window_bars
        Bars a window.
    """

    input: Path
    output: Path
    window_bars: int = 105


@dataclass(frozen=True, kw_only=True)
class SplitOptions:
    """Options of `split`.

    Parameters
    ----------
    data
        Window file to divide.
    output
        Split file to write; its name is the split's name.
    val
        Share of the windows that validates.
    test
        Share of the windows, the latest, that judges; 0 for none.
    purge_window
        Bars that a window must end before the next part begins; at least one window less one bar.
        More than that is an embargo, taken as so many usual bar intervals of time. Windows that come nearer
        are dropped, never moved.
    window_bars
        Bars a window.
    """

    data: Path
    output: Path
    val: float = 0.2
    test: float = 0.25
    purge_window: int | None = None
    window_bars: int = 105


@dataclass(frozen=True, kw_only=True)
class AutolabelOptions:
    """Options of `autolabel`.

    Parameters
    ----------
    bars
        Bar table.
    output
        Labelled 4-D window file to write.
    stride
        Bars from one candidate window to the next.
    max_gap_hours
        Longest time between neighbouring bars inside a window; found from the bars when left out, as `windows` does.
    n_windows
        Keep this many labelled windows, evenly spread over time; all when left out.
    window_bars
        Bars a window.
    """

    bars: Path
    output: Path
    stride: int = 10
    max_gap_hours: float | None = None
    n_windows: int | None = None
    window_bars: int = 105


# Options of `cpsa preview`, and the names of the augmentations.


AugmentationName = Literal["mirror", "warp", "rescale", "recut", "transplant", "wicks"]


@dataclass(frozen=True, kw_only=True)
class CpsaPreviewOptions:
    """Options of `cpsa preview`.

    Parameters
    ----------
    data
        Labelled windows with their bars, relative or 4-D.
    split
        Split file; its train rows alone are made from.
    output
        PNG file for the pictures.
    n
        Made windows to show, each beside its parent.
    augmentations
        How synthetic windows are made; of several, each window takes a chain drawn at random.
    bars
        Bars that the windows were cut from; `recut` needs them.
    cpsa_ratio
        Synthetic windows a real one, as in training: it decides how many variants a window gets.
    mirror_classes
        How the price mirror treats classes: `same`, or swaps such as `bull:bear`.
    allow_overlap
        Accept an old split whose parts overlap.
    window_bars
        Bars a window; as the files named say when left out.
    seed
        Seed of everything random, as in training: the same seed makes the same windows.
    """

    data: Path
    split: Path
    output: Path
    n: int = 6
    augmentations: tuple[AugmentationName, ...] = ("mirror",)
    bars: Path | None = None
    cpsa_ratio: float = 1.0
    mirror_classes: tuple[str, ...] = ()
    allow_overlap: bool = False
    window_bars: int | None = None
    seed: int = 17
