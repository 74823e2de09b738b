"""Options that say how a file of spans is read, which every command that takes one has."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class SpanReading:
    """How a file of spans is read.

    Parameters
    ----------
    columns
        Pairs `name=Column`, as `start=From end=To label=Pattern`. Common other names need no pair.
    timezone
        Time zone of times that carry none, as `America/New_York`; also an offset from UTC or from a zone, as `+02:00`
        or `America/New_York+7` (brokers whose day ends at 17:00 in New York).
    timestamp_format
        Format of text times, as `%d.%m.%Y %H:%M:%S`; found when left out.
    day_first
        Whether 01/02/2024 is 1 February; found when left out, where one order alone fits every row.
    timestamp_unit
        Unit of numeric times since 1970, `excel` for the days of a spreadsheet, or `bars` where they count the bars
        from 0; `auto` finds one since 1970 from the values.
    ambiguous
        What to do with times that come twice when clocks go back: `infer` goes by the order of the rows.
    task
        Tasks of a Label Studio export to take, by id or by file name; found from the bars' symbol when left out, else
        from the times of the bars.
    annotator
        Who marked the spans, where the file names nobody or one person; of several the one to take.
    drop_outside
        Leave out spans that no bar meets, and count them; without it they are refused.
    symbol
        Symbol of bars that name none.
    """

    columns: tuple[str, ...] = ()
    timezone: str = "UTC"
    timestamp_format: str | None = None
    day_first: bool | None = None
    timestamp_unit: Literal["auto", "s", "ms", "us", "ns", "excel", "bars"] = "auto"
    ambiguous: Literal["infer", "raise", "earliest", "latest"] = "infer"
    task: tuple[str, ...] = ()
    annotator: str | None = None
    drop_outside: bool = False
    symbol: str | None = None
