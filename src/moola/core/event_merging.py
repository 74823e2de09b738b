"""Overlapping windows to events: how they are merged in hindsight, and as they become known.

A window's curves always point somewhere, whether there is an expansion or not. So a pair of pointers that
one window proposes is evaluated by all windows that have it in their inner zone, where the network learned to
look: an event is where they agree.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np
from jaxtyping import Bool, Float, Int

from moola.core.expansions import mass_around

INTERVAL_SHARE = 0.8
INTERVAL_REACH_BARS = 10


@dataclass(frozen=True)
class WindowCurves:
    """Predictions of windows, in the order of their first bars.

    Attributes
    ----------
    first_bar
        Row of each window's first bar in the bar table, ascending.
    curves
        Start and end probability of each bar of the window that the model sees: all, or the first ones.
    class_prob
        Calibrated probabilities.
    pair
        Decoded start and end, counted from the window's first bar.
    zone
        Bars `[first, last)` of a window in which it is trusted: the inner zone, as far as it is seen.
    """

    first_bar: Int[np.ndarray, " windows"]
    curves: Float[np.ndarray, "windows bars 2"]
    class_prob: Float[np.ndarray, "windows classes"]
    pair: Int[np.ndarray, "windows 2"]
    zone: tuple[int, int]

    def __len__(self) -> int:
        return len(self.first_bar)

    @property
    def n_seen(self) -> int:
        """Bars of a window that the model sees."""
        return int(self.curves.shape[1])


@dataclass(frozen=True)
class MergedEvents:
    """Events over one bar table; `bar`, `low` and `high` are rows of it.

    Attributes
    ----------
    bar
        First and last bar, both inclusive.
    pointer_prob
        Probability that each pointer is within the tolerance, averaged over the windows that saw the event.
    event_prob
        The same for both pointers at once.
    class_prob
        Class probabilities of the windows that saw it, weighted by how much each points at it.
    low, high
        Central 80 % of the merged curve of each pointer, near it.
    n_agree
        Windows that saw it and decode to it, give or take the tolerance at both ends.
    n_saw
        Windows that have it in their inner zone; where none has, windows that have it at all.
    cut
        No window has the whole event in its inner zone: the bars' end, a gap or its own length cuts it.
    known_bar
        Last bar that any prediction of an event found live depends on; -1 in hindsight.
    """

    bar: Int[np.ndarray, "events 2"]
    pointer_prob: Float[np.ndarray, "events 2"]
    event_prob: Float[np.ndarray, " events"]
    class_prob: Float[np.ndarray, "events classes"]
    low: Int[np.ndarray, "events 2"]
    high: Int[np.ndarray, "events 2"]
    n_agree: Int[np.ndarray, " events"]
    n_saw: Int[np.ndarray, " events"]
    cut: Bool[np.ndarray, " events"]
    known_bar: Int[np.ndarray, " events"]

    def __len__(self) -> int:
        return len(self.event_prob)

    @classmethod
    def none(cls, n_classes: int) -> MergedEvents:
        """Return no events."""
        whole, real = np.zeros((0, 2), dtype=np.int64), np.zeros(0)
        count = np.zeros(0, dtype=np.int64)
        return cls(
            whole, np.zeros((0, 2)), real, np.zeros((0, n_classes)), whole, whole, count, count, count > 0, count
        )

    def take(self, rows: np.ndarray) -> MergedEvents:
        """Return some events, in this order."""
        return MergedEvents(*(getattr(self, field.name)[rows] for field in fields(self)))

    @classmethod
    def joined(cls, pieces: list[MergedEvents]) -> MergedEvents:
        """Return all, one behind the other; at least one piece."""
        return cls(*(np.concatenate([getattr(piece, field.name) for piece in pieces]) for field in fields(cls)))

    def ranked(self) -> Int[np.ndarray, " events"]:
        """Rows from the most to the least probable; ties go to the earlier start, then the earlier end."""
        return np.lexsort((self.bar[:, 1], self.bar[:, 0], -self.event_prob))


def seen_by(
    first_bar: Int[np.ndarray, " windows"], bar: Int[np.ndarray, "events 2"], n_seen: int, zone: tuple[int, int]
) -> tuple[Int[np.ndarray, " events"], Int[np.ndarray, " events"], Bool[np.ndarray, " events"]]:
    """Return which windows `[first, last)` evaluate each event, and whether the event is cut.

    Those with the whole event in their inner zone; where there are none, those with the whole event.
    """
    start, end = bar[:, 0], bar[:, 1]
    zone_first, zone_last = zone
    inner = (
        np.searchsorted(first_bar, end - zone_last + 1, side="left"),
        np.searchsorted(first_bar, start - zone_first, side="right"),
    )
    whole = (
        np.searchsorted(first_bar, end - n_seen + 1, side="left"),
        np.searchsorted(first_bar, start, side="right"),
    )
    cut = inner[1] <= inner[0]
    return np.where(cut, whole[0], inner[0]), np.where(cut, whole[1], inner[1]), cut


def merge_windows(windows: WindowCurves, proposing: Bool[np.ndarray, " windows"], tolerance_bars: int) -> MergedEvents:
    """Evaluate every pair that some windows propose by all windows that see it.

    Parameters
    ----------
    windows
        The proposing windows and all that share a bar with one of them.
    proposing
        Windows whose decoded pair is a candidate; equal pairs are one.

    Returns
    -------
    MergedEvents
        Candidates by start, then end: many overlap (`suppress`), and many are weak.
    """
    bar = np.unique((windows.first_bar[:, None] + windows.pair)[proposing], axis=0).reshape(-1, 2)
    first, last, cut = seen_by(windows.first_bar, bar, windows.n_seen, windows.zone)
    return judge(windows, bar, first, last, cut, tolerance_bars)


def masses(windows: WindowCurves, tolerance_bars: int) -> Float[np.ndarray, "windows bars 2"]:
    """Probability that a pointer put at each bar is within the tolerance, for start and end."""
    return np.stack([mass_around(windows.curves[..., i], tolerance_bars) for i in (0, 1)], axis=-1)


def judge(
    windows: WindowCurves,
    bar: Int[np.ndarray, "events 2"],
    first: Int[np.ndarray, " events"],
    last: Int[np.ndarray, " events"],
    cut: Bool[np.ndarray, " events"],
    tolerance_bars: int,
) -> MergedEvents:
    """Evaluate each pair by the windows `[first, last)` that have it among the bars they see.

    Without any all its probabilities are 0, but for the classes, which are alike.
    """
    n_bars, n_classes = windows.n_seen, windows.class_prob.shape[1]
    n_saw = last - first
    around = masses(windows, tolerance_bars)
    pointer, both, classes = np.zeros((len(bar), 2)), np.zeros(len(bar)), np.zeros((len(bar), n_classes))
    plain, n_agree = np.zeros((len(bar), n_classes)), np.zeros(len(bar), dtype=np.int64)
    near = np.zeros((len(bar), 2 * INTERVAL_REACH_BARS + 1, 2))
    reach = np.arange(-INTERVAL_REACH_BARS, INTERVAL_REACH_BARS + 1)
    # An event's windows are interleaved: the first of every event at once, then the second, and so on.
    for place in range(int(n_saw.max(initial=0))):
        of = np.flatnonzero(place < n_saw)
        window = first[of] + place
        local = bar[of] - windows.first_bar[window][:, None]
        mass = np.stack([around[window, local[:, i], i] for i in (0, 1)], axis=1)
        pointer[of] += mass
        both[of] += mass.prod(axis=1)
        classes[of] += mass.prod(axis=1)[:, None] * windows.class_prob[window]
        plain[of] += windows.class_prob[window]
        n_agree[of] += (np.abs(windows.pair[window] - local) <= tolerance_bars).all(axis=1)
        for i in (0, 1):
            spot = local[:, i][:, None] + reach
            inside = (spot >= 0) & (spot < n_bars)
            near[of, :, i] += np.where(inside, windows.curves[window[:, None], np.clip(spot, 0, n_bars - 1), i], 0.0)
    low, high = _central(bar, near, reach)
    probs = np.where(both[:, None] > 0, classes, np.where(n_saw[:, None] > 0, plain, 1.0))
    n_read = np.maximum(n_saw, 1)
    return MergedEvents(
        bar,
        pointer / n_read[:, None],
        both / n_read,
        probs / probs.sum(axis=1, keepdims=True),
        low,
        high,
        n_agree,
        n_saw,
        cut,
        np.full(len(bar), -1, dtype=np.int64),
    )


def _central(
    bar: Int[np.ndarray, "events 2"], near: Float[np.ndarray, "events places 2"], reach: Int[np.ndarray, " places"]
) -> tuple[Int[np.ndarray, "events 2"], Int[np.ndarray, "events 2"]]:
    """Return the central share of the curves near each pointer; a start is never sought behind the end."""
    length = (bar[:, 1] - bar[:, 0])[:, None]
    allowed = np.stack([reach <= length, reach >= -length], axis=-1)
    sums = np.cumsum(near * allowed, axis=1)
    share = sums / np.maximum(sums[:, -1:], np.finfo(float).tiny)
    tail = (1 - INTERVAL_SHARE) / 2
    some = sums[:, -1] > 0
    # Both are bars that a window gave some probability, so bars of the event's own symbol and side of a gap. The
    # pointer itself is always inside, also where the merged curve leans to one side of it.
    low = np.where(some, np.minimum(reach[(share >= tail).argmax(axis=1)], 0), 0)
    high = np.where(some, np.maximum(reach[(share >= 1 - tail).argmax(axis=1)], 0), 0)
    return bar + low, bar + high


def overlap(one: Int[np.ndarray, " 2"], others: Int[np.ndarray, "events 2"]) -> Float[np.ndarray, " events"]:
    """Bars in both over bars in either (intersection over union), ends inclusive, in [0, 1]."""
    shared = np.minimum(one[1], others[:, 1]) - np.maximum(one[0], others[:, 0]) + 1
    shared = np.maximum(shared, 0)
    return np.asarray(shared / ((one[1] - one[0] + 1) + (others[:, 1] - others[:, 0] + 1) - shared))


def suppress(
    events: MergedEvents, reported: Int[np.ndarray, "reported 2"], max_overlap: float, horizon_bar: int
) -> tuple[Bool[np.ndarray, " events"], Bool[np.ndarray, " events"]]:
    """Keep an event unless a more probable one that is kept overlaps it (greedy non-maximum suppression).

    Events that begin at `horizon_bar` or later may still come. Whatever could depend on them stays open, so
    that pieces settled one after the other give what all at once would.

    Parameters
    ----------
    reported
        Bars of events kept before.
    max_overlap
        Largest intersection over union of two events that are both kept.

    Returns
    -------
    kept, open
        Masks; the others are suppressed.
    """
    kept, still = np.zeros(len(events), dtype=bool), np.zeros(len(events), dtype=bool)
    for row in events.ranked():
        bar = events.bar[row]
        over = overlap(bar, events.bar) > max_overlap
        if bool((overlap(bar, reported) > max_overlap).any()) or bool((over & kept).any()):
            continue
        if bar[1] >= horizon_bar or bool((over & still).any()):
            still[row] = True
        else:
            kept[row] = True
    return kept, still


# Events as they become known: each is evaluated by windows that were complete when it was reported, and never again.


def live_events(
    windows: WindowCurves,
    reporting: Bool[np.ndarray, " windows"],
    tolerance_bars: int,
    min_prob: float,
    min_windows: int,
) -> MergedEvents:
    """Find events in the order in which they can be reported; `unreported` then leaves out what overlaps.

    A window is complete when the last bar that it sees is. A pair is ripe at the first complete window at which
    it is proposed, at least `min_windows` complete windows have it in their zone, and the mean probability that
    these give it is `min_prob` or more. It is reported then, unless an event reported before (or, at the same window, a
    more probable one) overlaps it. Nothing of this depends on bars after that window.

    Parameters
    ----------
    windows
        The windows that may report, and all before them that share a bar with one of them.
    reporting
        Windows at which events may be reported; those of others were reported before.

    Returns
    -------
    MergedEvents
        In the order of ripeness, then from the most probable one; `known_bar` is the last bar of that window.
    """
    bar, proposer = np.unique(windows.first_bar[:, None] + windows.pair, axis=0, return_index=True)
    bar = bar.reshape(-1, 2)
    first, last, cut = seen_by(windows.first_bar, bar, windows.n_seen, windows.zone)
    decided = ~cut | _never_inside(windows, bar, proposer)
    bar, proposer, first, last, cut = (column[decided] for column in (bar, proposer, first, last, cut))
    at = _reporting_window(windows, bar, proposer, first, last, tolerance_bars, min_prob, min_windows)
    now = np.flatnonzero((at >= 0) & reporting[at])
    found = judge(windows, bar[now], first[now], at[now] + 1, cut[now], tolerance_bars)
    found = replace(found, known_bar=windows.first_bar[at[now]] + windows.n_seen - 1)
    return found.take(np.lexsort((found.bar[:, 1], found.bar[:, 0], -found.event_prob, found.known_bar)))


def unreported(found: MergedEvents, reported: Int[np.ndarray, "reported 2"], max_overlap: float) -> MergedEvents:
    """Return the ripe events, in their order, that no event reported before overlaps, nor one of those before them."""
    kept: list[int] = []
    for row in range(len(found)):
        before = np.concatenate([reported, found.bar[kept]])
        if not (overlap(found.bar[row], before) > max_overlap).any():
            kept.append(row)
    return found.take(np.array(kept, dtype=np.int64))


def _never_inside(
    windows: WindowCurves, bar: Int[np.ndarray, "pairs 2"], proposer: Int[np.ndarray, " pairs"]
) -> Bool[np.ndarray, " pairs"]:
    """Report, from windows up to the proposing one, that no window has or will have the pair in its zone.

    A pair that a later window may have inside waits for it: whether that window comes is not known yet.
    """
    zone_first, zone_last = windows.zone
    too_long = bar[:, 1] - bar[:, 0] >= zone_last - zone_first
    passed = bar[:, 0] - zone_first < windows.first_bar[proposer]
    return np.asarray(too_long | passed)


def _reporting_window(
    windows: WindowCurves,
    bar: Int[np.ndarray, "pairs 2"],
    proposer: Int[np.ndarray, " pairs"],
    first: Int[np.ndarray, " pairs"],
    last: Int[np.ndarray, " pairs"],
    tolerance_bars: int,
    min_prob: float,
    min_windows: int,
) -> Int[np.ndarray, " pairs"]:
    """Return the first window at which each pair can be reported, -1 where there is none."""
    around = masses(windows, tolerance_bars)
    at, sums = np.full(len(bar), -1, dtype=np.int64), np.zeros(len(bar))
    for place in range(int((last - first).max(initial=0))):
        of = np.flatnonzero(place < last - first)
        window = first[of] + place
        local = bar[of] - windows.first_bar[window][:, None]
        sums[of] += around[window, local[:, 0], 0] * around[window, local[:, 1], 1]
        ripe = (window >= proposer[of]) & (place + 1 >= min_windows) & (sums[of] / (place + 1) >= min_prob)
        new = of[ripe & (at[of] < 0)]
        at[new] = first[new] + place
    return at
