"""Windows that share bars with those that a classifier was fitted on: what `KFold` does to overlapping windows."""

from __future__ import annotations

import warnings

import numpy as np
from jaxtyping import Float

from moola.core.features import FEATURE_NAMES

# Ratios that a bar has by itself, whatever window and scale it stands in.
RATIOS = slice(FEATURE_NAMES.index("body_ratio"), FEATURE_NAMES.index("lower_wick_ratio") + 1)
# So many equal bars in a row are the same bars of the chart; fewer can be alike by chance where ticks are coarse.
IN_A_ROW = 20
# Odd, with bits all over (the golden ratio's): numbers wrap around at 64 bits.
FACTOR = np.uint64(0x9E3779B97F4A7C15)


class OverlapWarning(UserWarning):
    """Predicted windows share 20 bars or more with windows that the classifier was fitted on, and are none of those.

    Figures on them are too good: a model that remembers bars knows their answer. `KFold` on windows cut every few bars
    does this in every fold, `ForwardChaining` in none. Where nothing is evaluated there is no harm, as in predicting
    the window after the last one that was learned.

    Examples
    --------
    >>> import moola
    >>> import warnings
    >>> from sklearn.model_selection import KFold, cross_val_score
    >>> windows = moola.autolabel(moola.windows(moola.sample_bars(), stride=25))
    >>> small = moola.WindowClassifier(hidden_dim=4, n_heads=1, epochs=1, device="cpu")
    >>> with warnings.catch_warnings(record=True) as told:
    ...     warnings.simplefilter("always")
    ...     scores = cross_val_score(small, windows, windows["label"].to_numpy(), cv=KFold(2))
    >>> {warning.category.__name__ for warning in told}
    {'OverlapWarning'}
    """


class FittedBars:
    """The bars of the windows that a classifier was fitted on, as hashes.

    Overlapping windows share their first or their last bars. A window of which the first or the last 20 bars (all of
    them, in shorter windows) stand in a row inside a fitted window is one that shares bars; it is found by the bars'
    own ratios, so that times are not needed and prices and features give the same answer. Runs of bars that are all
    alike, such as flat ones, are passed over, and so are windows that share fewer bars.
    """

    def __init__(self, features: Float[np.ndarray, "windows bars 11"]) -> None:
        self.windows = np.unique(_whole(features))
        runs, differ = _runs(features)
        self.runs = np.unique(runs[differ])

    def shared_by(self, features: Float[np.ndarray, "windows bars 11"]) -> int:
        """Count the windows that share bars with fitted ones and are none of them."""
        runs, differ = _runs(features)
        ends = [0, runs.shape[1] - 1]
        shares = (np.isin(runs[:, ends], self.runs) & differ[:, ends]).any(axis=1)
        return int((shares & ~np.isin(_whole(features), self.windows)).sum())

    def warn_of(self, features: Float[np.ndarray, "windows bars 11"], stacklevel: int) -> None:
        """Warn where windows share bars with fitted ones."""
        if n_shared := self.shared_by(features):
            warnings.warn(
                f"{n_shared} of {len(features)} windows share bars with windows that the classifier was fitted on: "
                "figures on them are too good. Evaluate with cv=moola.ForwardChaining() in place of KFold, or on "
                "windows of moola.split.",
                OverlapWarning,
                stacklevel=stacklevel,
            )


def _bar_hashes(features: np.ndarray) -> np.ndarray:
    """Return a number for each bar, `(windows, bars)`: the same for the same ratios, bit for bit."""
    ratios = np.ascontiguousarray(features[:, :, RATIOS], dtype=np.float64).view(np.uint64)
    number = np.zeros(ratios.shape[:2], dtype=np.uint64)
    for part in np.moveaxis(ratios, -1, 0):
        number = (number ^ part) * FACTOR
        number ^= number >> np.uint64(29)
    return number


def _joined(hashes: np.ndarray, length: int) -> np.ndarray:
    """Return a number for each run of so many bars, `(windows, runs)`."""
    n_runs = hashes.shape[1] - length + 1
    number = np.zeros((len(hashes), n_runs), dtype=np.uint64)
    for place in range(length):
        number = number * FACTOR + hashes[:, place : place + n_runs]
    return number


def _whole(features: np.ndarray) -> np.ndarray:
    return _joined(_bar_hashes(features), features.shape[1])[:, 0]


def _runs(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the hash of each run of bars, and whether its bars differ."""
    hashes = _bar_hashes(features)
    length = min(IN_A_ROW, hashes.shape[1])
    steps = np.cumsum(np.pad(hashes[:, 1:] != hashes[:, :-1], ((0, 0), (1, 0))), axis=1)
    n_runs = hashes.shape[1] - length + 1
    return _joined(hashes, length), steps[:, length - 1 :] > steps[:, :n_runs]
