"""Masked autoencoder over bars: hide bars from the encoder, learn to say what they were."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from moola.core.seeds import derive_seed
from moola.models.encoder import BiLSTMEncoder


class MaskedAutoencoder(nn.Module):
    """Mask token, encoder and a linear reconstruction (after He et al., CVPR 2022).

    The token replaces the masked bars *before* the encoder, so that nothing of them gets through.
    """

    def __init__(self, encoder: BiLSTMEncoder) -> None:
        super().__init__()
        self.encoder = encoder
        n_features = encoder.architecture.input_dim
        self.mask_token = nn.Parameter(torch.zeros(n_features))
        self.reconstruct = nn.Linear(encoder.output_dim, n_features)

    def forward(
        self, features: Float[Tensor, "windows bars features"], mask: Bool[Tensor, "windows bars"]
    ) -> Float[Tensor, "windows bars features"]:
        """Reconstruct every bar from the bars that are not masked."""
        visible = torch.where(mask[..., None], self.mask_token, features)
        reconstructed: Tensor = self.reconstruct(self.encoder(visible))
        return reconstructed


def build_masked_autoencoder(encoder: BiLSTMEncoder, seed: int) -> MaskedAutoencoder:
    """Put a mask token and a reconstruction layer on an encoder."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(seed, "reconstruction"))
        return MaskedAutoencoder(encoder)
