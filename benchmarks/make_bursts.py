"""A few-label benchmark of a third kind: bursts of activity, directional or choppy, labelled by a rule.

The rule looks at activity (true ranges of log prices), not for the strongest net move nor for a broken range, and
knows no up or down: a price mirror keeps pointers and class. In words (rule-v3):

- Start: the first bar in the inner zone at which the market wakes: its own true range is at least 1.3 times, and the
  mean true range of it and the next five bars at least 1.5 times, the mean true range of the 24 bars before it, while
  the three bars just before it were on average no livelier than those 24. A later burst in the zone, even a stronger
  one, is not it.
- End: once four bars running are on average below the mean of those 24 bars, the last bar before the four that was not
  below it itself. The burst has 4 to 24 bars and ends inside the inner zone, or the window is left out.
- Class: the ground won, |last close of the burst - last close before it|, over the ground covered, the sum of its true
  ranges, times the square root of its number of bars (so that long bursts are judged as short ones are). From 0.60 on
  `directional`, up to 0.40 `choppy`; windows in between are left out.

A label depends on its window's bars alone. The numbers were chosen for balance, count and plausible lengths; no
network's result had a part in it.

Writes `bursts_<market>_train.parquet` (column `draw`: disjoint sets of windows, in each of which no two share a bar,
whereas windows of two draws may) and `bursts_<market>_test.parquet`, whose windows begin at least one window of bars
after `--test-from` and may share bars with each other. Pretrain on bars before `--test-from` alone.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from jaxtyping import Float, Int

from moola.core.bars import Bars, time_us
from moola.core.seeds import generator
from moola.core.windows import INNER_ZONE, WINDOW_BARS, cut_windows, take_windows
from moola.tables.bar_table import read_bars
from moola.tables.frames import nested_column, utc_series, write_frame

MAX_GAP_S = 3 * 86_400  # Hourly currencies rest over the weekend.


@dataclass(frozen=True, kw_only=True)
class BurstRule:
    """The numbers of the rule; lengths in bars, levels as multiples of the base (the mean range before the start)."""

    base_bars: int = 24
    calm_bars: int = 3
    first_level: float = 1.3
    wake_bars: int = 6
    wake_level: float = 1.5
    fade_bars: int = 4
    fade_level: float = 1.0
    shortest: int = 4
    longest: int = 24
    choppy_up_to: float = 0.40
    directional_from: float = 0.60


def true_ranges(ohlc: Float[np.ndarray, "bars 4"]) -> Float[np.ndarray, " bars"]:
    """Return each bar's range with the gap from the close before it; the first bar's own range."""
    open_, high, low, close = ohlc.T
    before = np.concatenate([open_[:1], close[:-1]])
    return np.maximum(high, before) - np.minimum(low, before)


def onsets(ranges: Float[np.ndarray, " bars"], rule: BurstRule) -> Int[np.ndarray, " onsets"]:
    """Return the bars at which the market wakes, in order."""
    total = np.concatenate([[0.0], np.cumsum(ranges)])
    bar = np.arange(rule.base_bars, len(ranges) - rule.wake_bars + 1)
    base = (total[bar] - total[bar - rule.base_bars]) / rule.base_bars
    calm = (total[bar] - total[bar - rule.calm_bars]) / rule.calm_bars
    awake = (total[bar + rule.wake_bars] - total[bar]) / rule.wake_bars
    wakes = (awake >= rule.wake_level * base) & (ranges[bar] >= rule.first_level * base) & (calm <= base)
    return bar[wakes & (base > 0)]


def last_bar(ranges: Float[np.ndarray, " bars"], start: int, rule: BurstRule) -> int | None:
    """Return the last bar of the burst that starts here; `None` if the bars end before it fades."""
    level = rule.fade_level * ranges[start - rule.base_bars : start].mean()
    for after in range(start + 1, len(ranges) - rule.fade_bars + 1):
        if ranges[after : after + rule.fade_bars].mean() < level:
            # The start itself is above the level, so there is such a bar.
            return start + int(np.flatnonzero(ranges[start:after] >= level)[-1])
    return None


def label_window(ohlc: Float[np.ndarray, "bars 4"], rule: BurstRule = BurstRule()) -> tuple[str, int, int] | None:
    """Return class, first and last bar of a window's burst; `None` where the rule leaves the window out."""
    # In logarithms a mirrored price has the same ranges.
    log_price = np.log(ohlc)
    ranges = true_ranges(log_price)
    found = onsets(ranges, rule)
    found = found[(found >= INNER_ZONE[0]) & (found < INNER_ZONE[1])]
    if not len(found):
        return None
    start = int(found[0])
    end = last_bar(ranges, start, rule)
    if end is None or end >= INNER_ZONE[1]:
        return None
    n_bars = end - start + 1
    if not rule.shortest <= n_bars <= rule.longest:
        return None
    won = abs(log_price[end, 3] - log_price[start - 1, 3])
    share = float(won / ranges[start : end + 1].sum() * np.sqrt(n_bars))
    if rule.choppy_up_to < share < rule.directional_from:
        return None
    return ("choppy" if share <= rule.choppy_up_to else "directional"), start, end


def labelled(bars: Bars, first_bar: Int[np.ndarray, " windows"], symbol: str) -> pl.DataFrame:
    """Label windows; a row a window that the rule keeps, with its first bar in `first_bar`."""
    ohlc = take_windows(bars.ohlc, first_bar, WINDOW_BARS)
    found = [label_window(window) for window in ohlc]
    kept = np.array([answer is not None for answer in found], dtype=bool)
    answers = [answer for answer in found if answer is not None]
    first = first_bar[kept]
    columns = {
        "window_id": [f"{symbol}-{bar:07d}" for bar in first],
        "symbol": [symbol] * len(first),
        "start_ts": utc_series(bars.start_us[first]),
        "end_ts": utc_series(bars.start_us[first + WINDOW_BARS - 1]),
        "label": [answer[0] for answer in answers],
        "expansion_start": [answer[1] for answer in answers],
        "expansion_end": [answer[2] for answer in answers],
        "features": nested_column(ohlc[kept]),
        "first_bar": first,
    }
    return pl.DataFrame(columns)


def drawn(
    first_bar: Int[np.ndarray, " windows"], n_draws: int, n_windows: int, apart: int, seed: int
) -> Int[np.ndarray, " windows"]:
    """Return each window's draw, -1 for none: disjoint draws, in each every two windows at least `apart` bars apart."""
    draw = np.full(len(first_bar), -1, dtype=np.int64)
    for number in range(n_draws):
        for row in generator(seed, "bursts", number).permutation(len(first_bar)):
            mine = first_bar[draw == number]
            if len(mine) == n_windows:
                break
            if draw[row] == -1 and (np.abs(mine - first_bar[row]) >= apart).all():
                draw[row] = number
        if (found := int((draw == number).sum())) < n_windows:
            raise SystemExit(
                f"make_bursts: draw {number} found {found} of {n_windows} windows; take a smaller --apart."
            )
    return draw


def make(bars: Bars, symbol: str, options: argparse.Namespace) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the draws' windows and the test windows, each in time order (draw by draw)."""
    first_test = int(np.searchsorted(bars.start_us, time_us(options.test_from)))
    first_bar = cut_windows(bars, options.stride, WINDOW_BARS, MAX_GAP_S).first_bar
    train = labelled(bars, first_bar[first_bar + WINDOW_BARS <= first_test], symbol)
    test = labelled(bars, first_bar[first_bar >= first_test + WINDOW_BARS], symbol)
    draw = drawn(train["first_bar"].to_numpy(), options.draws, options.windows, options.apart, options.seed)
    train = train.with_columns(draw=pl.Series(draw)).filter(pl.col("draw") >= 0).sort("draw", "first_bar")
    return train.drop("first_bar"), test.drop("first_bar")


def main() -> None:
    """Write both files and say what is in them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bars", type=Path, default=Path("../shared/data/gbpusd_1h_2012_2022.parquet"))
    parser.add_argument("--market", help="default: the first two words of the bars' file name")
    parser.add_argument("--output-folder", type=Path, required=True)
    parser.add_argument("--test-from", default="2018-06-01T00:00:00Z", help="bars from here on are no draw's")
    parser.add_argument("--stride", type=int, default=12, help="bars from one window looked at to the next")
    parser.add_argument(
        "--apart", type=int, default=WINDOW_BARS, help="fewest bars between two windows' first bars in a draw"
    )
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--windows", type=int, default=174, help="windows of a draw")
    parser.add_argument("--seed", type=int, default=17)
    options = parser.parse_args()
    market = options.market or "_".join(options.bars.stem.split("_")[:2])
    tables = make(read_bars(options.bars), market.split("_")[0].upper(), options)
    options.output_folder.mkdir(parents=True, exist_ok=True)
    for name, table in zip(("train", "test"), tables, strict=True):
        write_frame(options.output_folder / f"bursts_{market}_{name}.parquet", table)
        share = (table["label"] == "directional").mean()
        print(f"{name}: {len(table)} windows, {table['start_ts'].min():%F} to {table['end_ts'].max():%F}", end=", ")
        print(f"{100 * share:.0f} % directional")


if __name__ == "__main__":
    main()
