"""`enhanced_simple_lstm`: encoder, attention pooling, class head and pointer curves."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from moola.core.seeds import derive_seed
from moola.models.encoder import BiLSTMEncoder

POINTERS = ("start", "end")


class Outputs(NamedTuple):
    """Raw outputs of one forward pass; `pointer_logits` is None without pointer heads."""

    class_logits: Float[Tensor, "windows classes"]
    pointer_logits: Float[Tensor, "windows bars 2"] | None


class AttentionPool(nn.Module):
    """Weighted mean over bars, weights learned from each bar's vector (Bahdanau et al. 2015)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.weigh = nn.Sequential(nn.Linear(dim, dim // 2), nn.Tanh(), nn.Linear(dim // 2, 1))

    def forward(self, encoded: Float[Tensor, "windows bars hidden"]) -> Float[Tensor, "windows hidden"]:
        """Pool one vector a window."""
        weight = torch.softmax(self.weigh(encoded), dim=1)
        return (weight * encoded).sum(dim=1)


class PointerPool(nn.Module):
    """Mean of the bars' vectors under the start curve and under the end curve, side by side.

    Lets the class head look at the very bars that the pointer heads point at. No gradient runs back
    into the curves: the class must not bend the pointers.
    """

    def forward(
        self,
        encoded: Float[Tensor, "windows bars hidden"],
        pointer_logits: Float[Tensor, "windows bars 2"],
    ) -> Float[Tensor, "windows pooled"]:
        """Pool two vectors a window and lay them in a row."""
        curves = torch.softmax(pointer_logits.detach(), dim=1)
        return torch.einsum("wbh,wbp->wph", encoded, curves).flatten(1)


class EnhancedSimpleLSTM(nn.Module):
    """The network of `train --model enhanced_simple_lstm`."""

    def __init__(self, encoder: BiLSTMEncoder, n_classes: int, predict_pointers: bool, dropout: float = 0.0) -> None:
        super().__init__()
        self.encoder = encoder
        dim = encoder.output_dim
        self.dropout = nn.Dropout(dropout)
        self.attention_pool = AttentionPool(dim)
        pooled_dim = dim
        self.pointer_head: nn.Module | None = None
        self.pointer_pool: PointerPool | None = None
        if predict_pointers:
            self.pointer_head = nn.Sequential(nn.Linear(dim, dim // 2), nn.ReLU(), nn.Linear(dim // 2, 2))
            self.pointer_pool = PointerPool()
            pooled_dim += 2 * dim
        self.class_head = nn.Sequential(
            nn.Linear(pooled_dim, dim // 2), nn.ReLU(), nn.Dropout(dropout), nn.Linear(dim // 2, n_classes)
        )

    def forward(self, features: Float[Tensor, "windows bars features"]) -> Outputs:
        """Return class logits and, with pointer heads, a start and an end logit a bar."""
        return self.heads(self.encoder(features))

    def heads(self, encoded: Float[Tensor, "windows bars hidden"]) -> Outputs:
        """Run everything behind the encoder."""
        encoded = self.dropout(encoded)
        pooled = [self.attention_pool(encoded)]
        pointer_logits = None
        if self.pointer_head is not None and self.pointer_pool is not None:
            pointer_logits = self.pointer_head(encoded)
            pooled.append(self.pointer_pool(encoded, pointer_logits))
        return Outputs(self.class_head(torch.cat(pooled, dim=1)), pointer_logits)


def build_network(
    encoder: BiLSTMEncoder, n_classes: int, predict_pointers: bool, dropout: float, seed: int
) -> EnhancedSimpleLSTM:
    """Put fresh heads, with weights that the seed alone decides, on an encoder."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(seed, "heads"))
        return EnhancedSimpleLSTM(encoder, n_classes, predict_pointers, dropout)


NETWORKS = {"enhanced_simple_lstm": build_network}
