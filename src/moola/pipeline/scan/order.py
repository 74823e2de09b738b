"""Bars that come where others are expected: read before, other than was read, out of order, or after a gap."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

from moola.core.bars import Bars

# Prices that were written with other digits are the same prices.
SAME = 1e-9
# A bar is missing where the next one comes later than this many usual times.
LATE_BARS = 1.5


@dataclass(frozen=True)
class Skipped:
    """Bars that are not after the last bar of their symbol.

    Attributes
    ----------
    n
        All of them.
    n_differing
        Those whose prices are not those that were read for their time.
    n_late
        Those between bars that were read: they come out of order.
    first_us
        Time of the first differing or late one.
    """

    n: int = 0
    n_differing: int = 0
    n_late: int = 0
    first_us: int | None = None

    @property
    def n_wrong(self) -> int:
        """Bars that say other than what was read."""
        return self.n_differing + self.n_late

    def __add__(self, other: Skipped) -> Skipped:
        first = other.first_us if self.first_us is None else self.first_us
        return Skipped(self.n + other.n, self.n_differing + other.n_differing, self.n_late + other.n_late, first)

    def __str__(self) -> str:
        text = f"{self.n} bars are not after the last bar of their symbol"
        if self.first_us is None:
            return text
        return (
            f"{text}; {self.n_differing} of them differ from the bar read for their time and {self.n_late} are out of "
            f"order, the first at {_time(self.first_us)}"
        )


@dataclass(frozen=True)
class Gaps:
    """Stretches without bars: how many, and where the longest is."""

    n: int = 0
    n_bars: int = 0
    longest_us: tuple[int, int] = (0, 0)

    def __add__(self, other: Gaps) -> Gaps:
        longest = max(self.longest_us, other.longest_us, key=lambda ends: ends[1] - ends[0])
        return Gaps(self.n + other.n, self.n_bars + other.n_bars, longest)

    def __str__(self) -> str:
        first, last = map(_time, self.longest_us)
        return (
            f"{self.n} gap{'' if self.n == 1 else 's'} with about {self.n_bars} bars missing, the longest between "
            f"the bars of {first} and {last}"
        )


def skipped_bars(old: Bars, known: Bars) -> Skipped:
    """Compare bars that are not new with those that are known, both of one symbol; `known` is in order of time.

    Bars before the first known one cannot be compared: they count as read.
    """
    if not len(old):
        return Skipped()
    at = np.searchsorted(known.start_us, old.start_us).clip(0, len(known) - 1)
    is_known = known.start_us[at] == old.start_us
    differs = is_known & ~np.isclose(known.ohlc[at], old.ohlc, rtol=SAME, atol=0.0).all(axis=1)
    late = ~is_known & (old.start_us > known.start_us[0])
    wrong = differs | late
    first = int(old.start_us[wrong.argmax()]) if wrong.any() else None
    return Skipped(len(old), int(differs.sum()), int(late.sum()), first)


def gaps_of(start_us: Int[np.ndarray, " bars"], usual_us: int) -> Gaps:
    """Find the gaps between bars whose usual distance is known; 0 for one that is not."""
    steps = np.diff(start_us)
    wide = steps > LATE_BARS * usual_us
    if not usual_us or not wide.any():
        return Gaps()
    at = int(steps.argmax())
    missing = np.rint(steps[wide] / usual_us).astype(np.int64) - 1
    return Gaps(int(wide.sum()), int(missing.sum()), (int(start_us[at]), int(start_us[at + 1])))


def _time(time_us: int) -> str:
    minute = str(np.datetime64(time_us, "us").astype("datetime64[m]"))
    return f"{minute.replace('T', ' ')} UTC"
