"""The augmentations themselves (mirror, rescale, redrawn wicks, time warp, re-cut, transplant), and what rejects a
made window."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Int

from moola.augment.training_windows import Source, Window, from_logs
from moola.core.bars import price_problems, upside_down
from moola.core.expansions import PRIOR_STATES
from moola.core.spans import BACKGROUND
from moola.core.windows import inner_zone
from moola.errors import WrongUsage
from moola.tables.window_file import WindowTable

# How much larger than the parent's the largest gap and the largest range may be, against the mean range.
LARGEST = 1.5
# How far the wicks' share of all ranges may be from the parent's.
WICKS = 0.15
# How many times smaller or larger than the parent's the mean range may be.
UNLIKE_SIZE = 2.0


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
        "bars too small": shape.mean_range < real.mean_range / UNLIKE_SIZE,
        "bars too large": shape.mean_range > real.mean_range * UNLIKE_SIZE,
        "a gap too large": shape.largest_gap > real.largest_gap * LARGEST + 1e-9,
        "a bar's range too large": shape.largest_range > real.largest_range * LARGEST + 1e-9,
        "wicks unlike the parent's": abs(shape.wick_share - real.wick_share) > WICKS,
    }
    return next((reason for reason, found in reasons.items() if found), None)


# States before a move that mean the same whichever way the price goes.
UNDIRECTED = PRIOR_STATES


def mirror(window: Window, source: Source, _rng: np.random.Generator) -> Window | None:
    """Turn prices upside down: p becomes 1/p, so that up is down and ratios are kept.

    High becomes 1/low and low 1/high; pointers stay where they are. `None` where the class has no mirror.
    """
    if window.label not in source.swaps:
        return None
    return replace(window, ohlc=upside_down(window.ohlc), label=source.swaps[window.label])


def mirror_keeps_label(parent: Window, made: Window, source: Source) -> str | None:
    """Every return is turned around, pointers stay, and the class is the one that the swaps give.

    The label holds by symmetry: a state without direction has none after the mirror.
    """
    turned = np.allclose(np.log(made.ohlc[:, [0, 2, 1, 3]]) + np.log(parent.ohlc), 0.0, atol=1e-9)
    pointers = (made.start_bar, made.end_bar) == (parent.start_bar, parent.end_bar)
    if not (turned and pointers and made.label == source.swaps.get(parent.label)):
        return "it is not a mirror"
    return None


def class_swaps(classes: list[str], mirror_classes: tuple[str, ...]) -> dict[str, str]:
    """State which class a mirrored window has: `same`, swaps as `bull:bear`, or the undirected alone.

    Raises
    ------
    WrongUsage
        A name that is no class of the data, or a form that is neither `same` nor `a:b`.
    """
    if not mirror_classes:
        return {name: name for name in classes if name in UNDIRECTED}
    if mirror_classes == ("same",):
        return {name: name for name in classes}
    swaps: dict[str, str] = {}
    for pair in mirror_classes:
        left, _, right = pair.partition(":")
        unknown = [name for name in (left, right) if name not in classes]
        if unknown:
            raise WrongUsage(
                f"--mirror-classes must be `same` or swaps of classes as bull:bear, but {pair!r} names "
                f"{unknown[0]!r} and the classes are {', '.join(classes)}. Name two of them."
            )
        if left in swaps or right in swaps:
            raise WrongUsage(
                f"--mirror-classes must give each class one mirror, but {pair!r} names one a second time. Name it once."
            )
        swaps |= {left: right, right: left}
    # Where nothing is, nothing is upside down too.
    return swaps | ({BACKGROUND: BACKGROUND} if BACKGROUND in classes and BACKGROUND not in swaps else {})


def can_mirror(train: WindowTable, mirror_classes: tuple[str, ...]) -> bool:
    """Return whether there are bars to mirror, and a class whose mirror is known."""
    return train.ohlc is not None and bool(class_swaps(train.classes, mirror_classes))


# Volatility rescale: the same shape in a quieter or a livelier market.


# Factors are drawn evenly in logs.
WHOLE = (0.6, 1.6)
RESCALED_AFTER = (0.6, 1.4)


def rescale(window: Window, _source: Source, rng: np.random.Generator) -> Window:
    """Multiply log returns from the first close by one factor, wicks included.

    Every second window with pointers has the bars after its expansion rescaled once more, from the
    expansion's last close on: what follows is no part of the label.
    """
    log_ohlc = np.log(window.ohlc)
    factor, after = np.exp(rng.uniform(*np.log([WHOLE, RESCALED_AFTER]).T))
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


# Wicks redrawn: the same bodies, with other highs and lows.


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


# Time warp: the expansion, and what is before and after it, take more or fewer bars.


# Shares of the parent's bars: inside, where the class has no information on the pace, more than outside.
INSIDE = (0.7, 1.4)
BEFORE = (0.85, 1.18)
AFTER = (0.7, 1.4)


def warp(window: Window, _source: Source, rng: np.random.Generator) -> Window | None:
    """Move both pointers, and stretch or squeeze the bars between the window's ends and them to fit.

    Closes are read off the parent's path of log closes, which the expansion's first and last bar and the
    window's ends keep; gaps and wicks are those of the nearest bar of the parent. `None` where the window
    has no pointers, or none that could move inside the inner zone.
    """
    pairs = _places(window)
    if not len(pairs):
        return None
    start, end = (int(bar) for bar in pairs[rng.integers(len(pairs))])
    n_bars = len(window)
    # The move runs from the close before the expansion to the close of its last bar.
    place = np.interp(
        np.arange(n_bars), [0, start - 1, end, n_bars - 1], [0, window.start_bar - 1, window.end_bar, n_bars - 1]
    )
    return replace(window, ohlc=_read_at(window.ohlc, place), start_bar=start, end_bar=end)


def _places(window: Window) -> Int[np.ndarray, "pairs 2"]:
    """Every pair of new pointers that the limits allow, the parent's own left out."""
    n_bars = len(window)
    first, last = inner_zone(n_bars)
    empty = np.empty((0, 2), dtype=np.int64)
    # Without two closes before it, or a bar after it, there is nothing to stretch.
    if window.start_bar < 2 or window.end_bar >= n_bars - 1:
        return empty
    # A pointer that the trader set outside the zone may stay outside, but is not pushed further.
    lowest, highest = min(first, window.start_bar), max(last - 1, window.end_bar)
    starts = range(
        max(math.ceil(BEFORE[0] * window.start_bar), lowest, 2),
        min(math.floor(BEFORE[1] * window.start_bar), highest) + 1,
    )
    length, after = window.n_expansion_bars, n_bars - 1 - window.end_bar
    pairs = [
        (start, start + n - 1)
        for start in starts
        for n in range(max(math.ceil(INSIDE[0] * length), 1), math.floor(INSIDE[1] * length) + 1)
        if start + n - 1 <= highest and AFTER[0] <= (n_bars - start - n) / after <= AFTER[1]
    ]
    moved = [pair for pair in pairs if pair != (window.start_bar, window.end_bar)]
    return np.array(moved, dtype=np.int64).reshape(-1, 2) if moved else empty


def _read_at(ohlc: Float[np.ndarray, "bars 4"], place: Float[np.ndarray, " bars"]) -> Float[np.ndarray, "bars 4"]:
    open_, high, low, close = np.log(ohlc).T
    gap = np.concatenate([[0.0], open_[1:] - close[:-1]])
    upper, lower = high - np.maximum(open_, close), np.minimum(open_, close) - low
    near = np.rint(place).astype(np.int64)
    close = np.interp(place, np.arange(len(ohlc)), close)
    open_ = np.concatenate([open_[:1], close[:-1] + gap[near][1:]])
    top, bottom = np.maximum(open_, close), np.minimum(open_, close)
    return from_logs(np.stack([open_, top + upper[near], bottom - lower[near], close], axis=1))


def warp_keeps_label(parent: Window, made: Window, _source: Source) -> str | None:
    """Pointers in order and in the zone, a length within limits, the same move, still the largest one."""
    if not 0 < made.start_bar <= made.end_bar < len(made):
        return "pointers out of order"
    share = made.n_expansion_bars / parent.n_expansion_bars
    if not INSIDE[0] <= share <= INSIDE[1]:
        return "expansion stretched too far"
    if not np.isclose(move_of(made), move_of(parent), rtol=1e-6, atol=1e-12):
        return "the move changed"
    return outside_zone(parent, made) or still_largest(parent, made)


# Shift by re-cutting: the window begins some bars earlier or later in the bar table.


MAX_SHIFT_BARS = 20


def recut(window: Window, source: Source, rng: np.random.Generator) -> Window | None:
    """Cut the window again, up to 20 bars earlier or later; pointers move the other way.

    `None` where its bars are not in the bar table, or where every shift would take a pointer out of the
    inner zone, run over a long gap, or touch a bar outside the time of training rows.
    """
    row = source.row_of(window)
    if row is None or not window.has_pointers:
        return None
    assert source.bars is not None
    n_bars = len(window)
    first, last = inner_zone(n_bars)
    lowest, highest = min(first, window.start_bar), max(last - 1, window.end_bar)
    shifts = [
        shift
        for shift in range(
            max(-MAX_SHIFT_BARS, window.end_bar - highest), min(MAX_SHIFT_BARS, window.start_bar - lowest) + 1
        )
        if shift and source.may_cut(row + shift, window)
    ]
    if not shifts:
        return None
    shift = int(rng.choice(shifts))
    rows = slice(row + shift, row + shift + n_bars)
    times = source.bars.start_us[rows]
    return replace(
        window,
        ohlc=source.bars.ohlc[rows].copy(),
        start_bar=window.start_bar - shift,
        end_bar=window.end_bar - shift,
        first_us=int(times[0]),
        last_us=int(times[-1]),
    )


def recut_keeps_label(parent: Window, made: Window, source: Source) -> str | None:
    """The expansion's own bars at the moved pointers, in the zone, no long gap, no held-out bar."""
    before, after = (window.ohlc[window.start_bar : window.end_bar + 1] for window in (parent, made))
    if not np.array_equal(before, after):
        return "the expansion's bars changed"
    row = source.row_of(made)
    if row is None or not source.may_cut(row, parent):
        return "bars that may not be used"
    return outside_zone(parent, made) or still_largest(parent, made)


# Transplant: an expansion with its prior state, put into the context of another training window.


# How far the donor's bars may be rescaled to the size of those they replace.
SIZE = (0.5, 2.0)
# Fewer replaced bars would make the parent over again.
LEAST_BARS = 5


def transplant(window: Window, source: Source, rng: np.random.Generator) -> Window | None:
    """Replace the bars before the prior state by another training window's, joined on returns.

    The donor's bars are before its own expansion; they are shifted to end at the close that the
    parent's prior state follows on, so that the gap there is the parent's, and rescaled to the mean bar
    range of those they replace. `None` where hardly a bar is before the prior state, or no donor fits.
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
