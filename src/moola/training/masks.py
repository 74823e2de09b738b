"""Which bars masked pretraining hides: each mask is one callable, one entry in `MASKS`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from jaxtyping import Bool

Mask = Bool[np.ndarray, "windows bars"]


class MaskStrategy(Protocol):
    """Draw masks; at least one bar of every window is masked and at least one is not."""

    def __call__(
        self, rng: np.random.Generator, n_windows: int, n_bars: int, mask_ratio: float, patch_bars: int, /
    ) -> Mask:
        """Return True where a bar is hidden."""
        ...


def random_mask(rng: np.random.Generator, n_windows: int, n_bars: int, mask_ratio: float, _patch_bars: int) -> Mask:
    """Hide each bar on its own, the same number in every window (BERT, Devlin et al. 2019)."""
    return _choose(rng, n_windows, n_bars, mask_ratio)


def block_mask(rng: np.random.Generator, n_windows: int, n_bars: int, mask_ratio: float, _patch_bars: int) -> Mask:
    """Hide one run of bars a window."""
    n_masked = _count(n_bars, mask_ratio)
    first = rng.integers(0, n_bars - n_masked + 1, size=(n_windows, 1))
    bars = np.arange(n_bars)[None, :]
    return (bars >= first) & (bars < first + n_masked)


def patch_mask(rng: np.random.Generator, n_windows: int, n_bars: int, mask_ratio: float, patch_bars: int) -> Mask:
    """Hide whole patches of bars side by side (PatchTST, Nie et al. 2023); the last may be shorter."""
    # At least two patches, so that one can be hidden and one seen.
    patch_bars = min(patch_bars, -(-n_bars // 2))
    n_patches = -(-n_bars // patch_bars)
    by_patch = _choose(rng, n_windows, n_patches, mask_ratio)
    return np.repeat(by_patch, patch_bars, axis=1)[:, :n_bars]


def edge_mask(rng: np.random.Generator, n_windows: int, n_bars: int, mask_ratio: float, _patch_bars: int) -> Mask:
    """Hide the first or the last bars of a window, either as often: what came before, or what follows."""
    bars, n_masked = np.arange(n_bars)[None, :], _count(n_bars, mask_ratio)
    is_last = rng.random((n_windows, 1)) < 0.5
    return np.where(is_last, bars >= n_bars - n_masked, bars < n_masked)


def _count(n: int, mask_ratio: float) -> int:
    return min(max(round(n * mask_ratio), 1), n - 1)


def _choose(rng: np.random.Generator, n_windows: int, n: int, mask_ratio: float) -> Mask:
    rank = rng.random((n_windows, n)).argsort(axis=1).argsort(axis=1)
    chosen: Mask = rank < _count(n, mask_ratio)
    return chosen


MASKS: dict[str, MaskStrategy] = {
    "random": random_mask,
    "block": block_mask,
    "patch": patch_mask,
    "edge": edge_mask,
}


@dataclass(frozen=True)
class MaskPlan:
    """What is hidden: strategy, share of the bars (0 hides nothing), bars a patch."""

    strategy: str
    mask_ratio: float
    patch_bars: int


def draw_mask(plan: MaskPlan, rng: np.random.Generator, n_windows: int, n_bars: int) -> Mask:
    """Draw masks by a plan; a ratio of 0 hides nothing and draws nothing."""
    if plan.mask_ratio <= 0:
        return np.zeros((n_windows, n_bars), dtype=bool)
    return MASKS[plan.strategy](rng, n_windows, n_bars, plan.mask_ratio, plan.patch_bars)
