"""Times of foreign bar files to UTC: text, numbers since 1970, zones and clocks that change."""

from __future__ import annotations

import logging

import polars as pl

from moola.config.table_options import ImportOptions
from moola.data.time_numbers import DAY_US, read_numbers, tomorrow_us
from moola.data.time_texts import read_formatted, read_texts
from moola.data.time_zones import Zone, to_utc, zone_of_option, zone_of_text
from moola.errors import Problem, WrongUsage

log = logging.getLogger(__name__)
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
        Symbol of each row where the file names them: an hour that comes twice is told by the order of a symbol's rows.

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
            "--day-first must stand without --timestamp-format, which says the order itself, but both are given. "
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
    unread = times.is_null()
    if unread.any():
        first = int(unread.arg_max() or 0)
        option = "--timestamp-unit" if column.dtype.is_numeric() else "--timestamp-format"
        detail = f"found {column[first]!r}; see {option}"
        problems.append(Problem("timestamp must be readable as a time", int(unread.sum()), first, detail))


def _by_zone(
    naive: pl.Series, texts: pl.Series, options: ImportOptions, symbols: pl.Series | None, problems: list[Problem]
) -> pl.Series:
    """Read times that stand beside a zone, each in its own; a zone is never dropped."""
    aware = pl.Series(naive.name, [None] * len(naive), dtype=pl.Datetime("us", "UTC"))
    found: dict[str, Zone] = {}
    for text in texts.filter(naive.is_not_null()).drop_nulls().unique(maintain_order=True).to_list():
        zone, mine = zone_of_text(text), texts == text
        first = int(mine.arg_max() or 0)
        if zone is None:
            rule = f"the zone beside a time must have one known meaning ({text!r})"
            advice = "write it into --timestamp-format as it stands, and say --timezone"
            problems.append(Problem(rule, int(mine.sum()), first, f"found {naive[first]} {text}; {advice}"))
            continue
        found[text] = zone
        own = naive.zip_with(mine.fill_null(False), pl.Series([None], dtype=naive.dtype))
        aware = aware.zip_with(~mine.fill_null(False), to_utc(own, zone, options.ambiguous, symbols, problems))
    bare = texts.is_null() & naive.is_not_null()
    if bare.any():
        first = int(bare.arg_max() or 0)
        rule = "timestamp must be readable as a time with its zone in every row, or in none"
        problems.append(Problem(rule, int(bare.sum()), first, f"found {naive[first]} without one"))
    told = [f"{text} as {zone}" for text, zone in found.items() if text.strip().upper() != "Z"]
    log.info("Times carry their zone%s.", f" ({', '.join(told[:5])})" if told else "")
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
        if broken.any():
            first = int(broken.arg_max() or 0)
            problems.append(Problem(rule, int(broken.sum()), first, f"found {times[first]:%Y-%m-%d %H:%M:%S}"))
    return times
