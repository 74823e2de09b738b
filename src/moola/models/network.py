"""`enhanced_simple_lstm`: encoder, attention pooling, class head and pointer curves."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from moola.core.seeds import derive_seed
from moola.models.dropout import ByteDropout
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


class Heads(nn.Module):
    """Everything behind the encoder: attention pooling, pointer curves and the class."""

    def __init__(self, dim: int, n_classes: int, predict_pointers: bool, dropout: float = 0.0) -> None:
        super().__init__()
        self.dropout = ByteDropout(dropout)
        self.attention_pool = AttentionPool(dim)
        pooled_dim = dim
        self.pointer_head: nn.Module | None = None
        self.pointer_pool: PointerPool | None = None
        if predict_pointers:
            self.pointer_head = nn.Sequential(nn.Linear(dim, dim // 2), nn.ReLU(), nn.Linear(dim // 2, 2))
            self.pointer_pool = PointerPool()
            pooled_dim += 2 * dim
        self.class_head = nn.Sequential(
            nn.Linear(pooled_dim, dim // 2), nn.ReLU(), ByteDropout(dropout), nn.Linear(dim // 2, n_classes)
        )

    def forward(self, encoded: Float[Tensor, "windows bars hidden"]) -> Outputs:
        """Return class logits and, with a pointer head, a start and an end logit a bar."""
        encoded = self.dropout(encoded)
        pooled = [self.attention_pool(encoded)]
        pointer_logits = None
        if self.pointer_head is not None and self.pointer_pool is not None:
            pointer_logits = self.pointer_head(encoded)
            pooled.append(self.pointer_pool(encoded, pointer_logits))
        return Outputs(self.class_head(torch.cat(pooled, dim=1)), pointer_logits)


class EnhancedSimpleLSTM(nn.Module):
    """The network of `train --model enhanced_simple_lstm`: one encoder, and heads that are averaged.

    Several heads differ in their first weights and their dropout; their mean is steadier than each
    (Lakshminarayanan et al., NeurIPS 2017), and costs one encoder all the same.
    """

    def __init__(self, encoder: BiLSTMEncoder, heads: list[Heads]) -> None:
        super().__init__()
        self.encoder = encoder
        self.heads = nn.ModuleList(heads)
        self.predict_pointers = heads[0].pointer_head is not None

    def forward(self, features: Float[Tensor, "windows bars features"]) -> Outputs:
        """Return the heads' mean: of class logits, and of pointer curves as logarithms of probabilities."""
        return averaged(self.each(self.encoder(features)))

    def each(self, encoded: Float[Tensor, "windows bars hidden"]) -> list[Outputs]:
        """Return what every head says."""
        return [head(encoded) for head in self.heads]


def averaged(outputs: list[Outputs]) -> Outputs:
    """Average class logits, and the probabilities of pointer curves; one alone stays as it is."""
    if len(outputs) == 1:
        return outputs[0]
    class_logits = torch.stack([output.class_logits for output in outputs]).mean(dim=0)
    curves = [
        torch.log_softmax(output.pointer_logits, dim=1) for output in outputs if output.pointer_logits is not None
    ]
    if not curves:
        return Outputs(class_logits, None)
    return Outputs(class_logits, torch.logsumexp(torch.stack(curves), dim=0) - math.log(len(curves)))


def build_network(
    encoder: BiLSTMEncoder, n_classes: int, predict_pointers: bool, dropout: float, seed: int, n_heads: int = 1
) -> EnhancedSimpleLSTM:
    """Put fresh heads, with weights that the seed alone decides, on an encoder.

    The first head of several is the one that a network of one head has.
    """
    heads = []
    with torch.random.fork_rng(devices=[]):
        for number in range(n_heads):
            torch.manual_seed(derive_seed(seed, "heads") if number == 0 else derive_seed(seed, "heads", number))
            heads.append(Heads(encoder.output_dim, n_classes, predict_pointers, dropout))
    return EnhancedSimpleLSTM(encoder, heads)


NETWORKS = {"enhanced_simple_lstm": build_network}
