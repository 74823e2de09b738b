"""Fine-tuning finds a planted pattern in windows it never saw, and nothing where labels are shuffled."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from moola.core.expansions import best_pair, soft_curve
from moola.evaluation.class_metrics import average_precision
from moola.models.network import EncoderArchitecture, build_encoder, build_network
from moola.options.training_options import TrainOptions
from moola.training.finetune import ClassAndPointers, Examples, run_network
from moola.training.loop import FitPlan, fit
from tests.networks_made import CPU, scaled_features

N_BARS = 40
PLAN = TrainOptions(
    data=Path(),
    split=Path(),
    freeze_encoder=False,
    learning_rate=0.01,
    encoder_rate=1.0,
    pointer_weight=1.0,
    label_smoothing=0.05,
    input_noise=0.1,
    batch_size=32,
    frozen_epochs=0,
    seed=0,
)


def planted(seed: int, n: int) -> tuple[Examples, np.ndarray]:
    """Noise with a strong one-way move in it; the class is whether the bars before it came back or stood still."""
    rng = np.random.default_rng(seed)
    features = 0.5 * scaled_features(seed, n, N_BARS)
    class_index = (rng.random(n) < 0.4).astype(np.int64)
    start = rng.integers(14, 26, size=n)
    pointers = np.stack([start, start + rng.integers(4, 9, size=n)], axis=1)
    direction = rng.choice([-1.0, 1.0], size=n)
    for i, (first, last) in enumerate(pointers):
        features[i, first : last + 1, :4] += 3 * direction[i]
        features[i, first : last + 1, 4] += 2
        if class_index[i]:
            features[i, first - 8 : first, :4] -= 1.5 * direction[i]
    curves = np.stack([soft_curve(pointers[:, i], N_BARS, 1.5) for i in (0, 1)], axis=-1)
    return Examples(features, class_index, curves), pointers


def fresh_figures(train: Examples, val: Examples, fresh: Examples, pointers: np.ndarray) -> tuple[float, float]:
    """Train, then judge on fresh windows: hit of both ends within 3 bars, and average precision."""
    encoder = build_encoder(EncoderArchitecture("bilstm", 11, 32, 1), 0)
    network = build_network(encoder, 2, True, 0.2, 0)
    objective = ClassAndPointers(network, train, None, val, PLAN, CPU)
    fit(objective, FitPlan(n_epochs=10, patience=0, weight_decay=0.01, seed=0), lambda row: None)
    logits, curves = run_network(network, fresh.features, CPU)
    assert curves is not None
    said = np.stack(best_pair(curves[..., 0], curves[..., 1]), axis=1)
    hit = (np.abs(said - pointers) <= 3).all(axis=1).mean()
    score = logits[:, 1] - logits[:, 0]
    return float(hit), float(average_precision(score, fresh.class_index == 1, np.ones((1, len(fresh))))[0])


@pytest.mark.slow
def test_a_planted_move_and_its_class_are_found_in_fresh_windows() -> None:
    (train, _), (val, _), (fresh, pointers) = planted(10, 240), planted(11, 60), planted(12, 200)
    hit, precision = fresh_figures(train, val, fresh, pointers)
    assert hit >= 0.9
    assert precision >= 0.9


@pytest.mark.slow
def test_with_shuffled_labels_precision_falls_to_the_class_share_and_pointers_are_still_found() -> None:
    (train, _), (val, _), (fresh, pointers) = planted(10, 320), planted(11, 60), planted(12, 300)
    rng = np.random.default_rng(1)
    parts = [replace(part, class_index=rng.permutation(part.class_index)) for part in (train, val, fresh)]
    hit, precision = fresh_figures(*parts, pointers)
    assert hit >= 0.9
    assert precision == pytest.approx((fresh.class_index == 1).mean(), abs=0.12)


def test_one_epoch_on_one_window_moves_towards_it() -> None:
    example = planted(10, 1)[0]
    network = build_network(build_encoder(EncoderArchitecture("bilstm", 11, 4, 1), 0), 2, True, 0.0, 0)
    objective = ClassAndPointers(network, example, None, example, PLAN, CPU)
    network.eval()
    with torch.no_grad():
        before = objective.losses(example.to(CPU))[0]["loss"].item()
    state = fit(objective, FitPlan(n_epochs=5, patience=0, weight_decay=0.0, seed=0), lambda row: None)
    assert state.best_loss < before
