"""Small networks and inputs for tests, one thread each so that results do not depend on the machine."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from moola.core.features import N_FEATURES, RobustScaler
from moola.models import head_prior
from moola.models.head_prior import HeadPrior
from moola.models.model_files import weights_digest
from moola.models.network import (
    BiLSTMEncoder,
    Encoder,
    EncoderArchitecture,
    EnhancedSimpleLSTM,
    build_encoder,
    build_network,
)

torch.set_num_threads(1)
CPU = torch.device("cpu")


def tiny_encoder(seed: int = 0, hidden_dim: int = 4, num_layers: int = 1) -> BiLSTMEncoder:
    return build_encoder(EncoderArchitecture("bilstm", N_FEATURES, hidden_dim, num_layers), seed)


def tiny_network(
    seed: int = 0, predict_pointers: bool = True, dropout: float = 0.0, n_classes: int = 2, n_heads: int = 1
) -> EnhancedSimpleLSTM:
    return build_network(tiny_encoder(seed), n_classes, predict_pointers, dropout, seed, n_heads)


def scaled_features(seed: int, n_windows: int = 5, n_bars: int = 12) -> np.ndarray:
    shape = (n_windows, n_bars, N_FEATURES)
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def made_scaler() -> RobustScaler:
    rng = np.random.default_rng(3)
    return RobustScaler(rng.normal(size=N_FEATURES), rng.uniform(0.5, 2.0, size=N_FEATURES), 6.0)


def equal_weights(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    left, right = one.state_dict(), other.state_dict()
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


def ship_prior(encoder: Encoder, patch: pytest.MonkeyPatch) -> None:
    """Let the prior inside the package be one of this encoder."""
    rng, n_values = np.random.default_rng(0), encoder.output_dim
    factors = [rng.normal(size=(rows, 2)) for rows in (n_values, n_values, 3 * n_values)]
    prior = HeadPrior(weights_digest(encoder), (factors[0], factors[1]), factors[2])
    patch.setattr(head_prior, "_shipped", lambda: prior)
