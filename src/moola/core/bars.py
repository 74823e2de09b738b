"""Bars: the table of OHLC rows that everything else is cut from, and the rules it obeys."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy.typing import ArrayLike

from moola.errors import Problem

OHLC = ("open", "high", "low", "close")
# Squares of prices, of their inverses and of their quotients stay finite.
LEAST, MOST = 1e-50, 1e50


@dataclass(frozen=True)
class Bars:
    """A table of bars, symbol by symbol, each symbol in time order.

    Attributes
    ----------
    start_us
        Start of each bar, microseconds since 1970 in UTC.
    ohlc
        Open, high, low, close.
    symbol
        Symbol of each bar; the empty string where the file names none.
    """

    start_us: Int[np.ndarray, " bars"]
    ohlc: Float[np.ndarray, "bars 4"]
    symbol: np.ndarray

    def __len__(self) -> int:
        return len(self.start_us)

    @property
    def symbols(self) -> list[str]:
        """Symbols in the order in which they first appear."""
        return list(dict.fromkeys(self.symbol.tolist()))

    def take(self, rows: np.ndarray | slice) -> Bars:
        """Return these rows, in this order."""
        return Bars(self.start_us[rows], self.ohlc[rows], self.symbol[rows])

    @classmethod
    def none(cls) -> Bars:
        """Return a table without bars."""
        return cls(np.zeros(0, dtype=np.int64), np.zeros((0, 4)), np.zeros(0, dtype=object))


def broken_rule(rule: str, broken: ArrayLike, found: Callable[..., str] = lambda _row: "") -> list[Problem]:
    """Return the rule with the rows that break it, and what `found` says of the first; nothing where none does."""
    rows = np.flatnonzero(np.asarray(broken))
    return [Problem(rule, len(rows), int(rows[0]), found(int(rows[0])))] if len(rows) else []


def price_problems(ohlc: Float[np.ndarray, "bars 4"]) -> list[Problem]:
    """Return every price rule that these bars break, with its count and its first row."""
    return [problem for rule, broken in _price_rules(ohlc) for problem in broken_rule(rule, broken)]


def broken_prices(ohlc: Float[np.ndarray, "bars 4"]) -> Bool[np.ndarray, " bars"]:
    """Return which bars break any price rule."""
    return np.logical_or.reduce([broken for _, broken in _price_rules(ohlc)])


def _price_rules(ohlc: Float[np.ndarray, "bars 4"]) -> Iterator[tuple[str, Bool[np.ndarray, " bars"]]]:
    finite = np.isfinite(ohlc)
    positive = ohlc > 0
    usable = (finite & positive).all(axis=1)
    for column, name in enumerate(OHLC):
        yield f"{name} must be a finite number", ~finite[:, column]
        yield f"{name} must be above 0", finite[:, column] & ~positive[:, column]
        extreme = positive[:, column] & finite[:, column] & ((ohlc[:, column] < LEAST) | (ohlc[:, column] > MOST))
        yield f"{name} must be within {LEAST:g} to {MOST:g}", extreme
    open_, high, low, close = ohlc.T
    body_low, body_high = np.minimum(open_, close), np.maximum(open_, close)
    yield "low must be at most min(open, close)", usable & (low > body_low)
    yield "high must be at least max(open, close)", usable & (high < body_high)


def bar_problems(bars: Bars) -> list[Problem]:
    """Return every rule of a bar table that is broken: prices, order, one bar a time and symbol."""
    problems = price_problems(bars.ohlc)
    duplicate = np.zeros(len(bars), dtype=bool)
    backward = np.zeros(len(bars), dtype=bool)
    for symbol in bars.symbols:
        rows = np.flatnonzero(bars.symbol == symbol)
        step = np.diff(bars.start_us[rows])
        backward[rows[1:]] = step < 0
        _, first = np.unique(bars.start_us[rows], return_index=True)
        repeated = np.ones(len(rows), dtype=bool)
        repeated[first] = False
        duplicate[rows] = repeated
    problems += broken_rule("timestamps must increase within a symbol", backward)
    problems += broken_rule("a symbol and timestamp must have one bar", duplicate)
    return problems


def bar_interval_us(start_us: Int[np.ndarray, " bars"]) -> int:
    """Return the usual distance between bars (the median; gaps are rarer than bars), 0 if alone."""
    return int(np.median(np.diff(start_us))) if len(start_us) > 1 else 0


def bar_lengths_us(bars: Bars) -> Int[np.ndarray, " bars"]:
    """Return the length of each bar: the usual distance between the bars of its symbol."""
    length = np.zeros(len(bars), dtype=np.int64)
    for symbol in bars.symbols:
        mine = bars.symbol == symbol
        length[mine] = bar_interval_us(bars.start_us[mine])
    return length


def upside_down(ohlc: Float[np.ndarray, "... 4"]) -> Float[np.ndarray, "... 4"]:
    """Turn prices p into 1/p, so that up is down and ratios are kept: the old low is the new high."""
    return (1.0 / ohlc)[..., [0, 2, 1, 3]]
