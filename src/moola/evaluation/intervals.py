"""Block bootstrap over time: windows that share bars are no independent evidence."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

from moola.core.seeds import generator

N_RESAMPLES = 2000


def block_length(start_us: Int[np.ndarray, " windows"] | None, end_us: Int[np.ndarray, " windows"] | None) -> int:
    """Windows a block: one more than the most later windows that one window overlaps.

    A block then spans every chain of bars that a window shares. Windows in time order; 1 where no
    times are known, which takes windows for independent.
    """
    if start_us is None or end_us is None or len(start_us) < 2:
        return 1
    n_started = np.searchsorted(start_us, end_us, side="right")
    return int(max((n_started - np.arange(len(start_us))).max(), 1))


def block_weights(
    n_windows: int, block: int, seed: int, n_resamples: int = N_RESAMPLES
) -> Float[np.ndarray, "resamples windows"]:
    """Draw circular block bootstrap counts (Politis and Romano 1992): how often each window counts.

    Every resample has exactly `n_windows` windows; the last block is cut short.
    """
    rng = generator(seed, "bootstrap", n_windows, block)
    n_blocks = -(-n_windows // block)
    first = rng.integers(0, n_windows, size=(n_resamples, n_blocks, 1))
    rows = ((first + np.arange(block)) % n_windows).reshape(n_resamples, -1)[:, :n_windows]
    flat = rows + np.arange(n_resamples)[:, None] * n_windows
    counts = np.bincount(flat.ravel(), minlength=n_resamples * n_windows)
    return counts.reshape(n_resamples, n_windows).astype(np.float64)


def without_resampling_bias(values: Float[np.ndarray, " resamples"], value: float) -> Float[np.ndarray, " resamples"]:
    """Move resampled figures so that their mean is the figure itself, and no lower than 0.

    For figures such as ECE that can only grow when windows repeat: a resample's bins hold fewer distinct
    windows, so its gaps are wider than the sample's own, and a plain percentile interval may lie wholly
    above the figure it is of.
    """
    return np.maximum(values - (np.nanmean(values) - value), 0.0)


def percentile_interval(values: Float[np.ndarray, " resamples"], level: float = 0.95) -> tuple[float, float] | None:
    """Return the central interval of resampled figures, None when hardly any resample has one."""
    known = values[~np.isnan(values)]
    if len(known) < 0.5 * len(values) or not len(known):
        return None
    low, high = np.quantile(known, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
