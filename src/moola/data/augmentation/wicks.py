"""Wicks redrawn: the same bodies, with other highs and lows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from moola.data.augmentation.source import Source
from moola.data.augmentation.window import Window, from_logs

# Factors of a wick's length in logs, drawn evenly in logs bar by bar.
LENGTHS = (0.5, 2.0)


def wicks(window: Window, _source: Source, rng: np.random.Generator) -> Window:
    """Multiply each wick by a factor of its own; opens and closes stay, and a bar without a wick gets none."""
    log_ohlc = np.log(window.ohlc)
    top, bottom = log_ohlc[:, [0, 3]].max(axis=1), log_ohlc[:, [0, 3]].min(axis=1)
    shortest, longest = np.log(LENGTHS)
    upper, lower = np.exp(rng.uniform(shortest, longest, size=(2, len(window))))
    log_ohlc[:, 1] = top + upper * (log_ohlc[:, 1] - top)
    log_ohlc[:, 2] = bottom - lower * (bottom - log_ohlc[:, 2])
    return replace(window, ohlc=from_logs(log_ohlc))


def wicks_keeps_label(parent: Window, made: Window, _source: Source) -> str | None:
    """Opens, closes and pointers stay: a class that is read from closes is the same."""
    if (made.start_bar, made.end_bar) != (parent.start_bar, parent.end_bar):
        return "pointers moved"
    if not np.allclose(made.ohlc[:, [0, 3]], parent.ohlc[:, [0, 3]], rtol=1e-12, atol=0.0):
        return "a body changed"
    return None
