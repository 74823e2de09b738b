"""A fit: what val rows choose, what only later stages see, and what nobody sees; its temperature out of fold."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from moola.core.splits import Split
from moola.fit import fitting, recipe
from moola.fit.fitting import cross_fitted_temperature, predict_held_out
from moola.fit.predicting import predict_windows
from tests.fit.fits_made import (
    N_BARS,
    SPLIT,
    TABLE,
    fit_inputs_of,
    fitted,
    once,
    poisoned,
    same_weights,
    write_split,
    write_unlabelled,
)
from tests.made import made_windows
from tests.networks_made import CPU

STUDENT: dict[str, Any] = {
    "unlabelled": Path("unlabelled.parquet"),
    "n_teachers": 1,
    "student_epochs": 1,
    "student_rounds": 1,
}


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_split(Path("split.json"))
    write_unlabelled(Path("unlabelled.parquet"))


def test_refit_trains_on_val_rows_and_what_judges_them_never_does():
    clean, other = once(head="mlp"), fitted(fit_inputs_of(poisoned(SPLIT.val)), head="mlp")
    assert clean.model is not clean.chosen
    assert same_weights(clean.chosen.network, other.chosen.network)
    assert not same_weights(clean.model.network, other.model.network)
    assert not same_weights(clean.model.network, clean.chosen.network)
    assert [row["stage"] for row in clean.state.history] == ["train", "refit"]
    assert "val_loss" in clean.state.history[0]
    assert "val_loss" not in clean.state.history[1]


def test_without_refit_val_rows_choose_and_teach_nothing():
    clean, other = (fitted(m, refit=False, head="mlp") for m in (fit_inputs_of(), fit_inputs_of(poisoned(SPLIT.val))))
    assert clean.model is clean.chosen
    assert clean.model.training["trained_on"] == ["train"]
    assert same_weights(clean.model.network, other.model.network)
    # They count in the temperature alone.
    assert clean.model.temperature != other.model.temperature


@pytest.mark.parametrize("refit", [True, False])
def test_test_rows_change_nothing_in_any_model(files, refit):
    clean = fitted(fit_inputs_of(), refit=refit, augment_data=True, **STUDENT)
    other = fitted(fit_inputs_of(poisoned(SPLIT.test)), refit=refit, augment_data=True, **STUDENT)
    for one, two in ((clean.model, other.model), (clean.chosen, other.chosen)):
        assert same_weights(one.network, two.network)
        assert (one.temperature, one.pointer_threshold) == (two.temperature, two.pointer_threshold)
    assert clean.state.history == other.state.history


@pytest.mark.slow
def test_windows_without_labels_that_run_into_val_or_follow_are_left_out(files):
    over, clean = write_unlabelled(Path("unlabelled.parquet")), once(**STUDENT)
    write_unlabelled(Path("unlabelled.parquet"), late=31)
    late = fitted(fit_inputs_of(), **STUDENT)
    write_unlabelled(Path("unlabelled.parquet"), early=31)
    early = fitted(fit_inputs_of(), **STUDENT)
    assert 0 < over.sum() < 100
    assert clean.model.training["n_unlabelled_windows"] == over.sum()
    assert same_weights(clean.model.network, late.model.network)
    assert not same_weights(clean.model.network, early.model.network)
    assert same_weights(clean.chosen.network, early.chosen.network)


def test_the_record_of_a_student_says_its_parts_and_windows(files):
    plain, student = once(), once(**STUDENT)
    assert set(student.model.training) - set(plain.model.training) == {"unlabelled_sha256", "n_unlabelled_windows"}
    assert student.model.training["time_range"] == plain.model.training["time_range"]
    assert "unlabelled_sha256" not in student.chosen.training
    for fit in (plain, student):
        assert fit.chosen.training["trained_on"] == ["train"]
        assert fit.model.training["trained_on"] == ["train", "val"]


@pytest.mark.slow
def test_each_round_has_a_student_of_its_own_that_says_calibrated_words(files):
    first, twice = once(**STUDENT), fitted(fit_inputs_of(), **STUDENT | {"student_rounds": 2})
    assert [row["stage"] for row in twice.state.history] == [*("train", "refit", "teacher-1", "student-1", "student-2")]
    assert first.state.history == twice.state.history[:-1]
    assert not same_weights(first.model.network, twice.model.network)
    assert first.model.temperature == twice.model.temperature == 1.0
    assert len(first.model.network.heads) == 2
    # A student is trained whole, also where the encoder of its teacher was frozen.
    assert first.proof["frozen"] is False
    assert first.proof["digest_before"] != first.proof["digest_after"]


def test_a_model_can_teach_alone_and_without_pointers(files):
    alone = fitted(fit_inputs_of(), **STUDENT | {"n_teachers": 0, "predict_pointers": False})
    assert [row["stage"] for row in alone.state.history] == ["train", "refit", "student-1"]
    assert "train_pointer_loss" not in alone.state.history[-1]
    assert alone.model.pointer_threshold is None


def test_val_is_told_by_the_model_before_and_test_by_the_one_that_is_kept():
    inputs, fit = fit_inputs_of(), once()
    held = predict_held_out(fit, inputs, CPU)
    assert held.row.tolist() == [*SPLIT.val, *SPLIT.test]
    assert held.part.tolist() == ["val"] * 6 + ["test"] * 6
    for model, rows in ((fit.chosen, SPLIT.val), (fit.model, SPLIT.test)):
        alone = predict_windows(model, inputs.table, rows, np.full(6, "x", dtype=object), CPU)
        here = np.isin(held.row, rows)
        np.testing.assert_array_equal(held.class_prob[here], alone.class_prob)
        np.testing.assert_array_equal(held.curves[here], alone.curves)


def test_without_a_test_part_nothing_is_refitted_and_a_student_is_judged_by_val_rows(files):
    inputs = fit_inputs_of(split=Split(SPLIT.train, SPLIT.val, SPLIT.test[:0]))
    plain = fitted(inputs)
    assert plain.model is plain.chosen
    assert predict_held_out(plain, inputs, CPU).row.tolist() == SPLIT.val.tolist()
    fit = fitted(inputs, **STUDENT)
    assert fit.model.training["trained_on"] == ["train"]
    assert not same_weights(fit.model.network, fit.chosen.network)
    alone = predict_windows(fit.model, inputs.table, SPLIT.val, np.full(6, "val", dtype=object), CPU)
    np.testing.assert_array_equal(predict_held_out(fit, inputs, CPU).class_prob, alone.class_prob)


def test_made_windows_come_from_the_rows_of_their_stage_alone(monkeypatch):
    seen = []
    make = recipe.synthetic_windows

    def recorded(options, table, split):
        made = make(options, table, split)
        seen.append((split, made))
        return made

    monkeypatch.setattr(recipe, "synthetic_windows", recorded)
    fitted(fit_inputs_of(), augment_data=True, head="mlp")
    (first, _), (second, made) = seen
    assert first.train.tolist() == SPLIT.train.tolist()
    assert second.train.tolist() == [*SPLIT.train, *SPLIT.val]
    for split in (first, second):
        held = np.concatenate([split.val, split.test])
        assert sorted([*split.train, *held]) == list(range(30))
    # Mirrored windows: each stands at the time of a row that may be seen.
    assert set(made.start_us.tolist()) <= set(TABLE.start_us[second.train].tolist())


# The temperature of a refitted model: every label has its say once, through a network that saw no bar of it.

KNOWN = np.concatenate([SPLIT.train, SPLIT.val])


class Folds:
    """Stages that remember which rows trained, and answer with what would be the model's network."""

    def __init__(self, inputs) -> None:
        self.inputs, self.device = inputs, "cpu"
        self.trained: list[list[int]] = []

    def fold(self, number: int, rows: np.ndarray):
        self.trained.append(rows.tolist())
        return number


@pytest.fixture
def judged(monkeypatch):
    """Remember which network read how many windows."""
    asked = []

    def read(model, features, _device):
        asked.append((model.network, len(features)))
        return np.tile([[0.0, 3.0]], (len(features), 1)), None

    monkeypatch.setattr(fitting, "read_windows_both_ways", read)
    return asked


@pytest.mark.parametrize(("stride", "n_shared"), [(N_BARS, 0), (10, 2)])
def test_each_row_is_judged_once_by_rows_that_share_no_bar_with_its_block(judged, stride, n_shared):
    table = made_windows(30, seed=4, stride=stride, window_bars=N_BARS)
    stages = Folds(fit_inputs_of(table))
    found = cross_fitted_temperature(stages, once().model, KNOWN, 4)
    assert found is not None
    assert judged[-4:] == [(number, 6) for number in (1, 2, 3, 4)]
    for block, trained in zip(np.array_split(KNOWN, 4), stages.trained, strict=True):
        gone = set(KNOWN.tolist()) - set(trained)
        beside = {row for row in KNOWN.tolist() for held in block if abs(row - held) * stride < N_BARS}
        assert gone == beside
        assert len(gone) in (6 + n_shared, 6 + 2 * n_shared)


@pytest.mark.slow
def test_overconfident_folds_cool_the_model_and_only_where_it_refits(monkeypatch):
    plain = once(head="mlp")
    assert plain.model.temperature == plain.chosen.temperature
    usual = fitting.fit_temperature
    # Over train and val rows it is that of the folds.
    monkeypatch.setattr(
        fitting, "fit_temperature", lambda logits, true: 1.7 if len(true) == len(KNOWN) else usual(logits, true)
    )
    folded = fitted(fit_inputs_of(), head="mlp", calibration_folds=4)
    assert (folded.model.temperature, folded.chosen.temperature) == (1.7, plain.chosen.temperature)
    assert [row["stage"] for row in folded.state.history][-4:] == [f"fold-{number}" for number in (1, 2, 3, 4)]
    alone = fitted(fit_inputs_of(), head="mlp", refit=False, calibration_folds=4)
    assert alone.model.temperature == plain.chosen.temperature


def test_too_few_windows_or_a_class_that_a_block_holds_alone_leave_the_temperature():
    inputs, model = fit_inputs_of(), once().model
    stages = Folds(inputs)
    for rows, n_folds in ((KNOWN[:19], 4), (KNOWN, 0), (KNOWN, 1)):
        assert cross_fitted_temperature(stages, model, rows, n_folds) is None
    label = np.array(["consolidation"] * 30, dtype=object)
    label[:3] = "retracement"
    lone = replace(inputs, table=replace(TABLE, label=label).with_features())
    assert cross_fitted_temperature(Folds(lone), model, KNOWN, 4) is None
    assert stages.trained == []
