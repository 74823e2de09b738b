"""Which columns hold the times of bars: one, or a day and a time of day that belong together."""

from __future__ import annotations

import logging

import polars as pl

from moola.config.table_options import ImportOptions

log = logging.getLogger(__name__)

DAY = r"^(\d{8}|\d{4}[-./]\d{1,2}[-./]\d{1,2}|\d{1,2}[-./ ][\dA-Za-z]{1,3}[-./ ]\d{2,4})$"
TIME_OF_DAY = r"^(\d{1,2}:\d{2}(:\d{2}([.,]\d+)?)?( ?[AaPp][Mm])?|\d{1,6})$"
PLAIN_DIGITS = r"^(\d{4})(\d{2})(\d{2})[ T](\d{2})(\d{2})(\d{2})?$"
ISO_DAY = r"^(\d{4})[-./]?(\d{2})[-./]?(\d{2})$"


def are_days(column: pl.Series) -> bool:
    """Tell whether a column holds days without a time of day, as most of its cells say."""
    return _most(_day_text(column).str.contains(DAY))


def belong_together(day: pl.Series, time: pl.Series) -> bool:
    """Tell whether one column holds days alone and the other times of day alone."""
    return are_days(day) and _most(_time_text(time).str.contains(TIME_OF_DAY))


def joined(day: pl.Series, time: pl.Series, options: ImportOptions) -> pl.Series:
    """Return the texts of days and times of day as one column, `2024-03-04 10:00:00` where the year comes first.

    Times of day may be plain digits: HHMMSS, or HHMM where none has more than four; leading zeros may be lost.
    With `--timestamp-format` both stay as they are, with a space between.
    """
    days, times = _day_text(day), _time_text(time)
    if options.timestamp_format is None:
        days = days.str.replace(ISO_DAY, "$1-$2-$3")
        is_plain = times.str.contains(r"^\d{1,6}$")
        # A column of zeros alone is midnight, however many there are.
        wide = 6 if int(times.filter(is_plain.fill_null(False)).str.len_chars().max() or 0) > 4 else 4  # type: ignore[arg-type]
        digits = times.str.zfill(wide)
        clock = digits.str.replace(r"^(\d\d)(\d\d)(\d\d)?$", "$1:$2:$3").str.strip_chars_end(":")
        times = clock.zip_with(is_plain.fill_null(False), times.str.replace(r"^(\d):", "0$1:"))
    return (days + " " + times).alias("timestamp")


def with_marks(column: pl.Series, options: ImportOptions) -> pl.Series:
    """Return texts of a day and a time in plain digits (`20240304 100000`) with marks between; others as they are."""
    if column.dtype != pl.String or options.timestamp_format is not None:
        return column
    return column.str.replace(PLAIN_DIGITS, "$1-$2-$3 $4:$5:$6").str.strip_chars_end(":")


def as_numbers(column: pl.Series) -> pl.Series:
    """Return a column of text as whole or other numbers where every cell is one, else as it is."""
    if column.dtype != pl.String or column.null_count() == len(column):
        return column
    for kind in (pl.Int64, pl.Float64):
        number = column.cast(kind, strict=False)
        if number.null_count() == column.null_count():
            return number
    return column


def _day_text(column: pl.Series) -> pl.Series:
    if isinstance(column.dtype, pl.Datetime) and (column == column.dt.truncate("1d")).all():
        column = column.dt.date()
    return column.cast(pl.String).str.strip_chars()


def _time_text(column: pl.Series) -> pl.Series:
    return column.cast(pl.String).str.strip_chars()


def _most(fits: pl.Series) -> bool:
    return int(fits.sum() or 0) * 2 > len(fits) - fits.null_count()
