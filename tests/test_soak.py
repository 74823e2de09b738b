"""The soak in short: some seconds under load; and each of its checks can fail."""

from __future__ import annotations

import importlib
import os
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

from moola.core.label_rules import Expansion, WindowLabel
from moola.tables.label_store import LabelStore

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
NAMES = ("soak", "soak_load", "scan", "page_parts")
MINUTE_US = 60_000_000


@pytest.fixture(scope="module")
def soak():
    sys.path.insert(0, str(BENCHMARKS))
    try:
        yield importlib.import_module("soak")
    finally:
        sys.path.remove(str(BENCHMARKS))
        for name in NAMES:
            sys.modules.pop(name, None)


@pytest.mark.parametrize(
    ("of", "values", "is_settled", "said"),
    [
        ("rss_mib", [100.0] * 12, True, None),
        ("rss_mib", [50.0] * 2 + [100.0] * 8 + [104.5] * 2, True, "may grow by 4 MiB"),
        ("rss_mib", [50.0] * 2 + [100.0] * 8 + [104.5] * 2, False, None),
        ("n_descriptors", [8, 8, 9, 8, 8, 9, 9, 8, 8, 9, 9, 8], True, None),
        ("n_descriptors", [8, 8, 9, 8, 8, 9, 9, 8, 8, 9, 9, 9], False, "from 8 to 9"),
    ],
)
def test_growth_is_found(soak, of, values, is_settled, said):
    flat = {"rss_mib": 1.0, "n_descriptors": 1, "log_bytes": 0, "kept_bytes": 0}
    process = object.__new__(soak.Process)
    process.name, process.samples = "scan", [soak.Sample(**flat | {of: value}) for value in values]
    found = soak.growth_problems(process, is_settled)
    assert len(found) == (said is not None)
    assert said is None or said in found[0]


def test_an_event_told_twice_or_missing_or_too_many_is_found(soak):
    assert soak.event_problems([b"b", b"a"], [b"a", b"b"]) == []
    assert "1 were told again" in soak.event_problems([b"a", b"a"], [b"a"])[0]
    assert "1 differ" in soak.event_problems([b"a"], [b"a", b"b"])[0]
    assert "1 differ" in soak.event_problems([b"a", b"b"], [b"a"])[0]


def test_a_save_that_is_lost_changed_foreign_or_given_twice_is_found(soak, tmp_path):
    path = tmp_path / "labels.db"
    mark = Expansion(40 * MINUTE_US, 50 * MINUTE_US, "retracement")
    label = WindowLabel("w", "", 0, 104 * MINUTE_US, "anna", "A", "", "first", (mark,), "labelled")
    with LabelStore(path) as store:
        store.save(label, 0)
    told = {"status": "labelled", "grade": "A", "note": "first", "revision": 1}
    told |= {"expansions": [{"start": 40, "end": 50, "label": "retracement"}]}

    def found(*saves: dict) -> str:
        return " ".join(
            soak.label_problems(path, [SimpleNamespace(acknowledged=[("w", "anna", one) for one in saves])])
        )

    assert found(told) == ""
    assert "1 differ" in found(told, told | {"revision": 2})
    assert "1 differ" in found(told | {"expansions": [{"start": 41, "end": 50, "label": "retracement"}]})
    assert "1 differ" in found()
    assert "given twice" in found(told, told)


def test_the_lines_of_the_bars_take_turns_and_are_the_same_each_time(soak):
    lines = list(soak.bar_lines(6, 2))
    assert [line.strip().rsplit(b",", 1)[1] for line in lines] == [b"symbol", *[b"AAA", b"BBB"] * 3]
    assert lines == list(soak.bar_lines(6, 2))
    assert lines[1:] != list(soak.bar_lines(6, 3))[1:]


def test_a_worker_that_meets_a_wrong_answer_ends_and_says_it(soak):
    class Wrong(soak.Writer):
        def work(self):
            raise soak.Broken("no answer")

    worker = Wrong(Path("bars.csv"), iter([]), 1000.0, threading.Event())
    worker.run()
    assert worker.failure == "writer: Broken: no answer"


@pytest.mark.slow
def test_some_seconds_under_load_lose_nothing(soak, monkeypatch, capsys):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    assert soak.main(["--minutes", "0.2"]) == 0
    out = capsys.readouterr().out
    assert "moola label" in out
    assert "0 events reported" not in out
