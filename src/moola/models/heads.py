"""Heads on an encoder's vectors: pointer curves and the class, without a hidden layer (specification 11) or with one
(`mlp`)."""

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


# Width in bars of what counts as a pointer's neighbourhood where a class is learned and read.
SIGMA_BARS = 1.5


def mixed_logits(
    by_start: Float[Tensor, "windows bars classes"],
    by_end: Float[Tensor, "windows bars classes"],
    rest: Float[Tensor, "windows classes"],
    curves: Float[Tensor, "windows bars 2"],
) -> Float[Tensor, "windows classes"]:
    """Return ln of the class probabilities averaged over every expansion that the curves allow.

    p(class) = sum over start <= end of P(start, end) softmax(by_start[start] + by_end[end] + rest), with P the product
    of both curves, scaled to sum to 1, and both scores smoothed over `SIGMA_BARS` as the target curves are. A window
    with two likely expansions gets what lies between their classes, and not the class of their mean.
    """
    bars = torch.arange(curves.shape[1], device=curves.device, dtype=curves.dtype)
    apart = bars[None, :] - bars[:, None]
    near = torch.softmax(-0.5 * (apart / SIGMA_BARS) ** 2, dim=1)
    joint = curves[:, :, None, 0] * curves[:, None, :, 1] * (apart >= 0).to(curves.dtype)
    joint = joint / joint.sum(dim=(1, 2), keepdim=True).clamp(min=1e-30)
    # The softmax of a sum is a product of exponentials over its sum: no table of bars by bars by classes is needed.
    # What all ends have in common goes to the starts, which it balances: neither overflows by itself.
    ends = near @ by_end
    usual = ends.mean(dim=1, keepdim=True)
    starts, ends = near @ by_start + rest[:, None] + usual, ends - usual
    starts, ends = (torch.exp(scores - scores.amax(dim=2, keepdim=True)) for scores in (starts, ends))
    pairs = [(starts[:, :, None, k], ends[:, None, :, k]) for k in range(rest.shape[1])]
    share = joint / torch.stack([start * end for start, end in pairs]).sum(dim=0).clamp(min=1e-30)
    prob = [(start * (share * end).sum(dim=2, keepdim=True)).sum(dim=(1, 2)) for start, end in pairs]
    return torch.stack(prob, dim=1).clamp(min=1e-12).log()


class LinearHeads(nn.Module):
    """Pointer curves and class, both linear in the encoder's vectors; takes the place of `Heads`.

    With x_t the vector of bar t, a pointer has the logit u.x_t and the curve softmax over t. An expansion from s to e
    has the class logits W [x_s, x_e, mean_t x_t] + b, and a window the mean of the probabilities of all its expansions
    (`mixed_logits`); without pointers W mean_t x_t + b. Standardisation is part of u, W and b, so that these are all
    there is to keep. All zeros until `fit_linear_heads` has fitted them.

    Parameters
    ----------
    dim
        Values of a bar's vector.
    """

    def __init__(self, dim: int, n_classes: int, predict_pointers: bool) -> None:
        super().__init__()
        self.pointer_head = nn.Linear(dim, len(POINTERS), bias=False) if predict_pointers else None
        self.class_head = nn.Linear(dim * (1 + len(POINTERS) * predict_pointers), n_classes)
        for weights in self.parameters():
            nn.init.zeros_(weights)

    def forward(self, encoded: Float[Tensor, "windows bars hidden"]) -> Outputs:
        """Read windows one way: class logits and, with pointers, a start and an end logit per bar."""
        return outputs_of(self.scores(encoded), None if self.pointer_head is None else self.pointer_head(encoded))

    def scores(self, encoded: Float[Tensor, "windows bars hidden"]) -> list[Tensor]:
        """Return the class scores of each bar as a start and as an end, where there are pointers, and of the mean."""
        mean = encoded.mean(dim=1)
        if self.pointer_head is None:
            return [self.class_head(mean)]
        by_start, by_end, by_mean = self.class_head.weight.chunk(3, dim=1)
        return [encoded @ by_start.T, encoded @ by_end.T, mean @ by_mean.T + self.class_head.bias]

    def both_ways(
        self,
        encoded: Float[Tensor, "windows bars hidden"],
        mirrored: Float[Tensor, "windows bars hidden"],
        class_mirror: list[int],
    ) -> Outputs:
        """Read windows and their price mirrors at once, as these heads were fitted.

        Pointer logits of both are averaged, and class scores too, those of the mirror in the order of `class_mirror`
        (the class that each becomes upside down). A window and its mirror get the same curves, and the same classes but
        for that order.
        """
        return outputs_of(*self.scores_both_ways(encoded, mirrored, class_mirror))

    def scores_both_ways(
        self,
        encoded: Float[Tensor, "windows bars hidden"],
        mirrored: Float[Tensor, "windows bars hidden"],
        class_mirror: list[int],
    ) -> tuple[list[Tensor], Tensor | None]:
        """Return what `outputs_of` takes, the mean of both ways."""
        logits = None if self.pointer_head is None else (self.pointer_head(encoded) + self.pointer_head(mirrored)) / 2
        ways = zip(self.scores(encoded), self.scores(mirrored), strict=True)
        return [(one + turned[..., class_mirror]) / 2 for one, turned in ways], logits


def outputs_of(scores: list[Tensor], pointer_logits: Tensor | None) -> Outputs:
    """Return the outputs of linear heads, from their class scores and pointer logits; in the type of these."""
    if pointer_logits is None:
        return Outputs(scores[0], None)
    by_start, by_end, rest = scores
    return Outputs(mixed_logits(by_start, by_end, rest, torch.softmax(pointer_logits, dim=1)), pointer_logits)
