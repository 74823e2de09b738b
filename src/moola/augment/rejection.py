"""What rejects a made window: lost labels, and bars unlike the parent's.

Every check returns the reason as a few words, or `None`. All work on log prices: scaled prices are
evaluated the same.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from moola.augment.training_windows import Window
from moola.core.bars import price_problems
from moola.core.windows import inner_zone

# How much larger than the parent's the largest gap and the largest range may be, against the mean range.
LARGEST = 1.5
# How far the wicks' share of all ranges may be from the parent's.
WICKS = 0.15
# How many times smaller or larger than the parent's the mean range may be.
SIZE = 2.0


def move_of(window: Window) -> float:
    """Return the net log move of the expansion, from the close before it to its last."""
    before = window.ohlc[window.start_bar - 1, 3] if window.start_bar else window.ohlc[0, 0]
    return float(np.log(window.ohlc[window.end_bar, 3] / before))


def outside_zone(parent: Window, made: Window) -> str | None:
    """Reject pointers outside the inner zone, further out than the parent's were."""
    first, last = inner_zone(len(made))
    if made.start_bar < min(first, parent.start_bar) or made.end_bar > max(last - 1, parent.end_bar):
        return "a pointer left the inner zone"
    return None


def still_largest(parent: Window, made: Window) -> str | None:
    """Reject where another move as long as the expansion became larger than it, inside the inner zone.

    A trader who pointed at the largest move would point elsewhere. Where the parent had a larger one, none may
    be larger against the expansion than that.
    """
    if not parent.has_pointers or parent.start_bar == 0 or made.start_bar == 0:
        return None
    allowed = max(_largest_share(parent), 1.0) * (1 + 1e-6)
    return "another move is larger" if _largest_share(made) > allowed else None


def _largest_share(window: Window) -> float:
    """Largest net move of the expansion's length in the inner zone, as a share of the expansion's."""
    first, last = inner_zone(len(window))
    length = window.n_expansion_bars
    starts = np.arange(max(first, 1), last - length + 1)
    if not len(starts):
        return 0.0
    log_close = np.log(window.ohlc[:, 3])
    largest = float(np.abs(log_close[starts + length - 1] - log_close[starts - 1]).max())
    mine = abs(move_of(window))
    return largest / mine if mine > 0 else np.inf


@dataclass(frozen=True)
class _Shape:
    """What a window's bars look like, whatever its prices: sizes are against the mean range."""

    mean_range: float
    largest_gap: float
    largest_range: float
    wick_share: float


def _shape(ohlc: Float[np.ndarray, "bars 4"]) -> _Shape:
    open_, high, low, close = np.log(ohlc).T
    spans = high - low
    mean = float(spans.mean())
    if mean <= 0:
        return _Shape(0.0, 0.0, 0.0, 0.0)
    gap = float(np.abs(open_[1:] - close[:-1]).max(initial=0.0))
    wicks = float((spans - np.abs(close - open_)).sum() / spans.sum())
    return _Shape(mean, gap / mean, float(spans.max()) / mean, wicks)


def quality_problem(parent: Window, made: Window, expansion_bars: tuple[int, int]) -> str | None:
    """Return why a made window is not fit for training, or `None`.

    Parameters
    ----------
    parent, made
        The training window, and what the whole chain of augmentations made of it.
    expansion_bars
        The shortest and the longest expansion of training rows, in bars.

    Returns
    -------
    str or None
        A broken bar rule (NaN and infinite prices included); an expansion shorter or longer than any of
        the training rows; gaps, ranges or wicks outside the parent's.
    """
    if price_problems(made.ohlc):
        return "a bar rule is broken"
    if made.has_pointers:
        if not 0 <= made.start_bar <= made.end_bar < len(made):
            return "pointers out of order"
        if made.n_expansion_bars < expansion_bars[0]:
            return "expansion too short"
        if made.n_expansion_bars > expansion_bars[1]:
            return "expansion too long"
    real, shape = _shape(parent.ohlc), _shape(made.ohlc)
    reasons = {
        "bars too small": shape.mean_range < real.mean_range / SIZE,
        "bars too large": shape.mean_range > real.mean_range * SIZE,
        "a gap too large": shape.largest_gap > real.largest_gap * LARGEST + 1e-9,
        "a bar's range too large": shape.largest_range > real.largest_range * LARGEST + 1e-9,
        "wicks unlike the parent's": abs(shape.wick_share - real.wick_share) > WICKS,
    }
    return next((reason for reason, found in reasons.items() if found), None)
