"""Stages of a fit: one loop, checkpoints of their own, and an encoder that really was trained."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.special import softmax

from moola.core.features import mirrored_features
from moola.fit.inputs import FitInputs, Job, resolve_options
from moola.fit.predicting import read_windows_both_ways
from moola.fit.recipe import Stages, Unlabelled, open_unlabelled, soft_labels
from moola.options.training_options import TrainOptions
from moola.training import loop
from tests.fit.fits_made import SPLIT, TINY, fit_inputs_of, fitted, once, same_weights, write_split, write_unlabelled
from tests.networks_made import CPU, equal_weights, tiny_encoder

NONE = SPLIT.val[:0]


def options_of(inputs: FitInputs, **changes: Any) -> TrainOptions:
    return resolve_options(TrainOptions(**TINY | changes), inputs.table, inputs.split, inputs.encoder)


def stages_of(
    checkpoint: Path | None = None, on_epoch: Callable[[dict[str, Any]], None] = lambda _row: None, **changes: Any
) -> Stages:
    inputs = fit_inputs_of(pretrained=changes.pop("pretrained", True))
    job = Job(options_of(inputs, **{"head": "mlp"} | changes), inputs, CPU)
    return Stages(job, on_epoch, checkpoint, {"seed": 17})


def test_an_encoder_that_was_to_be_trained_is_never_kept_as_it_stood(monkeypatch):
    rising = count(1.0)
    monkeypatch.setattr(loop, "_validate", lambda _objective, _team: {"loss": next(rising)})
    stages = stages_of(freeze_encoder=False, epochs=8)
    network, proof = stages.finetune("train", SPLIT.train, SPLIT.val)
    assert equal_weights(stages.inputs.encoder.encoder, tiny_encoder(2))
    # Two of eight epochs are frozen: the best one by val is among them.
    assert stages.states["train"].best_epoch == 3
    assert proof["digest_before"] != proof["digest_after"]
    assert not equal_weights(network.encoder, tiny_encoder(2))


def test_teachers_differ_by_number_alone_and_have_one_unfrozen_head():
    first, again, second = (stages_of().teacher(number, SPLIT.train, NONE) for number in (1, 1, 2))
    assert same_weights(first, again)
    assert not same_weights(first, second)
    assert len(first.heads) == 1
    assert not equal_weights(first.encoder, tiny_encoder(2))


def test_every_stage_says_its_name_and_has_a_checkpoint_of_its_own(tmp_path):
    rows: list[dict[str, Any]] = []
    stages = stages_of(tmp_path / "checkpoint.pt", rows.append, epochs=2)
    stages.finetune("train", SPLIT.train, SPLIT.val)
    stages.finetune("refit", np.concatenate([SPLIT.train, SPLIT.val]), NONE)
    stages.teacher(1, SPLIT.train, NONE)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "checkpoint-refit.pt",
        "checkpoint-teacher-1.pt",
        "checkpoint.pt",
    ]
    assert [(row["stage"], row["epoch"], row["n_epochs"]) for row in rows] == [
        (stage, epoch, 2) for stage in ("train", "refit", "teacher-1") for epoch in (1, 2)
    ]
    state = stages.state()
    assert state.epoch == 2
    assert state.best_epoch == stages.states["train"].best_epoch
    assert [row["stage"] for row in state.history] == [row["stage"] for row in rows]


@pytest.mark.slow
def test_stages_that_were_stopped_in_each_of_them_go_on_to_the_same_weights(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_split(Path("split.json"))
    write_unlabelled(Path("unlabelled.parquet"))
    changes = {"unlabelled": Path("unlabelled.parquet"), "student_epochs": 2, "epochs": 2, "n_teachers": 1}

    def run(stages: Stages) -> list[Any]:
        first = stages.finetune("train", SPLIT.train, SPLIT.val)[0]
        refit = stages.finetune("refit", np.arange(24), NONE)[0]
        teacher = stages.teacher(1, np.arange(24), NONE)
        model = once(head="mlp").model
        teachers = [replace(model, network=network, scaler=stages.scaler) for network in (refit, teacher)]
        student = stages.student("student-1", teachers, open_unlabelled(stages.options), np.arange(24), NONE)[0]
        return [first, refit, teacher, student]

    whole_stages = stages_of(Path("whole.pt"), **changes)
    whole = run(whole_stages)
    resume = None
    for stop in ("train", "refit", "teacher-1", "student-1"):

        def stopping(row: dict[str, Any], stop: str = stop) -> None:
            if (row["stage"], row["epoch"]) == (stop, 1):
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            run(stages_of(Path("stopped.pt"), stopping, resume=resume, **changes))
        resume = "it"
    resumed_stages = stages_of(Path("stopped.pt"), resume=resume, **changes)
    for one, other in zip(whole, run(resumed_stages), strict=True):
        assert same_weights(one, other)
    assert whole_stages.state().history == resumed_stages.state().history


@pytest.fixture
def unlabelled(tmp_path, monkeypatch) -> Unlabelled:
    monkeypatch.chdir(tmp_path)
    write_split(Path("split.json"))
    write_unlabelled(Path("unlabelled.parquet"))
    return open_unlabelled(options_of(fit_inputs_of(), unlabelled=Path("unlabelled.parquet"), n_unlabelled=20))


def test_soft_labels_are_the_calibrated_mean_of_the_teachers(unlabelled):
    teachers = [once(head="mlp").model, fitted(fit_inputs_of(), head="mlp", seed=2).model]
    teachers[0] = replace(teachers[0], temperature=1.7)
    said = soft_labels(teachers, unlabelled, CPU)
    assert len(unlabelled.rows) == len(said) == 20
    features = unlabelled.source.features(unlabelled.rows)
    for row in (0, 7, 19):
        each = [read_windows_both_ways(teacher, features[row : row + 1], CPU) for teacher in teachers]
        logits = sum(logits[0] for logits, _ in each) / 2
        np.testing.assert_allclose(said.class_prob[row], softmax(logits / 1.7), atol=1e-5)
        curves = sum(curve[0] for _, curve in each) / 2
        np.testing.assert_allclose(said.curves[row], curves, atol=1e-3)


def test_both_ways_is_the_mean_of_a_window_and_its_mirror(unlabelled):
    model = once(head="mlp").model
    features = unlabelled.source.features(unlabelled.rows[:5])
    alone = replace(model, mirror=None)
    for mirror in ([0, 1], [1, 0]):
        logits, curves = read_windows_both_ways(replace(model, mirror=mirror), features, CPU)
        up, up_curves = read_windows_both_ways(alone, features, CPU)
        down, down_curves = read_windows_both_ways(alone, mirrored_features(features), CPU)
        np.testing.assert_allclose(logits, [(up[i] + down[i][mirror]) / 2 for i in range(5)])
        np.testing.assert_allclose(curves, (up_curves + down_curves) / 2)
    assert model.mirror == [0, 1]
