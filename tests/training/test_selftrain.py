"""Self-training: what a student is shown, what it is told, and that a good teacher is worth it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from moola.evaluation.class_metrics import average_precision
from moola.models.model_files import weights_digest, weights_of
from moola.models.network import (
    EncoderArchitecture,
    EnhancedSimpleLSTM,
    build_encoder,
    build_network,
    pointer_loss,
    soft_class_loss,
)
from moola.training.finetune import (
    LABELLED_WEIGHT,
    LEAST_CONFIDENCE,
    ClassAndPointers,
    Examples,
    SelfTraining,
    SoftLabels,
    StudentPlan,
    confidence,
    run_network,
)
from moola.training.loop import FitPlan, fit
from moola.training.pretext_tasks import MaskPlan, Windows
from tests.networks_made import CPU, scaled_features, tiny_network
from tests.training import test_finetune_learns as learns
from tests.training.test_finetune import N_BARS, PLAN, made_examples

NO_MASK = MaskPlan("patch", 0.0, 7)
STUDENT = StudentPlan(replace(PLAN, batch_size=4), NO_MASK, 3, flip=False)
ROWS = np.array([4, 9, 1, 7, 12, 0, 3, 11, 8])


class Source:
    """Windows without labels: the first value of each is its row; upside down it is the row's negative."""

    def __init__(self, features: np.ndarray) -> None:
        self.features = features
        self.taken: list[np.ndarray] = []

    def __call__(self, rows: np.ndarray, flipped: np.ndarray) -> Windows:
        self.taken.append(flipped)
        features = np.where(flipped[:, None, None], -self.features[rows], self.features[rows])
        return Windows(features, None, rows, flipped)


def numbered(n: int = 14) -> Source:
    features = scaled_features(8, n, N_BARS)
    features[:, 0, 10] = 2000 + np.arange(n)
    return Source(features)


def said_of(rows: np.ndarray, n_classes: int = 2, pointers: bool = True) -> SoftLabels:
    rng = np.random.default_rng(5)
    curves = rng.dirichlet(np.ones(N_BARS), (len(rows), 2)).transpose(0, 2, 1).astype(np.float16)
    prob = rng.dirichlet(np.ones(n_classes), len(rows)).astype(np.float32)
    return SoftLabels(prob, curves if pointers else None)


def objective_of(
    plan: StudentPlan = STUDENT,
    network: EnhancedSimpleLSTM | None = None,
    soft: SoftLabels | None = None,
    source: Source | None = None,
    n_made: int = 0,
) -> SelfTraining:
    made = made_examples(2, n_made, 1000) if n_made else None
    return SelfTraining(
        network or tiny_network(),
        source or numbered(),
        ROWS,
        soft or said_of(ROWS),
        (made_examples(1, 10), made),
        made_examples(3, 7, 500),
        plan,
        CPU,
    )


def numbers_of(features: torch.Tensor) -> list[int]:
    return [round(number) for number in features[:, 0, 10].tolist()]


@pytest.mark.parametrize(
    ("prob", "expected"),
    [
        ([0.5, 0.5], LEAST_CONFIDENCE),
        ([0.51, 0.49], LEAST_CONFIDENCE),
        ([0.75, 0.25], 0.5),
        ([0.0, 1.0], 1.0),
        ([1 / 3, 1 / 3, 1 / 3], LEAST_CONFIDENCE),
        ([2 / 3, 1 / 3, 0.0], 0.5),
        ([1.0], 1.0),
    ],
)
def test_confidence_is_how_far_a_word_is_from_a_guess(prob: list[float], expected: float) -> None:
    assert confidence(np.array([prob])).tolist() == pytest.approx([expected])


@given(st.integers(0, 1000), st.integers(2, 6))
def test_confidence_lies_between_its_ends_and_rises_with_the_largest_probability(seed: int, n_classes: int) -> None:
    prob = np.random.default_rng(seed).dirichlet(np.ones(n_classes), 20)
    sure = confidence(prob)
    assert ((sure >= LEAST_CONFIDENCE) & (sure <= 1)).all()
    assert (np.diff(sure[prob.max(axis=1).argsort()]) >= 0).all()


@pytest.mark.parametrize("weighting", [True, False])
def test_a_batch_holds_what_the_teacher_said_and_the_real_labels(weighting: bool) -> None:
    soft, source, known = said_of(ROWS), numbered(), made_examples(1, 10).joined(made_examples(2, 4, 1000))
    plan = replace(STUDENT, finetune=replace(STUDENT.finetune, confidence_weighting=weighting))
    objective = objective_of(plan, soft=soft, source=source, n_made=4)
    batches = list(objective.train_batches(0))
    assert [len(batch[0]) for batch in batches] == [7, 7, 4]
    assert objective.n_train_batches() == 3
    seen = []
    for features, prob, curves, weight in batches:
        unscaled = []
        for i, number in enumerate(numbers_of(features)):
            if number >= 2000:
                row = number - 2000
                place = int(np.flatnonzero(row == ROWS)[0])
                seen.append(row)
                expected = source.features[row], soft.class_prob[place], soft.curves[place]
                unscaled.append(confidence(soft.class_prob[place][None])[0] if weighting else 1.0)
            else:
                place = number - 1000 + 10 if number >= 1000 else number
                hard = np.full(2, PLAN.label_smoothing / 2)
                hard[known.class_index[place]] += 1 - PLAN.label_smoothing
                expected = known.features[place], hard, known.curves[place]
                unscaled.append(LABELLED_WEIGHT)
            np.testing.assert_array_equal(features[i], expected[0])
            np.testing.assert_allclose(prob[i], expected[1], atol=1e-6)
            np.testing.assert_allclose(curves[i], expected[2], atol=1e-6)
        assert unscaled[-3:] == [LABELLED_WEIGHT] * 3
        np.testing.assert_allclose(weight, np.array(unscaled) / np.mean(unscaled), rtol=1e-5)
        assert {part.dtype for part in (features, prob, curves, weight)} == {torch.float32}
    # Every unlabelled window once an epoch.
    assert sorted(seen) == sorted(ROWS.tolist())


@pytest.mark.parametrize("flip", [True, False])
def test_the_same_seed_and_epoch_give_the_same_batches(flip: bool) -> None:
    plan = replace(STUDENT, masks=MaskPlan("patch", 0.3, 3), flip=flip)
    first, again = (list(objective_of(plan).train_batches(1)) for _ in range(2))
    assert all(
        torch.equal(one, other) for pair in zip(first, again, strict=True) for one, other in zip(*pair, strict=True)
    )
    others = (
        list(objective_of(plan).train_batches(2)),
        list(objective_of(replace(plan, finetune=replace(plan.finetune, seed=4))).train_batches(1)),
    )
    for other in others:
        assert not all(torch.equal(one[0], two[0]) for one, two in zip(first, other, strict=True))


def test_windows_are_shown_upside_down_now_and_then_only_where_that_means_the_same() -> None:
    for flip in (True, False):
        source = numbered()
        for epoch in range(6):
            list(objective_of(replace(STUDENT, flip=flip), source=source).train_batches(epoch))
        share = np.concatenate(source.taken).mean()
        assert 0.25 < share < 0.75 if flip else share == 0


def test_hidden_bars_are_hidden_from_all_windows_and_none_without_a_ratio() -> None:
    masked = next(iter(objective_of(replace(STUDENT, masks=MaskPlan("patch", 0.3, 3))).train_batches(0)))[0]
    hidden = (masked == 0).all(dim=2)
    assert hidden.any(dim=1).all()
    assert not hidden.all(dim=1).any()
    shown = next(iter(objective_of().train_batches(0)))[0]
    assert not (shown == 0).all(dim=2).any()


@pytest.mark.parametrize("n_heads", [1, 3])
def test_the_loss_is_the_mean_over_heads_of_soft_class_and_pointers(n_heads: int) -> None:
    plan = replace(STUDENT, finetune=replace(STUDENT.finetune, input_noise=0.0, pointer_weight=3.0))
    network = tiny_network(n_heads=n_heads)
    objective = objective_of(plan, network)
    batch = next(iter(objective.train_batches(0)))
    network.train()
    losses, n_windows = objective.losses(batch)
    by_class, by_pointer = [], []
    for output in network.each(network.encoder(batch[0])):
        by_class.append(soft_class_loss(output.class_logits, batch[1], batch[3]).item())
        by_pointer.append(pointer_loss(output.pointer_logits, batch[2]).item())
    assert losses["class_loss"].item() == pytest.approx(np.mean(by_class), rel=1e-5)
    assert losses["pointer_loss"].item() == pytest.approx(np.mean(by_pointer), rel=1e-5)
    assert losses["loss"].item() == pytest.approx((np.mean(by_class) + 3 * np.mean(by_pointer)) / 4, rel=1e-5)
    assert n_windows == 7


def test_validation_is_on_real_labels_alone() -> None:
    network = tiny_network()
    objective, val = objective_of(network=network), made_examples(3, 7, 500)
    judged = ClassAndPointers(tiny_network(), made_examples(1, 10), None, val, STUDENT.finetune, CPU)
    network.eval()
    judged.module.eval()
    batches = list(objective.val_batches())
    np.testing.assert_array_equal(torch.cat([batch[0] for batch in batches]), val.features)
    for batch in batches:
        assert objective.losses(batch)[0]["loss"].item() == judged.losses(batch)[0]["loss"].item()


@pytest.mark.parametrize("network_points", [True, False])
def test_without_pointers_of_the_teacher_the_class_is_learned_all_the_same(network_points: bool) -> None:
    network = tiny_network(predict_pointers=network_points)
    objective = objective_of(network=network, soft=said_of(ROWS, pointers=False))
    for _, _, curves, _ in objective.train_batches(0):
        assert not curves[:-3].any()
    before = weights_digest(network.heads[0].class_head)
    state = fit(objective, FitPlan(n_epochs=1, patience=0, weight_decay=0.0, seed=0), lambda row: None)
    assert weights_digest(network.heads[0].class_head) != before
    assert ("train_pointer_loss" in state.history[0]) == network_points


def test_three_classes_are_taught() -> None:
    soft = said_of(ROWS, n_classes=3)
    objective = objective_of(network=tiny_network(n_classes=3), soft=soft)
    prob = torch.cat([batch[1] for batch in objective.train_batches(0)])
    assert prob.shape == (9 + 9, 3)
    torch.testing.assert_close(prob.sum(dim=1), torch.ones(18))
    fit(objective, FitPlan(n_epochs=1, patience=0, weight_decay=0.0, seed=0), lambda row: None)


def test_a_second_round_learns_from_another_teacher_and_the_same_seed_gives_the_same_student() -> None:
    plan = FitPlan(n_epochs=1, patience=0, weight_decay=0.0, seed=0)
    taught = []
    for soft in (said_of(ROWS), said_of(ROWS), SoftLabels(said_of(ROWS).class_prob[::-1].copy(), None)):
        network = tiny_network()
        fit(objective_of(network=network, soft=soft), plan, lambda row: None)
        taught.append(weights_of(network))
    assert all(torch.equal(taught[0][name], taught[1][name]) for name in taught[0])
    assert not all(torch.equal(taught[0][name], taught[2][name]) for name in taught[0])


def fresh_precision(network: EnhancedSimpleLSTM, fresh: Examples) -> float:
    logits, _ = run_network(network, fresh.features, CPU)
    score = logits[:, 1] - logits[:, 0]
    return float(average_precision(score, fresh.class_index == 1, np.ones((1, len(fresh))))[0])


@pytest.mark.slow
def test_a_student_of_a_perfect_teacher_beats_the_few_labels() -> None:
    (few, _), (many, _), (fresh, _) = learns.planted(20, 6), learns.planted(21, 320), learns.planted(22, 200)
    nothing = Examples(few.features[:0], few.class_index[:0], few.curves[:0])
    finetune = replace(learns.PLAN, batch_size=32)

    def network() -> EnhancedSimpleLSTM:
        return build_network(build_encoder(EncoderArchitecture("bilstm", 11, 16, 1), 0), 2, True, 0.1, 0)

    alone, student = network(), network()
    objective = ClassAndPointers(alone, few, None, nothing, finetune, CPU)
    fit(objective, FitPlan(n_epochs=40, patience=0, weight_decay=0.01, seed=0), lambda row: None)
    soft = SoftLabels(np.eye(2)[many.class_index], many.curves)
    plan = StudentPlan(finetune, NO_MASK, 8, flip=False)
    taught = SelfTraining(student, Source(many.features), np.arange(len(many)), soft, (few, None), nothing, plan, CPU)
    fit(taught, FitPlan(n_epochs=8, patience=0, weight_decay=0.01, seed=0), lambda row: None)
    assert fresh_precision(student, fresh) > max(0.85, fresh_precision(alone, fresh) + 0.1)
