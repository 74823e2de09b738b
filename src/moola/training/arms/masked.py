"""Arm `masked`: say what the hidden bars were."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from moola.core.seeds import derive_seed
from moola.models.losses import masked_loss
from moola.training.arms.arm import Arm, Sizes, View, Windows


class MaskedArm(Arm):
    """Reconstruct each feature of the hidden bars linearly (after He et al., CVPR 2022, and BERT).

    The squared error is divided by that of saying each feature's training mean.
    """

    source = "He et al., CVPR 2022"

    def __init__(self, sizes: Sizes, seed: int) -> None:
        super().__init__(sizes, seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive_seed(seed, "reconstruction"))
            self.reconstruct = nn.Linear(sizes.encoded_dim, sizes.n_features)
        self.register_buffer("spread", torch.ones(()))

    def fit(self, windows: Windows) -> None:
        """Take the squared error of the mean as the unit."""
        spread = windows.features.astype(np.float64).var(axis=(0, 1)).mean()
        self.spread = torch.tensor(max(spread, 1e-6), dtype=torch.float32)

    def loss(self, view: View, targets: dict[str, Tensor]) -> Float[Tensor, ""]:
        """Squared error on the hidden bars alone; 0 where none is hidden."""
        return masked_loss(self.reconstruct(view.encoded), view.features, view.mask) / self.spread
