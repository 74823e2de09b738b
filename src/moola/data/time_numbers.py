"""Times that are written as numbers: dates such as 20240304, and counts of s, ms, us or ns since 1970."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl

from moola.config.table_options import ImportOptions
from moola.errors import Problem

log = logging.getLogger(__name__)
PER_S = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}
DAY_US = 86_400_000_000
FIRST_US = DAY_US
SHORTEST_BAR_US = 100_000
# Spreadsheets count days since 1899-12-30: these are the years 1954 to 2119.
EXCEL_DAYS = (20_000, 80_000)
EXCEL_1970 = 25_569
# Digits of dates that are written as one number, and how they are read.
DATE_FORMATS = {8: "%Y%m%d", 10: "%Y%m%d%H", 12: "%Y%m%d%H%M", 14: "%Y%m%d%H%M%S", 17: "%Y%m%d%H%M%S%3f"}
WRITTEN = {8: "YYYYMMDD", 10: "YYYYMMDDHH", 12: "YYYYMMDDHHMM", 14: "YYYYMMDDHHMMSS", 17: "YYYYMMDDHHMMSSmmm"}


def tomorrow_us() -> int:
    """Return the end of tomorrow, after which no bar begins."""
    day = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=2)
    return int(day.timestamp()) * 1_000_000


def read_numbers(column: pl.Series, options: ImportOptions, problems: list[Problem]) -> pl.Series:
    """Read a column of numbers (or of texts that are numbers) as times; what cannot be one is null.

    Dates without a zone come back naive, counts since 1970 in UTC. A whole column that is no time in the unit (asked
    for, or found from the values) is a problem added.
    """
    dates = _dates(column)
    if dates is not None:
        n_digits, times = dates
        if options.timestamp_unit == "auto":
            log.info("Times are numbers of the form %s.", WRITTEN[n_digits])
            return times
        rule = f"times must be counts of {options.timestamp_unit} since 1970 (--timestamp-unit)"
        detail = f"{column[0]} is a date as {WRITTEN[n_digits]}; leave --timestamp-unit out"
        problems.append(Problem(rule, len(column), 0, detail))
        return times
    number = _exact(column)
    if options.timestamp_unit == "excel":
        since = (number.cast(pl.Float64) - EXCEL_1970) * 86_400_000
        # Day fractions have some hundred thousandths of a second of room.
        return _checked((since.round() * 1000), "excel days")
    found = _unit(number)
    asked = found if options.timestamp_unit == "auto" else options.timestamp_unit
    if found is None or asked is None or found != asked:
        problems.append(_no_unit(number, found, None if options.timestamp_unit == "auto" else options.timestamp_unit))
        return pl.Series(column.name, [None] * len(column), dtype=pl.Datetime("us", "UTC"))
    times = _checked(_in_us(number, asked), asked)
    first, last = _day(times.min()), _day(times.max())
    log.info("Times are counts of %s since 1970 (--timestamp-unit): %s to %s.", asked, first, last)
    return times


def _exact(column: pl.Series) -> pl.Series:
    """Return whole numbers as such, for a float cannot hold the nanoseconds of today; what is no number is null."""
    whole = column.cast(pl.Int64, strict=False)
    if column.dtype.is_integer() or (column.dtype == pl.String and whole.null_count() == column.null_count()):
        return whole
    number = column.cast(pl.Float64, strict=False)
    return pl.select(pl.when(number.is_finite()).then(number)).to_series()


def _dates(column: pl.Series) -> tuple[int, pl.Series] | None:
    """Return digits and times of a column in which every number is a date; None for any other."""
    number = column.cast(pl.Float64, strict=False)
    if number.null_count() or not len(number) or not (number.is_finite() & (number < 1e17)).all():
        # Seventeen digits do not fit a float, and other tools write them as text.
        text = column.cast(pl.String)
    elif (number != number.round()).any():
        return None
    else:
        text = _exact(column).cast(pl.Int64).cast(pl.String)
    n_digits = text.drop_nulls().str.len_chars().unique().to_list()
    if (
        len(n_digits) != 1
        or n_digits[0] not in DATE_FORMATS
        or not text.drop_nulls().str.contains(r"^(19|20|21)").all()
    ):
        return None
    # Polars reads hours with minutes alone.
    padded = text + "00" if n_digits[0] == 10 else text
    form = DATE_FORMATS[n_digits[0]] + ("%M" if n_digits[0] == 10 else "")
    times = padded.str.to_datetime(form, time_unit="us", strict=False)
    return None if times.null_count() > text.null_count() else (n_digits[0], times)


def _in_us(number: pl.Series, unit: str) -> pl.Series:
    per_s = PER_S[unit]
    if number.dtype.is_integer() and per_s > 1_000_000:
        return (number // (per_s // 1_000_000)).cast(pl.Float64)
    return (number.cast(pl.Float64) * (1_000_000 / per_s)).round()


def _checked(time_us: pl.Series, unit: str) -> pl.Series:
    """Return times; those before 1970-01-02 or after tomorrow are no time of a bar in this unit, and null."""
    within = (time_us >= (FIRST_US if unit in PER_S else -100 * 366 * DAY_US)) & (time_us < tomorrow_us())
    kept = pl.select(pl.when(within).then(time_us)).to_series()
    return kept.cast(pl.Int64).cast(pl.Datetime("us", "UTC"))


def _unit(number: pl.Series) -> str | None:
    """Return the longest unit in which most numbers are times of bars, and bars have a length; None for none."""
    n_best, best = 0, None
    for unit in PER_S:
        time_us = _in_us(number.drop_nulls(), unit).to_numpy()
        time_us = np.sort(time_us[(time_us >= FIRST_US) & (time_us < tomorrow_us())])
        step = np.diff(time_us)
        usual = np.median(step[step > 0]) if (step > 0).any() else SHORTEST_BAR_US
        if len(time_us) > n_best and 2 * len(time_us) >= len(number) and usual >= SHORTEST_BAR_US:
            n_best, best = len(time_us), unit
    return best


def _no_unit(number: pl.Series, found: str | None, asked: str | None) -> Problem:
    """Say that the numbers are no times in the unit asked for, or in any, and what they may be."""
    first = number.drop_nulls()[0] if number.null_count() < len(number) else None
    named = f"{asked} since 1970 (--timestamp-unit)" if asked else f"{', '.join(PER_S)} since 1970"
    rule = f"times must be counts of {named}, from 1970-01-02 to tomorrow, with bars of a tenth of a second or more"
    if found is not None:
        said = _checked(_in_us(number, found), found)
        detail = f"found {first}; as {found} they run from {_day(said.min())} to {_day(said.max())}: say {found}"
    elif first is not None and EXCEL_DAYS[0] <= first < EXCEL_DAYS[1]:
        day = datetime(1899, 12, 30) + timedelta(days=int(first))
        detail = f"found {first}; as a day of a spreadsheet (Excel) it is {day:%Y-%m-%d}: say --timestamp-unit excel"
    else:
        detail = f"found {first}; name the column of times with --columns timestamp=<column>"
    return Problem(rule, len(number), 0, detail)


def _day(time: object) -> str:
    return f"{time:%Y-%m-%d %H:%M} UTC" if isinstance(time, datetime) else "no time"
