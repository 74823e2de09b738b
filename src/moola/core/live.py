"""Events as they become known: each is judged by windows that were complete when it was told, and never again."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from jaxtyping import Bool, Int

from moola.core.merging import MergedEvents, WindowCurves, judge, masses, overlap, seen_by


def live_events(
    said: WindowCurves,
    telling: Bool[np.ndarray, " windows"],
    tolerance_bars: int,
    min_prob: float,
    min_windows: int,
) -> MergedEvents:
    """Find events in the order in which they can be told; `not_yet_told` then leaves out what overlaps.

    A window is complete when the last bar that it sees is. A pair is ripe at the first complete window at which
    it is proposed, at least `min_windows` complete windows have it in their zone, and the mean probability that
    these give it is `min_prob` or more. It is told then, unless an event told before (or, at the same window, a
    more probable one) overlaps it. Nothing of this hangs on bars after that window.

    Parameters
    ----------
    said
        The telling windows and all before them that share a bar with one of them.
    telling
        Windows at which events may be told; those of others were told before.

    Returns
    -------
    MergedEvents
        In the order of ripeness, then from the most probable one; `known_bar` is the last bar of that window.
    """
    bar, proposer = np.unique(said.first_bar[:, None] + said.pair, axis=0, return_index=True)
    bar = bar.reshape(-1, 2)
    first, last, cut = seen_by(said.first_bar, bar, said.n_seen, said.zone)
    decided = ~cut | _never_inside(said, bar, proposer)
    bar, proposer, first, last, cut = (column[decided] for column in (bar, proposer, first, last, cut))
    at = _telling_window(said, bar, proposer, first, last, tolerance_bars, min_prob, min_windows)
    now = np.flatnonzero((at >= 0) & telling[at])
    found = judge(said, bar[now], first[now], at[now] + 1, cut[now], tolerance_bars)
    found = replace(found, known_bar=said.first_bar[at[now]] + said.n_seen - 1)
    return found.take(np.lexsort((found.bar[:, 1], found.bar[:, 0], -found.event_prob, found.known_bar)))


def not_yet_told(found: MergedEvents, told: Int[np.ndarray, "told 2"], max_overlap: float) -> MergedEvents:
    """Return the ripe events, in their order, that no event told before overlaps, nor one of those before them."""
    kept: list[int] = []
    for row in range(len(found)):
        before = np.concatenate([told, found.bar[kept]])
        if not (overlap(found.bar[row], before) > max_overlap).any():
            kept.append(row)
    return found.take(np.array(kept, dtype=np.int64))


def _never_inside(
    said: WindowCurves, bar: Int[np.ndarray, "pairs 2"], proposer: Int[np.ndarray, " pairs"]
) -> Bool[np.ndarray, " pairs"]:
    """Tell, from windows up to the proposing one, that no window has or will have the pair in its zone.

    A pair that a later window may have inside waits for it: whether that window comes is not known yet.
    """
    zone_first, zone_last = said.zone
    too_long = bar[:, 1] - bar[:, 0] >= zone_last - zone_first
    passed = bar[:, 0] - zone_first < said.first_bar[proposer]
    return np.asarray(too_long | passed)


def _telling_window(
    said: WindowCurves,
    bar: Int[np.ndarray, "pairs 2"],
    proposer: Int[np.ndarray, " pairs"],
    first: Int[np.ndarray, " pairs"],
    last: Int[np.ndarray, " pairs"],
    tolerance_bars: int,
    min_prob: float,
    min_windows: int,
) -> Int[np.ndarray, " pairs"]:
    """Return the first window at which each pair can be told, -1 where there is none."""
    around = masses(said, tolerance_bars)
    at, sums = np.full(len(bar), -1, dtype=np.int64), np.zeros(len(bar))
    for place in range(int((last - first).max(initial=0))):
        of = np.flatnonzero(place < last - first)
        window = first[of] + place
        local = bar[of] - said.first_bar[window][:, None]
        sums[of] += around[window, local[:, 0], 0] * around[window, local[:, 1], 1]
        ripe = (window >= proposer[of]) & (place + 1 >= min_windows) & (sums[of] / (place + 1) >= min_prob)
        new = of[ripe & (at[of] < 0)]
        at[new] = first[new] + place
    return at
