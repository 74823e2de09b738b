"""The eleven relative features: scale-free, causal, in float64 (SPEC.md 3)."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

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
    prices = np.asarray(ohlc, dtype=np.float64)
    features = np.zeros((*prices.shape[:2], N_FEATURES))
    features[:, 1:, 0:4] = np.log(prices[:, 1:] / prices[:, :-1])
    features[:, :, 4:7] = bar_ratios(prices)
    features[:, :, 7:11] = rolling_zscores(prices)
    return features


# Under a mirror of prices the high becomes the low: where each feature comes from, and its sign.
MIRRORED_FROM = (0, 2, 1, 3, 4, 6, 5, 7, 9, 8, 10)
MIRRORED_SIGN = (-1, -1, -1, -1, 1, 1, 1, -1, -1, -1, -1)


def mirrored_features(
    features: Float[np.ndarray, "windows bars 11"],
) -> Float[np.ndarray, "windows bars 11"]:
    """Return the features of the windows upside down (p becomes 1/p), from the features alone.

    Log returns are exact. Ratios and z-scores are those of a mirror of logarithms: they differ from
    1/p's by about a bar's range over its price, which is far below what a network can tell.
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

    Works on differences to the price itself: equal prices give exactly 0 (no rounding noise that a
    division would blow up), and large prices lose no digits. Before there are 20 bars, all so far.
    """
    n_bars = prices.shape[1]
    count = np.minimum(np.arange(1, n_bars + 1), ZSCORE_BARS)[:, None]
    lags = range(1, min(ZSCORE_BARS, n_bars))
    mean = np.zeros_like(prices)
    for lag in lags:
        mean[:, lag:] += prices[:, :-lag] - prices[:, lag:]
    mean /= count
    variance = mean**2
    for lag in lags:
        variance[:, lag:] += (prices[:, :-lag] - prices[:, lag:] - mean[:, lag:]) ** 2
    std = np.sqrt(variance / count)
    zscore = np.divide(-mean, std, out=np.zeros_like(prices), where=std > 0)
    return np.clip(zscore, -ZSCORE_CLIP, ZSCORE_CLIP)
