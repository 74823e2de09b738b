"""How long bars are and when windows close, from the times of windows alone."""

from __future__ import annotations

import numpy as np
from jaxtyping import Int

# Of windows this share has the fewest gaps: weekends and nights stretch the others.
LEAST_SHARE = 0.05
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
    spans = np.quantile(end_us - start_us, LEAST_SHARE, method="lower")
    return float(spans) / (window_bars - 1) / 1e6


def interval_warning(learned_s: float | None, read_s: float | None) -> str:
    """Report that a model learned on bars of another length than it reads; empty if not or unknown."""
    if not learned_s or not read_s or 1 / MOST_APART <= read_s / learned_s <= MOST_APART:
        return ""
    return (
        f"the model learned on bars {_told(learned_s)} apart and reads bars {_told(read_s)} apart: "
        "its probabilities were never evaluated on such bars"
    )


def _told(seconds: float) -> str:
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
    return np.asarray(last_us + bar_lengths_us(start_us, last_us, window_bars, symbol))


def bar_lengths_us(
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
