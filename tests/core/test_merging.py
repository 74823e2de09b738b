import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moola.core.event_merging import (
    INTERVAL_REACH_BARS,
    MergedEvents,
    WindowCurves,
    merge_windows,
    overlap,
    seen_by,
    suppress,
)
from moola.core.windows import inner_zone

BARS = 35
TOLERANCE = 3


def curves_made(seed, first_bar, n_bars=BARS, sharp=2.0):
    """Random peaked curves, and as pairs the peaks in order."""
    rng = np.random.default_rng(seed)
    shape = np.exp(sharp * rng.normal(size=(len(first_bar), n_bars, 2)))
    curves = shape / shape.sum(axis=1, keepdims=True)
    pair = np.sort(curves.argmax(axis=1), axis=1)
    return WindowCurves(
        np.array(first_bar, dtype=np.int64), curves, rng.dirichlet([1, 1], len(first_bar)), pair, inner_zone(n_bars)
    )


def slow_merge(said, proposing):
    """Event by event, window by window, bar by bar."""
    n_bars = said.curves.shape[1]
    zone = said.zone
    pairs = sorted({tuple((said.first_bar[w] + said.pair[w]).tolist()) for w in np.flatnonzero(proposing)})
    rows = []
    for start, end in pairs:
        inner = [w for w, f in enumerate(said.first_bar) if f + zone[0] <= start and end < f + zone[1]]
        whole = [w for w, f in enumerate(said.first_bar) if f <= start and end < f + n_bars]
        saw = inner or whole
        mass = []
        near = [{}, {}]
        agree = 0
        for w in saw:
            local = [start - said.first_bar[w], end - said.first_bar[w]]
            mass.append(
                [sum(said.curves[w, b, i] for b in range(n_bars) if abs(b - local[i]) <= TOLERANCE) for i in (0, 1)]
            )
            agree += all(abs(said.pair[w, i] - local[i]) <= TOLERANCE for i in (0, 1))
            for i in (0, 1):
                for b in range(n_bars):
                    bar = int(b + said.first_bar[w])
                    if abs(b - local[i]) <= INTERVAL_REACH_BARS and (bar <= end if i == 0 else bar >= start):
                        near[i][bar] = near[i].get(bar, 0.0) + said.curves[w, b, i]
        mass = np.array(mass)
        weight = mass[:, 0] * mass[:, 1]
        edges = []
        for i, pointer in enumerate((start, end)):
            total, low, high, so_far = sum(near[i].values()), None, None, 0.0
            for bar in sorted(near[i]):
                so_far += near[i][bar]
                low = bar if low is None and so_far >= 0.1 * total else low
                high = bar if high is None and so_far >= 0.9 * total else high
            edges.append((min(low, pointer), max(high, pointer)))
        class_prob = (weight[:, None] * said.class_prob[saw]).sum(axis=0) / weight.sum()
        rows.append((mass.mean(axis=0), weight.mean(), class_prob, edges, agree, len(saw), not inner))
    return pairs, rows


@pytest.mark.parametrize("seed", range(4))
def test_merging_is_what_the_slow_twin_says(seed):
    # Two stretches that share no bar, as two symbols or both sides of a gap.
    said = curves_made(seed, [*range(0, 60, 4), *range(120, 160, 4)])
    proposing = np.random.default_rng(seed).random(len(said)) < 0.7
    merged = merge_windows(said, proposing, TOLERANCE)
    pairs, rows = slow_merge(said, proposing)
    assert merged.bar.tolist() == [list(pair) for pair in pairs]
    assert any(row[6] for row in rows)
    assert not all(row[6] for row in rows)
    for i, (pointer, both, class_prob, edges, agree, n_saw, cut) in enumerate(rows):
        assert merged.pointer_prob[i] == pytest.approx(pointer)
        assert merged.event_prob[i] == pytest.approx(both)
        assert merged.class_prob[i] == pytest.approx(class_prob)
        assert list(zip(merged.low[i].tolist(), merged.high[i].tolist(), strict=True)) == edges
        assert (merged.n_agree[i], merged.n_saw[i], merged.cut[i]) == (agree, n_saw, cut)


def test_windows_that_propose_nothing_give_no_events():
    said = curves_made(0, [0, 5])
    merged = merge_windows(said, np.zeros(2, dtype=bool), TOLERANCE)
    assert len(merged) == 0
    assert merged.class_prob.shape == (0, 2)
    assert [mask.tolist() for mask in suppress(merged, np.zeros((0, 2), dtype=int), 0.1, 0)] == [[], []]


def test_an_event_at_the_end_of_the_bars_is_seen_and_cut():
    first, last = inner_zone(BARS)
    bar = np.array([[first, last - 1], [0, 3], [BARS - 2, BARS - 1], [first, last]])
    _, _, cut = seen_by(np.array([0]), bar, BARS, (first, last))
    assert cut.tolist() == [False, True, True, True]


def events_made(bars, probs):
    none = MergedEvents.none(1)
    n = len(probs)
    bar = np.array(bars, dtype=np.int64).reshape(-1, 2)
    return MergedEvents(
        bar,
        np.zeros((n, 2)),
        np.array(probs, dtype=float),
        np.ones((n, 1)),
        bar,
        bar,
        np.zeros(n, dtype=none.n_agree.dtype),
        np.ones(n, dtype=none.n_saw.dtype),
        np.zeros(n, dtype=bool),
        np.full(n, -1),
    )


def slow_overlap(one, other):
    mine, theirs = set(range(one[0], one[1] + 1)), set(range(other[0], other[1] + 1))
    return len(mine & theirs) / len(mine | theirs)


def slow_kept(pairs, probs, max_overlap):
    kept = []
    for prob, pair in sorted(zip(probs, pairs, strict=True), key=lambda row: (-row[0], row[1])):
        if all(slow_overlap(pair, other) <= max_overlap for _, other in kept):
            kept.append((prob, pair))
    return sorted(pair for _, pair in kept)


SPANS = st.lists(
    st.tuples(st.integers(0, 80), st.integers(0, 12), st.sampled_from([0.1, 0.2, 0.3, 0.5, 0.8])),
    max_size=25,
    unique_by=lambda row: row[:2],
)


@given(SPANS, st.sampled_from([0.0, 0.1, 0.4]), st.lists(st.integers(1, 90), max_size=4))
def test_pieces_settled_one_after_the_other_give_what_all_at_once_would(spans, max_overlap, horizons):
    pairs = [(start, start + length) for start, length, _ in spans]
    probs = [prob for *_, prob in spans]
    left, kept_all = events_made([], []), []
    told, before = np.zeros((0, 2), dtype=np.int64), 0
    for horizon in [*sorted(horizons), 1000]:
        coming = [i for i, (start, _) in enumerate(pairs) if before <= start < horizon]
        arrived = events_made([pairs[i] for i in coming], [probs[i] for i in coming])
        left = MergedEvents.joined([left, arrived])
        kept, still = suppress(left, told, max_overlap, horizon)
        assert not (kept & still).any()
        kept_all += [tuple(bar) for bar in left.bar[kept].tolist()]
        told = np.concatenate([told, left.bar[kept]])
        left, before = left.take(np.flatnonzero(still)), horizon
    assert len(left) == 0
    assert sorted(kept_all) == slow_kept(pairs, probs, max_overlap)


@given(st.tuples(st.integers(0, 20), st.integers(0, 9)), st.lists(st.tuples(st.integers(0, 20), st.integers(0, 9))))
def test_overlap_counts_shared_bars(one, others):
    pair = np.array([one[0], one[0] + one[1]])
    rest = np.array([[start, start + length] for start, length in others], dtype=np.int64).reshape(-1, 2)
    assert overlap(pair, rest).tolist() == pytest.approx([slow_overlap(pair, other) for other in rest.tolist()])
