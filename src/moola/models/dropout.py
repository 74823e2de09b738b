"""Dropout with cheap random numbers: one random byte a value, eight of them from each number drawn."""

from __future__ import annotations

import torch
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
