"""Live events depend on nothing that comes after them; a slow twin steps through windows as they complete."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moola.core.event_merging import MergedEvents, WindowCurves, live_events, unreported
from moola.core.windows import inner_zone
from tests.core.test_merging import BARS, TOLERANCE, curves_made, slow_overlap

NONE = np.zeros((0, 2), dtype=np.int64)
SEEN = 25


def live(said, min_prob=0.2, min_windows=2, reporting=None, told=NONE, max_overlap=0.1):
    reporting = np.ones(len(said), dtype=bool) if reporting is None else reporting
    return unreported(live_events(said, reporting, TOLERANCE, min_prob, min_windows), told, max_overlap)


def seen_curves(seed, n_seen, first_bar):
    """Curves over the first bars of each window, as a model of visible bars gives them."""
    said = curves_made(seed, first_bar, n_seen)
    zone = inner_zone(BARS)
    return replace(said, zone=(zone[0], min(zone[1], n_seen)))


def upto(said, n):
    arrays = {name: getattr(said, name)[:n] for name in ("first_bar", "curves", "class_prob", "pair")}
    return WindowCurves(**arrays, zone=said.zone)


def slow_live(said, min_prob, min_windows, max_overlap):
    """Look at everything again whenever a window completes, and never at one that has not."""
    told = []
    for now in range(len(said)):
        pairs = {tuple((said.first_bar[w] + said.pair[w]).tolist()) for w in range(now + 1)}
        ripe = []
        for start, end in pairs:
            inner = [w for w in range(now + 1) if _inside(said, w, start, end, said.zone)]
            whole = [w for w in range(now + 1) if _inside(said, w, start, end, (0, said.n_seen))]
            proposed = min(
                w for w in range(now + 1) if tuple((said.first_bar[w] + said.pair[w]).tolist()) == (start, end)
            )
            never = end - start >= said.zone[1] - said.zone[0] or start - said.zone[0] < said.first_bar[proposed]
            saw = inner or (whole if never else [])
            if len(saw) < min_windows or saw[-1] != now:
                continue
            probs = []
            for w in saw:
                one = 1.0
                for i, bar in enumerate((start, end)):
                    local = bar - said.first_bar[w]
                    one *= sum(said.curves[w, b, i] for b in range(said.n_seen) if abs(b - local) <= TOLERANCE)
                probs.append(one)
            ripe.append((-np.mean(probs), start, end))
        for prob, start, end in sorted(ripe):
            if -prob >= min_prob and all(slow_overlap((start, end), other[:2]) <= max_overlap for other in told):
                told.append((start, end, int(said.first_bar[now] + said.n_seen - 1)))
    return told


def _inside(said, w, start, end, zone):
    return said.first_bar[w] + zone[0] <= start and end < said.first_bar[w] + zone[1]


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("n_seen", [SEEN, 30, BARS])
def test_live_events_are_what_the_slow_twin_tells(seed, n_seen):
    said = seen_curves(seed, n_seen, [*range(0, 60, 3), *range(120, 170, 3)])
    found = live(said, 0.06)
    rows = [(*bar, known) for bar, known in zip(found.bar.tolist(), found.known_bar.tolist(), strict=True)]
    assert rows == slow_live(said, 0.06, 2, 0.1)
    assert len(rows) > 2


@given(st.integers(0, 10_000), st.sampled_from([SEEN, 30, BARS]), st.integers(1, 30))
def test_windows_to_come_change_nothing_that_was_told(seed, n_seen, moment):
    said = seen_curves(seed, n_seen, list(range(0, 93, 3)))
    other = seen_curves(seed + 1, n_seen, list(range(0, 93, 3)))
    mixed = {
        name: np.concatenate([getattr(said, name)[:moment], getattr(other, name)[moment:]])
        for name in ("first_bar", "curves", "class_prob", "pair")
    }
    known = said.first_bar[moment - 1] + n_seen - 1
    one, changed = live(said), live(WindowCurves(**mixed, zone=said.zone))
    short = live(upto(said, moment))
    for some in (changed, one):
        before = some.take(np.flatnonzero(some.known_bar <= known))
        assert _same(before, short)


@given(st.integers(0, 10_000), st.sets(st.integers(1, 30), max_size=4))
def test_pieces_tell_what_all_at_once_would(seed, cuts):
    said = seen_curves(seed, 30, list(range(0, 93, 3)))
    told, pieces, before = NONE, [], 0
    for stop in [*sorted(cuts), len(said)]:
        reporting = (np.arange(len(said)) >= before) & (np.arange(len(said)) < stop)
        pieces.append(live(upto(said, stop), reporting=reporting[:stop], told=told))
        told, before = np.concatenate([told, pieces[-1].bar]), stop
    assert _same(MergedEvents.joined(pieces), live(said))


def _same(one: MergedEvents, other: MergedEvents) -> bool:
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in MergedEvents.__dataclass_fields__)


def test_no_windows_tell_nothing():
    assert len(live(curves_made(0, []))) == 0
