"""Precision and recall of events are what a loop over all pairs says."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

from moola.core.bars import Bars
from moola.core.event_merging import MergedEvents
from moola.tables.event_table import events_of

PATH = Path(__file__).resolve().parents[1] / "benchmarks" / "scan_events.py"
spec = importlib.util.spec_from_file_location("scan_events", PATH)
scan_events = importlib.util.module_from_spec(spec)

sys.modules["scan_events"] = scan_events
spec.loader.exec_module(scan_events)
N_BARS = 4000
START_US = np.arange(N_BARS) * 3_600_000_000


def made(seed):
    """Windows at random places, and events of which some are near their expansions."""
    rng = np.random.default_rng(seed)
    first = np.sort(rng.integers(0, N_BARS - 105, 40))
    start = first + rng.integers(30, 60, 40)
    expansion = np.stack([start, start + rng.integers(3, 15, 40)], axis=1)
    label = np.array(["calm", "wild"], dtype=object)[rng.integers(0, 2, 40)]
    zone = np.stack([first + 30, first + 74], axis=1)
    truth = scan_events.Truth(zone, expansion, label, START_US[first] // scan_events.DAY_US)
    near = expansion[rng.integers(0, 40, 60)] + rng.integers(-5, 6, (60, 2))
    far = rng.integers(0, N_BARS - 30, 40)
    bar = np.concatenate([np.sort(near, axis=1), np.stack([far, far + 8], axis=1)])
    n, prob = len(bar), rng.random(100).round(2)
    calm = rng.random(n)
    merged = MergedEvents(
        bar, np.ones((n, 2)), prob, np.stack([calm, 1 - calm], axis=1), bar, bar, *(np.ones(n, dtype=int),) * 2,
        np.zeros(n, dtype=bool), np.full(n, -1),
    )  # fmt: skip
    bars = Bars(START_US, np.ones((N_BARS, 4)), np.full(N_BARS, "", dtype=object))
    return truth, bar, events_of(merged, bars, ["calm", "wild"])


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("threshold", [0.0, 0.5])
def test_precision_and_recall_are_what_the_slow_twin_says(seed, threshold):
    truth, bar, events = made(seed)
    said = scan_events.figures(scan_events.match(events, bar, START_US, truth), threshold)
    n_judged = n_right = n_class = 0
    found = set()
    for i, (start, end) in enumerate(bar.tolist()):
        if events.event_prob[i] < threshold:
            continue
        hits = [w for w, (s, e) in enumerate(truth.expansion.tolist()) if abs(start - s) <= 3 and abs(end - e) <= 3]
        inside = any(first <= start and end <= last for first, last in truth.zone.tolist())
        name = ["calm", "wild"][int(events.class_prob[i].argmax())]
        n_judged += bool(hits) or inside
        n_right += bool(hits)
        n_class += any(truth.label[w] == name for w in hits)
        found |= {tuple(truth.expansion[w].tolist()) for w in hits}
    assert said["n_judged"] == n_judged
    assert said["precision"] == pytest.approx(n_right / n_judged)
    assert said["class_accuracy"] == pytest.approx(n_class / n_right)
    assert said["recall"] == pytest.approx(len(found) / len({tuple(pair) for pair in truth.expansion.tolist()}))
    low, high = said["precision_95"]
    assert low <= said["precision"] <= high
