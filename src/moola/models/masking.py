"""A mask token before the encoder: what is hidden never gets in."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from moola.models.encoder import BiLSTMEncoder


class MaskingEncoder(nn.Module):
    """A learnable token replaces the masked bars *before* the encoder (after He et al., CVPR 2022)."""

    def __init__(self, encoder: BiLSTMEncoder) -> None:
        super().__init__()
        self.encoder = encoder
        self.mask_token = nn.Parameter(torch.zeros(encoder.architecture.input_dim))

    def forward(
        self, features: Float[Tensor, "windows bars features"], mask: Bool[Tensor, "windows bars"]
    ) -> Float[Tensor, "windows bars hidden"]:
        """Encode the bars that are not masked, with the token in place of the others."""
        encoded: Tensor = self.encoder(torch.where(mask[..., None], self.mask_token, features))
        return encoded
