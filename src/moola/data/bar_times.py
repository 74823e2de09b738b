"""Times of foreign bar files to UTC: text, numbers since 1970, zones and clocks that change."""

from __future__ import annotations

import logging

import polars as pl

from moola.config.table_options import ImportOptions
from moola.errors import Problem, WrongUsage

log = logging.getLogger(__name__)

# The year 2262: the last that nanosecond clocks of other tools can tell.
LATEST_US = 9.2e15


def utc_times(column: pl.Series, options: ImportOptions, problems: list[Problem]) -> pl.Series:
    """Read a column of times of any kind as UTC; what cannot be read is a problem added and null."""
    naive = _times(column, options)
    if naive.dtype.time_zone is None:  # type: ignore[attr-defined]
        log.info("Times carry no zone and are taken as %s (--timezone).", options.timezone)
        try:
            ambiguous = "null" if options.ambiguous == "raise" else options.ambiguous
            aware = naive.dt.replace_time_zone(options.timezone, ambiguous=ambiguous, non_existent="null")
        except pl.exceptions.PolarsError as error:
            raise WrongUsage(
                f"--timezone must be a name such as America/New_York, but {options.timezone!r} is not known. "
                "Look it up in the IANA list."
            ) from error
        lost = aware.is_null() & naive.is_not_null()
        if lost.any():
            first = int(lost.arg_max() or 0)
            rule = f"every time must exist once in {options.timezone} (clocks change: see --ambiguous)"
            problems.append(Problem(rule, int(lost.sum()), first, f"found {naive[first]}"))
    else:
        aware = naive
    unread = naive.is_null()
    if unread.any():
        first = int(unread.arg_max() or 0)
        detail = f"found {column[first]!r}; see --timestamp-format"
        problems.append(Problem("timestamp must be readable as a time", int(unread.sum()), first, detail))
    return aware.dt.convert_time_zone("UTC").dt.cast_time_unit("us")


def _times(column: pl.Series, options: ImportOptions) -> pl.Series:
    if isinstance(column.dtype, pl.Datetime):
        return column.dt.cast_time_unit("us")
    if column.dtype == pl.Date:
        return column.cast(pl.Datetime("us"))
    if column.dtype.is_numeric():
        per_unit = {"s": 1_000_000, "ms": 1_000, "us": 1}[options.timestamp_unit]
        time_us = column.cast(pl.Float64) * per_unit
        # Outside these years a number is no time of a bar, whatever its unit was meant to be.
        known = time_us.is_finite() & (time_us.abs() < LATEST_US)
        time_us = time_us.zip_with(known.fill_null(False), pl.Series([None], dtype=pl.Float64))
        return time_us.cast(pl.Int64).cast(pl.Datetime("us", "UTC"))
    text = column.cast(pl.String)
    try:
        return text.str.to_datetime(options.timestamp_format, time_unit="us", strict=False)
    except pl.exceptions.PolarsError:
        # No format fits: every row is unread, and the message that follows shows the first one.
        return pl.Series(column.name, [None] * len(column), dtype=pl.Datetime("us"))
