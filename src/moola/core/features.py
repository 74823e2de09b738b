"""The eleven relative features and their scaler: scale-free, causal, in float64 (specification 3)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from moola.core.bars import upside_down
from moola.core.windows import take_windows
from moola.errors import WrongUsage

FEATURE_NAMES = (
    "log_return_open",
    "log_return_high",
    "log_return_low",
    "log_return_close",
    "body_ratio",
    "upper_wick_ratio",
    "lower_wick_ratio",
    "zscore_open",
    "zscore_high",
    "zscore_low",
    "zscore_close",
)
FEATURE_TYPE = "relative_11d"
FEATURE_VERSION = 1
N_FEATURES = len(FEATURE_NAMES)
ZSCORE_BARS = 20
ZSCORE_CLIP = 10.0
# So few that what is computed on the way stays in the processor's cache: twice as fast as all at once.
WINDOWS_AT_A_TIME = 32


def relative_features(
    ohlc: Float[np.ndarray, "windows bars 4"],
) -> Float[np.ndarray, "windows bars 11"]:
    """Compute the eleven features of each window from its own bars alone.

    Parameters
    ----------
    ohlc
        Prices above 0 with low <= min(open, close) and max(open, close) <= high.

    Returns
    -------
    numpy.ndarray
        Log returns (0 at a window's first bar), body and wick ratios in [0, 1] (0 on a bar with no
        range), z-scores over the last 20 bars (0 where the prices are all equal), in the order of
        `FEATURE_NAMES`. Bars after t change nothing at or before t.
    """
    features = np.zeros((*ohlc.shape[:2], N_FEATURES))
    for first in range(0, len(ohlc), WINDOWS_AT_A_TIME):
        piece = slice(first, first + WINDOWS_AT_A_TIME)
        prices = np.asarray(ohlc[piece], dtype=np.float64)
        features[piece, 1:, 0:4] = np.log(prices[:, 1:] / prices[:, :-1])
        features[piece, :, 4:7] = bar_ratios(prices)
        features[piece, :, 7:] = rolling_zscores(prices)
    return features


# Under a mirror of prices the high becomes the low: where each feature comes from, and its sign.
MIRRORED_FROM = (0, 2, 1, 3, 4, 6, 5, 7, 9, 8, 10)
MIRRORED_SIGN = (-1, -1, -1, -1, 1, 1, 1, -1, -1, -1, -1)


def mirrored_features(
    features: Float[np.ndarray, "windows bars 11"],
) -> Float[np.ndarray, "windows bars 11"]:
    """Return the features of the windows upside down (p becomes 1/p), from the features alone.

    Log returns are exact. Ratios and z-scores are those of a mirror of logarithms: they differ from
    1/p's by about a bar's range over its price, which is far below what a network can resolve.
    """
    turned: np.ndarray = features[..., list(MIRRORED_FROM)] * np.array(MIRRORED_SIGN, dtype=features.dtype)
    return turned


def bar_ratios(ohlc: Float[np.ndarray, "windows bars 4"]) -> Float[np.ndarray, "windows bars 3"]:
    """Share of a bar's range in its body, upper wick and lower wick; all 0 without a range."""
    open_, high, low, close = np.moveaxis(ohlc, -1, 0)
    span = high - low
    parts = np.stack(
        [np.abs(close - open_), high - np.maximum(open_, close), np.minimum(open_, close) - low],
        axis=-1,
    )
    has_range = span > 0
    return np.where(has_range[..., None], parts / np.where(has_range, span, 1.0)[..., None], 0.0)


def rolling_zscores(
    prices: Float[np.ndarray, "windows bars kinds"],
) -> Float[np.ndarray, "windows bars kinds"]:
    """Distance of each price from the mean of the last 20, in population standard deviations.

    Before there are 20 bars, all so far. Bars are laid in blocks of 20: the last 20 bars of any bar are the
    first ones of its own block and the last ones of the block before, so two running sums a block give them all
    (van Herk 1992). Sums are of differences to the block's first price, which is always among the 20: equal
    prices give exactly 0, and large prices lose no digits.
    """
    n_windows, n_bars, n_kinds = prices.shape
    n_blocks = -(-n_bars // ZSCORE_BARS)
    padded = np.pad(prices, ((0, 0), (0, n_blocks * ZSCORE_BARS - n_bars), (0, 0)), mode="edge")
    # Bars of a block outermost, so that a running sum is a sum of whole arrays.
    blocks = np.ascontiguousarray(np.moveaxis(padded.reshape(n_windows, n_blocks, ZSCORE_BARS, n_kinds), 2, 0))
    ahead = blocks - blocks[0]
    sums, squares = ahead.copy(), ahead**2
    for bar in range(1, ZSCORE_BARS):
        sums[bar] += sums[bar - 1]
        squares[bar] += squares[bar - 1]
    behind = blocks[:, :, :-1] - blocks[0, :, 1:]
    tail, tail_squares = np.zeros(behind.shape[1:]), np.zeros(behind.shape[1:])
    for bar in range(ZSCORE_BARS - 1, 0, -1):
        tail += behind[bar]
        tail_squares += behind[bar] ** 2
        sums[bar - 1, :, 1:] += tail
        squares[bar - 1, :, 1:] += tail_squares
    count = np.full((ZSCORE_BARS, 1, n_blocks, 1), float(ZSCORE_BARS))
    count[:, 0, 0, 0] = np.arange(1, ZSCORE_BARS + 1)
    mean = sums / count
    std = np.sqrt(np.maximum(squares / count - mean**2, 0.0))
    zscore = np.divide(ahead - mean, std, out=np.zeros_like(ahead), where=std > 0)
    laid = np.moveaxis(zscore, 0, 2).reshape(n_windows, n_blocks * ZSCORE_BARS, n_kinds)[:, :n_bars]
    return np.clip(laid, -ZSCORE_CLIP, ZSCORE_CLIP)


def require_input_dim(input_dim: int | None) -> None:
    """Refuse an input width that the data does not have."""
    if input_dim not in (None, N_FEATURES):
        raise WrongUsage(
            f"--input-dim must agree with the data, but it is {input_dim} and networks read the {N_FEATURES} "
            "relative features. Leave it out."
        )


# Features of overlapping windows straight from their bars: what a bar needs is computed once, not once a window.


# Bars whose last 20 may lie before the window: all they have in the window counts instead.
HEAD_BARS = ZSCORE_BARS - 1
# Bars a piece of a table, each computed with the bars before it that it looks at.
BARS_AT_A_TIME = 4096
# Windows whose first bars are fixed at once: what is computed on the way stays in the processor's cache.
HEADS_AT_A_TIME = 512


class BarFeatures:
    """The eleven features of every bar of a table, and of any of its windows.

    Costs 88 bytes per bar, whatever the number of windows. A bar's features are the same in every window that holds
    19 bars before it; the first bars of a window are fixed (specification 3: returns of the first bar are 0, z-scores
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
        # Turned where they are read: a turned copy of the table would cost 32 bytes per bar.
        return upside_down(ohlc) if self.turned else ohlc


# The robust scaler between features (returns of some 1e-4, z-scores of some 1) and networks.


CLIP = 8.0
# Interquartile range of a standard normal variable: dividing by it gives a spread of about 1.
NORMAL_IQR = 1.3489795


@dataclass(frozen=True)
class RobustScaler:
    """Median and normal-consistent interquartile range of each feature, of training rows alone."""

    center: Float[np.ndarray, " features"]
    scale: Float[np.ndarray, " features"]
    clip: float = CLIP

    @classmethod
    def fit(cls, features: Float[np.ndarray, "windows bars features"]) -> RobustScaler:
        """Fit on training windows; a feature that never varies is centred and not divided.

        The first bar of a window is left out: its returns and z-scores are 0 by definition.
        """
        rows = features[:, 1:].reshape(-1, features.shape[-1])
        low, center, high = np.quantile(rows, [0.25, 0.5, 0.75], axis=0)
        spread = (high - low) / NORMAL_IQR
        fallback = rows.std(axis=0)
        scale = np.where(spread > 0, spread, np.where(fallback > 0, fallback, 1.0))
        return cls(center, scale)

    def transform(
        self, features: Float[np.ndarray, "windows bars features"]
    ) -> Float[np.ndarray, "windows bars features"]:
        """Scale and clip, as float32: what networks see."""
        scaled = (features - self.center) / self.scale
        return np.clip(scaled, -self.clip, self.clip).astype(np.float32)
