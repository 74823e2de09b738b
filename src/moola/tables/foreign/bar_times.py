"""Times of foreign bar files to UTC: text, dates as numbers, counts since 1970, zones and clocks that change."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl

from moola.core.bars import broken_rule
from moola.errors import Problem, WrongUsage
from moola.options.table_options import ImportOptions
from moola.tables.foreign.time_texts import (
    DAY_US,
    Zone,
    read_formatted,
    read_texts,
    to_utc,
    zone_of_option,
    zone_of_text,
)

# Times that are written as numbers: dates such as 20240304, and counts of s, ms, us or ns since 1970.


log = logging.getLogger(__name__)
PER_S = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}
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

    Dates and days of a spreadsheet have no zone and come back naive, counts since 1970 in UTC. A whole column that is
    no time in the unit (asked for, or found from the values) is a problem added.
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
        # A sheet shows five decimals of a day, which are a second nearly, and knows no zone.
        since_s = ((number.cast(pl.Float64) - EXCEL_1970) * 86_400).round()
        return _checked(since_s * 1_000_000, "excel days").dt.replace_time_zone(None)
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
    """Return whole numbers as such, for a float cannot hold the nanoseconds of today; what is not a number is null."""
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
    """Return times; those before 1970-01-02 or after tomorrow are not times of a bar in this unit, and null."""
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
    """Report that the numbers are not times in the unit asked for, or in any, and what they may be."""
    first = number.drop_nulls()[0] if number.null_count() < len(number) else None
    named = f"{asked} since 1970 (--timestamp-unit)" if asked else f"{', '.join(PER_S)} since 1970"
    rule = f"times must be counts of {named}, from 1970-01-02 to tomorrow, with bars of a tenth of a second or more"
    if found is not None:
        times = _checked(_in_us(number, found), found)
        detail = f"found {first}; as {found} they run from {_day(times.min())} to {_day(times.max())}: pass {found}"
    elif first is not None and EXCEL_DAYS[0] <= first < EXCEL_DAYS[1]:
        day = datetime(1899, 12, 30) + timedelta(days=int(first))
        detail = f"found {first}; as a day of a spreadsheet (Excel) it is {day:%Y-%m-%d}: set --timestamp-unit excel"
    else:
        detail = f"found {first}; name the column of times with --columns timestamp=<column>"
    return Problem(rule, len(number), 0, detail)


def _day(time: object) -> str:
    return f"{time:%Y-%m-%d %H:%M} UTC" if isinstance(time, datetime) else "no time"


# Nobody kept bars before 1800; a format without its day reads as the year 1.
EARLIEST_US = -170 * 365 * DAY_US
NUMBER = r"^[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?$"


def utc_times(
    column: pl.Series, options: ImportOptions, problems: list[Problem], symbols: pl.Series | None = None
) -> pl.Series:
    """Read a column of times of any kind as UTC; what cannot be read is a problem added and null.

    Parameters
    ----------
    column
        Times, numbers or texts, in the order of the file.
    options
        Unit, format, order of day and month, zone, and what an hour is that comes twice.
    symbols
        Symbol of each row where the file names them: a repeated hour is resolved by the order of a symbol's rows.

    Returns
    -------
    polars.Series
        As long as the column, `Datetime("us", "UTC")`.
    """
    _refuse_both(options)
    zone = zone_of_option(options.timezone)
    n_before = len(problems)
    times, zones = _times(column, options, problems)
    if len(problems) == n_before:
        _unread(column, times, problems)
    if times.dtype.time_zone is not None:  # type: ignore[attr-defined]
        aware = times.dt.convert_time_zone("UTC")
    elif zones is None:
        log.info("Times carry no zone and are taken as %s (--timezone).", zone)
        aware = to_utc(times, zone, options.ambiguous, symbols, problems)
    else:
        aware = _by_zone(times, zones, options, symbols, problems)
    return _plausible(aware, problems)


def _refuse_both(options: ImportOptions) -> None:
    if options.day_first is not None and options.timestamp_format is not None:
        raise WrongUsage(
            "--day-first must come without --timestamp-format, which gives the order itself, but both are given. "
            "Leave one out."
        )


def _times(column: pl.Series, options: ImportOptions, problems: list[Problem]) -> tuple[pl.Series, pl.Series | None]:
    """Return times, in UTC or naive, and the zone's text of each row where texts carry one."""
    if isinstance(column.dtype, pl.Datetime):
        return column.dt.cast_time_unit("us"), None
    if column.dtype == pl.Date:
        return column.cast(pl.Datetime("us")), None
    if column.dtype.is_numeric() and options.timestamp_format is None:
        return read_numbers(column, options, problems), None
    text = column.cast(pl.String, strict=False).str.strip_chars()
    if options.timestamp_format is not None:
        return read_formatted(text, options.timestamp_format, problems)
    if text.str.contains(NUMBER).fill_null(True).all() and text.null_count() < len(text):
        return read_numbers(text, options, problems), None
    return read_texts(text, options, problems)


def _unread(column: pl.Series, times: pl.Series, problems: list[Problem]) -> None:
    option = "--timestamp-unit" if column.dtype.is_numeric() else "--timestamp-format"
    rule = "timestamp must be readable as a time"
    problems += broken_rule(rule, times.is_null(), lambda row: f"found {column[row]!r}; see {option}")


def _by_zone(
    naive: pl.Series, texts: pl.Series, options: ImportOptions, symbols: pl.Series | None, problems: list[Problem]
) -> pl.Series:
    """Read times that are beside a zone, each in its own; a zone is never dropped."""
    aware = pl.Series(naive.name, [None] * len(naive), dtype=pl.Datetime("us", "UTC"))
    found: dict[str, Zone] = {}
    for text in texts.filter(naive.is_not_null()).drop_nulls().unique(maintain_order=True).to_list():
        zone, mine = zone_of_text(text), texts == text
        first = int(mine.arg_max() or 0)
        if zone is None:
            rule = f"the zone beside a time must have one known meaning ({text!r})"
            advice = "write it into --timestamp-format as it is, and set --timezone"
            problems.append(Problem(rule, int(mine.sum()), first, f"found {naive[first]} {text}; {advice}"))
            continue
        found[text] = zone
        own = naive.zip_with(mine.fill_null(False), pl.Series([None], dtype=naive.dtype))
        aware = aware.zip_with(~mine.fill_null(False), to_utc(own, zone, options.ambiguous, symbols, problems))
    bare = texts.is_null() & naive.is_not_null()
    rule = "timestamp must be readable as a time with its zone in every row, or in none"
    problems += broken_rule(rule, bare, lambda row: f"found {naive[row]} without one")
    zones = [f"{text} as {zone}" for text, zone in found.items() if text.strip().upper() != "Z"]
    log.info("Times carry their zone%s.", f" ({', '.join(zones[:5])})" if zones else "")
    return aware


def _plausible(times: pl.Series, problems: list[Problem]) -> pl.Series:
    """Refuse times that no bar has: 1970-01-01, which a wrong unit or an empty time gives, and times to come."""
    time_us = times.dt.timestamp("us")
    rules = {
        "a bar must begin on another day than 1970-01-01, which a wrong unit or an empty time gives": (time_us >= 0)
        & (time_us < DAY_US),
        "a bar must begin after 1800 (see --timestamp-format)": time_us < EARLIEST_US,
        "a bar must begin by tomorrow (see --day-first and --timestamp-format)": time_us >= tomorrow_us(),
    }
    for rule, broken in rules.items():
        problems += broken_rule(rule, broken, lambda row: f"found {times[row]:%Y-%m-%d %H:%M:%S}")
    return times
