"""What bars that obey every rule may still have wrong: times that few bars have, prices that a split cut through."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from moola.core.bars import bar_interval_us
from moola.core.windows import allowed_gap_s

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
