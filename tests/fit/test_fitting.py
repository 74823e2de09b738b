"""A fit: what val rows choose, what only later stages see, and what nobody sees."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from moola.core.splits import Split
from moola.fit import recipe
from moola.fit.fitting import predict_held_out
from moola.fit.predicting import predict_windows
from tests.fit.fits_made import (
    SPLIT,
    TABLE,
    fit_inputs_of,
    fitted,
    poisoned,
    same_weights,
    write_split,
    write_unlabelled,
)
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
    clean, other = (fitted(m, head="mlp") for m in (fit_inputs_of(), fit_inputs_of(poisoned(SPLIT.val))))
    assert clean.model is not clean.chosen
    assert same_weights(clean.chosen.network, other.chosen.network)
    assert not same_weights(clean.model.network, other.model.network)
    assert not same_weights(clean.model.network, clean.chosen.network)
    assert [row["stage"] for row in clean.state.history] == ["train", "refit"]
    assert "val_loss" in clean.state.history[0]
    assert "val_loss" not in clean.state.history[1]


def test_without_refit_val_rows_choose_and_teach_nothing():
    clean = fitted(fit_inputs_of(), refit=False, head="mlp")
    other = fitted(fit_inputs_of(poisoned(SPLIT.val)), refit=False, head="mlp")
    assert clean.model is clean.chosen
    assert same_weights(clean.model.network, other.model.network)
    # They have their say in the temperature alone.
    assert clean.model.temperature != other.model.temperature


@pytest.mark.parametrize("refit", [True, False])
def test_test_rows_change_nothing_in_any_model(files, refit):
    clean = fitted(fit_inputs_of(), refit=refit, augment_data=True, **STUDENT)
    other = fitted(fit_inputs_of(poisoned(SPLIT.test)), refit=refit, augment_data=True, **STUDENT)
    for one, two in ((clean.model, other.model), (clean.chosen, other.chosen)):
        assert same_weights(one.network, two.network)
        assert (one.temperature, one.pointer_threshold) == (two.temperature, two.pointer_threshold)
    assert clean.state.history == other.state.history


def test_windows_without_labels_that_run_into_val_or_follow_are_left_out(files):
    over = write_unlabelled(Path("unlabelled.parquet"))
    clean = fitted(fit_inputs_of(), **STUDENT)
    write_unlabelled(Path("unlabelled.parquet"), late=31)
    late = fitted(fit_inputs_of(), **STUDENT)
    write_unlabelled(Path("unlabelled.parquet"), early=31)
    early = fitted(fit_inputs_of(), **STUDENT)
    assert 0 < over.sum() < 100
    assert clean.model.training["n_unlabelled_windows"] == over.sum()
    assert same_weights(clean.model.network, late.model.network)
    assert not same_weights(clean.model.network, early.model.network)
    assert same_weights(clean.chosen.network, early.chosen.network)


def test_the_record_of_a_student_reaches_back_to_its_first_window(files):
    plain, student = fitted(fit_inputs_of()), fitted(fit_inputs_of(), **STUDENT)
    assert set(student.model.training) - set(plain.model.training) == {"unlabelled_sha256", "n_unlabelled_windows"}
    assert student.model.training["time_range"] == plain.model.training["time_range"]
    assert "unlabelled_sha256" not in student.chosen.training


def test_each_round_has_a_student_of_its_own_that_says_calibrated_words(files):
    once, twice = (fitted(fit_inputs_of(), **STUDENT | {"student_rounds": n}) for n in (1, 2))
    assert [row["stage"] for row in twice.state.history] == [
        "train",
        "refit",
        "teacher-1",
        "student-1",
        "student-2",
    ]
    assert once.state.history == twice.state.history[:-1]
    assert not same_weights(once.model.network, twice.model.network)
    assert once.model.temperature == twice.model.temperature == 1.0
    assert len(once.model.network.heads) == 2
    # A student is trained whole, also where the encoder of its teacher was frozen.
    assert once.proof["frozen"] is False
    assert once.proof["digest_before"] != once.proof["digest_after"]


def test_a_model_can_teach_alone_and_without_pointers(files):
    alone = fitted(fit_inputs_of(), **STUDENT | {"n_teachers": 0, "predict_pointers": False})
    assert [row["stage"] for row in alone.state.history] == ["train", "refit", "student-1"]
    assert "train_pointer_loss" not in alone.state.history[-1]
    assert alone.model.pointer_threshold is None


def test_val_is_told_by_the_model_before_and_test_by_the_one_that_is_kept():
    material = fit_inputs_of()
    fit = fitted(material)
    held = predict_held_out(fit, material, CPU)
    assert held.row.tolist() == [*SPLIT.val, *SPLIT.test]
    assert held.part.tolist() == ["val"] * 6 + ["test"] * 6
    for model, rows in ((fit.chosen, SPLIT.val), (fit.model, SPLIT.test)):
        alone = predict_windows(model, material.table, rows, np.full(6, "x", dtype=object), CPU)
        here = np.isin(held.row, rows)
        np.testing.assert_array_equal(held.class_prob[here], alone.class_prob)
        np.testing.assert_array_equal(held.curves[here], alone.curves)


def test_without_a_test_part_nothing_is_refitted_and_val_alone_is_told():
    material = fit_inputs_of(split=Split(SPLIT.train, SPLIT.val, SPLIT.test[:0]))
    fit = fitted(material)
    assert fit.model is fit.chosen
    assert predict_held_out(fit, material, CPU).row.tolist() == SPLIT.val.tolist()


def test_a_student_that_never_trained_on_val_rows_is_judged_by_them(files):
    material = fit_inputs_of(split=Split(SPLIT.train, SPLIT.val, SPLIT.test[:0]))
    fit = fitted(material, **STUDENT)
    assert fit.model.training["trained_on"] == ["train"]
    assert not same_weights(fit.model.network, fit.chosen.network)
    alone = predict_windows(fit.model, material.table, SPLIT.val, np.full(6, "val", dtype=object), CPU)
    np.testing.assert_array_equal(predict_held_out(fit, material, CPU).class_prob, alone.class_prob)


def test_a_model_says_which_parts_it_trained_on(files):
    for options in ({}, STUDENT):
        fit = fitted(fit_inputs_of(), **options)
        assert fit.chosen.training["trained_on"] == ["train"]
        assert fit.model.training["trained_on"] == ["train", "val"]
    assert fitted(fit_inputs_of(), refit=False).model.training["trained_on"] == ["train"]


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
