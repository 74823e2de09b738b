"""Volatility rescale: the same shape in a quieter or a livelier market."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from moola.data.augmentation.checks import move_of, still_largest
from moola.data.augmentation.source import Source
from moola.data.augmentation.window import Window, from_logs

# Factors are drawn evenly in logs.
WHOLE = (0.6, 1.6)
AFTER = (0.6, 1.4)


def rescale(window: Window, _source: Source, rng: np.random.Generator) -> Window:
    """Multiply log returns from the first close by one factor, wicks included.

    Every second window with pointers has the bars after its expansion rescaled once more, from the
    expansion's last close on: what follows is no part of the label.
    """
    log_ohlc = np.log(window.ohlc)
    factor, after = np.exp(rng.uniform(*np.log([WHOLE, AFTER]).T))
    log_ohlc = _around(log_ohlc, log_ohlc[0, 3], factor)
    if window.has_pointers and rng.random() < 0.5:
        later = slice(window.end_bar + 1, None)
        log_ohlc[later] = _around(log_ohlc[later], log_ohlc[window.end_bar, 3], after)
    return replace(window, ohlc=from_logs(log_ohlc))


def _around(log_ohlc: np.ndarray, anchor: float, factor: float) -> np.ndarray:
    return anchor + factor * (log_ohlc - anchor)


def rescale_keeps_label(parent: Window, made: Window, _source: Source) -> str | None:
    """Pointers stay, the prior range keeps its ratio to the move, and the move is still the largest."""
    if (made.start_bar, made.end_bar) != (parent.start_bar, parent.end_bar):
        return "pointers moved"
    if not parent.has_pointers or parent.start_bar == 0:
        return None
    # As products, so that a move of nothing divides by nothing.
    one, other = _prior_range(made) * move_of(parent), _prior_range(parent) * move_of(made)
    if not np.isclose(one, other, rtol=1e-6, atol=1e-15):
        return "the prior range changed against the move"
    return still_largest(parent, made)


def _prior_range(window: Window) -> float:
    prior = np.log(window.ohlc[max(window.start_bar - window.prior_bars, 0) : window.start_bar])
    return float(prior[:, 1].max() - prior[:, 2].min())
