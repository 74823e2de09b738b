"""Bars for the chart of the page: every symbol's bars at every level of detail, a piece at a time."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from moola.core.bars import Bars, bar_interval_us
from moola.errors import WrongUsage

# Points that one request may ask for, and bars that one point may stand for.
MOST_POINTS, MOST_EACH = 6000, 1 << 24


@dataclass(frozen=True)
class Level:
    """Bars of a symbol, `each` of them joined to one: the first open, highest high, lowest low, last close.

    Attributes
    ----------
    start_us
        Start of the first bar of each.
    volume
        The sum; None where bars have no volume.
    """

    start_us: Int[np.ndarray, " points"]
    ohlc: Float[np.ndarray, "points 4"]
    volume: Float[np.ndarray, " points"] | None

    def __len__(self) -> int:
        return len(self.start_us)

    def halved(self) -> Level:
        """Join every two points."""
        n = len(self)
        low = np.arange(0, n, 2)
        high = np.minimum(low + 1, n - 1)
        one, other = self.ohlc[low], self.ohlc[high]
        ohlc = np.stack(
            [one[:, 0], np.maximum(one[:, 1], other[:, 1]), np.minimum(one[:, 2], other[:, 2]), other[:, 3]], axis=1
        )
        volume = None if self.volume is None else np.add.reduceat(self.volume, low)
        return Level(self.start_us[low], ohlc, volume)


@dataclass
class ChartBars:
    """Bars by symbol; bar 0 of a symbol is its first one.

    Attributes
    ----------
    bars
        Bars symbol by symbol, each symbol in time order.
    volume
        Volume of each; None where bars have none.
    """

    bars: Bars
    volume: np.ndarray | None = None
    _rows: dict[str, slice] = field(init=False)
    _levels: dict[tuple[str, int], Level] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        edges = np.flatnonzero(self.bars.symbol[1:] != self.bars.symbol[:-1]) + 1
        starts = [0, *edges.tolist(), len(self.bars)]
        self._rows = {str(self.bars.symbol[first]): slice(first, stop) for first, stop in pairwise(starts)}

    def of(self, symbol: str) -> Bars:
        """Return a symbol's bars."""
        return self.bars.take(self.rows(symbol))

    def rows(self, symbol: str) -> slice:
        """Return the rows of a symbol's bars; `WrongUsage` where there is no such symbol."""
        if symbol not in self._rows:
            raise WrongUsage(
                f"a symbol must be one of {', '.join(map(repr, list(self._rows)[:10]))}, but it is {symbol[:40]!r}. "
                "Load the page again."
            )
        return self._rows[symbol]

    def times(self, symbol: str) -> Int[np.ndarray, " bars"]:
        """Return the start of each of a symbol's bars."""
        found: np.ndarray = self.bars.start_us[self.rows(symbol)]
        return found

    def symbols(self) -> list[dict[str, Any]]:
        """Return what the page says of each symbol."""
        found = []
        for symbol in self._rows:
            times = self.times(symbol)
            ends = {"from_us": int(times[0]), "to_us": int(times[-1]), "bar_us": bar_interval_us(times)}
            found.append({"symbol": symbol, "n_bars": len(times), **ends})
        return found

    def level(self, symbol: str, each: int) -> Level:
        """Return all of a symbol's bars, `each` (a power of two) to a point; made once."""
        if (symbol, each) not in self._levels:
            if each == 1:
                rows = self.rows(symbol)
                volume = None if self.volume is None else self.volume[rows]
                made = Level(self.bars.start_us[rows], self.bars.ohlc[rows], volume)
            else:
                made = self.level(symbol, each // 2).halved()
            self._levels[symbol, each] = made
        return self._levels[symbol, each]

    def piece(self, symbol: str, first: int, last: int, each: int) -> dict[str, Any]:
        """Return the points from the one that has bar `first` to the one that has bar `last`.

        Returns
        -------
        dict
            `first` (bar with which the first point begins), `each`, `times_us`, `ohlc` (rows of four), `volume`.

        Raises
        ------
        WrongUsage
            There is no such symbol, `each` is no power of two, or too many points are asked for.
        """
        self.rows(symbol)
        if not 1 <= each <= MOST_EACH or each & (each - 1):
            raise WrongUsage(f"each must be a power of two to {MOST_EACH}, but it is {each}. Load the page again.")
        from_point, to_point = first // each, last // each + 1
        if not 0 <= to_point - from_point <= MOST_POINTS:
            raise WrongUsage(
                f"a piece must have at most {MOST_POINTS} points, but {first} to {last} by {each} has "
                f"{to_point - from_point}. Ask for less."
            )
        level = self.level(symbol, each)
        cut = slice(from_point, to_point)
        return {
            "first": from_point * each,
            "each": each,
            "times_us": level.start_us[cut].tolist(),
            "ohlc": level.ohlc[cut].tolist(),
            "volume": None if level.volume is None else level.volume[cut].tolist(),
        }

    def bar_at(self, symbol: str, time_us: int) -> int:
        """Return the bar that is open at a time, or the nearest one that is there."""
        times = self.times(symbol)
        return int(np.clip(np.searchsorted(times, time_us, side="right") - 1, 0, len(times) - 1))
