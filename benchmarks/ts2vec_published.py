"""TS2Vec as its authors published it (Yue et al., AAAI 2022): dilated convolutions and the hard contrastive loss.

Written in plain PyTorch from the paper and its appendix, to be timed beside moola's arm; nothing else uses it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

DEPTH, HIDDEN, KERNEL = 10, 64, 3


class Block(nn.Module):
    """Two dilated convolutions with GELU before each, and a projection beside them where widths differ."""

    def __init__(self, n_in: int, n_out: int, dilation: int, last: bool) -> None:
        super().__init__()
        self.first = nn.Conv1d(n_in, n_out, KERNEL, padding=dilation, dilation=dilation)
        self.second = nn.Conv1d(n_out, n_out, KERNEL, padding=dilation, dilation=dilation)
        self.beside = nn.Conv1d(n_in, n_out, 1) if n_in != n_out or last else None

    def forward(self, values: Tensor) -> Tensor:
        """Return the block's values, the residual added."""
        rest = values if self.beside is None else self.beside(values)
        inner = self.first(functional.gelu(values))
        return self.second(functional.gelu(inner)) + rest


class PublishedEncoder(nn.Module):
    """Input projection, random masks of bars, ten dilated blocks and one to the width of the vectors."""

    def __init__(self, n_features: int, n_out: int) -> None:
        super().__init__()
        self.project = nn.Linear(n_features, HIDDEN)
        widths = [HIDDEN] * DEPTH + [n_out]
        blocks = [Block(HIDDEN if i == 0 else widths[i - 1], width, 2**i, i == DEPTH) for i, width in enumerate(widths)]
        self.blocks = nn.Sequential(*blocks)
        self.dropout = nn.Dropout(0.1)

    def forward(self, features: Tensor) -> Tensor:
        """Encode `(windows, bars, features)` with half of the bars masked, as `(windows, bars, vectors)`."""
        inner = self.project(features)
        inner = inner * (torch.rand(inner.shape[:2]) > 0.5)[..., None]
        return self.dropout(self.blocks(inner.transpose(1, 2))).transpose(1, 2)


def hierarchical_loss(first: Tensor, second: Tensor) -> Tensor:
    """Instance and temporal contrast at every scale of max-pooling."""
    total, n_scales = first.new_zeros(()), 0
    while first.shape[1] > 1:
        total = total + 0.5 * (_instance(first, second) + _temporal(first, second))
        n_scales += 1
        first, second = (functional.max_pool1d(one.transpose(1, 2), 2).transpose(1, 2) for one in (first, second))
    return (total + 0.5 * _instance(first, second)) / (n_scales + 1)


def _instance(first: Tensor, second: Tensor) -> Tensor:
    return _hard(torch.cat([first, second], dim=0).transpose(0, 1), len(first))


def _temporal(first: Tensor, second: Tensor) -> Tensor:
    return _hard(torch.cat([first, second], dim=1), first.shape[1])


def _hard(both: Tensor, n: int) -> Tensor:
    likeness = both @ both.transpose(1, 2)
    logits = torch.tril(likeness, diagonal=-1)[:, :, :-1] + torch.triu(likeness, diagonal=1)[:, :, 1:]
    logits = -functional.log_softmax(logits, dim=-1)
    i = torch.arange(n)
    return (logits[:, i, n + i - 1].mean() + logits[:, n + i, i].mean()) / 2


def training_step(n_features: int, n_out: int, features: Tensor) -> object:
    """Return a callable that makes one step of training on a batch, crops drawn anew."""
    encoder = PublishedEncoder(n_features, n_out)
    optimiser = torch.optim.AdamW(encoder.parameters(), lr=1e-3)
    n_bars = features.shape[1]

    def step() -> None:
        shared = int(torch.randint(2, n_bars + 1, ()))
        left = int(torch.randint(0, n_bars - shared + 1, ()))
        begin, end = int(torch.randint(0, left + 1, ())), int(torch.randint(left + shared, n_bars + 1, ()))
        first = encoder(features[:, begin : left + shared])[:, -shared:]
        second = encoder(features[:, left:end])[:, :shared]
        loss = hierarchical_loss(first, second)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()

    return step
