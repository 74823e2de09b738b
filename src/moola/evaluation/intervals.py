"""Block bootstrap over time: windows that share bars are no independent evidence."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int
from scipy.stats import norm
from scipy.stats import t as student_t

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


def drawn_block(n_windows: int, block: int) -> int:
    """Windows that are drawn in one piece: as many as overlap (`block`), up to 3 times that from 20 pieces on.

    Longer pieces see more of what goes together, and fewer of them say less about the spread. 1 where windows
    do not overlap.
    """
    return block if block == 1 else max(block, min(3 * block, n_windows // 20))


def resample_size(n_windows: int, block: int) -> int:
    """Windows a resample, so that its figures spread as widely as the figure of `n_windows` truly would.

    A resample of m < n windows spreads by sqrt(n / m) more, which makes up for three shortfalls of n windows
    drawn in pieces of l (`drawn_block`), all of them large when windows overlap and are few:

    - Deviations are taken from the sample's own mean, which takes l / n of the variance away. Drawing
      n - l is the answer of McCarthy and Snowden (1985) and Rao and Wu (1988) for n / l drawn units.
    - Neighbours k apart count with 1 - k/l alone (Künsch, Annals of Statistics 17, 1989). Windows that go
      together as much as they share bars, 1 - k/b with b = `block`, have b times the variance of independent
      ones; pieces see 1 + 2 sum_k (1 - k/b)(1 - k/l) of it, the share 1 - (b^2 - 1) / (3 b l). Those that go
      together less get wider intervals than they need.
    - The variance itself is estimated, with 3 l n / (2 l^2 + 1) - 1 degrees of freedom (n - 1 for l = 1, some
      1.5 n / l for long pieces: Meketon and Schmeiser 1984): Student's quantile takes the normal's place.

    m = (n - l) (1 - (b^2 - 1) / (3 b l)) (z / t)^2 at 97.5 %, rounded; at least 1, where one block spans
    nearly all windows and there is next to no evidence. Measured by `benchmarks/interval_coverage.py`.
    """
    piece = drawn_block(n_windows, block)
    seen = 1 - (block**2 - 1) / (3 * block * piece)
    freedom = max(3 * piece * n_windows / (2 * piece**2 + 1) - 1, 1.0)
    widening = student_t.ppf(0.975, freedom) / norm.ppf(0.975)
    return max(round((n_windows - piece) * seen / widening**2), 1)


def block_weights(
    n_windows: int, block: int, seed: int, n_resamples: int = N_RESAMPLES
) -> Float[np.ndarray, "resamples windows"]:
    """Draw circular block bootstrap counts (Politis and Romano 1992): how often each window counts.

    Every resample has exactly `resample_size(n_windows, block)` windows; the last piece is cut short.
    """
    rng = generator(seed, "bootstrap", n_windows, block)
    n_drawn, piece = resample_size(n_windows, block), drawn_block(n_windows, block)
    n_pieces = -(-n_drawn // piece)
    first = rng.integers(0, n_windows, size=(n_resamples, n_pieces, 1))
    rows = ((first + np.arange(piece)) % n_windows).reshape(n_resamples, -1)[:, :n_drawn]
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
