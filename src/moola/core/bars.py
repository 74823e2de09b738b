"""Bars: the table of OHLC rows and its rules, how long bars are, coarser bars out of finer ones, and what is
doubtful in them."""

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


def between_text(first_us: int, last_us: int) -> str:
    """Write two moments in UTC: `from 2017-01-01 22:00:00 to ...`."""
    return f"from {utc_text(first_us)} to {utc_text(last_us)}"


def broken_rule(rule: str, broken: ArrayLike, found: Callable[..., str] = lambda _row: "") -> list[Problem]:
    """Return the rule with the rows that break it, with `found` on the first; nothing where none does."""
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


def utc_text(time_us: int) -> str:
    """Write microseconds since 1970 as UTC, to the microsecond."""
    return str(np.datetime64(int(time_us), "us")) + "Z"


def minute_text(time_us: int) -> str:
    """Write microseconds since 1970 as UTC, to the minute, for people."""
    return utc_text(time_us)[:16].replace("T", " ")


def time_us(text: str) -> int:
    """Read what `utc_text` wrote."""
    return int(np.datetime64(text.removesuffix("Z"), "us").astype(np.int64))


# Of windows this share has the fewest gaps: weekends and nights stretch the others.
SHORT_WINDOWS_SHARE = 0.05
# Sessions and holidays stretch windows by less than this; bars of another length differ by more.
MOST_APART = 1.6


def window_bar_interval_s(
    start_us: Int[np.ndarray, " windows"] | None, end_us: Int[np.ndarray, " windows"] | None, window_bars: int
) -> float | None:
    """Return the time between neighbouring bars in the windows with the fewest gaps, in seconds.

    None without times, without windows, and for windows of one bar. Where every window holds a night or a weekend it
    is longer than the bar, alike for all windows of the same kind.
    """
    if start_us is None or end_us is None or not len(start_us) or window_bars < 2:
        return None
    spans = np.quantile(end_us - start_us, SHORT_WINDOWS_SHARE, method="lower")
    return float(spans) / (window_bars - 1) / 1e6


def interval_warning(learned_s: float | None, read_s: float | None) -> str:
    """Report that a model learned on bars of another length than it reads; empty if not or unknown."""
    if not learned_s or not read_s or 1 / MOST_APART <= read_s / learned_s <= MOST_APART:
        return ""
    return (
        f"the model learned on bars {_length_text(learned_s)} apart and reads bars {_length_text(read_s)} apart: "
        "its probabilities were never evaluated on such bars"
    )


def _length_text(seconds: float) -> str:
    for unit, name in ((86400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= unit:
            return f"{seconds / unit:.3g} {name if f'{seconds / unit:.3g}' != '1' else name[:-1]}"
    return f"{seconds:.3g} seconds"


# When windows close: the start of the last bar plus the length of a bar, from the times of windows alone.


SECOND, MINUTE, HOUR, DAY = 1_000_000, 60_000_000, 3_600_000_000, 86_400_000_000
USUAL_LENGTHS = (
    *(n * SECOND for n in (1, 2, 3, 5, 10, 15, 30)),
    *(n * MINUTE for n in (1, 2, 3, 5, 10, 15, 20, 30)),
    *(n * HOUR for n in (1, 2, 3, 4, 6, 8, 12)),
    *(n * DAY for n in (1, 2, 3, 7, 28, 31)),
)
# A day of 23 hours, where clocks go forward, is a day; nights and weekends make bars look this many times longer.
SHORT_DAY, MOST_STRETCHED = 1.05, 12


def closing_us(
    start_us: Int[np.ndarray, " windows"],
    last_us: Int[np.ndarray, " windows"],
    window_bars: int | None,
    symbol: np.ndarray | None = None,
) -> Int[np.ndarray, " windows"]:
    """Return when the last bar of each window is over: its start plus the length of a bar."""
    return np.asarray(last_us + window_bar_lengths_us(start_us, last_us, window_bars, symbol))


def window_bar_lengths_us(
    start_us: Int[np.ndarray, " windows"],
    last_us: Int[np.ndarray, " windows"],
    window_bars: int | None,
    symbol: np.ndarray | None = None,
) -> Int[np.ndarray, " windows"]:
    """Return the length of each window's bars in microseconds, from the starts of its first and its last bar.

    The mean distance between a window's bars is their length where no night or weekend lies between them, and more
    where one does. A mean on whose grid all windows that have it lie is taken as it is; the others are set right by
    the grid that their times lie on, or, where there is none, by the usual lengths of bars. Symbols are looked at one
    by one, and each may have windows of several lengths.

    Windows of a single bar have the distance between their neighbours; a single one of them has 0. Where it is not
    known how many bars a window has (`window_bars` None), the grid that all times of the symbol lie on has to do.
    """
    length = np.zeros(len(start_us), dtype=np.int64)
    names = np.zeros(len(start_us), dtype=np.int64) if symbol is None else symbol
    for name in dict.fromkeys(names.tolist()):
        rows = np.flatnonzero(names == name)
        length[rows] = _of_symbol(start_us[rows], last_us[rows], window_bars)
    return length


def _of_symbol(start: np.ndarray, last: np.ndarray, window_bars: int | None) -> np.ndarray:
    if window_bars is None:
        return np.full(len(start), _grid(np.concatenate([start, last])), dtype=np.int64)
    if window_bars < 2:
        return np.full(len(start), _smallest_step(start), dtype=np.int64)
    span = last - start
    mean = span / (window_bars - 1)
    length = np.zeros(len(start), dtype=np.int64)
    for value in np.unique(span[(span > 0) & (span % ((window_bars - 1) * SECOND) == 0)]).tolist():
        mine, exact = span == value, value // (window_bars - 1)
        times = np.unique(start[mine])
        if len(times) > 1 and not (np.diff(times) % exact).any():
            length[mine] = exact
    known = set(length.tolist())
    # What nights stretch is taken together with what is stretched about as much: other lengths stay apart.
    usual = np.searchsorted(USUAL_LENGTHS, mean * SHORT_DAY, side="right")
    for kind in np.unique(usual[(length == 0) & (span > 0)]).tolist():
        group = (usual == kind) & (span > 0)
        length[group & (length == 0)] = _by_grid(np.concatenate([start[group], last[group]]), mean[group].min(), known)
    return length


def _by_grid(times: np.ndarray, longest: float, known: set[int]) -> int:
    """Return the length of bars at these times that is at most `longest`, the smallest mean distance."""
    grid = _grid(times)
    if grid in known or longest / MOST_STRETCHED <= grid <= longest:
        return grid
    if grid > longest:
        if longest % MINUTE == 0 and grid % int(longest) == 0:
            return int(longest)
        dividing = [one for one in USUAL_LENGTHS if one <= longest and grid % one == 0]
        return dividing[-1] if dividing else round(longest)
    bound = min(longest, _smallest_step(times))
    below = [one for one in USUAL_LENGTHS if one <= bound * SHORT_DAY]
    return below[-1] if below else round(bound)


def _grid(times: np.ndarray) -> int:
    """Return the largest step by which all times are whole steps apart; 0 where they are one time."""
    return int(np.gcd.reduce(np.diff(np.unique(times)), initial=0))


def _smallest_step(times: np.ndarray) -> int:
    steps = np.diff(np.unique(times))
    return int(steps.min()) if len(steps) else 0


WEEK_S, TENTH_S = 7 * 86_400, 0.1
# Shares of splits, new to old; a reverse split has them the other way round.
SPLITS = ((3, 2), (5, 2), *((n, 1) for n in (2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 15, 20, 25, 30, 40, 50, 100)))
# A split day opens within five percent of the split price, and a move of ten usual bars is none of the market's.
SPLIT_ROOM, USUAL_MOVES = 0.05, 10
LEVEL_BARS = 5


@dataclass(frozen=True)
class SplitDoubt:
    """A bar that opens where a split would have it.

    Attributes
    ----------
    bar
        Place among the symbol's bars.
    name
        New shares to old ones, as `4:1`; `1:10` is a reverse split.
    close_before, open_after
        Prices on both sides.
    """

    bar: int
    name: str
    close_before: float
    open_after: float


def time_doubt(start_us: Int[np.ndarray, " bars"]) -> str | None:
    """State what times have that few bars do: a length above 7 days or below a tenth of a second, or 1970-01-01."""
    usual_s = bar_interval_us(start_us) / 1e6
    n_first = int(((start_us >= 0) & (start_us < 86_400_000_000)).sum())
    if n_first:
        return f"{n_first} of {len(start_us)} bars begin on 1970-01-01, which a wrong unit or an empty time gives"
    if usual_s > WEEK_S:
        return f"the usual time from bar to bar is {usual_s / 86_400:.4g} days, more than a week"
    if 0 < usual_s < TENTH_S:
        return f"the usual time from bar to bar is {usual_s:g} s, less than a tenth of a second"
    return None


def split_doubts(start_us: Int[np.ndarray, " bars"], ohlc: Float[np.ndarray, "bars 4"]) -> list[SplitDoubt]:
    """Find bars of one symbol that open at about a split's share of the close before, and stay there.

    A gap in time above the longest one of a window says nothing: anything may have happened in it. Neither does a price
    that comes back within some bars (a bad tick), nor a move that is not far above what the closes usually do.
    """
    if len(ohlc) < 3:
        return []
    close, opens = np.log(ohlc[:, 3]), np.log(ohlc[:, 0])
    jump = close[:-1] - opens[1:]
    usual = float(np.median(np.abs(np.diff(close))))
    share = np.log([new / old for new, old in SPLITS])
    near = np.abs(np.abs(jump)[:, None] - share).min(axis=1) <= SPLIT_ROOM
    soon = np.diff(start_us) <= allowed_gap_s(start_us) * 1e6
    found = []
    for before in np.flatnonzero(near & soon & (np.abs(jump) >= USUAL_MOVES * usual)).tolist():
        level = np.median(close[max(before + 1 - LEVEL_BARS, 0) : before + 1])
        stays = level - np.median(close[before + 1 : before + 1 + LEVEL_BARS])
        if abs(stays - jump[before]) > max(2 * SPLIT_ROOM, 3 * usual):
            continue
        new, old = SPLITS[int(np.abs(abs(jump[before]) - share).argmin())]
        name = f"{new}:{old}" if jump[before] > 0 else f"{old}:{new}"
        found.append(SplitDoubt(before + 1, name, float(ohlc[before, 3]), float(ohlc[before + 1, 0])))
    return found


# A day with fewer bars than this share of its hours (a Sunday evening) is no day of trade.
LEAST_SHARE = 0.25


def resample(bars: Bars, fine_us: int, coarse_us: int) -> Bars:
    """Put bars of one length together to bars of a longer one, symbol by symbol.

    Parameters
    ----------
    bars
        Bars that obey `bar_problems`.
    fine_us, coarse_us
        Length of these bars and of the wanted ones in microseconds; the wanted is a multiple.

    Returns
    -------
    Bars
        Bars that begin at whole multiples of `coarse_us` since 1970, each with the first open, the extremes and the
        last close of at least a quarter of its fine bars; what has fewer is left out. A bar is over `coarse_us` after
        its start.

    Raises
    ------
    ValueError
        The wanted length is no multiple of the other.
    """
    if fine_us <= 0 or coarse_us % fine_us:
        raise ValueError(f"bars of {coarse_us} us cannot be made of bars of {fine_us} us")
    begins = bars.start_us // coarse_us * coarse_us
    is_new = np.ones(len(bars), dtype=bool)
    is_new[1:] = (begins[1:] != begins[:-1]) | (bars.symbol[1:] != bars.symbol[:-1])
    first = np.flatnonzero(is_new)
    n_fine = np.diff(first, append=len(bars))
    kept = n_fine >= LEAST_SHARE * (coarse_us // fine_us)
    if not len(first):
        return bars
    return Bars(begins[first][kept], _joined(bars.ohlc, first)[kept], bars.symbol[first][kept])


def _joined(ohlc: Float[np.ndarray, "bars 4"], first: Int[np.ndarray, " joined"]) -> Float[np.ndarray, "joined 4"]:
    """Join bars from each of these rows to the next one: first open, extremes, last close."""
    columns = [
        ohlc[first, 0],
        np.maximum.reduceat(ohlc[:, 1], first),
        np.minimum.reduceat(ohlc[:, 2], first),
        ohlc[np.append(first[1:], len(ohlc)) - 1, 3],
    ]
    return np.stack(columns, axis=1)


def join_bars(bars: Bars, n: int) -> Bars:
    """Join each n of a symbol's bars to one, counted from the first, whatever their times; the last may have fewer."""
    first = np.arange(0, len(bars), n)
    if n == 1 or not len(first):
        return bars
    return Bars(bars.start_us[first], _joined(bars.ohlc, first), bars.symbol[first])


# The longest gap that a window may have by default: three days, 11 usual bars (for daily bars a week of
# holidays between two weekends), or 1.4 times the break of most weeks (the long weekends of stocks).
LEAST_GAP_S, GAP_BARS, GAP_BREAKS = 72 * 3600.0, 11, 1.4
HOUR_US = 3_600_000_000
WEEK_US = 7 * 24 * HOUR_US


def allowed_gap_s(start_us: Int[np.ndarray, " bars"], max_gap_hours: float | None = None) -> float:
    """Return the longest time between neighbouring bars inside a window, in seconds.

    Parameters
    ----------
    start_us
        Starts of one symbol's bars, ascending.
    max_gap_hours
        What was asked for; None finds it from the bars: 72 hours, or longer where bars are long (11 of them) or rest
        for longer every week (1.4 times the median over three weeks or more).
    """
    if max_gap_hours is not None:
        return max_gap_hours * 3600
    step = np.diff(start_us)
    usual_s = bar_interval_us(start_us) / 1e6
    week = start_us[1:] // WEEK_US
    begins = np.flatnonzero(np.diff(week, prepend=week[:1] - 1))
    break_s = float(np.median(np.maximum.reduceat(step, begins))) / 1e6 if len(begins) > 2 else 0.0
    # A rest of more than a weekend is a gap, and bars of a day hold their weekends in the 11.
    rests = usual_s < LEAST_GAP_S / 3 and break_s <= LEAST_GAP_S
    return max(LEAST_GAP_S, GAP_BARS * usual_s, GAP_BREAKS * break_s if rests else 0.0)
