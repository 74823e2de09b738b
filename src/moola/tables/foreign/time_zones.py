"""Clocks of foreign bar files: zones by name or offset, hours that come twice, hours that are skipped."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache

import numpy as np
import polars as pl

from moola.core.windows import HOUR_US
from moola.errors import Problem, WrongUsage

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
    zone = Zone(text) if is_known(text) else _ahead(text)
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
    return _ahead(text.strip()) or (Zone(text.strip()) if "/" in text and is_known(text.strip()) else None)


def _ahead(text: str) -> Zone | None:
    found = OFFSET.fullmatch(text)
    if found is None or not is_known(found[1] or "UTC"):
        return None
    hours, minutes = int(found[3]), int(found[4] or 0)
    if hours > 15 or minutes > 59:
        return None
    ahead = (hours * 60 + minutes) * 60_000_000
    return Zone(found[1].replace("GMT", "UTC") or "UTC", -ahead if found[2] == "-" else ahead)


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
    if missing.any() and _are_dates(naive):
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
        which = _told_by_order(naive, (late - early).dt.total_microseconds(), twice.to_numpy(), symbols)
    lost = twice & pl.Series(which < 0)
    if lost.any():
        rule = f"every time must exist once in {zone} (clocks go back and this one comes twice: see --ambiguous)"
        problems.append(_problem(naive, lost, rule))
    return early.zip_with(pl.Series(which < 1), late)


def _in_utc(local: pl.Series, name: str, which: str) -> pl.Series:
    aware = local.dt.replace_time_zone(name, ambiguous=which, non_existent="null")  # type: ignore[arg-type]
    return aware.dt.convert_time_zone("UTC")


def _are_dates(naive: pl.Series) -> bool:
    return bool((naive.drop_nulls().dt.timestamp("us") % DAY_US == 0).all())


def _problem(naive: pl.Series, lost: pl.Series, rule: str) -> Problem:
    first = int(lost.arg_max() or 0)
    return Problem(rule, int(lost.sum()), first, f"found {naive[first]}")


def _told_by_order(naive: pl.Series, shift: pl.Series, twice: np.ndarray, symbols: pl.Series | None) -> np.ndarray:
    """Return for each row 0 for the first of the two hours, 1 for the second, -1 where the order does not tell."""
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
