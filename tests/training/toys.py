"""Toy windows for the arms' tests, and pretraining on them."""

from __future__ import annotations

import numpy as np
import torch

from moola.training.encoder_training import MaskPlan, Pretraining, PretrainModule, PretrainPlan, build_pretraining
from moola.training.pretext_tasks import View, Windows
from tests.networks_made import CPU, scaled_features, tiny_encoder

N_BARS = 16


def toy_windows(seed: int = 0, n_windows: int = 40, n_bars: int = N_BARS) -> Windows:
    """Slow waves with a phase and a pace of their own, and a little noise: hidden bars can be told."""
    rng = np.random.default_rng(seed)
    phase, pace = rng.uniform(0, 6, (n_windows, 1, 1)), rng.uniform(0.2, 0.6, (n_windows, 1, 1))
    waves = np.sin(pace * np.arange(n_bars)[None, :, None] + phase + np.arange(11))
    features = (waves + 0.1 * scaled_features(seed, n_windows, n_bars)).astype(np.float32)
    return Windows(features, None, np.arange(n_windows) * n_bars)


def toy_pretraining(
    arm: str, seed: int = 0, mask_ratio: float = 0.25, batch_size: int = 10, learning_rate: float = 0.01
) -> Pretraining:
    """Pretrain by one arm on 30 windows of `toy_windows`, validate on 10."""
    windows = toy_windows()

    def take(rows: np.ndarray, flipped: np.ndarray) -> Windows:
        return Windows(windows.features[rows], None, windows.position[rows], flipped)

    module = build_pretraining(tiny_encoder(seed), (arm,), N_BARS, seed)
    plan = PretrainPlan(MaskPlan("random", mask_ratio, 2), False, 0, batch_size, learning_rate, seed, CPU)
    objective = Pretraining(module, take, np.arange(30), np.arange(30, 40), plan)
    objective.fit_arms(objective.train_rows)
    return objective


def view_of(module: PretrainModule, windows: Windows, mask: np.ndarray | None = None) -> View:
    """What arms get to see of windows; nothing is hidden unless a mask says so."""
    shown = np.zeros(windows.features.shape[:2], dtype=bool) if mask is None else mask
    return View(torch.from_numpy(windows.features), torch.from_numpy(shown), module.masking)


def as_tensors(targets: dict[str, np.ndarray]) -> dict[str, torch.Tensor]:
    return {key: torch.from_numpy(value) for key, value in targets.items()}
