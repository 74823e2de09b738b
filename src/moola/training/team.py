"""Several processes that train one network: each takes its share of every batch, gradients are averaged.

Data parallel training (Li et al., VLDB 2020, PyTorch Distributed) written out: with networks this small one flat
tensor a step is all there is to send.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import distributed
from torch.nn import Parameter


@dataclass(frozen=True)
class Team:
    """This process among those that train together; alone by default.

    Attributes
    ----------
    rank
        Number of this process; 0 writes files and speaks.
    size
        How many there are.
    """

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Tell whether this process writes files and speaks."""
        return self.rank == 0

    def share(self, n: int) -> slice:
        """Return this process's part of `n` things in order; parts differ by one at most, and may be empty."""
        return slice(n * self.rank // self.size, n * (self.rank + 1) // self.size)

    def average_gradients(self, weights: Iterable[Parameter], n_windows: int) -> None:
        """Make every process's gradient that of the whole batch: the mean weighted by windows.

        A weight without a gradient anywhere keeps none; one that only some processes used counts as zeros elsewhere.
        """
        if self.size == 1:
            return
        learning = [weight for weight in weights if weight.requires_grad]
        flat = torch.cat(
            [
                torch.zeros_like(weight).flatten() if weight.grad is None else weight.grad.flatten()
                for weight in learning
            ]
        )
        summed = self.sums(torch.cat([flat * n_windows, flat.new_tensor([n_windows])]))
        mean, first = summed[:-1] / summed[-1], 0
        for weight in learning:
            weight.grad = mean[first : first + weight.numel()].view_as(weight).clone()
            first += weight.numel()

    def sums(self, values: torch.Tensor) -> torch.Tensor:
        """Return the sum over all processes, the same bits in each."""
        if self.size == 1:
            return values
        values = values.clone()
        distributed.all_reduce(values)
        return values


ALONE = Team()
