"""Times written as text: day, month and year, zones, hours that come twice and hours that are skipped."""

from __future__ import annotations

import logging
import re
import warnings
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache

import numpy as np
import polars as pl

from moola.core.bars import HOUR_US
from moola.errors import Problem, WrongUsage
from moola.options.table_options import ImportOptions

log = logging.getLogger(__name__)
MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
WRITTEN = re.compile(
    r"(?i)^(?:(?:mon|tue|wed|thu|fri|sat|sun)[a-z]*[.,]*\s+)?"
    r"(?:(?P<y>\d{4})[-./](?P<m>\d{1,2})[-./](?P<d>\d{1,2})"
    r"|(?P<ymd>\d{8})"
    r"|(?P<a>\d{1,2})[-./](?P<b>\d{1,2})[-./](?P<c>\d{4}|\d{2})"
    r"|(?P<named_d>\d{1,2})(?:st|nd|rd|th)?[-./ ]+(?P<named_m>[a-z]{3,9})\.?,?[-./ ]+(?P<named_y>\d{4}|\d{2})"
    r"|(?P<us_m>[a-z]{3,9})\.?[-./ ]+(?P<us_d>\d{1,2})(?:st|nd|rd|th)?,?[-./ ]+(?P<us_y>\d{4}))"
    r"(?:(?:\s*[t,;_ ]\s*|\s+at\s+)"
    r"(?:(?P<h>\d{1,2}):(?P<min>\d{2})(?::(?P<s>\d{2})(?:[.,](?P<f>\d{1,9}))?)?|(?P<digits>\d{1,9}))"
    r"(?:[\s-]*(?P<half>[ap]\.?m\b\.?))?)?"
    r"\s*(?P<zone>z|(?:utc|gmt)?\s*[+-]\d{1,2}(?::?\d{2})?|[a-z][a-z0-9_+/-]*)?(?:\s*[\[(][^\])]*[\])])?$"
)
# What a format reads of a text is one run of anything; what stands for %Z is a word.
DIRECTIVE = re.compile(r"%[-_0^#]?[A-Za-z.%]\d?f?")
# Order of the three numbers of a date, by the name that is reported.
ORDERS = {"day first": (2, 1, 0), "month first": (2, 0, 1), "year first": (0, 1, 2)}


def read_texts(text: pl.Series, options: ImportOptions, problems: list[Problem]) -> tuple[pl.Series, pl.Series | None]:
    """Read times without knowing their format.

    Returns
    -------
    tuple
        Naive times, null where a row is no time, and the text of each row's zone (null where it has none); None in
        place of times whose day and month are ambiguous, which is a problem added.
    """
    parts = text.str.extract_groups(WRITTEN.pattern).struct.unnest()
    numbers = {name: _number(parts[name]) for name in ("y", "m", "d", "a", "b", "c", "h", "min", "s")}
    year, month, day = (numbers[name].copy() for name in "ymd")
    for prefix in ("named", "us"):
        named = _number(parts[f"{prefix}_d"])
        there = named >= 0
        year[there], day[there] = _century(_number(parts[f"{prefix}_y"]))[there], named[there]
        month[there] = _month(parts[f"{prefix}_m"])[there]
    whole = _number(parts["ymd"])
    there = whole >= 0
    year[there], month[there], day[there] = whole[there] // 10_000, whole[there] // 100 % 100, whole[there] % 100
    three = numbers["a"] >= 0
    if three.any():
        found = np.stack([numbers[name] for name in "abc"])[:, three]
        order = _order(found, text.filter(pl.Series(three)), np.flatnonzero(three), options.day_first, problems)
        year[three], month[three], day[three] = (found[place] for place in order)
        year[three] = _century(year[three])
    date = _date(year, month, day)
    time_us, unread = _time_of_day(parts, numbers)
    lost = np.isnat(date) | unread | text.is_null().to_numpy()
    naive_us = date.astype("datetime64[us]").astype(np.int64) + time_us
    values = pl.Series(text.name, np.where(lost, 0, naive_us), dtype=pl.Int64).cast(pl.Datetime("us"))
    naive = values.zip_with(pl.Series(~lost), pl.Series([None], dtype=pl.Datetime("us")))
    return naive, None if parts["zone"].null_count() == len(parts) else parts["zone"]


def _number(column: pl.Series) -> np.ndarray:
    return column.cast(pl.Int64, strict=False).fill_null(-1).to_numpy().copy()


def _month(names: pl.Series) -> np.ndarray:
    number = {name: place for place, name in enumerate(MONTHS, 1)}
    return names.str.slice(0, 3).str.to_lowercase().replace_strict(number, default=-1, return_dtype=pl.Int64).to_numpy()


def _century(year: np.ndarray) -> np.ndarray:
    """Return years of two digits as the last ones that are not to come."""
    short = (year >= 0) & (year < 100)
    this_year = datetime.now(UTC).year
    return np.where(short, np.where(year + 2000 <= this_year, year + 2000, year + 1900), year)


def _date(year: np.ndarray, month: np.ndarray, day: np.ndarray) -> np.ndarray:
    """Return days since 1970, none where the numbers are no date of the calendar."""
    known = (year >= 1) & (month >= 1) & (month <= 12) & (day >= 1) & (day <= 31)
    first = (np.where(known, year, 1970) - 1970).astype("datetime64[Y]").astype("datetime64[M]")
    first = first + np.where(known, month - 1, 0)
    date = first.astype("datetime64[D]") + np.where(known, day - 1, 0)
    date[~known | (date.astype("datetime64[M]") != first)] = np.datetime64("NaT")
    return date


def _order(
    found: np.ndarray, text: pl.Series, rows: np.ndarray, day_first: bool | None, problems: list[Problem]
) -> tuple[int, int, int]:
    """Return the places of year, month and day: the order asked for, or the one that fits every row."""
    if day_first is not None:
        return ORDERS["day first" if day_first else "month first"]
    dates = {
        name: _date(_century(found[year]), found[month], found[day])
        for name, (year, month, day) in ORDERS.items()
        # A year of four digits is last here.
        if name != "year first" or (found[2] < 100).all()
    }
    n_read = {name: int((~np.isnat(read)).sum()) for name, read in dates.items()}
    best = [name for name in dates if n_read[name] == max(n_read.values())]
    if "year first" in best and not {"day first", "month first"} <= set(best):
        best = _likely(best, dates, text[0])
    if len(best) > 1 and any((dates[name] != dates[best[0]]).any() for name in best):
        several = np.flatnonzero(dates[best[0]] != dates[best[1]])
        both = several[~np.isnat(dates[best[0]][several]) & ~np.isnat(dates[best[1]][several])]
        row = int(both[0] if len(both) else several[0])
        ways = " or ".join(f"{dates[name][row]} ({name})" for name in best)
        detail = (
            f"found {text[row]!r}, which is {ways}" if len(both) else f"found {text[row]!r}; no order fits every row"
        )
        rule = "every date must have one reading (set --day-first true or false, or --timestamp-format)"
        problems.append(Problem(rule, len(text), int(rows[row]), detail))
    elif n_read[best[0]]:
        log.info("Dates such as %r are read %s: no other order fits every row (--day-first).", text[0], best[0])
    return ORDERS[best[0]]


def _likely(names: list[str], dates: dict[str, np.ndarray], example: str) -> list[str]:
    """Return the orders that dates with years of two digits may have, for bars come in order and often."""

    def doubts(name: str) -> tuple[bool, bool, bool]:
        step = np.diff(dates[name][~np.isnat(dates[name])]).astype(np.int64)
        jumps = bool((step > 0).any() and (step < 0).any())
        # Slashes have the year last but for few.
        return jumps, bool(len(step) and np.median(np.abs(step)) > 31), name == "year first" and "/" in example

    least = min(doubts(name) for name in names)
    return [name for name in names if doubts(name) == least]


def _time_of_day(parts: pl.DataFrame, numbers: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return microseconds since midnight, 0 where no time stands, and where what stands is none."""
    hour, minute, second = (np.maximum(numbers[name], 0) for name in ("h", "min", "s"))
    digits, has_half = _number(parts["digits"]), parts["half"].is_not_null().to_numpy()
    run = digits >= 0
    n_digits = parts["digits"].str.len_chars().filter(pl.Series(run & ~has_half)).max()
    # 93000 is 09:30:00 where a leading zero was lost, so that the longest of the column says what all are.
    length = n_digits if isinstance(n_digits, int) else 2
    per_hour = 10_000_000 if length > 6 else 10_000 if length > 4 else 100 if length > 2 else 1
    micro = parts["f"].str.pad_end(9, "0").str.slice(0, 6).cast(pl.Int64).fill_null(0).to_numpy().copy()
    if length > 6:
        micro[run] = digits[run] % 1000 * 1000
    clock = digits // 1000 if length > 6 else digits
    alone = run & has_half
    hour[run] = np.where(alone, digits, digits // per_hour)[run]
    minute[run] = np.where(alone, 0, clock // 100 % 100 if length > 4 else digits % per_hour)[run]
    second[run] = np.where(alone, 0, clock % 100 if length > 4 else 0)[run]
    unread = (minute > 59) | (second > 59) | (hour > 23) | (has_half & ((hour < 1) | (hour > 12)))
    is_late = parts["half"].str.to_lowercase().str.starts_with("p").fill_null(False).to_numpy()
    hour = np.where(has_half, hour % 12 + 12 * is_late, hour)
    return ((hour * 60 + minute) * 60 + second) * 1_000_000 + micro, unread


def read_formatted(text: pl.Series, form: str, problems: list[Problem]) -> tuple[pl.Series, pl.Series | None]:
    """Read times of a format; polars' reason is reported where it refuses the format and Python does too.

    Returns
    -------
    tuple
        Times (in UTC where the format has `%z`), null where a row is not of the format, and the text that stood for
        `%Z` in each row.

    Raises
    ------
    WrongUsage
        The format reads no day of a year.
    """
    if not re.search(r"%[-_0]?(?:[YyGgCcxDFsv+])", form):
        raise WrongUsage(
            f"--timestamp-format must read a day with its year, but {form!r} has no year. Add %Y, or leave it out."
        )
    zone: pl.Series | None = None
    if "%Z" in form:
        before, after = form.split("%Z", 1)
        pattern = f"^({_anything(before)})([A-Za-z0-9_/+:-]+)({_anything(after)})$"
        groups = text.str.extract_groups(pattern).struct.unnest()
        zone, text, form = groups["2"], (groups["1"] + groups["3"]).alias(text.name), before + after
    # In polars %f counts nanoseconds, in Python it is what follows the point of a second.
    form = form.replace(".%f", "%.f")
    text = _with_zeros(text, form)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            times = text.str.to_datetime(form, time_unit="us", strict=False)
    except pl.exceptions.PolarsError as error:
        by_python = _by_python(text, form)
        times = pl.Series(text.name, [None] * len(text), dtype=pl.Datetime("us")) if by_python is None else by_python
        if by_python is None:
            reason = str(error).splitlines()[0].removeprefix("Invalid format string: ")
            rule = f"times must be of --timestamp-format {form!r} ({reason[:160]})"
            problems.append(Problem(rule, len(text), 0, f"found {text[0]!r}"))
    return times, zone


def _anything(form: str) -> str:
    """Return a pattern of what a part of a format may read."""
    return "".join(
        ".+?" if DIRECTIVE.fullmatch(part) else re.escape(part)
        for part in re.split(f"({DIRECTIVE.pattern})", form)
        if part
    )


def _with_zeros(text: pl.Series, form: str) -> pl.Series:
    """Give numbers back the leading zeros that a table of numbers lost, where a format has one length."""
    if not re.fullmatch(r"(?:%[YmdHMSy])+", form):
        return text
    return text.str.zfill(len(datetime(2022, 12, 12, 12, 12, 12).strftime(form)))


def _by_python(text: pl.Series, form: str) -> pl.Series | None:
    """Read with Python's strptime what polars' format cannot say, as an hour without minutes; None if it cannot."""
    half_day = "%I" in form and "%p" not in form
    found: dict[str, datetime] = {}
    for one in [] if half_day else text.drop_nulls().unique().to_list():
        try:
            found[one] = datetime.strptime(one, form.replace("%.f", ".%f"))
        except (ValueError, re.error):
            continue
    if not found:
        return None
    aware = any(time.tzinfo is not None for time in found.values())
    dtype = pl.Datetime("us", "UTC" if aware else None)
    return pl.Series(text.name, [found.get(one) for one in text], dtype=dtype)


DAY_US = 24 * HOUR_US
# Abbreviations with one meaning, and those of RFC 2822; IST, BST and others have several, so that none is guessed.
ABBREVIATIONS = {
    "EST": -5, "EDT": -4, "CST": -6, "CDT": -5, "MST": -7, "MDT": -6, "PST": -8, "PDT": -7,
    "WET": 0, "WEST": 1, "CET": 1, "CEST": 2, "EET": 2, "EEST": 3, "MSK": 3,
    "HKT": 8, "SGT": 8, "JST": 9, "KST": 9, "AEST": 10, "AEDT": 11,
}  # fmt: skip
OFFSET = re.compile(r"(.*?)\s*([+-])(\d{1,2})(?::?(\d{2}))?")


@dataclass(frozen=True)
class Zone:
    """A clock that runs ahead of a zone of the IANA list, by nothing most of the time."""

    name: str
    ahead_us: int = 0

    def __str__(self) -> str:
        if not self.ahead_us:
            return self.name
        sign, minutes = "-" if self.ahead_us < 0 else "+", abs(self.ahead_us) // 60_000_000
        return f"{self.name}{sign}{minutes // 60:02d}:{minutes % 60:02d}"


@lru_cache(maxsize=64)
def is_known(name: str) -> bool:
    """Return whether a name is one of the IANA list."""
    try:
        pl.Series([datetime(2024, 1, 1)]).dt.replace_time_zone(name)
    except pl.exceptions.PolarsError:
        return False
    return bool(name)


def zone_of_option(text: str) -> Zone:
    """Return the zone of `--timezone`: a name, an offset from UTC, or an offset from a name.

    `America/New_York+7` is the clock of brokers whose day ends with New York's.

    Raises
    ------
    WrongUsage
        It is none of these.
    """
    zone = Zone(text) if is_known(text) else _fixed_offset(text)
    if zone is None:
        raise WrongUsage(
            f"--timezone must be a name such as America/New_York, but {text!r} is not known. "
            "Look it up in the IANA list."
        )
    return zone


def zone_of_text(text: str) -> Zone | None:
    """Return the zone that is beside a time: an offset, an abbreviation or a name; None where it is unknown."""
    plain = text.strip().upper()
    if plain in ("Z", "UTC", "GMT"):
        return Zone("UTC")
    if plain in ABBREVIATIONS:
        return Zone("UTC", ABBREVIATIONS[plain] * HOUR_US)
    # Three or four letters are an abbreviation, even where the list has a zone of that name.
    return _fixed_offset(text.strip()) or (Zone(text.strip()) if "/" in text and is_known(text.strip()) else None)


def _fixed_offset(text: str) -> Zone | None:
    found = OFFSET.fullmatch(text)
    if found is None or not is_known(found[1] or "UTC"):
        return None
    hours, minutes = int(found[3]), int(found[4] or 0)
    if hours > 15 or minutes > 59:
        return None
    offset_us = (hours * 60 + minutes) * 60_000_000
    return Zone(found[1].replace("GMT", "UTC") or "UTC", -offset_us if found[2] == "-" else offset_us)


def to_utc(
    naive: pl.Series, zone: Zone, ambiguous: str, symbols: pl.Series | None, problems: list[Problem]
) -> pl.Series:
    """Read the times of a zone's clock as UTC; a time that is not there once is a problem added and null.

    Parameters
    ----------
    naive
        Times without a zone, in the order of the file.
    ambiguous
        What a time that comes twice is: `earliest`, `latest`, `infer` (by the order of the rows) or `raise`.
    symbols
        Symbol of each row, for the order of rows is that of one symbol; None where there is one.
    """
    local = naive - timedelta(microseconds=zone.ahead_us)
    if zone.name == "UTC":
        return local.dt.replace_time_zone("UTC")
    early, late = (_in_utc(local, zone.name, which) for which in ("earliest", "latest"))
    missing = early.is_null() & naive.is_not_null()
    if missing.any() and (naive.drop_nulls().dt.timestamp("us") % DAY_US == 0).all():
        # Where midnight is skipped, the day begins with the first moment after it.
        day_later = _in_utc(local - timedelta(days=1), zone.name, "latest") + timedelta(days=1)
        early, late = (times.zip_with(~missing, day_later) for times in (early, late))
    elif missing.any():
        where = "no such time: clocks go forward past it, so the zone is probably wrong: see --timezone"
        problems.append(_problem(naive, missing, f"every time must exist once in {zone} ({where})"))
    if ambiguous in ("earliest", "latest"):
        return early if ambiguous == "earliest" else late
    twice = (early != late).fill_null(False)
    if not twice.any():
        return early
    which = np.full(len(naive), -1)
    if ambiguous == "infer":
        which = _resolve_by_order(naive, (late - early).dt.total_microseconds(), twice.to_numpy(), symbols)
    lost = twice & pl.Series(which < 0)
    if lost.any():
        rule = f"every time must exist once in {zone} (clocks go back and this one comes twice: see --ambiguous)"
        problems.append(_problem(naive, lost, rule))
    return early.zip_with(pl.Series(which < 1), late)


def _in_utc(local: pl.Series, name: str, which: str) -> pl.Series:
    aware = local.dt.replace_time_zone(name, ambiguous=which, non_existent="null")  # type: ignore[arg-type]
    return aware.dt.convert_time_zone("UTC")


def _problem(naive: pl.Series, lost: pl.Series, rule: str) -> Problem:
    first = int(lost.arg_max() or 0)
    return Problem(rule, int(lost.sum()), first, f"found {naive[first]}")


def _resolve_by_order(naive: pl.Series, shift: pl.Series, twice: np.ndarray, symbols: pl.Series | None) -> np.ndarray:
    """Return for each row 0 for the first of the two hours, 1 for the second, -1 where the order does not decide."""
    time_us, shift_us = (column.cast(pl.Int64).fill_null(0).to_numpy() for column in (naive, shift))
    which = np.where(twice, -1, 0)
    known = naive.is_not_null().to_numpy()
    names = None if symbols is None else symbols.cast(pl.String).fill_null("").to_numpy()
    for name in [None] if names is None else np.unique(names[twice]):
        rows = np.flatnonzero(known if names is None else known & (names == name))
        if np.sign(np.diff(time_us[rows])).sum() < 0:
            rows = rows[::-1]
        which[rows] = _of_one_symbol(time_us[rows], shift_us[rows], twice[rows])
    return which


def _of_one_symbol(time_us: np.ndarray, shift_us: np.ndarray, twice: np.ndarray) -> np.ndarray:
    which = np.where(twice, -1, 0)
    step = np.diff(time_us)
    usual = int(np.median(step[step > 0])) if (step > 0).any() else 0
    places = np.flatnonzero(twice)
    runs = np.split(places, np.flatnonzero((np.diff(places) > 1) | (np.abs(np.diff(time_us[places])) > DAY_US)) + 1)
    # Rows of one autumn night in two places of the file are not in order.
    nights = [int(time_us[run[0]]) // (7 * DAY_US) for run in runs]
    for run, night in zip(runs, nights, strict=True):
        before = int(time_us[run[0] - 1]) if run[0] else None
        after = int(time_us[run[-1] + 1]) if run[-1] + 1 < len(time_us) else None
        times = time_us[run]
        in_order = (before is None or before < times.min()) and (after is None or after > times.max())
        if in_order and nights.count(night) == 1:
            which[run] = _of_one_night(times, int(shift_us[run[0]]), before, after, usual)
    return which


def _of_one_night(
    times: np.ndarray, shift_us: int, before: int | None, after: int | None, usual: int
) -> np.ndarray | int:
    """Return which of the rows of one night, in order, are of the second hour: where the clock goes back, it begins."""
    back = np.flatnonzero(np.diff(times) <= 0)
    if len(back):
        return (np.arange(len(times)) > back[0]).astype(int) if len(back) == 1 else -1

    def fit(is_late: bool) -> tuple[int, int]:
        steps = [] if before is None else [int(times[0]) - before + shift_us * is_late]
        steps += [] if after is None else [after - int(times[-1]) + shift_us * (not is_late)]
        return sum(step % max(usual, 1) == 0 for step in steps), sum(step == usual for step in steps)

    # One hour alone: it is the one at the usual distance from its neighbours.
    if fit(False) != fit(True):
        return int(fit(True) > fit(False))
    # A bar that is longer than both hours together begins with the first.
    return 0 if usual > shift_us else -1
