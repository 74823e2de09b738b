"""Shapes of bars and of pieces of a chart, in units of the chart's own pace: what a pattern is recognised by.

All values of a bar or a piece are computed from bars near it alone, row by row, so that they are the same to the bit
wherever a table begins that holds these bars. Beyond the ends of a table its first or last bar is repeated.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int
from numpy.lib.stride_tricks import sliding_window_view

from moola.core.bars import upside_down

# Bars that a bar is compared with on each side.
BAR_REACHES = (1, 2, 3, 5, 8, 13, 21, 34)
# The pace is the mean range of so many bars before.
PACE_BARS = 50
# Bars before and after a piece that its shape looks at, at these distances and at multiples of its length.
BEFORE, AFTER = (2, 3, 5, 8, 13, 21, 34), (1, 2, 3, 5, 8)
MOST_BEFORE, MOST_AFTER = 96, 48
# Bars from the piece's start or end on which anything of it depends.
LOOK_BACK, LOOK_AHEAD = MOST_BEFORE + 1, max(MOST_AFTER, BAR_REACHES[-1])
POLE_BARS = 5
LEAST_PACE = 1e-7
PIECES_AT_A_TIME = 512
N_BAR_VALUES, N_SPAN_VALUES = 2 + 8 * len(BAR_REACHES), 2 * 153


def _logs(ohlc: Float[np.ndarray, "bars 4"]) -> Float[np.ndarray, "bars 4"]:
    return np.asarray(np.log(ohlc))


def pace(logs: Float[np.ndarray, "bars 4"]) -> Float[np.ndarray, " bars"]:
    """Mean high-low range of logarithms over each bar and the 49 before it."""
    ranges = logs[:, 1] - logs[:, 2]
    padded = np.concatenate([np.full(PACE_BARS - 1, ranges[0]), ranges])
    return np.maximum(sliding_window_view(padded, PACE_BARS).mean(axis=1), LEAST_PACE)


def bar_shapes(ohlc: Float[np.ndarray, "bars 4"], ahead: int | None = None) -> Float[np.ndarray, "bars values"]:
    """Return what each bar looks like among the bars around it, as float32.

    Its range and body, and for each of `BAR_REACHES` bars k before and after: the net move, the range, and where the
    close lies in it, all over the pace and the root of k. No bar looks at more than `ahead` bars after it.
    """
    logs = _logs(ohlc)
    high, low, close = logs[:, 1], logs[:, 2], logs[:, 3]
    unit, n_bars = pace(logs), len(logs)
    bar = np.arange(n_bars)
    values = [(high - low) / unit, (close - logs[:, 0]) / unit]
    for reach in BAR_REACHES:
        scale = unit * np.sqrt(reach)
        for side in (-1, 1):
            far = reach if side < 0 or ahead is None else min(reach, ahead)
            there = np.clip(bar + side * far, 0, n_bars - 1)
            top, bottom = _around(high, far, side).max(axis=1), _around(low, far, side).min(axis=1)
            values += [side * (close[there] - close) / scale, (top - bottom) / scale]
            values += [(top - close) / scale, (close - bottom) / scale]
    return np.stack(values, axis=1).astype(np.float32)


def _around(values: np.ndarray, reach: int, side: int) -> np.ndarray:
    """Each bar with the `reach` bars before (-1) or after (1) it, as a view."""
    edge = np.full(reach, values[0] if side < 0 else values[-1])
    padded = np.concatenate([edge, values] if side < 0 else [values, edge])
    return sliding_window_view(padded, reach + 1)


def span_shapes(
    ohlc: Float[np.ndarray, "bars 4"], bar: Int[np.ndarray, "spans 2"], ahead: int | None = None
) -> Float[np.ndarray, "spans values"]:
    """Return the shape of pieces of a chart and of what stands before and after each, as float32.

    Moves and ranges are over the pace before the piece and count from the close before it; all are then compressed
    (sign times log(1 + size)), so that products of them are sums. Rises and highs are looked at more closely than falls
    and lows, so the same values of the bars upside down stand behind: a pattern may point either way.

    Parameters
    ----------
    ohlc
        Consecutive bars of one symbol.
    bar
        First and last bar of each piece.
    ahead
        Bars after a piece that are known; all that shapes look at by default. The last known one stands for later ones.
    """
    both = np.concatenate([_upward(ohlc, bar, ahead), _upward(upside_down(ohlc), bar, ahead)], axis=1)
    return np.asarray(np.sign(both) * np.log1p(np.abs(both)), dtype=np.float32)


def _upward(ohlc: np.ndarray, bar: np.ndarray, ahead: int | None) -> np.ndarray:
    logs = _logs(ohlc)
    unit = pace(logs)
    starts = range(0, max(len(bar), 1), PIECES_AT_A_TIME)
    return np.concatenate([_shapes_of(logs, unit, bar[first : first + PIECES_AT_A_TIME], ahead) for first in starts])


def _shapes_of(logs: np.ndarray, unit: np.ndarray, bar: np.ndarray, ahead: int | None) -> np.ndarray:
    start, end = bar[:, 0], bar[:, 1]
    n_bars = end - start + 1
    last = len(logs) - 1
    scale = unit[np.maximum(start - 1, 0)][:, None]
    base = logs[np.maximum(start - 1, 0), 3][:, None]

    def taken(spot: np.ndarray) -> np.ndarray:
        return np.asarray((logs[np.clip(spot, 0, last)] - base[..., None]) / scale[..., None])

    place = np.arange(int(n_bars.max(initial=1)))
    inside = place[None, :] < n_bars[:, None]
    piece = _Inside(taken(start[:, None] + place), inside, n_bars)
    before = taken(start[:, None] - 1 - np.arange(MOST_BEFORE + 1))
    after = taken(end[:, None] + np.minimum(np.arange(MOST_AFTER + 1), MOST_AFTER if ahead is None else ahead))
    columns = [*piece.values(), *_before_values(before, piece, n_bars), *_after_values(before, after, piece, n_bars)]
    return np.stack(columns, axis=1)


class _Inside:
    """Bars of pieces of several lengths, side by side with a mask."""

    def __init__(self, bars: np.ndarray, inside: np.ndarray, n_bars: np.ndarray) -> None:
        self.n_bars, self.inside = n_bars, inside
        self.close = bars[..., 3]
        self.highs = np.where(inside, bars[..., 1], -np.inf)
        self.lows = np.where(inside, bars[..., 2], np.inf)
        rows = np.arange(len(bars))
        self.last = self.close[rows, n_bars - 1]
        self.high, self.low = self.highs.max(axis=1, initial=-np.inf), self.lows.min(axis=1, initial=np.inf)
        self.range = np.maximum(self.high - self.low, 1e-9)
        earlier = inside & (np.arange(inside.shape[1]) < n_bars[:, None] - 1)
        self.high_before_last = np.maximum(np.where(earlier, bars[..., 1], -np.inf).max(axis=1, initial=-np.inf), 0.0)
        self.close_before_last = np.maximum(np.where(earlier, self.close, -np.inf).max(axis=1, initial=-np.inf), 0.0)

    def values(self) -> list[np.ndarray]:
        """Length, net move, extremes and where they are, path, slope, spread around it, means of the thirds."""
        n_bars, close, inside = self.n_bars, self.close, self.inside
        steps = np.where(inside[:, 1:], np.abs(np.diff(close, axis=1)), 0.0).sum(axis=1)
        place = np.arange(close.shape[1])[None, :]
        centred = np.where(inside, place - (n_bars[:, None] - 1) / 2, 0.0)
        slope = (centred * close).sum(axis=1) / np.maximum((centred**2).sum(axis=1), 1.0)
        mean = np.where(inside, close, 0.0).sum(axis=1) / n_bars
        off = np.where(inside, close - mean[:, None] - slope[:, None] * centred, 0.0)
        third = np.minimum(place * 3 // n_bars[:, None], 2)
        thirds = [_mean_where(close, inside & (third == part)) for part in range(3)]
        return [
            n_bars.astype(np.float64),
            self.last,
            self.high,
            -self.low,
            self.range,
            steps / n_bars,
            np.where(inside, close, -np.inf).max(axis=1),
            np.where(inside, close, np.inf).min(axis=1),
            self.highs.argmax(axis=1) / n_bars,
            self.lows.argmin(axis=1) / n_bars,
            (self.last - self.low) / self.range,
            slope * n_bars,
            np.sqrt((off**2).sum(axis=1) / n_bars),
            self.last - self.close_before_last,
            self.high_before_last - self.last,
            *thirds,
        ]


def _mean_where(values: np.ndarray, mask: np.ndarray) -> np.ndarray:
    return np.asarray(np.where(mask, values, 0.0).sum(axis=1) / np.maximum(mask.sum(axis=1), 1))


def _at(values: np.ndarray, place: np.ndarray) -> np.ndarray:
    return np.asarray(np.take_along_axis(values, place[:, None], axis=1)[:, 0])


def _reaches(fixed: tuple[int, ...], n_bars: np.ndarray, multiples: tuple[float, ...], most: int) -> list[np.ndarray]:
    own = [np.clip((n_bars * share).astype(np.int64), 1, most) for share in multiples]
    return [np.full(len(n_bars), reach) for reach in fixed] + own


def _before_values(before: np.ndarray, piece: _Inside, n_bars: np.ndarray) -> list[np.ndarray]:
    """For each reach: the move up to the piece, its range, its straightness, the piece beside it; and the strongest."""
    close = before[..., 3]
    tops, bottoms = np.maximum.accumulate(before[..., 1], axis=1), np.minimum.accumulate(before[..., 2], axis=1)
    path = np.concatenate([np.zeros((len(close), 1)), np.cumsum(np.abs(np.diff(close, axis=1)), axis=1)], axis=1)
    values = []
    for reach in _reaches(BEFORE, n_bars, (0.5, 1.0, 2.0), MOST_BEFORE):
        move = -_at(close, reach)
        top, bottom = np.maximum(_at(tops, reach - 1), 0.0), np.minimum(_at(bottoms, reach - 1), 0.0)
        span = np.maximum(top - bottom, 1e-9)
        values += [move, span, move / np.maximum(_at(path, reach), 1e-9), top, np.log(piece.range / span)]
        values += [piece.high - top, -piece.low / span, piece.last - top, move / reach]
    return values + _strongest(before, tops, piece)


def _strongest(before: np.ndarray, tops: np.ndarray, piece: _Inside) -> list[np.ndarray]:
    """The rise into the piece that is strongest for its length (move over its root), and the piece measured by it."""
    close, reach = before[..., 3], np.arange(1, MOST_BEFORE // 2 + 1)
    rise = tops[:, : len(reach)] - before[:, 1 : len(reach) + 1, 2]
    best = (rise / np.sqrt(reach)).argmax(axis=1)
    size = np.maximum(_at(rise, best), 1e-9)
    top = np.maximum(_at(tops, best), 0.0)
    top_place = before[:, : len(reach), 1].argmax(axis=1)
    return [
        (best + 1).astype(np.float64),
        size,
        size / np.sqrt(best + 1),
        -_at(close, best + 1) / size,
        top / size,
        (top - piece.low) / size,
        (piece.high - top) / size,
        piece.range / size,
        (top - piece.last) / size,
        piece.n_bars / (best + 1.0),
        top_place.astype(np.float64),
    ]


def _after_values(before: np.ndarray, after: np.ndarray, piece: _Inside, n_bars: np.ndarray) -> list[np.ndarray]:
    """For each reach: the move after the piece, its extremes, and whether it left the extremes before and inside."""
    high = np.maximum(before[:, :POLE_BARS, 1].max(axis=1), piece.high)
    close = np.maximum(before[:, :POLE_BARS, 3].max(axis=1), np.where(piece.inside, piece.close, -np.inf).max(axis=1))
    tops = np.maximum.accumulate(after[:, 1:, 1], axis=1)
    bottoms = np.minimum.accumulate(after[:, 1:, 2], axis=1)
    closes = np.maximum.accumulate(after[:, 1:, 3], axis=1)
    values = [after[:, 1, 3] - high, after[:, 1, 3] - close, after[:, 1, 3] - piece.last, after[:, 1, 1] - high]
    for reach in _reaches(AFTER, n_bars, (1.0,), MOST_AFTER):
        values += [_at(after[..., 3], reach) - piece.last, _at(tops, reach - 1) - piece.last]
        values += [piece.last - _at(bottoms, reach - 1), _at(closes, reach - 1) - high, _at(closes, reach - 1) - close]
    return values
