"""Losses: each divided by what a predictor that knows nothing would get, so that 1 means "learned nothing".

That makes the tasks comparable whatever the number of classes or bars: neither can drown the other.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional

from moola.models.network import POINTERS


def class_loss(
    class_logits: Float[Tensor, "windows classes"], class_index: Int[Tensor, " windows"], smoothing: float = 0.0
) -> Float[Tensor, ""]:
    """Cross-entropy over ln(number of classes), with label smoothing (Szegedy et al. 2016); 1 at a uniform guess."""
    loss = functional.cross_entropy(class_logits, class_index, label_smoothing=smoothing)
    return loss / math.log(max(class_logits.shape[1], 2))


def soft_class_loss(
    class_logits: Float[Tensor, "windows classes"],
    class_prob: Float[Tensor, "windows classes"],
    weight: Float[Tensor, " windows"],
) -> Float[Tensor, ""]:
    """Weighted cross-entropy against probabilities (Hinton et al. 2015) over ln(number of classes)."""
    by_window = -(class_prob * torch.log_softmax(class_logits, dim=1)).sum(dim=1)
    return (weight * by_window).mean() / math.log(max(class_logits.shape[1], 2))


def pointer_loss(
    pointer_logits: Float[Tensor, "windows bars 2"], curves: Float[Tensor, "windows bars 2"]
) -> Float[Tensor, ""]:
    """Cross-entropy between soft pointer curves and the softmax over bars, over ln(bars).

    Windows without pointers (curves of zeros) count for nothing; 0 when no window has any.
    """
    log_prob = torch.log_softmax(pointer_logits, dim=1)
    by_window = -(curves * log_prob).sum(dim=1).sum(dim=1) / len(POINTERS)
    n_with = (curves.sum(dim=(1, 2)) > 0).sum().clamp(min=1)
    return by_window.sum() / n_with / math.log(pointer_logits.shape[1])


def masked_loss(
    reconstructed: Float[Tensor, "windows bars features"],
    features: Float[Tensor, "windows bars features"],
    mask: Bool[Tensor, "windows bars"],
) -> Float[Tensor, ""]:
    """Mean squared error on the masked bars alone."""
    error = (reconstructed - features).square().mean(dim=-1)
    return (error * mask).sum() / mask.sum().clamp(min=1)
