"""Transplant: an expansion with its prior state, put into the context of another training window."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from moola.data.augmentation.checks import still_largest
from moola.data.augmentation.source import Source
from moola.data.augmentation.window import Window, from_logs

# How far the donor's bars may be rescaled to the size of those they replace.
SIZE = (0.5, 2.0)
# Fewer replaced bars would make the parent over again.
LEAST_BARS = 5


def transplant(window: Window, source: Source, rng: np.random.Generator) -> Window | None:
    """Replace the bars before the prior state by another training window's, joined on returns.

    The donor's bars stand before its own expansion; they are shifted to end at the close that the
    parent's prior state follows on, so that the gap there is the parent's, and rescaled to the mean bar
    range of those they replace. `None` where hardly a bar stands before the prior state, or no donor fits.
    """
    join = window.start_bar - window.prior_bars
    if not window.has_pointers or join < LEAST_BARS:
        return None
    size = _mean_range(window.ohlc[:join])
    donors = [
        (other, size / _mean_range(other.ohlc[:join]))
        for other in source.windows
        if other.window_id != window.window_id
        and len(other) == len(window)
        and other.start_bar >= join
        and SIZE[0] * _mean_range(other.ohlc[:join]) <= size <= SIZE[1] * _mean_range(other.ohlc[:join])
        and size > 0
    ]
    if not donors:
        return None
    donor, factor = donors[rng.integers(len(donors))]
    log_context = np.log(donor.ohlc[:join])
    log_context = np.log(window.ohlc[join - 1, 3]) + factor * (log_context - log_context[-1, 3])
    return replace(window, ohlc=np.concatenate([from_logs(log_context), window.ohlc[join:]]))


def _mean_range(ohlc: np.ndarray) -> float:
    return float(np.log(ohlc[:, 1] / ohlc[:, 2]).mean())


def transplant_keeps_label(parent: Window, made: Window, _source: Source) -> str | None:
    """The prior state, the expansion and what follows are the parent's, without a jump where they join."""
    join = parent.start_bar - parent.prior_bars
    same = np.array_equal(made.ohlc[join:], parent.ohlc[join:])
    if not same or (made.start_bar, made.end_bar) != (parent.start_bar, parent.end_bar):
        return "the prior state or the expansion changed"
    if not np.isclose(made.ohlc[join - 1, 3], parent.ohlc[join - 1, 3], rtol=1e-9):
        return "a jump where the bars join"
    return still_largest(parent, made)
