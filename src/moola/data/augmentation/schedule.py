"""How many synthetic windows an epoch has, and how many are made to choose from."""

from __future__ import annotations

import math

MAX_VARIANTS = 4


def staged_ratios(stages: tuple[float, ...], n_epochs: int) -> tuple[float, ...]:
    """Spread stages evenly over epochs: the ratio of synthetic to real windows of each epoch.

    Epoch `e` of `n` is in stage `floor(e * stages / n)`; no stages give no ratios.

    Examples
    --------
    >>> staged_ratios((0.25, 0.5, 1.0), 6)
    (0.25, 0.25, 0.5, 0.5, 1.0, 1.0)
    """
    if not stages:
        return ()
    return tuple(stages[epoch * len(stages) // n_epochs] for epoch in range(n_epochs))


def n_variants(top_ratio: float) -> int:
    """Return how many windows to make of each training row, so that epochs see fresh ones: 1 to 4."""
    return min(max(math.ceil(MAX_VARIANTS * top_ratio), 1), MAX_VARIANTS)
