"""Bars laid out symbol by symbol, on disk or in memory, so that any stretch of a symbol is read without the rest."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from moola.core.bars import Bars, bar_interval_us, broken_rule, price_problems
from moola.core.windows import allowed_gap_s
from moola.errors import InvalidData, OperationFailed, Problem
from moola.tables.bar_table import ADVICE, bar_frames, columns_of
from moola.tables.frames import in_file, timed

RECORD = np.dtype([("start_us", "<i8"), ("ohlc", "<f8", (4,))])
NAME = "bars_{:06d}.bin"
# Bars that tell a symbol's usual time from bar to bar.
INTERVAL_BARS = 65_536


class LaidOutBars(Protocol):
    """Bars that a stretch at a time is read of."""

    @property
    def symbols(self) -> list[str]:
        """Symbols in the order in which they first appear."""
        ...

    @property
    def n_bars(self) -> list[int]:
        """Bars of each symbol."""
        ...

    @property
    def usual_gap_s(self) -> list[float]:
        """Longest gap inside a window of each symbol, found from its first bars."""
        ...

    def read(self, symbol: int, first: int, stop: int) -> Bars:
        """Return the bars `[first, stop)` of a symbol, as far as it has them."""
        ...


def symbol_interval_us(bars: LaidOutBars, symbol: int) -> int:
    """Return a symbol's usual time from bar to bar, found from its first bars."""
    return bar_interval_us(bars.read(symbol, 0, INTERVAL_BARS).start_us)


def symbol_gap_s(bars: LaidOutBars, symbol: int, max_gap_hours: float | None) -> float:
    """Return the longest gap inside a window of a symbol: the one asked for, or found from its first bars."""
    return bars.usual_gap_s[symbol] if max_gap_hours is None else max_gap_hours * 3600


class HeldBars:
    """Bars of a checked table in memory."""

    def __init__(self, bars: Bars) -> None:
        self.bars = bars
        rows = list(rows_by_symbol(bars))
        self.symbols = [name for name, _ in rows]
        self.n_bars = [len(own) for _, own in rows]
        self._rows = [own for _, own in rows]
        self.usual_gap_s = [allowed_gap_s(bars.start_us[own[:INTERVAL_BARS]]) for own in self._rows]

    def read(self, symbol: int, first: int, stop: int) -> Bars:
        """Return the bars `[first, stop)` of a symbol, as far as it has them."""
        rows = self._rows[symbol][max(first, 0) : stop]
        return self.bars.take(rows)


@dataclass(frozen=True)
class LastBars:
    """The last bars of one symbol in memory, `offset` bars after its first one."""

    bars: Bars
    offset: int
    max_gap_s: float

    @property
    def symbols(self) -> list[str]:
        """The one symbol."""
        return [str(self.bars.symbol[0])]

    @property
    def n_bars(self) -> list[int]:
        """Its bars, those that are no longer here included."""
        return [self.offset + len(self.bars)]

    @property
    def usual_gap_s(self) -> list[float]:
        """Longest gap inside a window."""
        return [self.max_gap_s]

    def read(self, symbol: int, first: int, stop: int) -> Bars:  # noqa: ARG002
        """Return the bars `[first, stop)`, as far as they are here."""
        return self.bars.take(slice(max(first - self.offset, 0), max(stop - self.offset, 0)))


@dataclass(frozen=True)
class SpooledBars:
    """Bars of a checked bar file in a folder, one file of records per symbol.

    Attributes
    ----------
    symbols
        In the order in which they first appear.
    n_bars
        Bars of each symbol.
    usual_gap_s
        Longest gap inside a window of each symbol, found from its first bars.
    """

    folder: Path
    symbols: list[str]
    n_bars: list[int]
    usual_gap_s: list[float]

    def read(self, symbol: int, first: int, stop: int) -> Bars:
        """Return the bars `[first, stop)` of a symbol, as far as it has them."""
        first, stop = max(first, 0), min(stop, self.n_bars[symbol])
        path = self.folder / NAME.format(symbol)
        try:
            found = np.fromfile(path, RECORD, max(stop - first, 0), offset=first * RECORD.itemsize)
        except OSError as error:
            raise OperationFailed(f"{path} must be readable, but {error.strerror}. Start the scan again.") from error
        name = np.full(len(found), self.symbols[symbol], dtype=object)
        return Bars(found["start_us"].copy(), found["ohlc"].copy(), name)


class BarChecks:
    """Rules of a bar table, kept over pieces: every broken one with its count and its first row in the file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.n_rows = 0
        self.last_us: dict[str, int] = {}
        self.problems: dict[str, Problem] = {}

    def add(self, bars: Bars, unread: list[Problem], times_known: bool) -> None:
        """Check the next piece; `unread` is what `columns_of` could not read of it."""
        told = {problem.rule for problem in unread}
        found = price_problems(bars.ohlc) + (self._order(bars) if times_known else [])
        problems = [*unread, *(one for one in found if one.rule not in told)]
        Problem.gather(self.problems, timed(problems, bars, times_known), self.n_rows)
        self.n_rows += len(bars)

    def _order(self, bars: Bars) -> list[Problem]:
        backward, repeated = np.zeros(len(bars), dtype=bool), np.zeros(len(bars), dtype=bool)
        for symbol, rows in rows_by_symbol(bars):
            step = np.diff(bars.start_us[rows], prepend=self.last_us.get(symbol, bars.start_us[rows[0]] - 1))
            backward[rows], repeated[rows] = step < 0, step == 0
            self.last_us[symbol] = int(bars.start_us[rows[-1]])
        rules = ("timestamps must increase within a symbol", "a symbol and timestamp must have one bar")
        return broken_rule(rules[0], backward) + broken_rule(rules[1], repeated)

    def finish(self) -> None:
        """Raise with every broken rule at once."""
        problems = list(self.problems.values())
        if not self.n_rows:
            problems.append(Problem("a bar file must have bars", 1))
        if problems:
            raise InvalidData.from_problems(self.path, in_file(problems, self.path), ADVICE)


def rows_by_symbol(bars: Bars) -> Iterator[tuple[str, np.ndarray]]:
    """Yield each symbol, in the order of first appearance, with its rows ascending."""
    number: dict[str, int] = {}
    # No array of text, which would take the longest name's room for every bar.
    place = np.fromiter((number.setdefault(name, len(number)) for name in bars.symbol), np.int64, len(bars))
    order = np.argsort(place, kind="stable")
    ends = np.cumsum(np.bincount(place, minlength=len(number))).tolist()
    for name, first, end in zip(number, [0, *ends], ends, strict=False):
        yield str(name), order[first:end]


def spool_bars(path: Path, folder: Path) -> SpooledBars:
    """Check a bar file of any size, and lay it out in a folder.

    Raises
    ------
    InvalidData
        With every broken rule at once, as `read_bars`.
    """
    checks = BarChecks(path)
    number: dict[str, int] = {}
    n_bars: list[int] = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for frame in bar_frames(path):
            unread: list[Problem] = []
            bars, times_known = columns_of(frame, path, unread)
            checks.add(bars, unread, times_known)
            if checks.problems:
                continue
            for symbol, rows in rows_by_symbol(bars):
                is_new = symbol not in number
                place = number.setdefault(symbol, len(number))
                if is_new:
                    n_bars.append(0)
                n_bars[place] += len(rows)
                _append(folder / NAME.format(place), bars, rows, is_new)
    except OSError as error:
        raise OperationFailed(
            f"{folder} must hold the bars while they are scanned ({RECORD.itemsize} bytes each), but {error.strerror}. "
            "Free space or choose another --output."
        ) from error
    checks.finish()
    gap_s = [
        allowed_gap_s(np.fromfile(folder / NAME.format(place), RECORD, INTERVAL_BARS)["start_us"])
        for place in number.values()
    ]
    return SpooledBars(folder, list(number), n_bars, gap_s)


def _append(path: Path, bars: Bars, rows: np.ndarray, is_new: bool) -> None:
    records = np.empty(len(rows), RECORD)
    records["start_us"], records["ohlc"] = bars.start_us[rows], bars.ohlc[rows]
    with path.open("wb" if is_new else "ab") as file:
        file.write(records.tobytes())
