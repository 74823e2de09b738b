"""Coarser bars out of finer ones: hours from UTC midnight on, days from midnight to midnight."""

from __future__ import annotations

import numpy as np

from moola.core.bars import Bars

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
    ohlc = np.stack(
        [
            bars.ohlc[first, 0],
            np.maximum.reduceat(bars.ohlc[:, 1], first),
            np.minimum.reduceat(bars.ohlc[:, 2], first),
            bars.ohlc[first + n_fine - 1, 3],
        ],
        axis=1,
    )
    return Bars(begins[first][kept], ohlc[kept], bars.symbol[first][kept])
