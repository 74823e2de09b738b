"""Options that say how times of foreign files and files of spans are read."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from moola.options.option_fields import DATA, Annotator, Symbol, advanced, says

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
class SpanReading(ForeignTimes):
    """How a file of spans is read."""

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
    annotator: (
        Annotated[Annotator, says("Who marked the spans, where the file does not say; of several the one to take.")]
        | None
    ) = None
    drop_outside: Annotated[
        bool, advanced("Leave out spans that no bar meets, and count them; by default they are refused.", DATA)
    ] = False
    symbol: Symbol | None = None
