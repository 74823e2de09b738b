"""Controls that train: a stage that sees what it must not is caught."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from moola.fit import jobs
from moola.leakcheck import training_controls
from moola.leakcheck.training_controls import Fitted
from tests.leakcheck.subjects import leaks, only_leak, states, subject_of, with_bars_of
from tests.planted import planted_windows
from tests.small import stay_small


@pytest.fixture(autouse=True)
def _small(monkeypatch, tmp_path):
    stay_small(monkeypatch)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def subject(tmp_path):
    return subject_of(tmp_path, planted_windows(40, seed=3))


def test_a_clean_stage_passes_and_writes_nothing(subject, tmp_path):
    before = sorted(tmp_path.rglob("*"))
    findings = training_controls.trained_controls(subject)
    assert [finding.what for finding in findings] == ["poisoned test rows", "shuffled labels", "shifted pointers"]
    assert states(findings) == {"ok"}
    assert sorted(tmp_path.rglob("*")) == before
    assert Path.cwd() == tmp_path


def test_a_stage_that_trains_on_test_rows(subject, monkeypatch):
    honest = jobs.gather

    def cheat(*given):
        inputs = honest(*given)
        seen = np.concatenate([inputs.split.train, inputs.split.test])
        return replace(inputs, split=replace(inputs.split, train=seen))

    monkeypatch.setattr(jobs, "gather", cheat)
    with training_controls.bench(subject) as fit:
        leak = only_leak(training_controls.poisoned_test(subject, fit, fit(subject.table, 17)))
    assert leak.row == 30
    assert "change the trained weights" in leak.found


def test_a_stage_that_peeks_at_the_truth(subject):
    """Shuffled labels and shifted pointers still give perfect figures: each repetition says so."""
    with training_controls.bench(subject) as fit:
        honest = fit(subject.table, 17)
    truth, calls = honest.predictions, []
    known = replace(truth, class_prob=np.eye(2)[truth.class_index], predicted_bar=truth.true_bar)

    def peek(table, seed):
        calls.append(seed)
        return Fitted("same", (1.0, None), known, honest.facts)

    plain = peek(subject.table, 1)
    assert "above the class share" in only_leak(training_controls.shuffled_labels(subject, peek, plain)).found
    assert "in each of 5 shifts" in only_leak(training_controls.shifted_pointers(subject, peek, plain)).found
    assert len(set(calls[1:])) == training_controls.N_REPEATS


def test_made_tables_change_only_what_they_should(subject):
    table, train, test = subject.table, subject.split.train, subject.split.test
    others = np.setdiff1d(np.arange(40), test)
    poisoned = training_controls.poison(table, test, 1)
    assert (poisoned.label[test] != table.label[test]).all()
    assert (poisoned.ohlc[test] != table.ohlc[test]).any(axis=(1, 2)).all()
    assert (poisoned.ohlc[others] == table.ohlc[others]).all()
    assert (poisoned.label[others] == table.label[others]).all()
    shuffled = training_controls.shuffle_labels(subject, 0)
    assert sorted(shuffled.label[train]) == sorted(table.label[train])
    assert (shuffled.label[20:] == table.label[20:]).all()
    shifted = training_controls.shift_pointers(subject, 0)
    assert (shifted.expansion_start[20:] == table.expansion_start[20:]).all()
    length = table.expansion_end - table.expansion_start
    assert (shifted.expansion_end - shifted.expansion_start == length).all()
    assert shifted.expansion_end.max() < 105
    assert shifted.expansion_start.min() >= 0


@pytest.mark.slow
def test_equal_bars_keep_equal_labels(tmp_path):
    subject = subject_of(tmp_path, with_bars_of(planted_windows(40, seed=3), 5, 4))
    for attempt in range(5):
        label = training_controls.shuffle_labels(subject, attempt).label
        assert label[4] == label[5]
    with training_controls.bench(subject) as fit:
        assert not leaks(training_controls.shuffled_labels(subject, fit, fit(subject.table, 17)))


def test_without_test_part_or_pointers_it_says_so(tmp_path):
    nowhere = np.full(40, -1)
    table = replace(planted_windows(40, seed=3), expansion_start=nowhere, expansion_end=nowhere)
    findings = training_controls.trained_controls(subject_of(tmp_path, table, test=[]))
    assert [finding.state for finding in findings] == ["note", "ok", "note"]


def test_rows_in_two_parts_cannot_be_trained_on(tmp_path):
    findings = training_controls.trained_controls(
        subject_of(tmp_path, planted_windows(40, seed=3), val=[7, *range(20, 30)])
    )
    assert states(findings) == {"note"}
    assert "Fix what is marked leak first" in findings[0].advice
