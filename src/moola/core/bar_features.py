"""Features of overlapping windows straight from their bars: what a bar needs is computed once, not once a window."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

from moola.core.bars import upside_down
from moola.core.features import N_FEATURES, ZSCORE_BARS, relative_features, rolling_zscores
from moola.core.windows import take_windows

# Bars whose last 20 may lie before the window: all they have in the window counts instead.
HEAD_BARS = ZSCORE_BARS - 1
# Bars a piece of a table, each computed with the bars before it that it looks at.
BARS_AT_A_TIME = 4096
# Windows whose first bars are mended at once: what is computed on the way stays in the processor's cache.
HEADS_AT_A_TIME = 512


class BarFeatures:
    """The eleven features of every bar of a table, and of any of its windows.

    Costs 88 bytes a bar, whatever the number of windows. A bar's features are the same in every window that holds
    19 bars before it; the first bars of a window are mended (SPEC.md 3: returns of the first bar are 0, z-scores
    before there are 20 bars are over all so far). Equal to `relative_features` of the windows but for rounding
    (1e-9 of a z-score). `turned` gives the features of the bars upside down.
    """

    def __init__(self, ohlc: Float[np.ndarray, "bars 4"], turned: bool = False) -> None:
        self.ohlc = np.ascontiguousarray(ohlc)
        self.turned = turned
        self.whole = np.zeros((len(ohlc), N_FEATURES))
        for first in range(0, len(ohlc), BARS_AT_A_TIME):
            before = max(first - ZSCORE_BARS, 0)
            piece = relative_features(self._seen(ohlc[None, before : first + BARS_AT_A_TIME]))[0]
            self.whole[first : first + BARS_AT_A_TIME] = piece[first - before :]

    def windows(
        self, first_bar: Int[np.ndarray, " windows"], window_bars: int
    ) -> Float[np.ndarray, "windows window_bars 11"]:
        """Return the features of the windows that begin at these bars."""
        features = take_windows(self.whole, first_bar, window_bars)
        head = min(HEAD_BARS, window_bars)
        features[:, :1, 0:4] = 0.0
        for first in range(0, len(first_bar), HEADS_AT_A_TIME):
            piece = slice(first, first + HEADS_AT_A_TIME)
            features[piece, :head, 7:] = rolling_zscores(self._seen(take_windows(self.ohlc, first_bar[piece], head)))
        return features

    def _seen(self, ohlc: Float[np.ndarray, "windows bars 4"]) -> Float[np.ndarray, "windows bars 4"]:
        # Turned where they are read: a turned copy of the table would cost 32 bytes a bar.
        return upside_down(ohlc) if self.turned else ohlc
