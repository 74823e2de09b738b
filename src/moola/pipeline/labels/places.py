"""Where labelled times stand in a bar table: times come from the bars, and positions are counted there."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from moola.core.bars import Bars, bar_interval_us
from moola.data.contracts.label_store import WindowLabel
from moola.data.contracts.split_file import utc_text


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
        self._rows = {symbol: np.flatnonzero(bars.symbol == symbol) for symbol in bars.symbols}
        self._times = {symbol: bars.start_us[rows] for symbol, rows in self._rows.items()}
        self._interval_us = {symbol: bar_interval_us(times) for symbol, times in self._times.items()}

    def known_symbol(self, symbol: str) -> str | None:
        """Return the bar table's name of a symbol; where either side names none, its only one. None if unknown."""
        if symbol in self._times:
            return symbol
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
