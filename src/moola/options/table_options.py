"""Options of the commands that make tables, of foreign files and files of spans, and of `cpsa preview`."""

import logging
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Literal

from moola.options.option_fields import (
    BELOW_1,
    BETWEEN_0_AND_1,
    COUNT,
    COUNT_OR_NONE,
    DATA,
    DEFAULT_SEED,
    EVERYDAY,
    OUTPUT,
    POSITIVE,
    AllowOverlap,
    Annotator,
    Augmentations,
    Bars,
    CpsaRatio,
    CutBars,
    FilesLength,
    MaxGapHours,
    MirrorClasses,
    Output,
    Overwrite,
    Seed,
    SplitData,
    Stride,
    Symbol,
    WindowBars,
    WindowLength,
    advanced,
    basic,
    with_help,
)

log = logging.getLogger(__name__)

Stretches = Annotated[
    Path,
    advanced(
        "Table (from, to, symbol where known) of annotated stretches: a person saw all of their bars, so that what is "
        "outside a span there is background.",
        DATA,
    ),
]
AnnotatedTimes = Annotated[
    tuple[str, ...], advanced("Annotated stretches as times FROM TO; further pairs may follow.", DATA)
]


Columns = Annotated[
    tuple[str, ...],
    advanced(
        "Pairs `name=Column`, as `timestamp=Date open=Open`, or `date=Day time=Hour` for times in two columns. "
        "Names that match without regard to case need no pair; without a header, columns are column_1, column_2, "
        "...",
        DATA,
    ),
]
Timezone = Annotated[
    str,
    advanced(
        "Time zone of times without one, as `America/New_York`; also an offset from UTC or from a zone, as "
        "`+02:00` or `America/New_York+7` (brokers whose day ends at 17:00 in New York).",
        DATA,
    ),
]
DayFirst = Annotated[
    bool | None,
    advanced("Whether 01/02/2024 is 1 February; found by default, where only one order fits every row.", DATA),
]


@dataclass(frozen=True, kw_only=True)
class ForeignTimes:
    """How columns and times of a file of another program are read."""

    columns: Columns = ()
    timezone: Timezone = "UTC"
    timestamp_format: Annotated[
        str | None, advanced("Format of text times, as `%d.%m.%Y %H:%M:%S`; found by default.", DATA)
    ] = None
    day_first: DayFirst = None
    ambiguous: Annotated[
        Literal["infer", "raise", "earliest", "latest"],
        advanced("What to do with times that occur twice when clocks go back: `infer` uses the order of rows.", DATA),
    ] = "infer"


@dataclass(frozen=True, kw_only=True)
class SpanTable(ForeignTimes):
    """How a table of spans is read, and that of annotated stretches beside it."""

    timestamp_unit: Annotated[
        Literal["auto", "s", "ms", "us", "ns", "excel", "bars"],
        advanced(
            "Unit of numeric times since 1970, `excel` for the days of a spreadsheet, or `bars` where they count the "
            "bars from 0; `auto` finds one since 1970 from the values.",
            DATA,
        ),
    ] = "auto"
    task: Annotated[
        tuple[str, ...],
        advanced(
            "Tasks of a Label Studio export to take, by id or file name; found from the bars' symbol or times.",
            DATA,
        ),
    ] = ()
    drop_outside: Annotated[
        bool, advanced("Leave out spans outside the bars, and count them; by default they are refused.", DATA)
    ] = False


@dataclass(frozen=True, kw_only=True)
class SpanReading(SpanTable):
    """The same, with what the file may not say: who marked the spans, and their symbol."""

    annotator: (
        Annotated[
            Annotator,
            with_help("Who marked the spans, where the file does not name anyone; of several the one to take."),
        ]
        | None
    ) = None
    symbol: Symbol | None = None

    @classmethod
    def of_options(cls, options: SpanTable, annotator: str | None = None) -> "SpanReading":
        """Return how a command reads its spans and stretches."""
        asked = {one.name: getattr(options, one.name) for one in fields(SpanTable)}
        return cls(**asked, annotator=annotator)


# How a table of spans is read, by name.
SPAN_TABLE = tuple(one.name for one in fields(SpanTable))


def asked_reading(options: SpanTable) -> dict[str, str]:
    """Return what was asked for of how spans are read, by name; nothing where all is as usual."""
    values = {one.name: (getattr(options, one.name), one.default) for one in fields(SpanTable)}
    return {name: str(value) for name, (value, usual) in values.items() if value != usual}


def tell_reading_without_spans(options: SpanTable) -> None:
    """Name the options that say how spans are read, where none are: a file of settings may give them to any command."""
    if idle := asked_reading(options):
        names = ", ".join(f"--{name.replace('_', '-')}" for name in idle)
        log.info("No --spans are given, and nothing else is read by %s.", names)


@dataclass(frozen=True, kw_only=True)
class SampleOptions:
    """Options of `sample`."""

    output: Annotated[Output, with_help("Folder to write the sample to.")] = Path("data")
    quick: Annotated[
        bool,
        basic("The year 2017 alone, to try the commands: small files, and no later windows.", DATA),
    ] = False
    overwrite: Overwrite = False


@dataclass(frozen=True, kw_only=True)
class ImportOptions(ForeignTimes):
    """Options of `bars import`."""

    input: Annotated[Path, basic("CSV of any layout, JSON, Feather or parquet, with any column names.", DATA)]
    output: Annotated[Output, with_help("Bar table to write (.parquet or .csv).")]
    columns: Annotated[Columns, EVERYDAY] = ()
    timezone: Annotated[Timezone, EVERYDAY] = "UTC"
    day_first: Annotated[DayFirst, EVERYDAY] = None
    timestamp_unit: Annotated[
        Literal["auto", "s", "ms", "us", "ns", "excel"],
        advanced(
            "Unit of numeric times since 1970, or `excel` for the days of a spreadsheet; `auto` finds it from the "
            "values.",
            DATA,
        ),
    ] = "auto"
    separator: Annotated[
        str | None, advanced("Column separator of a text file, as `;` or `\\t`; found by default.", DATA)
    ] = None
    no_header: Annotated[bool, advanced("The first line is a bar, and no line names the columns.", DATA)] = False
    skip_rows: Annotated[
        int,
        COUNT_OR_NONE,
        advanced("Lines to skip at the start of a text file. Notes before the header are found by default.", DATA),
    ] = 0
    decimal: Annotated[
        Literal[".", ","] | None, advanced("Decimal mark of prices and volume; found by default.", DATA)
    ] = None
    repair: Annotated[
        bool,
        basic(
            "Drop rows that are not bars (empty, impossible, exact repeats), and correct highs and lows that rounding "
            "put inside the bar; each kind is counted.",
            DATA,
        ),
    ] = False
    symbol: Annotated[Symbol, EVERYDAY, with_help("Symbol to write in every row.")] | None = None


@dataclass(frozen=True, kw_only=True)
class WindowsOptions(SpanReading):
    """Options of `windows`."""

    bars: Bars
    output: Annotated[Output, with_help("Window file to write.")]
    spans: (
        Annotated[
            Path,
            basic("File of spans: a labelled window is cut around each. By default windows have no labels.", DATA),
        ]
        | None
    ) = None
    stretches: Stretches | None = None
    annotated: Annotated[AnnotatedTimes, EVERYDAY] = ()
    background: (
        Annotated[
            float,
            POSITIVE,
            basic(
                "Windows of the class `background`, without pointers: a number of them, or below 1 their share of all "
                "windows. They lie in annotated stretches, and no span touches their inner zone.",
                DATA,
            ),
        ]
        | None
    ) = None
    stride: Annotated[Stride, EVERYDAY] = 5
    max_gap_hours: Annotated[MaxGapHours, EVERYDAY] | None = None
    window_bars: (
        Annotated[
            WindowBars,
            basic(
                "Bars per window; by default 105, or more where spans need it: 95 of 100 spans take at most two fifths "
                "of it.",
                DATA,
            ),
        ]
        | None
    ) = None
    seed: Annotated[
        Seed, with_help("Seed of the places of spans in their windows, and of the choice of background.")
    ] = DEFAULT_SEED


@dataclass(frozen=True, kw_only=True)
class ConvertOptions(WindowLength):
    """Options of `convert`."""

    input: Annotated[Path, basic("4-D window file.", DATA)]
    output: Annotated[Output, with_help("Relative window file to write.")]


@dataclass(frozen=True, kw_only=True)
class SplitOptions(WindowLength):
    """Options of `split`."""

    data: Annotated[Path, basic("Window file to divide.", DATA)]
    output: Annotated[Output, with_help("Split file to write; its name is the split's name.")]
    val: Annotated[float, BETWEEN_0_AND_1, basic("Share of the windows for validation.", DATA)] = 0.2
    test: Annotated[float, BELOW_1, basic("Share of the windows, the latest, for the test; 0 for none.", DATA)] = 0.25
    purge_window: (
        Annotated[
            int,
            COUNT_OR_NONE,
            basic(
                "Bars that a window must end before the next part begins; at least one window less one bar. More is an "
                "embargo, taken as that many usual bar intervals. Windows that come nearer are dropped, never moved.",
                DATA,
            ),
        ]
        | None
    ) = None


@dataclass(frozen=True, kw_only=True)
class AutolabelOptions(WindowLength):
    """Options of `autolabel`."""

    bars: Bars
    output: Annotated[Output, with_help("Labelled 4-D window file to write.")]
    stride: Annotated[Stride, EVERYDAY] = 10
    max_gap_hours: MaxGapHours | None = None
    n_windows: (
        Annotated[
            int,
            COUNT,
            basic("Keep this many labelled windows, evenly spread over time; by default all.", DATA),
        ]
        | None
    ) = None


@dataclass(frozen=True, kw_only=True)
class CpsaPreviewOptions(SplitData, FilesLength):
    """Options of `cpsa preview`."""

    output: Annotated[Output, with_help("PNG file for the pictures.")]
    n: Annotated[int, COUNT, basic("Synthetic windows to show, each beside its parent.", OUTPUT)] = 6
    augmentations: Annotated[Augmentations, EVERYDAY] = ("mirror",)
    bars: Annotated[CutBars, EVERYDAY] | None = None
    cpsa_ratio: CpsaRatio = 1.0
    mirror_classes: Annotated[MirrorClasses, EVERYDAY] = ()
    allow_overlap: AllowOverlap = False
    seed: Annotated[Seed, with_help("Random seed; the seed of a training shows the windows of that training.")] = (
        DEFAULT_SEED
    )
