"""Heads on an encoder's vectors: pointer curves and the class, with a hidden layer (`mlp`)."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

BYTE_VALUES = 256


class ByteDropout(nn.Module):
    """Set a share of the values to 0 while training and scale up the rest (Srivastava et al. 2014).

    On a CPU torch draws one random number a value, which took half of the time of training heads. Here the
    share is rounded to 1/256; the scale is that of the rounded share, so that the mean is kept. On other devices it is
    torch's own dropout.
    """

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share

    def forward(self, values: Tensor) -> Tensor:
        """Drop values of a tensor of any shape; a tensor of the same shape."""
        if not self.training or self.share == 0:
            return values
        if values.device.type != "cpu":
            return functional.dropout(values, self.share)
        n_dropped = min(round(self.share * BYTE_VALUES), BYTE_VALUES - 1)
        numbers = torch.empty(-(-values.numel() // 8), dtype=torch.int64).random_(-(2**63), None)
        kept = numbers.view(torch.uint8)[: values.numel()].view(values.shape) >= n_dropped
        return values * kept * (BYTE_VALUES / (BYTE_VALUES - n_dropped))


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
    """Mean of the bars' vectors under the start curve and under the end curve, concatenated.

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
