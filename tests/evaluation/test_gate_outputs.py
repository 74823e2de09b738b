"""The whole record of the gate, of windows and of events, for a case of each outcome: fields and figures.

`PYTHONPATH=src python -m tests.evaluation.test_gate_outputs` writes the file anew, where a change is meant.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from moola.evaluation.event_figures import random_pieces
from moola.evaluation.event_gate import judge_events
from moola.evaluation.gates import judge
from moola.evaluation.span_metrics import judged_events
from tests.charts_made import judged_of, planted
from tests.evaluation.test_event_gate import tables
from tests.evaluation.test_gates import EVEN, perfect_rank, right, small_but_sure
from tests.predictions_made import two_class

STORED = Path(__file__).with_name("gate_outputs.json")


def windows(challenger: Any, baseline: Any, leaks: tuple[str, ...] = (), **options: Any) -> dict[str, Any]:
    return judge(challenger, baseline, EVEN, list(leaks), **options).as_dict()


def events(challenger: Any, baseline: Any, **options: Any) -> dict[str, Any]:
    return judge_events(challenger, baseline, seed=1, n_resamples=100, **options).as_dict()


def one_class() -> dict[str, Any]:
    class_index = np.zeros(30, dtype=np.int64)
    return windows(two_class(class_index, np.full(30, 0.1)), two_class(class_index, np.full(30, 0.4)))


def unlabelled() -> dict[str, Any]:
    table = replace(right(10, 0.9, 0.9), class_index=np.full(10, -1))
    return windows(table, replace(table, class_prob=1 - table.class_prob), min_gain=0.02, ece_rule="noise")


def scaled(judged: Any, factor: float) -> Any:
    return replace(judged, events=replace(judged.events, prob=judged.events.prob * factor), _found={})


def short() -> dict[str, Any]:
    good, poor = (judged_of(*planted(1, 4, 400, share, n), 400) for share, n in ((1.0, 0), (0.5, 2)))
    return events(good, judged_events(poor.events, good.spans, good.chart))


def few_events() -> dict[str, Any]:
    def sure(share: float, n_false: int, right_prob: float, false_prob: float) -> Any:
        found, spans = planted(1, 20, 4000, share, n_false)
        found = [replace(one, prob=right_prob if one.prob > 0.5 else false_prob) for one in found]
        return judged_of(found, spans, 4000)

    good, poor = sure(0.8, 2, 0.85, 0.15), sure(0.5, 4, 0.999, 0.001)
    return events(good, judged_events(poor.events, good.spans, good.chart), ece_rule="noise")


def without_events() -> dict[str, Any]:
    (one,) = tables((0.6, 60))
    return events(one, replace(one, events=one.events.take(np.zeros(0, dtype=int)), _found={}))


CASES: dict[str, Callable[[], dict[str, Any]]] = {
    "windows promote": lambda: windows(right(200, 0.9, 0.9), right(200, 0.6, 0.6, 1)),
    "windows thin": lambda: windows(right(60, 0.7, 0.7, 2), right(60, 0.65, 0.65, 3)),
    "windows thin, enough for the least gain": lambda: windows(
        right(60, 0.7, 0.7, 2), right(60, 0.65, 0.65, 3), min_gain=0.5
    ),
    "windows thin, no least gain": lambda: windows(right(60, 0.7, 0.7, 2), right(60, 0.65, 0.65, 3), min_gain=0.0),
    "windows small gain": lambda: windows(*small_but_sure()),
    "windows ECE may be noise": lambda: windows(right(40, 0.85, 0.9), right(40, 0.6, 0.6, 1), ece_rule="noise"),
    "windows ECE": lambda: windows(perfect_rank(200, 0.7), right(200, 0.6, 0.6), ece_rule="noise"),
    "windows every rule broken": lambda: windows(right(200, 0.8, 0.95), right(200, 0.9, 0.9)),
    "windows class share": lambda: windows(right(200, 0.55, 0.8), right(200, 0.4, 0.9)),
    "windows leak": lambda: windows(right(200, 0.9, 0.9), right(200, 0.6, 0.6), ("seen", "its {split} overlaps")),
    "windows same": lambda: windows(right(50, 0.9, 0.9), right(50, 0.9, 0.9)),
    "windows one class": one_class,
    "windows unlabelled": unlabelled,
    "events promote": lambda: events(*tables((0.8, 40), (0.5, 60))),
    "events thin": lambda: events(*tables((0.61, 60), (0.6, 61))),
    "events small gain": lambda: events(*tables((0.8, 40), (0.5, 60)), min_gain=0.9),
    "events short": short,
    "events ECE may be noise": few_events,
    "events ECE": lambda: events(
        scaled(tables((0.8, 40), (0.5, 60))[0], 0.1), tables((0.8, 40), (0.5, 60))[1], ece_rule="noise"
    ),
    "events more alarms": lambda: events(*tables((0.8, 90), (0.5, 60))),
    "events fewer alarms above a threshold": lambda: events(*tables((0.8, 90), (0.5, 60)), thresholds=(0.5, 0.0)),
    "events worse": lambda: events(*tables((0.5, 60), (0.8, 40))),
    "events random": lambda: events(
        random_pieces(tables((0.8, 40), (0.0, 60))[0], 5, 0), tables((0.8, 40), (0.0, 60))[1]
    ),
    "events same": lambda: events(*tables((0.6, 60)), *tables((0.6, 60))),
    "events none": without_events,
}


def rounded(value: Any) -> Any:
    """Keep ten digits of a figure, none below 1e-12: the last ones are the processor's."""
    if isinstance(value, dict):
        return {name: rounded(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(one) for one in value]
    return round(float(f"{value:.10g}"), 12) if isinstance(value, float) else value


def record_of(name: str) -> dict[str, Any]:
    """Return a case's record; of the sentence that gives its reason the figures alone, for words may change."""
    record = CASES[name]()
    return rounded(record | {"reason": re.findall(r"[\d.]*\d", record["reason"])})


if __name__ == "__main__":
    made = {name: record_of(name) for name in CASES}
    lines = (f"{json.dumps(name)}: {json.dumps(record, sort_keys=True)}" for name, record in made.items())
    STORED.write_text("{\n" + ",\n".join(lines) + "\n}\n")


@pytest.mark.parametrize("name", CASES)
def test_the_record_is_the_stored_one(name: str) -> None:
    assert record_of(name) == json.loads(STORED.read_text())[name]
