"""The bars that `base` learns from: hourly bars of several symbols, and coarser ones made of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from moola.core.bars import Bars, bar_interval_us, resample, utc_text
from moola.core.windows import WINDOW_BARS
from moola.tables.cutting import BarSource, cut_within_gaps

HOUR_US = 3_600_000_000
TIMEFRAMES = {"1h": HOUR_US, "2h": 2 * HOUR_US, "4h": 4 * HOUR_US, "8h": 8 * HOUR_US, "1d": 24 * HOUR_US}
# Neighbours of the finer bars, which are most of all, say the same.
STRIDES = {"1h": 3, "2h": 2}
UNTIL = "2014-06-01"


@dataclass(frozen=True)
class Series:
    """Bars of all symbols and timeframes in one table; its symbols are `EURUSD 1h` and so on."""

    bars: Bars
    source: BarSource

    def told(self) -> list[dict[str, Any]]:
        """Say of each symbol and timeframe its bars, windows and times (from the first start to the last close)."""
        rows = []
        for name in self.bars.symbols:
            mine = np.flatnonzero(self.bars.symbol == name)
            symbol, timeframe = name.split()
            n_windows = int(np.isin(self.source.first_bar, mine).sum())
            times = self.bars.start_us[mine]
            last_close = times[-1] + TIMEFRAMES[timeframe]
            row = {
                "symbol": symbol,
                "timeframe": timeframe,
                "first": utc_text(times[0]),
                "last_close": utc_text(last_close),
            }
            rows.append(row | {"n_bars": len(mine), "n_windows": n_windows})
        return rows


def until_us(day: str = UNTIL) -> int:
    """Return the moment at which bars must be over."""
    return int(np.datetime64(day, "us").astype(np.int64))


def hourly_of(path: Path, bars: Bars, day: str = UNTIL) -> Bars:
    """Take the hourly bars of one file that are over in time; its name says the symbol (`eurusd_1h_...`)."""
    if bar_interval_us(bars.start_us) != HOUR_US:
        raise ValueError(
            f"{path} must hold hourly bars, but they are {bar_interval_us(bars.start_us) / 6e7:g} minutes apart"
        )
    kept = bars.start_us + HOUR_US <= until_us(day)
    symbol = np.full(int(kept.sum()), path.name.partition("_")[0].upper(), dtype=object)
    return Bars(bars.start_us[kept], bars.ohlc[kept], symbol)


def all_series(hourly: list[Bars], day: str = UNTIL) -> Series:
    """Resample to every timeframe, and cut windows; only bars that are over by `day` (UTC) are there."""
    parts = []
    for timeframe, length_us in TIMEFRAMES.items():
        for bars in hourly:
            coarse = resample(bars, HOUR_US, length_us)
            kept = coarse.start_us + length_us <= until_us(day)
            names = np.array([f"{name} {timeframe}" for name in coarse.symbol[kept]], dtype=object)
            parts.append(Bars(coarse.start_us[kept], coarse.ohlc[kept], names))
    bars = Bars(*(np.concatenate([getattr(part, name) for part in parts]) for name in ("start_us", "ohlc", "symbol")))
    first = cut_within_gaps(bars, 1, WINDOW_BARS, None, "the bars of base").first_bar
    stride = np.array([STRIDES.get(name.split()[1], 1) for name in bars.symbol[first]])
    source = BarSource(bars, first[first % stride == 0], WINDOW_BARS)
    assert (source.intervals.end_us <= until_us(day)).all()
    return Series(bars, source)
