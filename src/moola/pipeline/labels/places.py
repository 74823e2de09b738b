"""Where labelled times stand in a bar table: times come from the bars, and positions are counted there."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from moola.core.bars import Bars, bar_interval_us
from moola.data.contracts.bar_table import read_bars
from moola.data.contracts.label_store import WindowLabel
from moola.data.contracts.split_file import utc_text
from moola.errors import WrongUsage

# Other tools keep prices in 32 bits, which is some 1e-7 of the price; another bar differs by far more.
PRICE_TOLERANCE = 1e-6


def read_named_bars(path: Path, symbol: str | None) -> Bars:
    """Read a bar table, and give bars that name no symbol the one of `--symbol`.

    Raises
    ------
    WrongUsage
        The bars name another symbol, or several.
    """
    bars = read_bars(path)
    if symbol is None:
        return bars
    if bars.symbols not in ([""], [symbol]):
        raise WrongUsage(
            f"--symbol must name bars that have no symbol, but {path} has {len(bars.symbols)}: "
            f"{', '.join(bars.symbols[:5])}. Leave --symbol out."
        )
    return replace(bars, symbol=np.full(len(bars), symbol, dtype=object))


def bars_content(start_us: np.ndarray, ohlc: np.ndarray) -> bytes:
    """Return bars as the label store keeps them: their times, then their prices."""
    return start_us.astype("<i8").tobytes() + ohlc.astype("<f8").tobytes()


def content_bars(content: bytes) -> tuple[np.ndarray, np.ndarray]:
    """Return times and prices of bars that the label store keeps."""
    n_bars = len(content) // 40
    return np.frombuffer(content[: 8 * n_bars], "<i8"), np.frombuffer(content[8 * n_bars :], "<f8").reshape(-1, 4)


@dataclass(frozen=True)
class Mark:
    """One expansion as inclusive bar positions of its window."""

    start: int
    end: int
    label: str


@dataclass(frozen=True)
class PlacedLabel:
    """A label with its window's first row in the bar table, and its expansions as positions, in their order."""

    label: WindowLabel
    first_row: int
    marks: tuple[Mark, ...]


class BarPlaces:
    """Rows of a bar table by symbol and time.

    Parameters
    ----------
    bars
        Bars that obey the contract, symbol by symbol.
    window_bars
        Bars a window must have.
    """

    def __init__(self, bars: Bars, window_bars: int) -> None:
        self.bars, self.window_bars = bars, window_bars
        self._apart: set[str] = set()
        self._rows = {symbol: np.flatnonzero(bars.symbol == symbol) for symbol in bars.symbols}
        self._times = {symbol: bars.start_us[rows] for symbol, rows in self._rows.items()}
        self._interval_us = {symbol: bar_interval_us(times) for symbol, times in self._times.items()}

    def known_symbol(self, symbol: str) -> str | None:
        """Return the bar table's name of a symbol; where either side names none, its only one. None if unknown."""
        if symbol in self._times:
            return symbol
        if symbol in self._apart:
            return None
        only = next(iter(self._times)) if len(self._times) == 1 else None
        return only if only is not None and "" in (symbol, only) else None

    def row(self, symbol: str, time_us: int) -> int | None:
        """Return the row of the bar that starts at a time, None where there is no such bar."""
        known = self.known_symbol(symbol)
        if known is None:
            return None
        at = int(np.searchsorted(self._times[known], time_us))
        if at == len(self._times[known]) or self._times[known][at] != time_us:
            return None
        return int(self._rows[known][at])

    def keep_apart(self, symbol: str) -> None:
        """Let a symbol that the bar table does not name be none of its own: the prices showed that it is another."""
        self._apart.add(symbol)

    def interval_us(self, symbol: str) -> int:
        """Return the usual time of a bar of a symbol that the bar table knows; 0 where it has one bar."""
        known = self.known_symbol(symbol)
        return 0 if known is None else self._interval_us[known]

    def found(self, symbol: str, time_us: np.ndarray) -> np.ndarray:
        """Return the row of the bar of each time, -1 where there is none."""
        known = self.known_symbol(symbol)
        rows = np.full(len(time_us), -1, dtype=np.int64)
        if known is None:
            return rows
        at = np.searchsorted(self._times[known], time_us).clip(max=len(self._times[known]) - 1)
        here = self._times[known][at] == time_us
        rows[here] = self._rows[known][at[here]]
        return rows

    def content(self, symbol: str, start_us: int, end_us: int) -> bytes | None:
        """Return the bars from one time to another as the label store keeps them; None where either is no bar's."""
        first, last = self.row(symbol, start_us), self.row(symbol, end_us)
        if first is None or last is None:
            return None
        return bars_content(self.bars.start_us[first : last + 1], self.bars.ohlc[first : last + 1])

    def row_around(self, symbol: str, time_us: int) -> int | None:
        """Return the row of the bar during which an instant falls: the last one that started by then.

        None where that bar had ended before (by the usual time of a bar), as in a gap.
        """
        known = self.known_symbol(symbol)
        if known is None:
            return None
        at = int(np.searchsorted(self._times[known], time_us, side="right")) - 1
        if at < 0 or time_us - self._times[known][at] >= max(self._interval_us[known], 1):
            return None
        return int(self._rows[known][at])

    def window(self, symbol: str, start_us: int, end_us: int) -> int | str:
        """Return the row of a window's first bar, or the reason why the bar table does not have the window."""
        if self.known_symbol(symbol) is None:
            return f"its symbol {symbol!r} is not in the bars file"
        first, last = self.row(symbol, start_us), self.row(symbol, end_us)
        if first is None or last is None:
            lost = "first" if first is None else "last"
            return f"its {lost} bar {utc_text(start_us if first is None else end_us)} is not in the bars file"
        n_bars = last - first + 1
        if n_bars != self.window_bars:
            return f"it must have {self.window_bars} bars, but the bars file has {n_bars} between its ends"
        return first

    def place(self, label: WindowLabel) -> PlacedLabel | str:
        """Turn a label's times to positions, or say why that cannot be done."""
        first = self.window(label.symbol, label.start_us, label.end_us)
        if isinstance(first, str):
            return first
        marks = []
        for expansion in label.expansions:
            rows = [self.row(label.symbol, time) for time in (expansion.start_us, expansion.end_us)]
            if rows[0] is None or rows[1] is None:
                time_us = expansion.start_us if rows[0] is None else expansion.end_us
                return f"its pointer {utc_text(time_us)} is no bar of the bars file"
            marks.append(Mark(rows[0] - first, rows[1] - first, expansion.label))
        return PlacedLabel(label, first, tuple(marks))
